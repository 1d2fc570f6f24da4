"use strict";

/* Reads run lengths, see encode_mask in gallery.py: base64 of numbers in base 128, low digits
   first; they come in pairs (id, length). `size` is the number of pixels that must come out. */
function decodeMask(text, size) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const ids = new Uint16Array(size);
  let at = 0;
  let filled = 0;
  function next() {
    let value = 0;
    let factor = 1;
    let byte;
    do {
      byte = bytes[at++];
      if (byte === undefined) throw new RangeError("A mask ends in the middle of a number.");
      value += (byte & 127) * factor;
      factor *= 128;
    } while (byte > 127);
    return value;
  }
  while (at < bytes.length) {
    const id = next();
    const end = filled + next();
    if (end > size) throw new RangeError("A mask has more pixels than its image.");
    ids.fill(id, filled, end);
    filled = end;
  }
  if (filled !== size) throw new RangeError("A mask has fewer pixels than its image.");
  return ids;
}

/* One pixel as the number that a Uint32Array over image data holds, on any byte order. */
function packed(red, green, blue, alpha) {
  return new Uint32Array(new Uint8Array([red, green, blue, alpha]).buffer)[0];
}

/* A name for running text. One that changes the direction of writing is kept from turning around
   the words beside it, by the marks that Unicode has for this. */
function isolated(name) {
  const turning = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069]/.test(name);
  return turning ? `\u2068${name}\u2069` : name;
}

/* Names in a row; of many, the first few. */
function listed(names) {
  const most = 8;
  if (names.length <= most + 1) return names.join(", ");
  return `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
}

/* The ids that leave open which class a pixel has, with the reason. In the annotation these are
   ignored pixels, coarse labels, and the background of an image in which some class was not
   looked for; a truth or a prediction leaves nothing open but ignored pixels. Of independent
   classes, ids are places in `sets`, see segkit/combinations.py; a set without a class is open. */
function openIds(space, annotated, given, sets) {
  const open = new Map();
  const missing = space.names.filter((_, c) => !annotated[c]).map(isolated);
  if (sets) {
    const named = (classes) => listed(classes.map((c) => isolated(space.names[c])));
    sets.forEach(({ classes, ignored }, id) => {
      if (classes.length) return;
      if (ignored.length === space.names.length) open.set(id, "ignored: nobody judged these pixels");
      else if (ignored.length) open.set(id, `ignored for ${named(ignored)}`);
      else if (given && missing.length) open.set(id, `perhaps ${listed(missing)}: nobody looked`);
    });
    return open;
  }
  if (given && space.background !== null && missing.length) {
    const name = isolated(space.names[space.background]);
    open.set(space.background, `${name} or one of: ${missing.join(", ")}: nobody looked`);
  }
  if (space.ignore !== null) open.set(space.ignore, "ignored: nobody judged these pixels");
  for (const coarse of space.coarse) {
    const members = coarse.members.map(isolated).join(", ");
    open.set(coarse.id, `${isolated(coarse.name)}: one of ${members}, nobody said which`);
  }
  return open;
}

function meanColor(colors, alpha) {
  const mean = (part) => colors.reduce((sum, color) => sum + color[part], 0) / colors.length;
  return packed(mean(0), mean(1), mean(2), alpha);
}

/* Colours by id. `shown` holds the classes to draw; open ids are hatched instead, not coloured,
   but for coarse labels, which get half of the mean colour of their members. A set of independent
   classes has the mean colour of those that are shown. */
function colorTable(space, shown, open, sets) {
  const table = new Uint32Array(65536);
  if (sets) {
    sets.forEach(({ classes }, id) => {
      const colors = classes.filter((c) => shown.has(c)).map((c) => space.palette[c]);
      if (colors.length) table[id] = meanColor(colors, 255);
    });
    return table;
  }
  space.palette.forEach((color, id) => {
    if (shown.has(id) && !open.has(id)) table[id] = packed(...color, 255);
  });
  for (const { id, members } of space.coarse) {
    const colors = members.map((name) => space.palette[space.names.indexOf(name)]);
    table[id] = meanColor(colors, 128);
  }
  return table;
}

/* Ids of sets in which the same classes are shown become one: no outline runs between them. */
function withoutHidden(ids, sets, shown) {
  const first = new Map();
  const one = Uint16Array.from(sets, ({ classes }, id) => {
    const key = classes.filter((c) => shown.has(c)).join();
    if (!first.has(key)) first.set(key, id);
    return first.get(key);
  });
  return ids.map((id) => one[id]);
}

function sheet(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function fromWords(width, height, fill) {
  const canvas = sheet(width, height);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  fill(new Uint32Array(pixels.data.buffer));
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/* One pixel of the canvas a pixel of the mask; the caller scales it up without smoothing. */
function filled(ids, width, height, table) {
  return fromWords(width, height, (words) => {
    for (let i = 0; i < words.length; i += 1) words[i] = table[ids[i]];
  });
}

/* The inner rim of every region, at the scale of the screen, with a shadow inside it, so that it
   shows on a surface of its own colour. `dash` is the length of a dash in pixels, 0 for none. */
function outlined(ids, width, height, table, scale, thick, dash) {
  const far = Math.ceil(1.6 * thick);
  const shadow = packed(0, 0, 0, 150);
  // For each place on the screen, the pixel of the mask that lies `reach` further on.
  const reaches = [0, -thick, thick, -far, far];
  const places = (length) => reaches.map((reach) => Int32Array.from({ length: length * scale },
    (_, at) => Math.floor(Math.min(Math.max(at + reach, 0), length * scale - 1) / scale)));
  const rows = places(height);
  const [here, left, right, farLeft, farRight] = places(width);
  return fromWords(width * scale, height * scale, (words) => {
    for (let y = 0, i = 0; y < height * scale; y += 1) {
      const [row, up, down, farUp, farDown] = rows.map((place) => place[y] * width);
      for (let x = 0; x < width * scale; x += 1, i += 1) {
        const at = here[x];
        const id = ids[row + at];
        // The odd slope keeps dashes on lines of every direction.
        if (!table[id] || (dash && Math.floor((x + 0.62 * y) / dash) % 2)) continue;
        if (ids[up + at] !== id || ids[down + at] !== id
          || ids[row + left[x]] !== id || ids[row + right[x]] !== id) words[i] = table[id];
        else if (ids[farUp + at] !== id || ids[farDown + at] !== id
          || ids[row + farLeft[x]] !== id || ids[row + farRight[x]] !== id) words[i] = shadow;
      }
    }
  });
}

/* Stripes, dark under light so that they show on every image, cut out where ids are open. */
function hatched(ids, width, height, open, outWidth, outHeight, period) {
  const table = new Uint32Array(65536);
  for (const id of open.keys()) table[id] = packed(0, 0, 0, 255);
  const canvas = sheet(outWidth, outHeight);
  const context = canvas.getContext("2d");
  for (const [color, line] of [["#000000a0", 0.24], ["#ffffff", 0.11]]) {
    context.strokeStyle = color;
    context.lineWidth = period * line;
    context.beginPath();
    for (let x = -outHeight; x < outWidth; x += period) {
      context.moveTo(x, outHeight);
      context.lineTo(x + outHeight, 0);
    }
    context.stroke();
  }
  context.globalCompositeOperation = "destination-in";
  context.imageSmoothingEnabled = false;
  context.drawImage(filled(ids, width, height, table), 0, 0, outWidth, outHeight);
  return canvas;
}

/* Draws an image with layers over it.
   item: {width, height}; picture: what lies below, or null for the colour of the background;
   size: the longer side to aim at;
   layers: [{ids, given, style, dash, sets}], sets only of independent classes; look: {space, annotated, shown, unknown, opacity}. */
function paint(canvas, item, picture, layers, look, size) {
  const { width, height } = item;
  const { space } = look;
  const scale = Math.max(1, Math.floor(size / Math.max(width, height)));
  const [outWidth, outHeight] = [width * scale, height * scale];
  canvas.width = outWidth;
  canvas.height = outHeight;
  const unit = Math.max(1, Math.max(outWidth, outHeight) / 400);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  if (picture) {
    context.drawImage(picture, 0, 0, outWidth, outHeight);
  } else {
    const color = space.background === null ? [96, 96, 96] : space.palette[space.background];
    context.fillStyle = `rgb(${color.join(",")})`;
    context.fillRect(0, 0, outWidth, outHeight);
  }
  for (const layer of layers) {
    const open = openIds(space, look.annotated, layer.given, layer.sets);
    const table = colorTable(space, look.shown, open, layer.sets);
    const ids = layer.sets ? withoutHidden(layer.ids, layer.sets, look.shown) : layer.ids;
    const outline = layer.style === "outline";
    // A thin line needs more ink than a surface to be seen as clearly.
    context.globalAlpha = outline ? Math.sqrt(look.opacity) : look.opacity;
    const drawn = outline
      ? outlined(ids, width, height, table, scale, Math.round(1.6 * unit), layer.dash * unit)
      : filled(ids, width, height, table);
    context.drawImage(drawn, 0, 0, outWidth, outHeight);
    if (look.unknown) {
      context.globalAlpha = look.opacity;
      const period = Math.round(11 * unit);
      context.drawImage(hatched(layer.ids, width, height, open, outWidth, outHeight, period), 0, 0);
    }
  }
  context.globalAlpha = 1;
}
