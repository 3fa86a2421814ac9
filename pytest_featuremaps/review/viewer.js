// A picture before and after: side by side, in turns, under a slider, and their difference.

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const MODES = { 1: "Side by side", 2: "Blink", 3: "Slider", 4: "Difference" };

function viewer(card) {
  const stage = el("div", { className: "stage", textContent: "…" });
  const reading = el("output", { className: "reading", textContent: "Point at a pixel to read it." });
  const tools = el("div", { className: "tools" }), legend = el("ul", { className: "legend", aria: { label: "Colours" } });
  card.redraw = () => redraw(card, { tools, stage, reading, legend });
  let width = 0;
  new ResizeObserver(() => {
    if (card.sheets && width && width !== stage.clientWidth) card.redraw?.();
    width = stage.clientWidth;
  }).observe(stage);
  load(card).then(() => stage.isConnected && card.redraw()).catch((error) => {
    stage.textContent = `The picture cannot be shown: ${error.message}`;
  });
  return el("div", { className: "viewer" }, tools, legend, reading, stage);
}

async function load(card) {
  const { pictures, levels } = card.picture.result;
  card.after ??= await readPicture(pictures.actual);
  if (pictures.expected === undefined) return;
  card.before ??= await readPicture(pictures.expected);
  if (sameShape(card.before, card.after)) card.changed ??= changedPlaces(card.before, card.after, levels);
}

function redraw(card, { tools, stage, reading, legend }) {
  clearInterval(card.blinking);
  card.turn = null;
  const { before, after, changed } = card;
  const every = after.tiles.map((_, place) => place);
  const narrowed = changed && changed.length && changed.length < every.length;
  const places = narrowed && !card.all ? changed : every;
  const mode = before ? (changed ? card.mode : "1") : "1";
  const panelled = mode !== "1" || !before ? 1 : changed ? 3 : 2;
  // Numbers stand beside a picture, or below it where it would become too small.
  const scaleAt = (width) => gridOf(places.length, after.height, after.width, roomIn(width, panelled)).scale;
  const beside = scaleAt(card.body.clientWidth - BESIDE);
  card.body.classList.toggle("stacked", beside < SMALL && scaleAt(card.body.clientWidth) > beside);
  const room = roomIn(stage.clientWidth, panelled);
  const grid = gridOf(places.length, after.height, after.width, room);
  const panel = (picture, paint) => {
    const own = changed ? places : picture.tiles.map((_, place) => place);
    const made = el("canvas", { aria: { role: "img" } });
    drawTiles(made, own, picture, changed ? grid : gridOf(own.length, picture.height, picture.width, room), paint);
    return made;
  };
  const plain = (picture) => panel(picture, (place, pixel) => PALETTE[picture.tiles[place][pixel]]);
  const panels = before ? [["expected", plain(before), before], ["actual", plain(after), after]] : [["new", plain(after), after]];
  if (changed) {
    panels.push(["difference (red: higher, blue: lower)", panel(after, (place, pixel) => differenceColour(before.tiles[place][pixel], after.tiles[place][pixel])), after]);
  }
  for (const [name, made] of panels) made.setAttribute("aria-label", `${name}: ${several(places.length, "channel")} of ${nameOf(card)}`);
  stage.className = `stage mode${mode}`;
  card.sheets = panels.map(([, canvas]) => canvas);
  keepingFocus(stage, ".frame", arrange(card, mode, panels));
  fit(card, room);
  watch(card, stage, places, grid, reading);
  keepingFocus(tools, "button", controls(card, mode, narrowed));
  const meanings = [
    ...(mode === "4" ? [] : meaningsIn(before ? [before, after] : [after], changed ? places : [...Array(Math.max(before?.tiles.length ?? 0, every.length)).keys()])),
    ...(changed && "14".includes(mode) ? differencesIn(before, after, places) : []),
  ];
  legend.replaceChildren(...swatches(meanings).map((parts) => el("li", {}, ...parts)));
}

// Whoever presses a button stays on it, although it is made anew.
function keepingFocus(node, selector, children) {
  const held = [...node.querySelectorAll(selector)].indexOf(document.activeElement);
  node.replaceChildren(...children);
  const made = node.querySelectorAll(selector);
  if (held >= 0) made[Math.min(held, made.length - 1)].focus({ preventScroll: true });
}

// Blinking may be tiring: asked for once more, or by a system that wants less motion, it turns by hand.
function look(card, mode) {
  if (mode === "2" && card.mode === mode && card.turn) {
    clearInterval(card.blinking);
    card.turn();
  } else {
    card.mode = mode;
    card.redraw();
  }
}

function frame(name, ...canvases) {
  const probe = el("i", { className: "probe", hidden: true });
  const inside = el("div", { className: "frame", tabIndex: 0, aria: { role: "group", label: `${name}; arrows read a pixel` } },
    el("div", { className: "sheet" }, ...canvases, probe));
  return el("figure", {}, el("figcaption", { textContent: name }), inside);
}

function arrange(card, mode, panels) {
  if (mode === "1") return panels.map(([name, canvas]) => frame(name, canvas));
  if (mode === "4") return [frame(...panels[2])];
  const [[, before], [, after]] = panels;
  after.classList.add("over");
  if (mode === "3") {
    const slide = () => {
      after.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
      divider.style.left = `${slider.value}%`;
    };
    const divider = el("i", { className: "divider" });
    const slider = el("input", { type: "range", min: 0, max: 100, value: 50, oninput: slide, aria: { label: "How much is from before" } });
    slide();
    const made = frame("expected left, actual right", before, after);
    made.querySelector(".sheet").append(divider);
    drag(made.querySelector(".frame"), slider, slide);
    return [slider, made];
  }
  const made = frame("expected", before, after);
  card.turn = () => {
    after.hidden = !after.hidden;
    made.firstChild.textContent = after.hidden ? "expected" : "actual";
  };
  after.hidden = true;
  const blink = () => (made.isConnected ? card.turn() : clearInterval(card.blinking));
  if (!calm.matches) card.blinking = setInterval(blink, 700);
  return [made];
}

function controls(card, mode, narrowed) {
  const toggle = () => { card.all = !card.all; card.redraw(); };
  const modes = !card.changed ? [] : Object.entries(MODES).map(([key, text]) =>
    button(text, () => look(card, key), { aria: { pressed: String(mode === key) } }));
  const total = card.after.tiles.length;
  const which = !narrowed ? [] : [button(card.all ? `Only the ${card.changed.length} that changed` : `All ${several(total, "channel")}`, toggle)];
  const told = !card.changed ? [] : [el("span", { className: "count", textContent: card.changed.length ? `${card.changed.length} of ${several(total, "channel")} changed` : "no pixel is beyond tolerance" })];
  if (card.before && !card.changed) told.push(el("span", { className: "count", textContent: "other channels or sizes: no difference is drawn" }));
  return [el("div", { className: "modes", aria: { role: "group", label: "How it is shown" } }, ...modes),
    el("div", { className: "modes", aria: { role: "group", label: "Zoom" } }, button("−", () => zoom(card, -1), { aria: { label: "Smaller" } }), button("+", () => zoom(card, 1), { aria: { label: "Larger" } })),
    ...which, ...told];
}

// The divider goes to where the picture is pressed, and along.
function drag(frame, slider, slide) {
  const follow = (event) => {
    if (!(event.buttons & 1)) return;
    const box = frame.firstChild.getBoundingClientRect();
    slider.value = 100 * (event.clientX - box.left) / box.width;
    slide();
  };
  frame.addEventListener("pointerdown", follow);
  frame.addEventListener("pointermove", follow);
}

// The room of one of some panels, which stand side by side as far as they are wide enough.
const GAP = 10, NARROWEST = 208, BESIDE = 432, SMALL = 3;

function roomIn(whole, panels) {
  const columns = Math.max(1, Math.min(panels, Math.floor((whole + GAP) / (NARROWEST + GAP))));
  return { width: (whole - GAP * (columns - 1)) / columns - 2, height: 0.55 * innerHeight };
}

// Every pixel is a whole number of screen pixels wide, the same in all panels.
function fit(card, room) {
  const most = (side) => Math.max(...card.sheets.map((canvas) => canvas[side]));
  card.fitting = scaleIn(room, { width: most("width"), height: most("height") });
  resize(card);
}

function resize(card) {
  card.scale = Math.max(1, Math.min(32, card.fitting + card.zoom));
  for (const canvas of card.sheets) {
    canvas.style.width = `${canvas.width * card.scale}px`;
    canvas.style.height = `${canvas.height * card.scale}px`;
  }
  const slider = card.body.querySelector("input[type=range]");
  if (slider) slider.style.width = card.sheets[0].style.width;
}

function zoom(card, step) {
  const frames = [...card.body.querySelectorAll(".frame")];
  const before = card.scale;
  card.zoom = Math.max(1, Math.min(32, card.scale + step)) - card.fitting;
  resize(card);
  for (const one of frames) {
    const [x, y] = [one.clientWidth / 2, one.clientHeight / 2];
    one.scrollLeft = (one.scrollLeft + x) * card.scale / before - x;
    one.scrollTop = (one.scrollTop + y) * card.scale / before - y;
  }
  card.point?.();
}

// Reads the pixel under the pointer, or the one that arrow keys moved to; scrolls in step.
function watch(card, stage, places, grid, reading) {
  const frames = [...stage.querySelectorAll(".frame")];
  const { height, width } = card.after;
  let [x, y] = [1, 1];
  card.point = () => {
    for (const one of stage.querySelectorAll(".probe")) {
      one.style.left = `${x * card.scale}px`;
      one.style.top = `${y * card.scale}px`;
      one.style.width = one.style.height = `${card.scale}px`;
      one.hidden = false;
    }
    reading.textContent = read();
  };
  const read = () => {
    const [column, row] = [Math.floor((x - 1) / (width + 1)), Math.floor((y - 1) / (height + 1))];
    const [left, top] = [(x - 1) % (width + 1), (y - 1) % (height + 1)];
    const place = places[row * grid.columns + column];
    if (left === width || top === height || place === undefined) return "between the channels";
    const where = `channel ${card.after.channels[place]}, row ${top}, column ${left}: `;
    const pixel = top * width + left;
    if (!card.changed) return where + valueOf(card.after, place, pixel);
    return `${where}${valueOf(card.before, place, pixel)} → ${valueOf(card.after, place, pixel)}`;
  };
  // What is read stands beside the pointer as well, where the eyes are.
  const tip = el("div", { className: "tip", hidden: true, aria: { hidden: "true" } });
  stage.append(tip);
  const show = (one) => {
    const [probe, within] = [one.querySelector(".probe"), stage].map((node) => node.getBoundingClientRect());
    tip.hidden = false;
    tip.textContent = reading.textContent;
    const right = probe.right - within.left + 10, width = tip.offsetWidth;
    tip.style.left = `${Math.max(0, right + width > within.width ? probe.left - within.left - 10 - width : right)}px`;
    tip.style.top = `${probe.bottom - within.top + 10}px`;
  };
  const readable = card.changed || !card.before;
  const most = [grid.columns * (width + 1) - 1, grid.rows * (height + 1) - 1];
  const move = (one, column, row) => {
    [x, y] = [Math.max(1, Math.min(most[0], column)), Math.max(1, Math.min(most[1], row))];
    card.point();
    show(one);
  };
  for (const one of frames) {
    one.addEventListener("scroll", () => {
      for (const other of frames) Object.assign(other, { scrollLeft: one.scrollLeft, scrollTop: one.scrollTop });
    });
    if (!readable) continue;
    const point = (event) => {
      const box = one.firstChild.getBoundingClientRect();
      move(one, Math.floor((event.clientX - box.left) / card.scale), Math.floor((event.clientY - box.top) / card.scale));
    };
    one.addEventListener("pointermove", point);
    one.addEventListener("pointerdown", point);
    one.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      move(one, x + step[0], y + step[1]);
    });
    for (const name of ["pointerleave", "blur"]) one.addEventListener(name, () => { tip.hidden = true; });
  }
}
