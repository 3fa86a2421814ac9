// The page as a whole: its tests, its filters and its keys.

const MOST_APART = 12;
let current = null;

function makeTest(test, groups) {
  const own = [...groups.values()].flatMap((group) => [...group.values()]);
  const asked = own.filter((card) => card.asked.length);
  const all = asked.length < 2 ? [] : [bulk(asked, "", test)];
  const section = el("section", { className: "test" }, el("div", { className: "test-head" }, el("h2", {}, ...breakable(test)), ...all));
  for (const group of groups.values()) section.append(...makeGroup([...group.values()]));
  return section;
}

function makeGroup(group) {
  const differing = group.filter((card) => card.pending.length);
  const within = group.filter((card) => !card.pending.length);
  const first = differing.findIndex((card) => card.first);
  const told = group.some((card) => card.parts.some(({ result }) => result.kind === "table"));
  const split = told && first >= 0 ? first + 1 : differing.length;
  const nodes = differing.slice(0, split).map((card) => makeCard(card));
  const others = differing.slice(split);
  const followers = others.filter((card) => !card.apart), pictured = followers.filter((card) => card.picture).length;
  nodes.push(...apart(others.filter((card) => card.apart)));
  nodes.push(...folded(followers, (count) => `${count} that followed${pictured ? `, ${pictured} with a picture` : ""}`));
  nodes.push(...folded(within, (count) => `${several(count, "map")} within tolerance`), storyOf(group));
  return nodes;
}

// Maps that the first one does not explain: in sight, and decided by themselves.
function apart(others) {
  const [made] = folded(others, (count) => `${count} with another cause`);
  if (!made) return [];
  made.open = others.length <= MOST_APART;
  made.classList.add("apart");
  const asked = others.filter((card) => card.asked.length);
  const shared = [...new Set(asked.map((card) => card.cause))].map((cause) => asked.filter((card) => card.cause === cause)).filter((group) => group.length > 1);
  made.firstChild.after(...shared.map((group) => bulk(group, `(${group[0].apart})`)));
  return [made];
}

// What is folded is there, for decisions about all of a test, and drawn only once it is opened.
function folded(group, text) {
  if (!group.length) return [];
  for (const card of group) makeCard(card, { row: true });
  const made = el("details", { className: "fold" }, el("summary", { textContent: text(group.length) }), ...group.map((card) => card.node));
  return [made];
}

function storyOf(group) {
  const results = new Set(group.flatMap((card) => card.parts.map(({ result }) => result)));
  const lines = [...results].flatMap(({ story }) => story);
  return el("details", { className: "story" }, el("summary", { textContent: "The whole story in words" }), el("pre", { textContent: lines.join("\n") }));
}

function makeUnused() {
  if (!report.unused.length) return [];
  const items = report.unused.map((path) => el("li", { textContent: path }));
  return [el("section", { className: "test unused" }, el("h2", { textContent: "Unused baselines" }),
    el("p", { textContent: "No test asks for them. A complete, clean run with --snapshot-update deletes them." }), el("ul", {}, ...items))];
}

function makeFilters() {
  const count = (kind) => (kind === "unused" ? report.unused.length : cards.filter((card) => card.kind === kind).length);
  const choose = (kind) => () => { filter = kind; narrow(); scrollTo(0, 0); };
  const made = ["", "undecided", ...Object.keys(KINDS)].map((kind) => button(kind ? `${kind} ${count(kind)}` : "all", choose(kind),
    { data: { kind }, disabled: Boolean(kind) && !count(kind), aria: { pressed: String(!kind) } }));
  byId("filters").replaceChildren(...made);
}

function narrow() {
  for (const one of byId("filters").children) one.setAttribute("aria-pressed", String(one.dataset.kind === filter));
  for (const card of cards) {
    const text = `${card.test} ${card.key}`.toLowerCase();
    const fits = filter === "undecided" ? card.asked.length && !card.decision : !filter || card.kind === filter;
    card.hidden = card.node.hidden = !fits || !text.includes(wanted);
  }
  const narrowed = Boolean(filter || wanted);
  for (const one of document.querySelectorAll("details.fold")) {
    one.hidden = !one.querySelector(".map:not([hidden])");
    if (narrowed) one.unfolded ??= one.open;
    if (narrowed || one.unfolded !== undefined) one.open = narrowed ? one.open || !one.hidden : one.unfolded;
    if (!narrowed) one.unfolded = undefined;
  }
  counts.clear();
  for (const name of bulks) name();
  for (const one of document.querySelectorAll("section.test:not(.unused)")) one.hidden = !one.querySelector(".map:not([hidden])");
  for (const one of document.querySelectorAll("section.unused")) one.hidden = Boolean(filter && filter !== "unused") || Boolean(wanted);
  sayNothing(narrowed);
  locate();
}

// Says so where a filter and the search leave nothing to be seen, with the way back.
function sayNothing(narrowed) {
  const nothing = byId("nothing");
  nothing.hidden = !narrowed || Boolean(document.querySelector("section.test:not([hidden])"));
  const said = !wanted ? "Everything is decided."
    : `No ${filter ? `map that is ${filter}` : "test or layer"} matches “${byId("search").value}”.`;
  nothing.firstChild.textContent = nothing.hidden ? "" : said;
}

function showAll() {
  filter = wanted = byId("search").value = "";
  narrow();
}

// --- where one is: the test whose heading has left the screen ------------------------------------

function locate() {
  const top = stays() ? head.offsetHeight : 0;
  const sections = [...document.querySelectorAll("section.test:not([hidden])")];
  let [low, high] = [0, sections.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sections[middle].getBoundingClientRect().top < top) low = middle + 1;
    else high = middle;
  }
  const section = sections[low - 1];
  const title = section?.querySelector("h2");
  byId("where").hidden = !section || title.getBoundingClientRect().bottom > top + 4 || section.getBoundingClientRect().bottom < top + 40;
  // A phone has no room for the file as well.
  if (section) byId("where").textContent = title.textContent.replace(stays() ? /^[^:]*\// : /^.*?::/, "");
}

// --- keys ----------------------------------------------------------------------------------------

function go(step) {
  const open = cards.filter((card) => card.node.checkVisibility());
  const here = open.indexOf(current);
  goTo(open[Math.max(0, Math.min(open.length - 1, here + step))]);
}

function goTo(card) {
  card?.node.focus({ preventScroll: true });
  card?.node.scrollIntoView({ block: "start" });
}

function unfold(card) {
  const parent = card.node.closest("details");
  if (parent) parent.open = true;
}

function decideHere(decision) {
  if (!current?.asked.length) return;
  decide([current], decision);
  const rest = nextOf(current);
  if (!rest) return;
  unfold(rest);
  goTo(rest);
}

const nextOf = (one) => cards.slice(cards.indexOf(one) + 1).find((card) => card.asked.length && !card.decision && isShown(card));

const alike = (property) => cards.filter((card) => current && card[property] === current[property] && card.asked.length && isShown(card));
const change = (key, value) => { if (current?.redraw) { current[key] = value; current.redraw(); } };

const ACTIONS = {
  o: () => current && turn(current), j: () => go(1), k: () => go(-1), a: () => decideHere("accept"), r: () => decideHere("reject"), u: undo,
  T: () => decide(alike("test"), "accept"), X: () => decide(alike("test"), "reject"), C: () => decide(alike("cause"), "accept"),
  h: () => change("all", !current?.all), "+": () => current?.sheets && zoom(current, 1), "=": () => current?.sheets && zoom(current, 1),
  "-": () => current?.sheets && zoom(current, -1), "/": () => { byId("search").focus(); byId("search").select(); }, "?": () => byId("help").showModal(),
};
for (const mode of Object.keys(MODES)) ACTIONS[mode] = () => current?.redraw && look(current, mode);

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input[type=search], textarea, dialog");
  if (event.key === "Escape" && event.target === byId("search")) {
    event.preventDefault(); // it would empty the field, without a word
    byId("search").blur();
  }
  if (!typing && event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(ACTIONS, event.key)) return;
  if (/[A-Z]/.test(event.key) && !event.shiftKey) return; // caps lock is no Shift
  event.preventDefault();
  if (!current?.node.checkVisibility()) current = null; // it is folded away, or filtered out
  ACTIONS[event.key]();
});

// What a key or the focus scrolls to is not to lie under the head, where that stays on the screen.
const head = document.querySelector("header");
const stays = () => getComputedStyle(head).position === "sticky";
new ResizeObserver(() => {
  const top = stays() ? head.offsetHeight : 0;
  document.documentElement.style.scrollPaddingTop = `${top + 40}px`;
  byId("where").style.top = `${top}px`;
}).observe(head);
let asked = 0;
for (const name of ["scroll", "resize"]) {
  addEventListener(name, () => {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(locate);
  }, { passive: true });
}

// --- and go --------------------------------------------------------------------------------------

const tests = collect();
for (const groups of tests.values()) {
  for (const group of groups.values()) for (const card of group.values()) cards.push(finish(card, group));
}
byId("tests").replaceChildren(...[...tests].map(([test, groups]) => makeTest(test, groups)), ...makeUnused());
const places = new Map([...document.querySelectorAll(".map")].map(({ card }, place) => [card, place]));
cards.sort((one, other) => places.get(one) - places.get(other)); // as they are seen
if (!cards.length) byId("tests").prepend(el("p", { className: "nothing", textContent: "Every comparison agrees with its baseline." }));
makeFilters();
remember();
tally();
byId("search").addEventListener("input", () => { wanted = byId("search").value.toLowerCase(); narrow(); scrollTo(0, 0); });
byId("show-all").addEventListener("click", showAll);
byId("download").addEventListener("click", download);
byId("undo").addEventListener("click", undo);
byId("keys").addEventListener("click", () => byId("help").showModal());
byId("command").addEventListener("click", () => {
  byId("command-text").value = command();
  byId("commands").showModal();
});
byId("copy").addEventListener("click", () => {
  byId("command-text").select();
  document.execCommand("copy");
});
const COLOURS = swatches([RANGE, ...MEANINGS, ...DIFFERENCES]);
for (const [name, lines] of [["key-list", KEYS], ["colour-list", COLOURS]]) {
  byId(name).append(...lines.flatMap(([term, text]) => [el("dt", {}, term), el("dd", { textContent: text })]));
}
