// The review: what waits, test by test, and what is decided about it.

const KINDS = {
  changed: ["changed", "reshaped", "retyped", "renamed"], new: ["added"], missing: ["removed"],
  "within tolerance": ["equal", "within"], unused: [],
};
const KEYS = [
  ["j k", "the next and the one before"], ["a r", "accept, reject"], ["u", "undo the last decision, whatever it covered; also Ctrl-Z"],
  ["C", "accept all of the same cause that are shown"], ["T X", "accept, reject all of the test that are shown"],
  ["1 2 3 4", "side by side, blink (2 again: turn by hand), slider, difference"], ["+ −", "zoom, in step"],
  ["h", "all channels, or only those that changed"], ["arrows", "the pixel that is read, in a picture"],
  ["o", "open or close one that is a single row"], ["/", "search"], ["?", "these lists"],
];

const report = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const cards = [];
let filter = "", wanted = "";

function el(name, properties = {}, ...children) {
  const { data = {}, aria = {}, ...others } = properties;
  const made = Object.assign(document.createElement(name), others);
  Object.assign(made.dataset, data);
  for (const [key, value] of Object.entries(aria)) made.setAttribute(key === "role" ? key : `aria-${key}`, value);
  made.append(...children);
  return made;
}

const button = (text, onclick, more = {}) => el("button", { type: "button", textContent: text, onclick, ...more });
// Long ids of tests and layers break where a word of theirs ends.
const breakable = (text) => text.split(/(?<=[/:._[\]-])/).flatMap((part) => [el("wbr"), part]).slice(1);
// How the key of a feature map is written: one of the model itself reads as the end of a sentence.
const nameOf = ({ key }) => (/^\.($|[#[.])/.test(key) ? `the model (${key})` : key);
const isShown = (card) => !card.hidden;
const several = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;
const kindOf = (kind) => Object.keys(KINDS).find((one) => KINDS[one].includes(kind)) || "changed";

// --- what there is: one card for each feature map of a test, with its numbers and its picture ----

function collect() {
  const tests = new Map();
  for (const result of report.results) {
    const groups = tests.get(result.test) || tests.set(result.test, new Map()).get(result.test);
    const group = groups.get(result.name) || groups.set(result.name, new Map()).get(result.name);
    for (const map of result.maps) {
      const card = group.get(map.key) || group.set(map.key, { key: map.key, name: result.name, test: result.test, parts: [] }).get(map.key);
      card.parts.push({ result, map });
    }
  }
  return tests;
}

function finish(card, group) {
  card.group = [...group.values()];
  const leading = card.parts.find(({ map }) => map.pending) || card.parts[0];
  const told = [...group.values()].find((one) => one.parts.some(({ result }) => result.kind === "table"));
  const source = told ? told.parts[0].result : leading.result;
  card.pending = card.parts.filter(({ map }) => map.pending);
  // What was compared with a revision has no baseline to accept it into.
  card.asked = card.pending.filter(({ result }) => !result.revision);
  card.kind = kindOf(leading.map.kind);
  card.map = leading.map;
  card.first = card.key === source.first;
  card.why = source.why;
  const numbered = card.pending.find(({ result }) => result.kind === "table") || leading;
  card.cause = numbered.map.cause;
  // What changed for another reason than the first: this is said of it, and it is decided apart.
  card.apart = told && !card.first ? report.causes[card.cause] : "";
  card.picture = card.parts.find(({ result }) => result.kind === "picture");
  card.decision = "";
  card.hidden = false;
  card.zoom = 0;
  card.mode = "1";
  card.all = false;
  return card;
}

// --- decisions -----------------------------------------------------------------------------------

const MEMORY = `featuremaps ${report.results.map((one) => one.id).join(" ")}`;

// What was renamed stands in two places, and is decided in both.
function together(chosen) {
  const place = (card, key) => JSON.stringify([card.test, card.name, key]);
  const partners = new Set(chosen.filter(({ map }) => map.partner).map((card) => place(card, card.map.partner)));
  return new Set([...chosen, ...cards.filter((card) => partners.has(place(card, card.key)))]);
}

// What was decided since the page was opened, the last at the end; each is undone as a whole.
const steps = [];

function decide(chosen, decision) {
  const changed = [...together(chosen)].filter((card) => card.decision !== decision);
  if (!changed.length) return;
  const here = current;
  steps.push({ at: changed.includes(current) ? current : changed[0], decision, before: changed.map((card) => [card, card.decision]) });
  settle(changed.map((card) => [card, decision]));
  if (here && !isShown(here)) goTo(nextOf(here)); // decided, and not one of the undecided any more
}

function undo() {
  const last = steps.pop();
  if (!last) return;
  settle(last.before);
  unfold(last.at);
  goTo(last.at);
}

function settle(decided) {
  for (const [card, decision] of decided) {
    card.decision = decision;
    show(card);
  }
  try {
    sessionStorage.setItem(MEMORY, JSON.stringify(cards.map((card) => card.decision)));
  } catch { /* a browser may keep nothing for a file */ }
  tally();
  if (filter === "undecided") narrow();
  const last = steps.at(-1);
  byId("done").hidden = !last;
  if (!last) return;
  const { length } = last.before, verb = { accept: "accepted", reject: "rejected" }[last.decision] || "undecided again";
  byId("done-what").textContent = length > 1 ? `${length} ${verb}` : `1 ${verb}: ${nameOf(last.before[0][0])}`;
}

function remember() {
  try {
    JSON.parse(sessionStorage.getItem(MEMORY) || "[]").forEach((decision, place) => {
      cards[place].decision = decision;
      show(cards[place]);
    });
  } catch { /* likewise */ }
}

function decisions() {
  const found = new Map();
  for (const card of cards.filter((one) => one.decision)) {
    for (const { result, map } of card.asked) {
      const key = `${result.id} ${card.decision}`;
      const one = found.get(key) || found.set(key, { id: result.id, baseline: result.baseline, decision: card.decision, layers: [] }).get(key);
      one.layers.push(map.key);
    }
  }
  return [...found.values()];
}

const quoted = (word) => (/^[\w.:/-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function command() {
  const made = decisions();
  const whole = (one) => report.results.find(({ id }) => id === one.id).maps.filter((map) => map.pending).length === one.layers.length;
  const words = (verdict) => made.filter((one) => one.decision === verdict)
    .flatMap((one) => (whole(one) ? [one.id] : one.layers.map((key) => `${one.id}:${key}`)));
  const lines = ["accept", "reject"].filter((verdict) => words(verdict).length)
    .map((verdict) => `pytest-featuremaps ${verdict} ${words(verdict).map(quoted).join(" ")}`);
  const text = lines.join("\n");
  if (!text) return "# nothing is decided yet";
  return text.length < 4000 ? text : "pytest-featuremaps accept --approvals approvals.json";
}

function download() {
  const text = JSON.stringify({ featuremaps_approvals: 1, decisions: decisions() }, null, 1);
  const link = el("a", { download: "approvals.json", href: URL.createObjectURL(new Blob([text], { type: "application/json" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function tally() {
  const asked = cards.filter((card) => card.asked.length);
  const differ = cards.filter((card) => card.pending.length).length;
  const nothing = differ ? `${several(differ, "map")} to look at, and nothing to accept.` : "Nothing waits for review.";
  const count = (decision) => asked.filter((card) => card.decision === decision).length;
  const waiting = count("");
  byId("tally").textContent = asked.length === 0 ? nothing
    : `${waiting} of ${asked.length} undecided, ${count("accept")} accepted, ${count("reject")} rejected`;
  const chip = byId("filters").querySelector("[data-kind=undecided]");
  chip.textContent = `undecided ${waiting}`;
  chip.disabled = !waiting && filter !== "undecided";
  byId("download").disabled = byId("command").disabled = waiting === asked.length;
}

// --- a card --------------------------------------------------------------------------------------

// A row shows how a map changed; what else there is of it is drawn once it is opened.
function makeCard(card, { row = false } = {}) {
  const { map } = card;
  const shape = (map.after.shape || map.before.shape || []).join("×");
  const flags = card.first ? [el("strong", { className: "flag", textContent: "changed first" })] : [];
  card.state = el("span", { className: "state" });
  card.open = !row;
  card.toggle = row ? button("+", () => turn(card), { className: "toggle", aria: { expanded: "false", label: `Details of ${nameOf(card)}` } }) : null;
  const picture = row && card.picture ? [el("span", { className: "badge", textContent: "picture" })] : [];
  const title = el("h3", {}, ...(row ? [card.toggle] : []), el("span", { className: "key" }, ...breakable(nameOf(card))), " ",
    el("span", { className: `badge ${card.kind.split(" ")[0]}`, textContent: card.kind }), ...picture, ...flags, card.state);
  const { revision } = card.parts[0].result;
  const about = [card.name && `“${card.name}”`, map.module, shape, map.after.dtype || map.before.dtype, revision && `compared with ${revision}`].filter(Boolean);
  card.body = el("div", { className: "body", hidden: row });
  card.node = el("article", { tabIndex: -1, className: row ? "map row" : "map", aria: { label: `${nameOf(card)}: ${map.says || card.kind}` } },
    el("div", { className: "head" }, el("div", {}, title, el("p", { className: "about", hidden: row, textContent: about.join(" · ") }),
      el("p", { className: "says", textContent: map.says.replace(` (${card.why})`, "") }), ...causeOf(card)), ...choicesOf(card)), card.body);
  card.node.card = card;
  card.node.addEventListener("focusin", () => { current = card; });
  card.node.addEventListener("pointerdown", () => { current = card; });
  if (row) {
    card.node.querySelector(".head").addEventListener("click", (event) => {
      if (!event.target.closest("button") && !String(getSelection())) turn(card);
    });
  }
  near.observe(card.node);
  return card.node;
}

function causeOf(card) {
  if (!card.first) return [];
  const lines = card.why ? [el("p", { className: "why", textContent: `Why: ${card.why}.` })] : [];
  const others = card.group.filter((one) => one.apart);
  // After a new or a missing layer it is those that followed which have a cause in common.
  const group = [card, card.group.find((one) => one.pending.length && one !== card && !one.apart)].filter(Boolean)
    .map(({ cause }) => ofCause(cause)).find((alike) => alike.length > 1);
  if (group) lines.push(bulk(group, "maps of this cause"));
  if (!others.length) return lines;
  const to = button(`${others.length} with another cause`, () => { unfold(others[0]); goTo(others[0]); }, { className: "others" });
  if (group) lines.at(-1).append(to);
  else lines.push(el("div", { className: "bulk" }, to));
  return lines;
}

// Buttons that decide on several maps at once: on those that the filter and the search show.
const bulks = [];

// Many tests may share a cause: its maps are found once, and counted once for what is shown.
const causes = new Map(), counts = new Map();
const ofCause = (cause) => causes.get(cause) || causes.set(cause, cards.filter((one) => one.cause === cause && one.asked.length)).get(cause);

function countOf(group) {
  if (!counts.has(group)) {
    const chosen = group.filter(isShown);
    counts.set(group, { maps: chosen.length, tests: new Set(chosen.map((one) => one.test)).size });
  }
  return counts.get(group);
}

function bulk(group, words, of = "") {
  const accept = button("", () => decide(group.filter(isShown), "accept"));
  const reject = button("", () => decide(group.filter(isShown), "reject"));
  const name = () => {
    const { maps, tests } = countOf(group);
    const all = maps < group.length ? `${maps} shown` : maps === 2 ? "both" : `all ${maps}`;
    const more = words && ` ${words}${tests > 1 ? `, in ${several(tests, "test")}` : ""}`;
    accept.textContent = `Accept ${all}${more}`;
    reject.textContent = `Reject ${all}`;
    accept.setAttribute("aria-label", `Accept ${all}${more || ` of ${of}`}`);
    reject.setAttribute("aria-label", `Reject ${all}${more || ` of ${of}`}`);
    accept.hidden = reject.hidden = !maps;
  };
  name();
  bulks.push(name);
  return el("div", { className: "bulk" }, accept, reject);
}

function choicesOf(card) {
  if (!card.asked.length) return [];
  const one = (text, decision) => button(text, () => decide([card], card.decision === decision ? "" : decision),
    { className: decision, aria: { pressed: "false", label: `${text} ${nameOf(card)}` } });
  card.buttons = { accept: one("Accept", "accept"), reject: one("Reject", "reject") };
  return [el("div", { className: "choices" }, card.buttons.accept, card.buttons.reject)];
}

// Swatches of colours, each with what it means.
const swatches = (meanings) => meanings.map(([look, text]) => {
  const swatch = el("i", { className: "swatch" });
  swatch.style.background = look;
  return [swatch, text];
});

function show(card) {
  card.node.dataset.decision = card.decision;
  card.state.textContent = { accept: "accepted", reject: "rejected" }[card.decision] || "";
  for (const [decision, one] of Object.entries(card.buttons || {})) one.setAttribute("aria-pressed", String(card.decision === decision));
}

// What is far from the screen is not drawn, and forgotten again: a thousand maps are no burden.
const near = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    const { card } = target;
    card.near = isIntersecting;
    if (isIntersecting) draw(card);
    else if (!target.contains(document.activeElement)) erase(card);
  }
}, { rootMargin: "600px" });

function draw(card) {
  if (card.drawn || !card.open) return;
  card.drawn = true;
  card.body.replaceChildren(...(card.picture ? [viewer(card)] : []), numbers(card));
  card.body.style.minHeight = "";
}

function erase(card) {
  if (!card.drawn) return;
  card.drawn = false;
  card.before = card.after = card.changed = card.sheets = card.point = card.redraw = null;
  card.body.style.minHeight = `${card.body.offsetHeight}px`;
  card.body.replaceChildren();
}

// Opens a row, or closes it.
function turn(card) {
  if (!card.toggle) return;
  card.open = !card.open;
  card.toggle.textContent = card.open ? "−" : "+";
  card.toggle.setAttribute("aria-expanded", String(card.open));
  card.node.classList.toggle("row", !card.open);
  card.body.hidden = card.node.querySelector(".about").hidden = !card.open;
  if (card.open) draw(card);
  else erase(card);
}

const QUANTITIES = {
  relative_l2: "relative L2 change", zero_fraction: "zero fraction", nan_count: "NaN count", inf_count: "Inf count", nonfinite: "places of NaN and Inf",
};

function shown(value) {
  if (typeof value !== "number") return Array.isArray(value) ? value.join("×") : value ?? "–";
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(4) : String(Number(value.toPrecision(5)));
}

function roughly(value) {
  if (typeof value !== "number") return value ?? "";
  return Number.isInteger(value) && value < 1e6 ? String(value) : value.toExponential(1);
}

function numbers(card) {
  const { before, after, violations, tolerance } = card.map;
  const beyond = Object.fromEntries(violations.map((one) => [one.quantity, one]));
  // The shape and dtype that both have stand above already.
  const same = (name) => ["shape", "dtype"].includes(name) && String(before[name] ?? after[name]) === String(after[name] ?? before[name]);
  const found = [...new Set([...Object.keys(beyond), ...Object.keys(before), ...Object.keys(after)])].filter((name) => !same(name));
  const broken = ["nan_count", "inf_count"].filter((name) => before[name] || after[name]);
  const names = [...broken, ...found.filter((name) => !broken.includes(name))];
  const rows = (those, cells) => those.map((name) => {
    const one = name in before || name in after ? beyond[name] && typeof beyond[name].observed === "number" ? beyond[name] : {} : beyond[name];
    return el("tr", { className: name in beyond ? "beyond" : "" }, el("th", { scope: "row", textContent: QUANTITIES[name] || name }),
      ...[shown(before[name]), shown(after[name]), roughly(one?.observed), roughly(one?.allowed)].slice(0, cells).map((text) => el("td", { textContent: text })));
  });
  const heads = (...texts) => el("thead", {}, el("tr", {}, ...texts.map((text) => el("th", { scope: "col", textContent: text }))));
  const table = (caption, those, ...more) => (!those.length ? [] : [el("table", {}, el("caption", { textContent: caption }),
    heads("number", "before", "after", ...more), el("tbody", {}, ...rows(those, 2 + more.length)))]);
  const [bold, others] = [names.filter((name) => name in beyond), names.filter((name) => !(name in beyond))];
  return el("div", { className: "numbers", tabIndex: 0, aria: { role: "group", label: `Numbers of ${nameOf(card)}` } },
    ...table(tolerance ? `Beyond the tolerance ${tolerance}` : "Not as in the baseline", bold, "moved", "allowed"),
    ...table(bold.length ? "The other numbers" : tolerance && `Held to the tolerance ${tolerance}`, others));
}
