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
  let here = new Set();

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

  function layerOf(item, masks, layer, style) {
    const { given, dash } = LAYERS[layer];
    return { ids: masks[layer], given, dash, style, sets: item.combinations };
  }

  function drawStage({ item, picture, masks }) {
    const on = Object.keys(LAYERS).filter((layer) => masks[layer] && isOn(layerButton(layer)));
    const shown = new Set(all("[data-class]").filter(isOn).map((b) => Number(b.dataset.class)));
    const opacity = Number(at("opacity").value) / 100;
    const look = { space, annotated: item.annotated, shown, unknown: isOn(at("unknown")), opacity };
    const layers = on.map((layer) => layerOf(item, masks, layer, styleOf(layer)));
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
      const layers = bare ? [] : [layerOf(item, masks, layer, "fill")];
      paint(panel, item, bare ? picture : null, layers, look, PANEL);
    }
  }

  function describe(item, on) {
    const parts = on.map((layer) => `${LAYERS[layer].text} (${styleOf(layer)})`);
    return `Image ${item.name}, ${parts.length ? "overlaid with " + parts.join(", ") : "without layers"}`;
  }

  function drawCaption({ item, masks }) {
    const row = space.exclusive ? (names) => names.join(", ") : listed;
    const names = (looked) => row(space.names
      .filter((_, c) => item.annotated[c] === looked).map(isolated));
    const parts = [`${index + 1} of ${items.length}`, isolated(item.name)];
    parts.push(`annotated: ${names(true) || "nothing"}`);
    const score = item.mean_iou === null ? "no evidence" : item.mean_iou.toFixed(3);
    const unknown = names(false);
    const left = listed((item.left_out || []).map((c) => isolated(space.names[c])));
    at("caption").textContent =
      `${parts.join(", ")}${unknown ? `; unknown: ${unknown}` : ""}; mean IoU: ${score}`
      + (left ? `; in too many combinations to be shown: ${left}` : "");
    const used = masks.mask ? new Set(masks.mask) : new Set();
    const reasons = [...openIds(space, item.annotated, true, item.combinations)].filter(([id]) => used.has(id));
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

  /* The classes that some layer of the image has. */
  function classesOf({ item, masks }) {
    const here = new Set();
    for (const layer of Object.keys(masks)) {
      for (const id of new Set(masks[layer])) {
        if (!item.combinations) here.add(id);
        else item.combinations[id].classes.forEach((c) => here.add(c));
      }
    }
    return here;
  }

  /* Of many classes, the chips of those that are looked for, or that the image has. */
  function sift() {
    if (!at("find")) return;
    const wanted = at("find").value.trim().toLowerCase();
    for (const chip of all("[data-class]")) {
      const fits = chip.title.toLowerCase().includes(wanted);
      const away = !wanted && isOn(at("only-here")) && !here.has(Number(chip.dataset.class));
      chip.hidden = !fits || away;
    }
  }

  function press(on) {
    for (const chip of all("[data-class]")) {
      if (!chip.hidden) chip.setAttribute("aria-pressed", String(on));
    }
    show(false);
  }

  /* Which classes the layers have at a pixel, in words. */
  async function tell(event) {
    const { item, masks } = await open(index);
    const box = canvas.getBoundingClientRect();
    const along = (at_, start, length, pixels) =>
      Math.min(pixels - 1, Math.max(0, Math.floor(((at_ - start) / length) * pixels)));
    const row = along(event.clientY, box.top, box.height, item.height);
    const column = along(event.clientX, box.left, box.width, item.width);
    const parts = Object.keys(LAYERS).filter((layer) => masks[layer]).map((layer) => {
      const { classes, ignored } = item.combinations[masks[layer][row * item.width + column]];
      const names = classes.map((c) => isolated(space.names[c]));
      if (ignored.length) names.push(`${ignored.length} ignored`);
      return `${LAYERS[layer].text}: ${names.join(" + ") || "none"}`;
    });
    at("pixel").textContent = `Row ${row}, column ${column}: ${parts.join("; ")}`;
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
        here = classesOf(ready);
        sift();
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
    if (button.id === "only-here") sift();
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
  if (at("find")) {
    at("find").addEventListener("input", sift);
    at("all").addEventListener("click", () => press(true));
    at("none").addEventListener("click", () => press(false));
  }
  if (at("pixel")) canvas.addEventListener("pointermove", tell);
  at("viewer").hidden = false;
  show(true);
})();
