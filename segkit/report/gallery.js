"use strict";

/* The gallery: one image at a time with its layers. All names enter the page as text. */
(function gallery() {
  const source = document.getElementById("gallery-data");
  if (!source) return;
  const { space, items } = JSON.parse(source.textContent);
  const at = (id) => document.getElementById(id);
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const LAYERS = {
    mask: { text: "given mask", given: true, dash: 2.5 },
    truth: { text: "truth", given: false, dash: 6 },
    prediction: { text: "prediction", given: false, dash: 0 },
  };
  const STAGE = 768;
  const PANEL = 256;
  const canvas = at("canvas");
  const everyClass = new Set(space.names.keys());
  let index = 0;

  const isOn = (button) => button.getAttribute("aria-pressed") === "true";
  const layerButton = (layer) => document.querySelector(`[data-layer="${layer}"]`);
  const styleOf = (layer) => document.querySelector(`[data-style="${layer}"]`).value;

  /* Pictures and masks are unpacked when they are first looked at, and kept. */
  const opened = new Map();
  function open(number) {
    if (!opened.has(number)) opened.set(number, unpack(items[number]));
    return opened.get(number);
  }

  async function unpack(item) {
    const picture = new Image();
    picture.src = item.image;
    await picture.decode();
    const masks = {};
    for (const layer of Object.keys(LAYERS)) {
      if (item[layer]) masks[layer] = decodeMask(item[layer], item.width * item.height);
    }
    return { item, picture, masks };
  }

  function layerOf(masks, layer, style) {
    return { ids: masks[layer], given: LAYERS[layer].given, dash: LAYERS[layer].dash, style };
  }

  function drawStage({ item, picture, masks }) {
    const on = Object.keys(LAYERS).filter((layer) => masks[layer] && isOn(layerButton(layer)));
    const shown = new Set(all("[data-class]").filter(isOn).map((b) => Number(b.dataset.class)));
    const opacity = Number(at("opacity").value) / 100;
    const look = { space, annotated: item.annotated, shown, unknown: isOn(at("unknown")), opacity };
    const layers = on.map((layer) => layerOf(masks, layer, styleOf(layer)));
    paint(canvas, item, picture, layers, look, STAGE);
    canvas.setAttribute("aria-label", describe(item, on));
  }

  function drawPanels({ item, picture, masks }) {
    const look = { space, annotated: item.annotated, shown: everyClass, unknown: true, opacity: 1 };
    for (const panel of all("[data-panel]")) {
      const layer = panel.dataset.panel;
      const bare = layer === "image";
      panel.parentElement.hidden = !bare && !masks[layer];
      if (panel.parentElement.hidden) continue;
      paint(panel, item, bare ? picture : null, bare ? [] : [layerOf(masks, layer, "fill")], look, PANEL);
    }
  }

  function describe(item, on) {
    const parts = on.map((layer) => `${LAYERS[layer].text} (${styleOf(layer)})`);
    return `Image ${item.name}, ${parts.length ? "overlaid with " + parts.join(", ") : "without layers"}`;
  }

  function drawCaption({ item, masks }) {
    const names = (looked) => space.names
      .filter((_, c) => item.annotated[c] === looked).map(isolated).join(", ");
    const parts = [`${index + 1} of ${items.length}`, isolated(item.name)];
    parts.push(`annotated: ${names(true) || "nothing"}`);
    const score = item.mean_iou === null ? "no evidence" : item.mean_iou.toFixed(3);
    const unknown = names(false);
    at("caption").textContent =
      `${parts.join(", ")}${unknown ? `; unknown: ${unknown}` : ""}; mean IoU: ${score}`;
    const used = masks.mask ? new Set(masks.mask) : new Set();
    const reasons = [...openIds(space, item.annotated, true)].filter(([id]) => used.has(id));
    at("unknowns").replaceChildren(...reasons.map(([, reason]) => {
      const entry = document.createElement("li");
      const key = document.createElement("span");
      key.className = "key hatch";
      const text = document.createElement("bdi");
      text.textContent = reason;
      entry.append(key, " ", text);
      return entry;
    }));
  }

  async function show(whole) {
    const wanted = index;
    try {
      const ready = await open(wanted);
      if (wanted !== index) return; // somebody has turned the page in the meantime
      for (const layer of Object.keys(LAYERS)) layerButton(layer).disabled = !ready.masks[layer];
      drawStage(ready);
      if (whole) {
        drawPanels(ready);
        drawCaption(ready);
      }
      at("gallery-error").hidden = true;
      canvas.dataset.drawn = String(wanted);
    } catch (error) {
      at("gallery-error").hidden = false;
      at("gallery-error").textContent = `Item ${wanted + 1} cannot be shown: ${error.message}`;
    }
  }

  function turn(step) {
    index = (index + step + items.length) % items.length;
    show(true);
  }

  function toggle(button) {
    button.setAttribute("aria-pressed", String(!isOn(button)));
    if (button.id !== "shortcuts") show(false);
  }

  /* The keys stand in the page, at the buttons that they press. */
  function onKey(event) {
    const busy = event.target.closest && event.target.closest("input, select, textarea");
    if (busy || event.ctrlKey || event.metaKey || event.altKey || !isOn(at("shortcuts"))) return;
    const key = event.key.startsWith("Arrow") ? event.key : event.key.toLowerCase();
    const inBox = event.target.closest && event.target.closest(".scroll, pre");
    if (inBox && key.startsWith("Arrow")) return; // there the arrows scroll the table
    const button = all("#viewer [aria-keyshortcuts]").find(
      (entry) => entry.getAttribute("aria-keyshortcuts") === key && !entry.disabled,
    );
    if (!button) return;
    event.preventDefault();
    button.click();
  }

  at("previous").addEventListener("click", () => turn(-1));
  at("next").addEventListener("click", () => turn(1));
  for (const button of all("#viewer [aria-pressed]")) {
    button.addEventListener("click", () => toggle(button));
  }
  for (const select of all("#viewer select")) select.addEventListener("change", () => show(false));
  at("opacity").addEventListener("input", () => {
    at("opacity-value").textContent = `${at("opacity").value} %`;
    show(false);
  });
  document.addEventListener("keydown", onKey);
  at("viewer").hidden = false;
  show(true);
})();
