"""The page of a real run in a real browser, driven as a person would."""

import json
import shutil

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from browsing import DESKTOP, PHONE, Page, during, until
from reported import run, type_line
from selenium.webdriver import ActionChains, Keys
from waiting import TEST, Project
from waiting import drawn as drawing

from pytest_featuremaps import cli, rendering
from pytest_featuremaps.review import folder
from pytest_featuremaps.review.page import render
from pytest_featuremaps.review.records import Map

EVIL = "<img src=x onerror='alert(1)'>"
STEM = "tests/test_net.py::test_stem"
LAYERS = ("stem", "gone", "relu", "head", "fresh")
# The layers that follow the stem in one test, and its picture in another.
OF_ONE_CAUSE = {
    *(("tests/test_net.py::test_layers", key) for key in ("stem", "relu", "head")),
    (STEM, "stem"),
}


@pytest.fixture
def page(browser, reported, tmp_path):
    """The report, freshly opened; at the end the browser must have had nothing to complain of."""
    page = Page(browser, reported / "page.html", tmp_path)
    page.ask("sessionStorage.clear()")
    page.open(reported / "page.html")
    yield page
    assert page.complaints() == []
    assert page.ask("return performance.getEntriesByType('resource').length") == 0


@pytest.fixture
def project(reported, tmp_path):
    """A copy of the project, to decide in."""
    return shutil.copytree(reported, tmp_path / "project")


def results(project):
    return {one.record.test: one for one in folder.read(project / ".featuremaps")}


def card(page, test, key):
    """Return the card of a feature map, scrolled to; its followers are unfolded."""
    return page.ask(
        "const { node } = cards.find(one => one.test === arguments[0] && one.key === arguments[1]);"
        "unfold(node.card); node.scrollIntoView(); node.focus(); return node",
        test,
        key,
    )


def drawn(page, test, key):
    """Return the card of a feature map once its picture is there."""
    found = card(page, test, key)
    until(lambda: page.ask("return arguments[0].querySelector('canvas')", found))
    return found


def opened(browser, project, tmp_path):
    """Return the page of a project's results."""
    path = tmp_path / "page.html"
    path.write_bytes(render(folder.read(project.output)))
    page = Page(browser, path, tmp_path)
    page.ask("sessionStorage.clear()")
    page.open(path)
    return page


def decisions(page):
    """Return what is decided, by test and key."""
    told = page.ask(
        "return cards.filter(one => one.node.dataset.decision)"
        ".map(one => [one.test, one.key, one.node.dataset.decision])"
    )
    return {(test, key): decision for test, key, decision in told}


# --- what is seen ---------------------------------------------------------------------------------


def test_the_browser_would_complain(browser, reported, tmp_path):
    page = Page(browser, reported / "page.html", tmp_path)
    page.ask("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"alert(1)\">')")
    said = until(page.complaints)
    assert "violates the following Content Security Policy directive" in said[0]


def test_tests_and_layers_in_order(page):
    assert page.texts("h2")[3:8] == [
        f"tests/test_net.py::test_{name}" for name in ("layers", "marks", "new", "stem", "wider")
    ]
    (section,) = [one for one in page.all("section.test") if "test_layers" in one.text]
    shown = [one.text.split("\n") for one in section.find_elements("css selector", ".map")]
    assert shown[0][:6] == [
        "stem",
        "changed",
        "changed first",
        "Conv2d · 1×6×12×36 · float32",
        "relative L2 change 8.9e-01, allowed 1.0e-04",
        "Why: its weights changed.",
    ]
    folds = section.find_elements("css selector", "summary")
    assert [one.text for one in folds] == [
        "2 with another cause",
        "2 that followed",
        "1 map within tolerance",
        "The whole story in words",
    ]

    def heads():
        found = section.find_elements("css selector", "h3")
        return [one.text.split("\n") for one in found if one.text]

    in_sight = [
        ["stem", "changed", "changed first"],
        ["+", "gone", "missing"],
        ["+", "fresh", "new"],
    ]
    assert heads() == in_sight
    folds[1].click()
    assert heads() == [*in_sight, ["+", "relu", "changed"], ["+", "head", "changed"]]


def test_filters_and_search(page):
    def visible():
        return {one.text for one in page.all(".key") if one.is_displayed()}

    assert page.texts("#filters button") == [
        "all",
        "undecided 15",
        "changed 12",
        "new 2",
        "missing 1",
        "within tolerance 1",
        "unused 1",
    ]
    page.click("missing 1")
    assert visible() == {"gone"}
    page.click("within tolerance 1")
    assert visible() == {"blur"}
    page.click("unused 1")
    assert visible() == set()
    assert page.texts("li") == ["tests/__snapshots__/test_net/test_gone.jsonl"]
    page.click("all")
    page.press("/", "s", "t", "e", "m", Keys.ESCAPE, "j")
    assert visible() == {"stem"}
    assert len([one for one in page.all("section.test") if one.is_displayed()]) == 2
    assert page.ask("return document.activeElement.card.key") == "stem"


def test_what_followed_is_a_row_that_opens(page):
    layers = "tests/test_net.py::test_layers"
    found = card(page, layers, "relu")
    says = found.find_element("css selector", ".says")
    assert found.size["height"] < 60
    assert says.text.startswith("relative L2 change ")
    toggle = found.find_element("css selector", ".toggle")

    def is_open():
        shown = [one.is_displayed() for one in found.find_elements("css selector", "table")]
        return bool(shown), toggle.get_attribute("aria-expanded"), toggle.text

    shut, opened = (False, "false", "+"), (True, "true", "−")
    assert is_open() == shut
    page.press("o")
    assert is_open() == opened
    assert found.find_element("css selector", ".about").text.startswith("ReLU · ")
    toggle.click()
    assert is_open() == shut
    says.click()
    assert is_open() == opened
    page.click("Accept", found)
    assert is_open() == opened
    page.press("j", "a")
    assert decisions(page) == {(layers, "relu"): "accept", (layers, "head"): "accept"}


def test_what_is_undecided(page):
    layers = "tests/test_net.py::test_layers"
    chips = "#filters button[data-kind=undecided]"
    card(page, layers, "stem")
    page.press("a")
    assert page.one(chips).text == "undecided 14"
    page.click("undecided 14")
    assert not page.ask("return cards.find(one => one.key === 'stem').node.checkVisibility()")
    found = card(page, layers, "gone")
    page.click("Accept", found)
    assert page.one(chips).text == "undecided 13"
    assert not found.is_displayed()
    assert page.ask("return document.activeElement.card.key") == "fresh"
    page.press("u")
    assert found.is_displayed()
    page.ask("decide(cards.filter(one => one.asked.length), 'accept')")
    assert page.texts("section.test") == [""] * len(page.all("section.test"))
    assert page.one("#nothing").text == "Everything is decided. Show all"
    page.click("Show all")
    assert not page.one("#nothing").is_displayed()
    assert page.one("#filters [aria-pressed=true]").text == "all"


def test_a_search_that_finds_nothing_says_so(page):
    page.ask("scrollTo(0, document.body.scrollHeight)")
    page.press("/", *"st")
    until(lambda: page.ask("return scrollY") == 0)
    assert not page.one("#nothing").is_displayed()
    page.press(*"uff")
    assert page.one("#nothing").text == "No test or layer matches “stuff”. Show all"
    page.press(Keys.ESCAPE)
    page.click("missing 1")
    assert page.one("#nothing").text == "No map that is missing matches “stuff”. Show all"
    page.click("Show all")
    assert page.one("#search").get_property("value") == ""
    assert all(one.is_displayed() for one in page.all("section.test"))


def test_the_name_of_the_test_stays_in_sight(page):
    where = page.one("#where")
    assert not where.is_displayed()
    found = drawn(page, "tests/test_net.py::test_wider", ".")
    box, top = where.rect, found.rect["y"] - page.ask("return scrollY")
    assert top >= page.one("header").rect["height"] + box["height"]  # so that it covers no card
    page.ask("scrollBy(0, 200)")
    until(lambda: where.text == "test_net.py::test_wider")
    assert where.rect["height"] < 40
    page.ask("scrollTo(0, 0)")
    until(lambda: not where.is_displayed())
    page.resize(PHONE)
    drawn(page, STEM, "stem")
    page.ask("scrollBy(0, 200)")
    until(lambda: where.text == "test_stem")


def test_what_is_hostile_is_text(page):
    assert page.texts("h2")[:3] == [
        "tests/test_net.py::test_hostile[</script><script>alert(1)</script>]",
        f"tests/test_net.py::test_hostile[{EVIL}]",
        "tests/test_net.py::test_hostile[@SCRIPT@ 'it'; echo $HOME `id`]",
    ]
    assert page.texts(".key")[0] == EVIL
    assert page.texts(".about")[0].startswith("“<b>bold</b>” · Marks · ")
    assert page.all("img, b") == []
    assert page.ask("return document.scripts.length") == len(page.all("script"))


def test_what_is_far_away_is_not_drawn(page):
    found = drawn(page, "tests/test_net.py::test_wider", ".")
    page.ask("document.activeElement.blur(); scrollTo(0, 0)")
    until(lambda: not found.find_elements("css selector", "canvas"))


def numbers_alone(project):
    maps = [Map(f"layers.{count}", "changed", "moved", "x", "x") for count in range(1000)]
    project.leave(maps=tuple(maps))


def a_picture_each(project):
    before, after = drawing(1), drawing(2)
    for count in range(1000):
        maps = (Map(f"layers.{count}", "changed", "moved", "x", "x"),)
        project.leave(before, after, maps, f"test_a[layers.{count}].png")


@pytest.mark.parametrize("leave", [numbers_alone, a_picture_each])
def test_of_a_thousand_maps_only_those_in_sight_are_drawn(browser, tmp_path, leave):
    project = Project(tmp_path)
    leave(project)
    page = opened(browser, project, tmp_path)
    assert len(page.all(".map")) == 1000
    assert page.ask("return document.querySelectorAll('*').length") < 30_000
    page.ask("for (const one of document.querySelectorAll('.fold')) one.open = true")

    def drawn():
        return [one for one in page.ask("return cards.map(one => Boolean(one.drawn))") if one]

    in_sight = (
        "const seen = cards.map(one => [one, one.node.getBoundingClientRect()])"
        ".filter(([, box]) => box.height && box.bottom > 0 && box.top < innerHeight);"
        "return seen.length > 0 && seen.every(([one]) => one.near && !one.drawn === !one.open)"
    )
    for share in (0, 0.5, 1):
        page.ask("scrollTo(0, arguments[0] * document.body.scrollHeight)", share)
        until(lambda: page.ask(in_sight))
        assert len(drawn()) < 30
    # Those that followed are a row each.
    if leave is numbers_alone:
        assert page.ask("return document.documentElement.scrollHeight") < 60_000
    assert page.complaints() == []


# --- the picture ----------------------------------------------------------------------------------


def decoded(project, test, name):
    """Return a picture that a test left, as the package reads it."""
    result = results(project)[test]
    return rendering.decode(result.read(getattr(result.record, name)))[0]


def value(mosaic, channel, row, column):
    """Say what a pixel of a picture means."""
    place = mosaic.channels.index(channel)
    level = int(mosaic.tiles[place, row, column])
    marks = {rendering.NAN: "NaN", rendering.PLUS_INF: "+Inf", rendering.DEAD: "dead"}
    if level in marks:
        return marks[level]
    low, high = mosaic.low[place], mosaic.high[place]
    share = (level - rendering.LOWEST) / (rendering.HIGHEST - rendering.LOWEST)
    beyond = {0: "≤ ", rendering.LEVELS - 1: "≥ "}.get(level, "")
    return f"{beyond}{float(f'{low + share * (high - low):.3g}'):g}"


def boxes(page, found):
    """Return where the canvases of a card are, and how wide one of their pixels is."""
    return page.ask(
        "return [...arguments[0].querySelectorAll('canvas')].map(one => {"
        "const box = one.getBoundingClientRect(); return [box.x, box.y, box.width / one.width]})",
        found,
    )


def hover(page, found, panel, x, y):
    """Scroll to a canvas, and point at one of its pixels; return what is read there."""
    page.ask(
        "arguments[0].querySelectorAll('.frame')[arguments[1]].scrollIntoView({block: 'center'})",
        found,
        panel,
    )
    left, top, scale = boxes(page, found)[panel]
    page.point(left + (x + 0.5) * scale, top + (y + 0.5) * scale)
    return found.find_element("css selector", ".reading").text


STEM_PIXELS = [(2, 0, 0), (2, 11, 35), (2, 3, 27), (4, 0, 0), (4, 5, 8), (4, 11, 0)]


@pytest.mark.parametrize("panel", range(3))
def test_a_pixel_reads_as_the_picture_decodes(page, reported, panel):
    found = drawn(page, STEM, "stem")
    before, after = (decoded(reported, STEM, name) for name in ("expected", "actual"))
    for channel, row, column in STEM_PIXELS:
        place = (channel, row, column)
        # Two channels of 12 by 36 pixels changed, and are drawn one below the other.
        said = hover(page, found, panel, 1 + column, 1 + row + 13 * [2, 4].index(channel))
        assert said == (
            f"channel {channel}, row {row}, column {column}: "
            f"{value(before, *place)} → {value(after, *place)}"
        )


def test_any_png_is_read(page):
    """Those of other tools as well, which filter the rows of pixels in five ways."""
    rows = [[3, 250, 7, 9], [20, 30, 200, 1], [99, 98, 5, 4], [0, 255, 128, 64], [8, 16, 32, 64]]
    filtered = []
    for kind, row in enumerate(rows):
        above = rows[kind - 1] if kind else [0] * 4
        for place, value in enumerate(row):
            left, up = (row[place - 1] if place else 0), above[place]
            corner = above[place - 1] if place and kind else 0
            nearest = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
            guess = (0, left, up, (left + up) // 2, nearest)[kind]
            filtered += [kind] * (not place) + [(value - guess) % 256]
    read = page.ask("return [...unfilter(new Uint8Array(arguments[0]), 4, 5)]", filtered)
    assert read == [value for row in rows for value in row]


def test_what_is_not_finite_reads_as_its_mark(page, reported):
    test = "tests/test_net.py::test_marks"
    found = drawn(page, test, ".")
    before = decoded(reported, test, "expected")
    marks = {(0, 3, 5): "NaN", (1, 0, 0): "+Inf", (1, 7, 7): "≥ "}
    for (channel, row, column), mark in marks.items():
        said = hover(page, found, 1, 1 + column, 1 + row + 17 * channel)
        place, _, values = said.partition(": ")
        assert place == f"channel {channel}, row {row}, column {column}"
        assert values.startswith(f"{value(before, channel, row, column)} → {mark}")
    assert hover(page, found, 1, 0, 0).startswith("channel 0, row 0, column 0: ")


def test_arrows_read_the_next_pixel(page):
    found = drawn(page, STEM, "stem")
    found.find_element("css selector", ".frame").click()

    def place():
        return found.find_element("css selector", ".reading").text.partition(":")[0]

    hover(page, found, 0, 1, 1)
    assert place() == "channel 2, row 0, column 0"
    steps = {
        Keys.ARROW_RIGHT: "channel 2, row 0, column 1",
        Keys.ARROW_DOWN: "channel 2, row 1, column 1",
        Keys.ARROW_LEFT: "channel 2, row 1, column 0",
        Keys.ARROW_UP: "channel 2, row 0, column 0",
    }
    for key, told in steps.items():
        page.press(key)
        assert place() == told


def test_a_picture_of_another_size_has_no_difference(page):
    found = drawn(page, "tests/test_net.py::test_wider", ".")
    captions = found.find_elements("css selector", "figcaption")
    assert [one.text for one in captions] == ["expected", "actual"]
    assert found.find_element("css selector", ".count").text == (
        "other channels or sizes: no difference is drawn"
    )


def test_the_model_itself_is_called_so(page):
    found = card(page, "tests/test_net.py::test_wider", ".")
    assert found.find_element("css selector", ".key").text == "the model (.)"
    page.press("a")
    assert page.one("#done-what").text == "1 accepted: the model (.)"


def test_a_new_picture_stands_alone(page, reported):
    test = "tests/test_net.py::test_new"
    found = drawn(page, test, "fresh")
    assert [one.text for one in found.find_elements("css selector", "figcaption")] == ["new"]
    now = decoded(reported, test, "update")
    said = hover(page, found, 0, 1 + 3, 1 + 2)
    assert said == f"channel 0, row 2, column 3: {value(now, 0, 2, 3)}"


def test_ways_to_look_at_it(page):
    found = drawn(page, STEM, "stem")

    def captions():
        return [one.text for one in found.find_elements("css selector", "figcaption")]

    difference = "difference (red: higher, blue: lower)"
    assert captions() == ["expected", "actual", difference]
    page.press("2")
    assert captions() == ["expected"]
    until(lambda: captions() == ["actual"])
    until(lambda: captions() == ["expected"])
    page.press("4")
    assert captions() == [difference]
    page.press("3")
    assert captions() == ["expected left, actual right"]
    slider = found.find_element("css selector", "input[type=range]")
    over = found.find_element("css selector", "canvas.over")
    assert over.value_of_css_property("clip-path") == "inset(0px 0px 0px 50%)"
    slider.click()
    page.press(Keys.ARROW_RIGHT)
    assert over.value_of_css_property("clip-path") == "inset(0px 0px 0px 51%)"
    page.press("1")
    assert captions() == ["expected", "actual", difference]
    for text, caption in {
        "Slider": "expected left",
        "Difference": "difference",
        "Blink": "expe",
    }.items():
        page.click(text, found)
        assert captions()[0].startswith(caption)


def test_the_divider_follows_what_is_dragged_on_the_picture(page):
    found = drawn(page, STEM, "stem")
    page.press("3")
    slider = found.find_element("css selector", "input[type=range]")
    frame = found.find_element("css selector", ".frame")
    assert slider.rect["y"] < frame.rect["y"]
    left, top, _ = boxes(page, found)[0]
    sheet = found.find_element("css selector", ".sheet").rect
    divider = found.find_element("css selector", ".divider")

    def lies_at(share):
        line = page.ask("return arguments[0].getBoundingClientRect().x + 1", divider)
        over = found.find_element("css selector", "canvas.over").value_of_css_property("clip-path")
        return abs(line - left - share * sheet["width"]) < 5 and over.split()[3].startswith(
            str(round(100 * share))
        )

    assert lies_at(0.5)
    actions = ActionChains(page.driver, duration=0)
    pointer = actions.w3c_actions.pointer_action
    pointer.move_to_location(int(left + 0.2 * sheet["width"]), int(top + 20))
    pointer.pointer_down()
    pointer.move_to_location(int(left + 0.8 * sheet["width"]), int(top + 20))
    actions.perform()
    assert lies_at(0.8)
    actions = ActionChains(page.driver, duration=0)
    actions.w3c_actions.pointer_action.pointer_up()
    actions.w3c_actions.pointer_action.move_to_location(int(left + 30), int(top + 20))
    actions.perform()
    assert lies_at(0.8)
    assert "channel 2, row " in found.find_element("css selector", ".reading").text


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_what_is_read_stands_beside_the_pointer(page, size):
    page.resize(size)
    found = drawn(page, STEM, "stem")
    said = hover(page, found, 0, 35, 5)
    tip = found.find_element("css selector", ".tip")
    assert tip.text == said
    place = page.ask("return arguments[0].getBoundingClientRect().toJSON()", tip)
    _, top, scale = boxes(page, found)[0]
    assert 0 <= place["left"] < place["right"] <= size.width
    assert 0 < place["top"] - (top + 5 * scale) < 60
    page.press(Keys.ARROW_RIGHT)
    page.point(5, 5)
    assert not tip.is_displayed()


def test_numbers_stand_beside_the_picture(page):
    found = drawn(page, STEM, "stem")
    viewer, numbers = (found.find_element("css selector", one) for one in (".viewer", ".numbers"))
    assert numbers.rect["x"] >= viewer.rect["x"] + viewer.rect["width"]
    # A frame is as large as its picture.
    for frame, sheet in zip(
        found.find_elements("css selector", ".frame"),
        found.find_elements("css selector", ".sheet"),
        strict=True,
    ):
        assert frame.rect["width"] == sheet.rect["width"] + 2
        assert frame.rect["height"] == sheet.rect["height"] + 2
    alone = card(page, "tests/test_net.py::test_layers", "stem")
    until(lambda: alone.find_elements("css selector", "table"))
    beyond, others = alone.find_elements("css selector", "table")
    assert beyond.find_element("css selector", "caption").text == "Beyond the tolerance cpu"
    assert others.find_element("css selector", "caption").text == "The other numbers"
    assert others.rect["x"] > beyond.rect["x"] + beyond.rect["width"]
    assert others.rect["y"] == beyond.rect["y"]


def test_counts_are_shown_to_the_last_one_and_other_numbers_in_short(page):
    values = [262144, 0, 0.02184153, -0.428453, 0.0000123456, None]
    told = page.ask("return [...arguments].map(shown)", *values)
    assert told == ["262144", "0", "0.021842", "-0.42845", "1.2346e-5", "–"]


def test_blinking_by_hand(page):
    found = drawn(page, STEM, "stem")

    def caption():
        return found.find_element("css selector", "figcaption").text

    page.press("2", "2")
    assert during(1, caption) == {"actual"}  # by itself it would have turned
    page.press("2")
    assert caption() == "expected"


def test_zoom_and_scrolling_in_step(page):
    found = drawn(page, STEM, "stem")

    def scales():
        return [round(scale, 3) for _, _, scale in boxes(page, found)]

    (before,) = set(scales())
    page.press("+")
    assert scales() == [before + 1] * 3
    page.press("-", "-")
    assert scales() == [before - 1] * 3
    for _ in range(40):
        page.press("=")
    assert scales() == [32] * 3
    page.ask("arguments[0].querySelector('.frame').scrollTo(123, 45)", found)

    def places():
        return page.ask(
            "return [...arguments[0].querySelectorAll('.frame')]"
            ".map(one => [one.scrollLeft, one.scrollTop])",
            found,
        )

    until(lambda: places() == [[123, 45]] * 3)


RANGE = "lowest to highest value of a channel in the baseline"


def legend(page, found):
    """Return what the colours of a picture mean, each with the colour of its swatch."""
    told = page.ask(
        "return [...arguments[0].querySelectorAll('.legend li')]"
        ".map(one => [getComputedStyle(one.firstChild).backgroundColor, one.textContent])",
        found,
    )
    return [tuple(one) for one in told]


def test_the_legend_names_the_colours_that_are_there(page, reported):
    levels = decoded(reported, STEM, "actual").tiles[[2, 4]]
    assert (levels < rendering.LOWEST).any()
    assert (levels > rendering.HIGHEST).any()
    found = drawn(page, STEM, "stem")
    pictures = ["rgb(0, 80, 80)", "rgb(255, 223, 27)"]
    assert legend(page, found) == [
        ("rgba(0, 0, 0, 0)", RANGE),
        (pictures[0], "below that range"),
        (pictures[1], "above that range"),
        ("rgb(178, 16, 40)", "higher than before"),
        ("rgb(16, 84, 176)", "lower than before"),
    ]
    page.press("2")
    assert [text for _, text in legend(page, found)] == [
        RANGE,
        "below that range",
        "above that range",
    ]
    page.press("4")
    assert [text for _, text in legend(page, found)] == ["higher than before", "lower than before"]
    other = drawn(page, "tests/test_net.py::test_wider", ".")
    assert [text for _, text in legend(page, other)] == [RANGE]


def test_the_legend_and_the_numbers_of_what_is_not_finite(page):
    found = drawn(page, "tests/test_net.py::test_marks", ".")
    assert [text for _, text in legend(page, found)] == [
        RANGE,
        "above that range",
        "NaN",
        "+Inf",
        "higher than before",
        "NaN, Inf or dead came or went",
    ]
    colours = page.ask(
        "return [...arguments].map(level => rgb(colour(level)))", rendering.NAN, rendering.PLUS_INF
    )
    assert [colour for colour, text in legend(page, found) if text in {"NaN", "+Inf"}] == [
        colour.replace(" ", ", ") for colour in colours
    ]
    rows = [one.text for one in found.find_elements("css selector", "tbody tr")]
    assert rows[:2] == ["NaN count 0 1 1 0", "Inf count 0 1 1 0"]
    assert found.find_element("css selector", ".says").text.startswith(
        "1 value became NaN; 1 value became Inf; relative L2 change "
    )


def test_all_channels_or_those_that_changed(page):
    found = drawn(page, STEM, "stem")

    def channels():
        return [
            one.get_attribute("aria-label") for one in found.find_elements("css selector", "canvas")
        ]

    assert found.find_element("css selector", ".count").text == "2 of 6 channels changed"
    assert channels()[1] == "actual: 2 channels of stem"
    page.press("h")
    assert channels()[1] == "actual: 6 channels of stem"
    assert found.find_element("css selector", ".count").text == "2 of 6 channels changed"
    assert hover(page, found, 0, 1, 1).startswith("channel 0, row 0, column 0: ")
    page.click("Only the 2 that changed")
    assert channels()[1] == "actual: 2 channels of stem"


def test_the_difference_has_the_sign_of_the_change(page, reported):
    found = drawn(page, STEM, "stem")
    before, after = (decoded(reported, STEM, name) for name in ("expected", "actual"))
    colours = page.ask(
        "const one = arguments[0].querySelectorAll('canvas')[2];"
        "return [...one.getContext('2d').getImageData(1, 1, 36, 12).data]",
        found,
    )
    for pixel in range(432):
        row, column = divmod(pixel, 36)
        red, _, blue, _ = colours[4 * pixel : 4 * pixel + 4]
        moved = int(after.tiles[2, row, column]) - int(before.tiles[2, row, column])
        assert (red > blue) == (moved > 0)
        assert (red < blue) == (moved < 0)


# --- decisions ------------------------------------------------------------------------------------


def test_a_decision_by_key_goes_on_to_the_next(page):
    card(page, "tests/test_net.py::test_layers", "stem")
    page.press("a")
    assert page.ask("return document.activeElement.card.key") == "gone"
    page.press("r")
    layers = "tests/test_net.py::test_layers"
    assert decisions(page) == {(layers, "stem"): "accept", (layers, "gone"): "reject"}
    assert page.one("#tally").text == "13 of 15 undecided, 1 accepted, 1 rejected"


def test_undoing_the_last_decision_whatever_it_covered(page):
    layers = "tests/test_net.py::test_layers"

    def at():
        return page.ask("return document.activeElement.card.key")

    assert not page.one("#done").is_displayed()
    card(page, layers, "stem")
    page.press("a", "r")
    assert page.one("#done").text == "1 rejected: gone\nUndo"
    assert at() == "fresh"
    page.press("u")
    assert at() == "gone"
    assert decisions(page) == {(layers, "stem"): "accept"}
    assert page.one("#done").text == "1 accepted: stem\nUndo"
    card(page, layers, "gone")
    page.press("C", "T")
    assert page.one("#done").text == "3 accepted\nUndo"
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
    assert decisions(page) == dict.fromkeys([(layers, "stem"), (layers, "gone")], "accept")
    page.press("X")
    assert set(decisions(page).values()) == {"reject"}
    page.one("#undo").click()
    assert decisions(page) == dict.fromkeys([(layers, "stem"), (layers, "gone")], "accept")
    page.press("u", "u", "u")
    assert decisions(page) == {}
    assert not page.one("#done").is_displayed()
    assert page.one("#tally").text == "15 of 15 undecided, 0 accepted, 0 rejected"


def test_many_are_decided_at_once_with_shift_alone(page):
    card(page, "tests/test_net.py::test_layers", "stem")
    page.press("t", "c", "x")
    locked = "new KeyboardEvent('keydown', {key: 'T', bubbles: true})"
    page.ask(f"document.activeElement.dispatchEvent({locked})")
    assert decisions(page) == {}


def test_the_line_of_the_last_decision_covers_nothing(page):
    card(page, "tests/test_net.py::test_layers", "stem")
    page.press("a")
    assert page.one("#done").is_displayed()
    for _ in range(30):
        page.press(Keys.TAB)
        assert page.ask(
            "const box = document.activeElement.getBoundingClientRect();"
            "const done = document.getElementById('done').getBoundingClientRect();"
            "return document.activeElement.closest('#done') !== null || box.height > 500 ||"
            "box.bottom <= done.top || box.right < done.left || box.left > done.right"
        )


def test_keys_that_go_from_map_to_map(page):
    page.press("j", "j", "k", "j", "j")
    assert page.ask("return document.activeElement.card.test").endswith("id`]")
    for _ in range(20):
        page.press("j")
    assert page.ask("return document.activeElement.card.test") == "tests/test_net.py::test_wider"


def test_all_of_a_test_and_all_of_a_cause(page):
    layers = {("tests/test_net.py::test_layers", key) for key in LAYERS}
    card(page, "tests/test_net.py::test_layers", "stem")
    page.press("T")
    assert decisions(page) == dict.fromkeys(layers, "accept")
    page.press("X", "C")
    assert decisions(page) == {
        **dict.fromkeys(layers, "reject"),
        **dict.fromkeys(OF_ONE_CAUSE, "accept"),
    }
    page.click("Reject all 4", card(page, "tests/test_net.py::test_layers", "stem"))
    assert decisions(page) == dict.fromkeys({*layers, (STEM, "stem")}, "reject")


def test_what_has_another_cause_is_not_decided_with_the_rest(browser, tmp_path):
    project = Project(tmp_path)
    kinds = {
        "bias": "changed",
        "size": "reshaped",
        "half": "retyped",
        "new": "added",
        "old": "removed",
    }
    keys = {"stem": "changed", "relu": "changed", **kinds, "pool": "changed"}
    why = {"stem": "its weights changed", "bias": "its weights changed"}
    maps = [Map(key, kind, kind, key, key, why=why.get(key, "")) for key, kind in keys.items()]
    broken = ({"quantity": "nan_count", "observed": 7, "allowed": 0},)
    nan = Map(
        "nan", "changed", "NaN", "nan", "nan",
        before={"nan_count": 0}, after={"nan_count": 7}, violations=broken,
    )  # fmt: skip
    project.leave(maps=(*maps, nan))
    page = opened(browser, project, tmp_path)
    found = card(page, TEST, "stem")
    page.click("Accept all 3 maps of this cause", found)
    followed = {"stem", "relu", "pool"}
    assert decisions(page) == {(TEST, key): "accept" for key in followed}
    assert page.texts("summary")[:2] == ["6 with another cause", "2 that followed"]
    apart = page.one("details.apart")
    shown = [one.text for one in apart.find_elements("css selector", ".key")]
    assert shown == ["bias", "size", "half", "new", "old", "nan"]
    page.click("6 with another cause", found)
    assert page.ask("return document.activeElement.card.key") == "bias"
    page.press("C")
    assert set(decisions(page)) == {(TEST, key) for key in (*followed, "bias")}


def test_a_new_layer_and_those_that_followed_it(browser, tmp_path):
    project = Project(tmp_path)
    kinds = {"fresh": "added", "more": "added", "relu": "changed", "pool": "changed"}
    project.leave(maps=tuple(Map(key, kind, kind, key, key) for key, kind in kinds.items()), why="")
    page = opened(browser, project, tmp_path)
    page.click("Accept both maps of this cause", card(page, TEST, "fresh"))
    assert decisions(page) == {(TEST, "relu"): "accept", (TEST, "pool"): "accept"}


def test_what_changed_apart_for_one_reason_is_decided_at_once(browser, tmp_path):
    project = Project(tmp_path)
    maps = [Map("stem", "changed", "moved", "stem", "stem")]
    for count in range(20):
        why = "its weights changed" if count % 2 else ""
        kind = "changed" if count % 2 else "reshaped"
        maps.append(Map(f"layers.{count}", kind, "moved", "x", "x", why=why))
    project.leave(maps=tuple(maps), why="same weights and same input: its code changed")
    page = opened(browser, project, tmp_path)
    apart = page.one("details.apart")
    assert not apart.get_property("open")  # so many are folded, too
    apart.find_element("css selector", "summary").click()
    page.click("Accept all 10 (its weights changed)", apart)
    assert decisions(page) == {(TEST, f"layers.{count}"): "accept" for count in range(1, 20, 2)}
    assert "Accept all 10 (another shape)" in apart.text


def test_what_is_out_of_sight_is_not_decided(page):
    card(page, STEM, "stem")
    page.click("new 2")
    page.press("a", "T", "C")
    assert decisions(page) == {}
    page.press("j", "a")
    assert decisions(page) == {("tests/test_net.py::test_layers", "fresh"): "accept"}


def test_many_are_decided_at_once_as_far_as_they_are_shown(page):
    found = card(page, "tests/test_net.py::test_layers", "stem")
    (section,) = [one for one in page.all("section.test") if "test_layers" in one.text]

    def offered():
        shown = section.find_elements("css selector", ".bulk button:not(.others)")
        return [one.text for one in shown if one.is_displayed()]

    cause = "maps of this cause"
    whole = ["Accept all 5", "Reject all 5", f"Accept all 4 {cause}, in 2 tests", "Reject all 4"]
    assert offered() == whole
    page.press("/", *"test_layers")
    assert offered() == [*whole[:2], f"Accept 3 shown {cause}", "Reject 3 shown"]
    page.press(*"x")
    assert offered() == []
    page.press(Keys.BACKSPACE, Keys.ESCAPE)
    page.click(f"Accept 3 shown {cause}", found)
    assert decisions(page) == dict.fromkeys(OF_ONE_CAUSE - {(STEM, "stem")}, "accept")
    page.ask("sessionStorage.clear(); location.reload()")
    page.click("missing 1")
    (section,) = [one for one in page.all("section.test") if "test_layers" in one.text]
    assert offered() == ["Accept 1 shown", "Reject 1 shown"]
    page.click("Reject 1 shown", section)
    assert decisions(page) == {("tests/test_net.py::test_layers", "gone"): "reject"}
    page.click("all")
    card(page, "tests/test_net.py::test_layers", "stem")
    page.press("/", *"relu", Keys.ESCAPE)
    assert page.ask("return document.getElementById('search').value") == "relu"
    page.press("j", "T")
    assert decisions(page) == {
        ("tests/test_net.py::test_layers", "gone"): "reject",
        ("tests/test_net.py::test_layers", "relu"): "accept",
    }


def test_what_a_search_unfolds_is_folded_again(page):
    def folds():
        return page.ask("return [...document.querySelectorAll('.fold')].map(one => one.open)")

    before = folds()
    page.press("/", *"relu", Keys.ESCAPE)
    assert folds() != before
    page.press("/", Keys.BACKSPACE)
    assert folds() == before


def test_both_sides_of_a_new_name_are_decided_together(browser, tmp_path):
    project = Project(tmp_path)
    maps = (
        Map("conv1", "removed", "is now stem", "conv1", None, partner="stem"),
        Map("conv2", "changed", "moved", "conv2", "conv2"),
        Map("stem", "added", "was conv1", None, "stem", partner="conv1"),
    )
    project.leave(maps=maps)
    page = opened(browser, project, tmp_path)
    card(page, TEST, "stem")
    page.press("r")
    assert decisions(page) == {(TEST, "conv1"): "reject", (TEST, "stem"): "reject"}


def test_buttons_do_the_same(page):
    found = card(page, STEM, "stem")
    page.click("Reject", found)
    assert decisions(page) == {(STEM, "stem"): "reject"}
    page.click("Reject", found)
    assert decisions(page) == {}
    page.click("Accept all 4 maps of this cause, in 2 tests", found)
    assert decisions(page) == dict.fromkeys(OF_ONE_CAUSE, "accept")
    (section,) = [one for one in page.all("section.test") if "test_layers" in one.text]
    page.click("Reject all 5", section)
    assert sorted(decisions(page).values()) == ["accept"] + ["reject"] * 5


def test_the_story_in_words(page, reported):
    (section,) = [one for one in page.all("section.test") if "test_layers" in one.text]
    section.find_element("css selector", ".story summary").click()
    told = section.find_element("css selector", "pre").text.splitlines()
    assert told == list(results(reported)["tests/test_net.py::test_layers"].record.story)


def test_a_window_that_changes_its_size(page):
    found = drawn(page, STEM, "stem")
    before = boxes(page, found)[0][2]
    page.resize(PHONE)
    until(lambda: boxes(page, found)[0][2] != before)
    page.resize(DESKTOP)
    until(lambda: boxes(page, found)[0][2] == before)


def test_a_reload_keeps_decisions(page, reported):
    card(page, STEM, "stem")
    page.press("a")
    page.open(reported / "page.html")
    assert decisions(page) == {(STEM, "stem"): "accept"}


def test_the_list_of_keys(page):
    page.press("?")
    told = page.texts("dt")
    assert told[0] == "j k"
    assert page.ask("return KEYS.flatMap(([keys]) => keys.split(' '))") == [
        *"jkaruCTX1234+−h",
        "arrows",
        "o",
        "/",
        "?",
    ]
    page.press("a", Keys.ESCAPE)
    assert not page.one("#help").is_displayed()
    assert decisions(page) == {}


# --- and what becomes of them ---------------------------------------------------------------------


def test_downloaded_decisions_are_carried_out(page, project, tmp_path):
    card(page, STEM, "stem")
    page.press("C")
    card(page, "tests/test_net.py::test_layers", "stem")
    page.press("T")
    for test in ("marks", "new", "wider"):
        card(page, f"tests/test_net.py::test_{test}", "fresh" if test == "new" else ".")
        page.press("T")
    updates = {
        one.record.baseline: one.read(one.record.update)
        for test, one in results(project).items()
        if "hostile" not in test
    }
    page.one("#download").click()
    until((tmp_path / "approvals.json").exists)
    line = "pytest-featuremaps accept --approvals ../approvals.json"
    code, said = type_line(project, line)
    assert (code, len(said.splitlines())) == (cli.DONE, 5)
    assert {name: (project / name).read_bytes() for name in updates} == updates
    assert set(results(project)) == {test for test in page.texts("h2") if "hostile" in test}
    (project / "tests/__snapshots__/test_net/test_gone.jsonl").unlink()  # unused: no run is green
    assert "6 passed" in run(project, "-k", "not hostile", code=0, CHANGED="1")


def test_the_command_does_what_was_decided(page, project):
    """Some layers of tables, of which some are rejected, and a name that a shell would obey."""
    layers = results(project)["tests/test_net.py::test_layers"].record
    before = (project / layers.baseline).read_bytes()
    hostile = page.texts("h2")[0]
    card(page, "tests/test_net.py::test_layers", "relu")
    page.press("a", "r")
    card(page, hostile, EVIL)
    page.press("r")
    card(page, STEM, "stem")
    page.press("a")
    page.one("#command").click()
    command = page.ask("return document.getElementById('command-text').value")
    assert len(command.splitlines()) == 2
    for line in command.splitlines():
        assert type_line(project, line)[0] == cli.DONE
    left = results(project)
    assert STEM not in left
    told = {
        (test, one.key): one.decision
        for test, result in left.items()
        for one in result.record.maps
        if one.decision
    }
    assert told == {
        (layers.test, "relu"): "accepted",
        (layers.test, "head"): "rejected",
        (hostile, EVIL): "rejected",
    }
    after = (project / layers.baseline).read_bytes()
    changed = [
        json.loads(now)["key"]
        for then, now in zip(before.splitlines(), after.splitlines(), strict=True)
        if then != now
    ]
    assert changed == ["relu"]


def test_the_command_is_copied(page):
    card(page, STEM, "stem")
    page.press("a")
    page.one("#command").click()
    page.one("#copy").click()
    command = page.ask("return document.getElementById('command-text').value")
    page.press(Keys.ESCAPE)
    page.one("#search").click()
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    assert page.ask("return document.getElementById('search').value") == command


def test_what_was_compared_with_a_revision_cannot_be_accepted(browser, tmp_path):
    project = Project(tmp_path)
    project.leave(revision="main (1a2b3c4)")
    page = opened(browser, project, tmp_path)
    found = card(page, TEST, "conv1")
    page.press("a", "T", "C")
    assert decisions(page) == {}
    assert "compared with main (1a2b3c4)" in found.text
    assert "Accept" not in page.one("main").text
    assert page.one("#tally").text == "3 maps to look at, and nothing to accept."
