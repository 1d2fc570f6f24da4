"use strict";

/* Shows doubtful cells one by one and takes decisions. All names enter the page as text. */
(function audit() {
  const source = document.getElementById("audit-data");
  if (!source) return;
  const { guard, space, words, pictures, items, manifest } = JSON.parse(source.textContent);
  const at = (id) => document.getElementById(id);
  const SIZE = { card: 144, large: 480 };
  const CHOICES = ["missing", "absent", "unsure"];
  const STORE = `segkit-audit-${guard}`;
  const classes = [...new Set(space.names.keys())].filter((id) => id !== space.background);
  const keyOf = (item) => JSON.stringify([item.key, space.names[item.class], item.kind]);
  const opened = new Map();
  const choices = new Map();
  const past = [];
  let shown = items.map((_, number) => number);
  let current = 0;
  let lines = true;
  let drawing = 0;

  /* ---- what was decided, kept in this browser ---- */
  function complain(text) {
    at("audit-error").hidden = false;
    at("audit-error").textContent = text;
  }

  function recall() {
    try {
      const kept = JSON.parse(localStorage.getItem(STORE) || "{}");
      for (const [key, value] of Object.entries(kept)) {
        if (CHOICES.includes(value)) choices.set(key, value);
      }
    } catch (error) {
      complain(`Earlier decisions cannot be read (${error.message}).`);
    }
  }

  function keep() {
    try {
      localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(choices)));
    } catch (error) {
      complain(`Decisions will be lost when the page is closed (${error.message}). Save them.`);
    }
  }

  /* ---- pictures ---- */
  async function unpack(number) {
    const item = pictures[number];
    const picture = new Image();
    picture.src = item.image;
    await picture.decode();
    const ids = item.mask === null ? null : decodeMask(item.mask, item.width * item.height);
    return { item, picture, ids };
  }

  function open(number) {
    if (!opened.has(number)) {
      if (opened.size > 300) opened.delete(opened.keys().next().value);
      opened.set(number, unpack(number));
    }
    return opened.get(number);
  }

  async function draw(canvas, cell, size) {
    const { item, picture, ids } = await open(cell.picture);
    const pixels = item.width * item.height;
    const layers = [];
    const drawn = ids || decodeMask(cell.plane, pixels);
    if (lines) {
      layers.push({ ids: drawn, given: false, style: "outline", dash: 0 });
      if (cell.outline !== null) {
        layers.push({ ids: decodeMask(cell.outline, pixels), given: false, style: "outline", dash: size > 200 ? 14 : 7 });
      }
    }
    const look = { space, annotated: [], shown: new Set(classes), unknown: false, opacity: 1 };
    paint(canvas, item, picture, layers, look, size);
  }

  async function drawCard(card) {
    const cell = items[Number(card.dataset.item)];
    try {
      await draw(card.querySelector("canvas"), cell, SIZE.card);
      card.dataset.drawn = "true";
    } catch (error) {
      complain(`${isolated(cell.key)} cannot be shown: ${error.message}`);
    }
  }

  /* ---- cards ---- */
  const cards = items.map((item, number) => {
    const card = document.createElement("button");
    card.type = "button";
    card.className = "card";
    card.tabIndex = -1;
    card.dataset.item = String(number);
    const canvas = document.createElement("canvas");
    const { width, height } = pictures[item.picture];
    canvas.width = width;
    canvas.height = height;
    const score = document.createElement("span");
    score.className = "score";
    score.textContent = item.score === null ? "—" : item.score.toFixed(2);
    const name = document.createElement("bdi");
    name.className = "name";
    name.textContent = space.names[item.class];
    card.append(canvas, score, name);
    card.setAttribute("aria-label", `${number + 1}: ${isolated(item.key)}, ${isolated(space.names[item.class])}`);
    card.addEventListener("click", () => go(shown.indexOf(number)));
    at("cards").append(card);
    return card;
  });

  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !target.dataset.drawn) {
        target.dataset.drawn = "begun";
        drawCard(target);
      }
    }
  }, { rootMargin: "300px" });
  for (const card of cards) watch.observe(card);

  function mark(number) {
    const choice = choices.get(keyOf(items[number]));
    if (choice) cards[number].dataset.choice = choice;
    else delete cards[number].dataset.choice;
  }

  /* ---- the cell that is looked at ---- */
  async function show() {
    const number = shown[current];
    at("nothing").hidden = shown.length > 0;
    for (const card of at("cards").querySelectorAll("[aria-current]")) card.removeAttribute("aria-current");
    tell();
    if (number === undefined) return;
    const item = items[number];
    const judged = item.kind === "wrong_class" || item.kind === "shifted";
    const name = isolated(space.names[item.class]);
    const score = item.score === null ? "no score" : `score ${item.score.toFixed(3)}`;
    at("what").textContent = `${current + 1} of ${shown.length}: ${name} in ${isolated(item.key)}, ${words[item.kind]}, ${score}`;
    at("why").textContent = item.why;
    at("missing-word").textContent = judged ? "Wrong" : "Missing";
    at("absent-word").textContent = judged ? "Right" : item.kind === "object" ? "All outlined" : "Really absent";
    at("canvas").setAttribute("aria-label", at("what").textContent);
    for (const choice of CHOICES) {
      at(choice).setAttribute("aria-pressed", String(choices.get(keyOf(item)) === choice));
    }
    cards[number].setAttribute("aria-current", "true");
    scrollTo(cards[number]);
    drawing += 1;
    const mine = drawing;
    const canvas = document.createElement("canvas");
    try {
      await draw(canvas, item, SIZE.large);
    } catch (error) {
      complain(`${isolated(item.key)} cannot be shown: ${error.message}`);
      return;
    }
    if (mine !== drawing) return; // another one is wanted by now
    at("canvas").width = canvas.width;
    at("canvas").height = canvas.height;
    at("canvas").getContext("2d").drawImage(canvas, 0, 0);
    at("canvas").dataset.drawn = String(number);
    for (const next of shown.slice(current + 1, current + 4)) open(items[next].picture).catch(() => {});
  }

  /* Only the box of the cards: the page stays where it is. */
  function scrollTo(card) {
    const box = at("cards");
    const top = card.offsetTop;
    if (top < box.scrollTop) box.scrollTop = top - 8;
    const below = top + card.offsetHeight - box.clientHeight;
    if (below > box.scrollTop) box.scrollTop = below + 8;
  }

  function tell() {
    const decided = items.filter((item) => choices.has(keyOf(item))).length;
    at("progress").textContent = `${decided.toLocaleString("en")} of ${items.length.toLocaleString("en")} decided`;
    at("done").style.flexGrow = String(decided / items.length);
    at("undo").disabled = past.length === 0;
  }

  function go(to) {
    if (to < 0 || to >= shown.length) return;
    current = to;
    show();
  }

  function decide(choice) {
    const number = shown[current];
    if (number === undefined) return;
    const key = keyOf(items[number]);
    past.push([number, key, choices.get(key)]);
    choices.set(key, choice);
    keep();
    mark(number);
    if (at("open-only").checked) filter(current);
    else if (current + 1 < shown.length) go(current + 1);
    else show();
  }

  function undo() {
    const last = past.pop();
    if (!last) return;
    const [number, key, before] = last;
    if (before) choices.set(key, before);
    else choices.delete(key);
    keep();
    mark(number);
    filter(0);
    go(Math.max(0, shown.indexOf(number)));
  }

  /* ---- filters ---- */
  function filter(wanted) {
    const [ofClass, ofKind] = [at("of-class").value, at("of-kind").value];
    const open_ = at("open-only").checked;
    shown = [];
    items.forEach((item, number) => {
      const fits = (ofClass === "" || item.class === classes[Number(ofClass)])
        && (ofKind === "" || item.kind === ofKind)
        && !(open_ && choices.has(keyOf(item)));
      cards[number].hidden = !fits;
      if (fits) shown.push(number);
    });
    current = Math.max(0, Math.min(wanted, shown.length - 1));
    show();
  }

  function turn(select) {
    select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
    filter(0);
  }

  /* ---- what is saved ---- */
  const quoted = (text) => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const table = (rows) => rows.map((row) => `${row.map((value) => quoted(String(value))).join(",")}\n`).join("");

  function annotations() {
    const entries = manifest.map((entry) => ({ ...entry, annotated: [...entry.annotated] }));
    const order = { absent: 0, missing: 1 }; // missing wins where a cell is there twice
    const made = items
      .map((item) => ({ item, choice: choices.get(keyOf(item)) }))
      .filter(({ choice }) => choice in order)
      .sort((one, other) => order[one.choice] - order[other.choice]);
    for (const { item, choice } of made) {
      const entry = entries[item.line];
      if (item.kind === "missing" || item.kind === "object") entry.annotated[item.class] = choice === "absent" ? 1 : 0;
      else if (choice === "missing") entry.weight = 0;
    }
    const listed = (looked) => (classes.every((id) => looked[id])
      ? "*" : classes.filter((id) => looked[id]).map((id) => space.names[id]).join(";"));
    const grouped = entries.some((entry) => entry.group);
    const weighted = entries.some((entry) => entry.weight !== 1);
    const header = ["image", "annotated", "split", ...(grouped ? ["group"] : []), ...(weighted ? ["weight"] : [])];
    return table([header, ...entries.map((entry) => [
      entry.image, listed(entry.annotated), entry.split,
      ...(grouped ? [entry.group] : []), ...(weighted ? [entry.weight] : []),
    ])]);
  }

  function review() {
    const rows = items.filter((item) => choices.has(keyOf(item))).map((item) => [
      item.image, item.split, space.names[item.class], item.kind, item.score === null ? "" : item.score, choices.get(keyOf(item)),
    ]);
    return table([["image", "split", "class", "kind", "score", "decision"], ...rows]);
  }

  function save(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  /* ---- keys ---- */
  function across() {
    const there = shown.map((number) => cards[number].offsetTop);
    const count = there.findIndex((top) => top !== there[0]);
    return count < 1 ? Math.max(1, there.length) : count;
  }

  function redraw() {
    for (const card of cards) {
      delete card.dataset.drawn;
      watch.unobserve(card);
      watch.observe(card);
    }
    show();
  }

  const actions = {
    j: () => go(current + 1),
    arrowright: () => go(current + 1),
    k: () => go(current - 1),
    arrowleft: () => go(current - 1),
    arrowdown: () => go(Math.min(shown.length - 1, current + across())),
    arrowup: () => go(Math.max(0, current - across())),
    m: () => decide("missing"),
    a: () => decide("absent"),
    d: () => decide("unsure"),
    u: undo,
    l: () => at("outlines").click(),
    c: () => turn(at("of-class")),
    t: () => turn(at("of-kind")),
    o: () => at("open-only").click(),
    r: () => at("save-review").click(),
    s: () => manifest && at("save").click(),
  };

  function onKey(event) {
    const action = actions[event.key.toLowerCase()];
    const field = event.target.closest && event.target.closest("input:not([type=checkbox]), select, textarea");
    if (!action || field || event.ctrlKey || event.metaKey || event.altKey || !at("shortcuts").checked) return;
    event.preventDefault();
    action();
  }

  for (const choice of CHOICES) at(choice).addEventListener("click", () => decide(choice));
  at("undo").addEventListener("click", undo);
  at("outlines").addEventListener("click", () => {
    lines = !lines;
    at("outlines").setAttribute("aria-pressed", String(lines));
    redraw();
  });
  if (manifest) at("save").addEventListener("click", () => save("annotations.csv", annotations()));
  at("save-review").addEventListener("click", () => save("review.csv", review()));
  for (const id of ["of-class", "of-kind", "open-only"]) at(id).addEventListener("change", () => filter(0));
  document.addEventListener("keydown", onKey);
  recall();
  items.forEach((_, number) => mark(number));
  at("desk").hidden = false;
  filter(0);
})();
