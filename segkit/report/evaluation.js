"use strict";

/* The list of the worst images: a button turns the gallery below to its image. */
(function worst() {
  const buttons = Array.from(document.querySelectorAll("[data-item]"));
  const viewer = document.getElementById("viewer");
  if (!viewer || viewer.hidden) return;
  let index = 0;

  /* Keys press these buttons, too, so this counts along with the gallery. */
  function follow(id, step) {
    const button = document.getElementById(id);
    button.addEventListener("click", () => {
      index = (index + step + buttons.length) % buttons.length;
    });
    return button;
  }

  const previous = follow("previous", -1);
  const next = follow("next", 1);

  function show(wanted) {
    const ahead = (wanted - index + buttons.length) % buttons.length;
    const back = ahead > buttons.length / 2;
    for (let step = back ? buttons.length - ahead : ahead; step > 0; step -= 1) {
      (back ? previous : next).click();
    }
    viewer.scrollIntoView({ block: "start" });
  }

  for (const button of buttons) {
    button.addEventListener("click", () => show(Number(button.dataset.item)));
  }
})();
