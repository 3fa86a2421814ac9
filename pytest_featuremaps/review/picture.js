"use strict";
// A baseline's PNG, read level by level: what is drawn and compared are the levels themselves.

const LEVELS = 247, LOWEST = 16, HIGHEST = 230;
const NAN = 247, PLUS_INF = 248, MINUS_INF = 249, DEAD = 250, GUTTER = 251;
const MARKS = { [NAN]: "NaN", [PLUS_INF]: "+Inf", [MINUS_INF]: "−Inf", [DEAD]: "dead" };
const MARK_COLOURS = {
  [NAN]: [255, 0, 200], [PLUS_INF]: [255, 96, 0], [MINUS_INF]: [0, 140, 255],
  [DEAD]: [32, 40, 104], [GUTTER]: [92, 96, 104],
};

const packed = ([red, green, blue]) => (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
const PALETTE = Uint32Array.from({ length: GUTTER + 1 }, (_, level) => packed(colour(level)));
const NO_CHANGE = packed([255, 255, 255]);

function colour(level) {
  if (level >= LEVELS) return MARK_COLOURS[level];
  const below = Math.max(0, LOWEST - level), above = Math.max(0, level - HIGHEST);
  if (below) return [0, 5 * below, 5 * below];
  if (above) return [255, 255 - 2 * above, 235 - 13 * above];
  const grey = Math.floor(((level - LOWEST) * 255) / (HIGHEST - LOWEST));
  return [grey, grey, grey];
}

const HIGHER = [178, 16, 40], LOWER = [16, 84, 176], OTHER = [122, 62, 200];
const isMark = (before, after) => Math.max(before, after) >= LEVELS;
const rgb = (parts) => `rgb(${parts.join(" ")})`;

// What the colours of a picture mean: how they look, what is said of them, and which levels have them.
const RANGE = ["linear-gradient(90deg, #000, #fff)", "lowest to highest value of a channel in the baseline"];
const MEANINGS = [
  [rgb(colour(0)), "below that range", (level) => level < LOWEST],
  [rgb(colour(LEVELS - 1)), "above that range", (level) => level > HIGHEST && level < LEVELS],
  [rgb(colour(NAN)), "NaN", (level) => level === NAN],
  [rgb(colour(PLUS_INF)), "+Inf", (level) => level === PLUS_INF],
  [rgb(colour(MINUS_INF)), "−Inf", (level) => level === MINUS_INF],
  [rgb(colour(DEAD)), "dead channel: zero everywhere", (level) => level === DEAD],
];
// Of a difference: which two levels have it.
const DIFFERENCES = [
  [rgb(HIGHER), "higher than before", (before, after) => !isMark(before, after) && after > before],
  [rgb(LOWER), "lower than before", (before, after) => !isMark(before, after) && after < before],
  [rgb(OTHER), "NaN, Inf or dead came or went", (before, after) => before !== after && isMark(before, after)],
];

// Returns what the colours mean that are there: in pictures, and in the difference of two.
function meaningsIn(pictures, places) {
  const seen = new Set();
  for (const { tiles } of pictures) for (const place of places) for (const level of tiles[place] || []) seen.add(level);
  return [RANGE, ...MEANINGS.filter(([, , has]) => [...seen].some((level) => has(level)))];
}

function differencesIn(before, after, places) {
  const seen = new Set();
  for (const place of places) before.tiles[place].forEach((level, pixel) => seen.add(level << 8 | after.tiles[place][pixel]));
  return DIFFERENCES.filter(([, , has]) => [...seen].some((pair) => has(pair >> 8, pair & 255)));
}

// White where nothing changed, towards red where the value rose and blue where it fell; the root
// makes a few levels seen, too.
function differenceColour(before, after) {
  if (before === after) return NO_CHANGE;
  if (isMark(before, after)) return packed(OTHER);
  const share = Math.sqrt(Math.abs(after - before) / (LEVELS - 1));
  const end = after > before ? HIGHER : LOWER;
  return packed(end.map((part) => Math.round(255 - (255 - part) * share)));
}

async function inflate(bytes) {
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

// Returns {channels, low, high, height, width, tiles}, a Uint8Array of levels for each tile.
async function readPicture(number) {
  const text = atob(document.getElementById(`p${number}`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  const view = new DataView(bytes.buffer);
  const pixels = [];
  let width = 0, height = 0, details = null;
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    if (kind === "IHDR") [width, height] = [view.getUint32(at + 8), view.getUint32(at + 12)];
    if (kind === "IDAT") pixels.push(body);
    if (kind === "zTXt") details = JSON.parse(new TextDecoder().decode(await inflate(body.subarray(13))));
  }
  const packed = new Uint8Array(await new Blob(pixels).arrayBuffer());
  const canvas = unfilter(await inflate(packed), width, height);
  const [count, rows, columns] = details.shape;
  const across = (width - 1) / (columns + 1);
  const tiles = Array.from({ length: count }, (_, place) => {
    const top = 1 + Math.floor(place / across) * (rows + 1);
    const left = 1 + (place % across) * (columns + 1);
    const tile = new Uint8Array(rows * columns);
    for (let row = 0; row < rows; row++) {
      const start = (top + row) * width + left;
      tile.set(canvas.subarray(start, start + columns), row * columns);
    }
    return tile;
  });
  return { channels: details.channels, low: details.low, high: details.high, height: rows, width: columns, tiles };
}

// Undoes the five filters of PNG for one byte per pixel.
const GUESSES = [() => 0, (left) => left, (left, up) => up, (left, up) => (left + up) >> 1, paeth];

function unfilter(data, width, height) {
  const out = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    const guess = GUESSES[data[row * (width + 1)]];
    for (let column = 0; column < width; column++) {
      const here = row * width + column;
      const left = column ? out[here - 1] : 0;
      const up = row ? out[here - width] : 0;
      const corner = row && column ? out[here - width - 1] : 0;
      out[here] = data[row * (width + 1) + 1 + column] + guess(left, up, corner);
    }
  }
  return out;
}

function paeth(left, up, corner) {
  const a = Math.abs(up - corner), b = Math.abs(left - corner), c = Math.abs(left + up - 2 * corner);
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

function sameShape(a, b) {
  return a.height === b.height && a.width === b.width && String(a.channels) === String(b.channels);
}

// Returns the places of the tiles that differ by more than some levels, or in a mark.
function changedPlaces(before, after, levels) {
  const differs = (place) => before.tiles[place].some((level, pixel) => {
    const now = after.tiles[place][pixel];
    return level !== now && (Math.abs(level - now) > levels || Math.max(level, now) >= LEVELS);
  });
  return before.tiles.map((_, place) => place).filter(differs);
}

// How many screen pixels wide a pixel may be, for the whole of a picture to be seen in some room.
const MOST_SCALE = 12;
const scaleIn = (room, { width, height }) =>
  Math.max(1, Math.min(MOST_SCALE, Math.floor(room.width / width), Math.floor(room.height / height)));

// The rows and columns in which the picture is largest; of those, nearest to a square.
function gridOf(count, height, width, room) {
  let best = { rows: 0, columns: 0, scale: 0, longer: Infinity };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const size = { width: columns * (width + 1) + 1, height: rows * (height + 1) + 1 };
    const scale = scaleIn(room, size), longer = Math.max(size.width, size.height);
    if (scale > best.scale || (scale === best.scale && longer < best.longer)) best = { rows, columns, scale, longer };
  }
  return best;
}

// Draws tiles side by side; `paint` gives the colour of a pixel of a tile.
function drawTiles(canvas, places, { height, width }, grid, paint) {
  canvas.width = grid.columns * (width + 1) + 1;
  canvas.height = grid.rows * (height + 1) + 1;
  const image = new ImageData(canvas.width, canvas.height);
  const pixels = new Uint32Array(image.data.buffer).fill(PALETTE[GUTTER]);
  places.forEach((place, number) => {
    const top = 1 + Math.floor(number / grid.columns) * (height + 1);
    const left = 1 + (number % grid.columns) * (width + 1);
    for (let pixel = 0; pixel < height * width; pixel++) {
      const row = top + Math.floor(pixel / width);
      pixels[row * canvas.width + left + (pixel % width)] = paint(place, pixel);
    }
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// Says what a level means in the range of its channel.
function valueOf(picture, place, pixel) {
  const level = picture.tiles[place][pixel];
  const low = picture.low[place], high = picture.high[place];
  if (level in MARKS) return MARKS[level];
  if (low === null) return "no value";
  const value = low + ((level - LOWEST) / (HIGHEST - LOWEST)) * (high - low);
  const bound = level === 0 ? "≤ " : level === LEVELS - 1 ? "≥ " : "";
  return bound + Number(value.toPrecision(3));
}
