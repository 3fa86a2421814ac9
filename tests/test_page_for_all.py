"""The page without a pointer, without sight, with little sight, on a phone, or with less motion."""

from itertools import pairwise

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from browsing import PHONE, Page, Size, during, until
from selenium.webdriver import Keys

STEM = "tests/test_net.py::test_stem"
CONTROLS = {"button", "searchbox", "textbox", "slider", "DisclosureTriangle"}
NAMED = {*CONTROLS, "image", "dialog", "article", "heading", "group"}


@pytest.fixture
def page(browser, reported, tmp_path):
    """The report with all of it unfolded, and the picture of a layer drawn."""
    page = Page(browser, reported / "page.html", tmp_path)
    page.ask("sessionStorage.clear()")
    page.open(reported / "page.html")
    page.ask("for (const one of document.querySelectorAll('details')) one.open = true")
    page.ask("cards.find(one => one.test === arguments[0]).node.scrollIntoView()", STEM)
    until(lambda: page.all("canvas"))
    yield page
    assert page.complaints() == []


def test_each_control_has_a_role_and_a_name(page):
    page.ask("current = cards.find(one => one.test === arguments[0])", STEM)
    page.press("3")
    nodes = page.tree()
    named = [(one["role"], one["name"]) for one in nodes if one["role"] in NAMED]
    assert [
        role for role, name in named if not name and role != "group"
    ] == []  # details are groups
    roles = {role for role, _ in named}
    assert roles >= {"button", "searchbox", "slider", "image", "article", "heading", "group"}
    told = {name for role, name in named if role == "button"}
    assert {"Accept stem", "Reject stem", "Smaller", "Larger", "Keys: ?"} <= told
    # A single-page document: one banner, one main part.
    assert [one["role"] for one in nodes if one["role"] in {"banner", "main"}] == ["banner", "main"]


def test_who_speaks_to_a_control_says_what_stands_on_it(page):
    labels = page.ask(
        "return [...document.querySelectorAll('button[aria-label]')]"
        ".map(one => [one.textContent, one.ariaLabel])"
    )
    assert len(labels) > 20
    assert [
        one for one in labels if one[0] not in (*one[1:], "+", "−") and one[0] not in one[1]
    ] == []


def test_the_document_is_in_order(page):
    assert page.ask("return document.documentElement.lang") == "en"
    assert page.driver.title == "Feature maps to review"
    levels = page.ask(
        "return [...document.querySelectorAll('h1, h2, h3, h4')]"
        ".filter(one => one.checkVisibility()).map(one => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_control_is_reached_by_key_and_shows_the_focus(page):
    page.ask("scrollTo(0, 0); document.activeElement.blur(); window.reached = []")
    for _ in range(400):
        page.press(Keys.TAB)
        seen = page.ask(FOCUS)
        if seen is None:
            break
        assert seen["follows"], seen
        assert seen["outline"] >= 2, seen
        assert seen["visible"], seen
    missed = "return [...document.querySelectorAll('button, input, summary')].filter(one => "
    missed += "one.checkVisibility() && !one.disabled && !reached.includes(one)).length"
    assert page.ask(missed) == 0


def test_the_head_does_not_cover_what_a_key_goes_to(page):
    page.ask("scrollTo(0, 0)")
    for key in "jjjjjjkkk":
        page.press(key)
        seen = page.ask(f"reached = []; {FOCUS}")
        assert seen["visible"], seen


# Where the focus is: whether behind the one before, how wide its outline is, what lies over it.
FOCUS = """
const one = document.activeElement;
if (one === document.body || reached.includes(one)) return null;
const before = reached.at(-1);
reached.push(one);
const box = one.getBoundingClientRect(), style = getComputedStyle(one);
const within = (start, length, most) =>
  Math.min(most - 1, Math.max(0, start + Math.min(length, 40) / 2));
const top = document.elementFromPoint(
  within(box.x, box.width, innerWidth), within(box.y, box.height, innerHeight));
return {
  text: one.outerHTML.slice(0, 200),
  follows: !before || (before.compareDocumentPosition(one) & 4) === 4,
  outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth),
  visible: one.contains(top) || top.contains(one),
};
"""


def test_who_presses_a_button_stays_on_it(page):
    found = page.ask("return cards.find(one => one.test === arguments[0]).node", STEM)
    for text in ("Blink", "Difference", "Side by side", "+", "All 6 channels"):
        (one,) = [one for one in found.find_elements("css selector", "button") if one.text == text]
        page.ask("arguments[0].focus()", one)
        page.press(Keys.ENTER)
        now = page.ask("return document.activeElement.textContent")
        assert now == {"All 6 channels": "Only the 2 that changed"}.get(text, text)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out(page, theme):
    page.prefer(color_scheme=theme)
    page.ask("current = cards.find(one => one.test === arguments[0])", STEM)
    page.press("T")
    page.ask("decide([cards[0]], 'reject')")
    assert page.ask(CONTRASTS) == []
    for dialog in ("help", "commands"):
        page.ask(f"document.getElementById('{dialog}').showModal()")
        assert page.ask(CONTRASTS) == []
        page.press(Keys.ESCAPE)
    page.ask("document.querySelector('h1').style.color = '#777'")
    weak = page.ask(CONTRASTS)
    assert [text for text, _ in weak] == ["Feature maps to review"]


CONTRAST = """
const parts = (text) => text.match(/[\\d.]+/g).map(Number);
const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const luminance = (colour) => {
  const [red, green, blue] = colour.map((part) => linear(part / 255));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const [red, green, blue, opaque = 1] = parts(getComputedStyle(one).backgroundColor);
    if (opaque === 1) return [red, green, blue];
  }
  throw new Error("nothing is behind it");
};
const contrast = (one, colour) => {
  const both = [parts(colour).slice(0, 3), behind(one)].map(luminance);
  const [dark, light] = both.sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
"""
# Texts whose contrast to what is behind them is under 4.5, or 3 where they are large.
CONTRASTS = f"""{CONTRAST}
const weak = [];
const check = (one, text, style) => {{
  const size = parseFloat(style.fontSize);
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  const found = contrast(one, style.color);
  if (found < (large ? 3 : 4.5)) weak.push([text, found]);
}};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {{
  const one = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
  if (text && one.checkVisibility()) check(one, text, getComputedStyle(one));
}}
for (const one of document.querySelectorAll("input[placeholder]")) {{
  check(one, one.placeholder, getComputedStyle(one, "::placeholder"));
}}
return weak;
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_edges_of_controls_stand_out(page, theme):
    page.prefer(color_scheme=theme)
    assert page.ask(EDGES) == []


EDGES = f"""{CONTRAST}
return [...document.querySelectorAll("button:not(:disabled), input[type=search]")]
  .filter((one) => one.checkVisibility())
  .map((one) => [one.outerHTML, contrast(one.parentElement, getComputedStyle(one).borderTopColor)])
  .filter(([, found]) => found < 3);
"""


def test_less_motion_means_no_blinking(page):
    page.prefer(reduced_motion="reduce")
    page.ask("current = cards.find(one => one.test === arguments[0])", STEM)
    found = page.ask("return current.node")

    def caption():
        return found.find_element("css selector", "figcaption").text

    page.press("2")
    assert during(1, caption) == {"expected"}
    page.press("2")
    assert caption() == "actual"


@pytest.mark.parametrize("size", [PHONE, Size(320, 640)], ids=["phone", "smallest"])
def test_nothing_is_cut_off_on_a_phone(page, size):
    page.resize(size)
    # Cards that are far away are laid out as well.
    page.ask("for (const { node } of cards) node.style.contentVisibility = 'visible'")
    wide = page.ask("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    for text, left, right, height in page.ask(
        "return [...document.querySelectorAll('button, summary, input')]"
        ".filter(one => one.checkVisibility()).map(one => { const box = "
        "one.getBoundingClientRect(); return [one.outerHTML, box.left, box.right, box.height] })"
    ):
        assert 0 <= left < right <= size.width, text
        assert height >= 24, text


def test_a_change_is_announced(page):
    page.ask("current = cards.find(one => one.test === arguments[0])", STEM)
    page.press("a")
    assert page.one("[role=status]").text == "14 of 15 undecided, 1 accepted, 0 rejected"
    assert page.one(".map [aria-pressed=true].accept").get_attribute("aria-label") == "Accept stem"
