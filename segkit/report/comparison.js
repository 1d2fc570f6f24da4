"use strict";

/* Sorts the table of the groups by the column whose heading is pressed. Cells without a number
   stay at the end, in both directions. */
(function sorting() {
  const table = document.getElementById("groups");
  if (!table) return;
  const headings = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];

  function order(column, numeric, direction) {
    const value = (row) => {
      const cell = row.cells[column];
      return numeric ? parseFloat(cell.dataset.value) : cell.textContent;
    };
    return (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (!numeric) return direction * a.localeCompare(b, undefined, { numeric: true });
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return direction * (a - b);
    };
  }

  headings.forEach((heading, column) => {
    if (heading.dataset.sort === undefined) return;
    heading.querySelector("button").addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = Array.from(body.rows);
      rows.sort(order(column, heading.dataset.sort === "number", up ? 1 : -1));
      body.append(...rows);
    });
  });
})();

/* Paints truth and predictions over their images, once these are there. */
(function models() {
  const source = document.getElementById("images-data");
  if (!source) return;
  const { space, items } = JSON.parse(source.textContent);
  const SIZE = 256;
  const failed = [];

  function draw(canvas, item, picture, given, { mask, combinations }) {
    const shown = new Set(space.names.keys());
    shown.delete(space.background);
    const look = { space, annotated: item.annotated, shown, unknown: true, opacity: 0.6 };
    const ids = decodeMask(mask, item.width * item.height);
    const layer = { ids, given, style: "fill", dash: 0, sets: combinations };
    paint(canvas, item, picture, [layer], look, SIZE);
    canvas.dataset.drawn = "true";
  }

  async function show(canvas) {
    const [number, cell] = canvas.dataset.cell.split(":");
    const item = items[Number(number)];
    const picture = document.querySelector(`[data-image="${number}"]`);
    try {
      if (!picture.complete) await picture.decode();
      const given = cell === "given";
      const shown = given ? { ...item, mask: item.given } : item.models[Number(cell)];
      draw(canvas, item, picture, given && !item.truth, shown);
    } catch (error) {
      failed.push(`${isolated(item.name)} (${error.message})`);
      const box = document.getElementById("images-error");
      box.hidden = false;
      box.textContent = `Masks that cannot be shown: ${failed.join("; ")}.`;
    }
  }

  for (const canvas of document.querySelectorAll("[data-cell]")) show(canvas);
})();
