"use strict";

/* Paints images with their masks, those on the screen first. All names enter the page as text. */
(function preview() {
  const { space, items } = JSON.parse(document.getElementById("preview-data").textContent);
  const at = (id) => document.getElementById(id);
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const isOn = (button) => button.getAttribute("aria-pressed") === "true";
  const SIZE = 512;
  const canvases = all("[data-row]");
  const opened = new Map();
  const onScreen = new Set();
  const stale = new Set(canvases);
  let wanted = false;

  async function unpack(canvas) {
    const item = items[Number(canvas.dataset.row)][Number(canvas.dataset.view)];
    const picture = new Image();
    picture.src = item.image;
    await picture.decode();
    return { item, picture, ids: decodeMask(item.mask, item.width * item.height) };
  }

  function open(canvas) {
    if (!opened.has(canvas)) opened.set(canvas, unpack(canvas));
    return opened.get(canvas);
  }

  async function draw(canvas) {
    const { item, picture, ids } = await open(canvas);
    const style = isOn(at("outline")) ? "outline" : "fill";
    const sets = item.combinations;
    const layers = [{ ids, given: isOn(at("open")), style, dash: 0, sets }];
    const shown = new Set(all("[data-class]").filter(isOn).map((b) => Number(b.dataset.class)));
    const opacity = Number(at("opacity").value) / 100;
    const look = { space, annotated: item.annotated, shown, unknown: true, opacity };
    paint(canvas, item, picture, isOn(at("overlay")) ? layers : [], look, SIZE);
    canvas.dataset.drawn = "true";
  }

  async function drawStale(candidates) {
    for (const canvas of candidates) open(canvas).catch(() => {}); // all decode at once
    for (const canvas of candidates) {
      if (!stale.delete(canvas)) continue;
      try {
        await draw(canvas);
      } catch (error) {
        at("preview-error").hidden = false;
        at("preview-error").textContent =
          `${canvas.getAttribute("aria-label")} cannot be shown: ${error.message}`;
      }
    }
  }

  /* However fast the slider moves, once a frame is enough. */
  function redraw() {
    for (const canvas of canvases) stale.add(canvas);
    if (wanted) return;
    wanted = true;
    requestAnimationFrame(() => {
      wanted = false;
      drawStale([...onScreen]);
    });
  }

  function onKey(event) {
    const busy = event.target.closest && event.target.closest("input, select, textarea");
    if (busy || event.ctrlKey || event.metaKey || event.altKey) return;
    const button = all("#viewer [aria-keyshortcuts]").find(
      (entry) => entry.getAttribute("aria-keyshortcuts") === event.key.toLowerCase(),
    );
    if (!button) return;
    event.preventDefault();
    button.click();
  }

  for (const button of all("#viewer [aria-pressed]")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(!isOn(button)));
      redraw();
    });
  }
  at("opacity").addEventListener("input", () => {
    at("opacity-value").textContent = `${at("opacity").value} %`;
    redraw();
  });
  document.addEventListener("keydown", onKey);
  window.addEventListener("beforeprint", () => drawStale(canvases));
  at("viewer").hidden = false;
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) onScreen.add(target);
      else onScreen.delete(target);
    }
    drawStale([...onScreen]);
  }, { rootMargin: "400px" });
  for (const canvas of canvases) watch.observe(canvas);
})();
