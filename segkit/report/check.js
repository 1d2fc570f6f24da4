"use strict";

/* Paints the masks of the samples over their images, once these are there. */
(function samples() {
  const source = document.getElementById("samples-data");
  if (!source) return;
  const { spaces, items } = JSON.parse(source.textContent);
  const SIZE = 256;
  const failed = [];

  function draw(canvas, item, picture) {
    const space = spaces[item.space];
    const shown = new Set(space.names.keys());
    shown.delete(space.background);
    const look = { space, annotated: item.annotated, shown, unknown: true, opacity: 0.7 };
    const ids = decodeMask(item.mask, item.width * item.height);
    paint(canvas, item, picture, [{ ids, given: true, style: "fill", dash: 0 }], look, SIZE);
    canvas.dataset.drawn = "true";
  }

  async function show(canvas) {
    const item = items[Number(canvas.dataset.sample)];
    const picture = canvas.parentElement.querySelector("img");
    try {
      if (!picture.complete) await picture.decode();
      draw(canvas, item, picture);
    } catch (error) {
      failed.push(`${isolated(item.name)} (${error.message})`);
      const box = document.getElementById("samples-error");
      box.hidden = false;
      box.textContent = `Masks that cannot be shown: ${failed.join("; ")}.`;
    }
  }

  for (const canvas of document.querySelectorAll("[data-sample]")) show(canvas);
})();
