"""The page of a report, as text: one file, nothing from elsewhere, and nothing that breaks out."""

import base64
import hashlib
import html.parser
import json
import re
from importlib import metadata

import pytest
from waiting import TEST, Project, drawn

from pytest_featuremaps.review import folder, page
from pytest_featuremaps.review.records import Map

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'><img src=x onerror=alert(1)>",
    "@SCRIPT@",
    "\x1b[2J\u202e&lt;",
    "\ud800",
)


class Elements(html.parser.HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts = [], {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_data(self, data):
        if self.found and self.found[-1][0] in self.texts:
            self.texts[self.found[-1][0]][-1] += data

    def handle_endtag(self, tag):
        self.found.append((f"/{tag}", {}))


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def rendered(project, unused=()):
    return page.render(folder.read(project.output), unused).decode()


def test_a_page_of_nothing(project):
    assert rendered(project).startswith("<!DOCTYPE html>")


def test_nothing_comes_from_elsewhere(project):
    project.leave()
    text = rendered(project)
    assert not re.search(r"https?:|//\w+\.|@import|url\(", text)
    for _, attributes in Elements(text).found:
        assert not {"src", "href", "style", "onclick", "onload"} & set(attributes)


def test_the_policy_allows_its_own_script_and_style_alone(project):
    project.leave()
    elements = Elements(rendered(project))
    (policy,) = (a["content"] for _, a in elements.found if a.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for kind in ("script", "style"):
        text = elements.texts[kind][-1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{kind}-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in policy


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_names_stay_text(project, evil):
    calm = Elements(rendered(project, ["x"])).found
    project.leave()
    calm = Elements(rendered(project, ["x"])).found
    maps = (Map(evil, "changed", evil, evil, evil, module=evil),)
    project.leave(maps=maps, why=evil, story=(evil,), headline=(evil,), name=evil)
    elements = Elements(rendered(project, [evil]))
    assert elements.found == calm
    data = json.loads(next(text for text in elements.texts["script"] if text.startswith("{")))
    assert data["unused"] == [evil]
    assert data["results"][0]["maps"][0]["key"] == evil


def test_pictures_travel_inside(project):
    maps = (Map("conv1", "changed", "moved", "conv1", "conv1"),)
    project.leave(drawn(1), drawn(2), maps, "test_a[conv1].png", actual=None)
    elements = Elements(rendered(project))
    (text,) = (one for one in elements.texts["script"] if one.startswith("iVBOR"))
    assert base64.b64decode(text) == drawn(2)  # what is new, where there are not two to compare


def test_the_report_of_a_run(write, pytester):
    write(BODY)
    pytester.makefile(".jsonl", **{"__snapshots__/test_it/test_gone": "{}"})
    # A test that fails before a comparison would have asked for its baseline.
    pytester.makefile(".png", **{"__snapshots__/test_it/test_maps[conv1]": ""})
    for workers in ((), ("-n", "2")):
        result = pytester.runpytest("--featuremaps-report=left/page.html", *workers)
        result.assert_outcomes(failed=1)
        path = pytester.path / "left" / "page.html"
        result.stdout.fnmatch_lines([f"feature maps to review: {path}"])
        text = path.read_text()
        data = json.loads(Elements(text).texts["script"][0])
        assert [one["test"] for one in data["results"]] == ["test_it.py::test_maps"]
        # syrupy before 5.5 finds no orphan under xdist.
        found = not workers or metadata.version("syrupy") >= "5.5"
        assert data["unused"] == ["__snapshots__/test_it/test_gone.jsonl"] * found
        path.unlink()


def test_a_report_into_a_folder_that_is_missing(write, pytester, tmp_path_factory):
    write("def test_it(): pass")
    outside = tmp_path_factory.mktemp("outside") / "nosuch"
    result = pytester.runpytest(f"--featuremaps-report={outside}/page.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            f"ERROR: --featuremaps-report={outside}/page.html: there is no folder {outside}, and "
            f"only below {pytester.path} one is made"
        ]
    )
    assert not outside.exists()
    pytester.runpytest("--featuremaps-report=made/here/page.html").assert_outcomes(passed=1)
    assert (pytester.path / "made" / "here" / "page.html").is_file()


def test_the_report_of_a_green_run(write, pytester):
    write("def test_it(): pass")
    path = pytester.path / "page.html"
    path.write_text("of an earlier run")
    pytester.runpytest("--featuremaps-report=page.html").assert_outcomes(passed=1)
    assert json.loads(Elements(path.read_text()).texts["script"][0]) == {
        "results": [],
        "causes": [],
        "unused": [],
    }
    assert TEST not in path.read_text()


@pytest.mark.parametrize("passing", [True, False])
def test_a_page_that_cannot_be_written_hides_nothing_of_the_run(write, pytester, passing):
    taken = "import pathlib\n\ndef pytest_sessionstart(): pathlib.Path('page.html').mkdir()"
    write("def test_it(): pass" if passing else BODY, conftest=taken)
    result = pytester.runpytest("--featuremaps-report=page.html")
    result.assert_outcomes(passed=int(passing), failed=int(not passing))
    assert result.ret == (pytest.ExitCode.OK if passing else pytest.ExitCode.TESTS_FAILED)
    result.stdout.fnmatch_lines(["the page could not be written: *Is a directory: *"])
    result.stdout.no_fnmatch_line("feature maps to review: *")
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    if not passing:
        result.stdout.fnmatch_lines(
            ["*test_maps.jsonl: there is no baseline yet", "FAILED test_it.py::test_maps *"]
        )


def test_a_result_that_cannot_be_read_hides_nothing_of_the_run(write, pytester):
    write("def test_it(): pass")
    record = pytester.path / ".featuremaps" / "results" / "a" / "b" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{")
    result = pytester.runpytest("--featuremaps-report=page.html")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    reason = f"{record}: it is not JSON; it may have been cut off."
    result.stdout.fnmatch_lines([f"the page could not be written: {reason}"])


def test_a_folder_is_no_page(write, pytester):
    write("def test_it(): pass")
    result = pytester.runpytest("--featuremaps-report=.")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = "ERROR: --featuremaps-report=.: this is a folder, name a file in it"
    result.stderr.fnmatch_lines([said])


BODY = """
@pytest.mark.capture("**.conv1")
def test_maps(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert feature_maps == feature_snapshot
"""
