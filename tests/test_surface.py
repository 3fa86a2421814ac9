"""The public surface: what Tab shows of each object is what the manual's reference lists."""

import inspect
import re
from pathlib import Path

import pytest

import pytest_featuremaps
from pytest_featuremaps import Tolerance, capture, compare

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
REFERENCE = README.partition("\n## Reference\n")[2].partition("\n## ")[0]
TABLE = re.compile(r"^\| an? `(\w+)`.* has \| \|\n\| --- \| --- \|\n((?:\|.*\n)+)", re.MULTILINE)
CLASSES = {
    name: value
    for name in pytest_featuremaps.__all__
    if inspect.isclass(value := getattr(pytest_featuremaps, name))
    and not issubclass(value, BaseException)
}


def listed(rows):
    """The members that a table of the reference names, each in backticks in its first column."""
    return {name for row in rows.splitlines() for name in re.findall(r"`(\w+)", row.split("|")[1])}


def public(names):
    return {name for name in names if not name.startswith("_")}


TABLES = {name: listed(rows) for name, rows in TABLE.findall(REFERENCE)}
PROMISED = {
    **TABLES,
    "Recording": TABLES["Recording"] | TABLES["FeatureMaps"],
    "FeatureSnapshot": set(),
}


@pytest.fixture
def objects(net, photo, feature_snapshot):
    """One object of each public class."""
    with capture(net, "**", keep="stats", required=False) as recording:
        net(photo)
    return {
        "Comparison": compare(recording, recording),
        "FeatureMap": recording["features.0"],
        "FeatureMaps": recording.of("model"),
        "FeatureSnapshot": feature_snapshot,
        "Recording": recording,
        "Tolerance": Tolerance(1e-3),
    }


def test_the_reference_tells_the_members_of_each_public_class():
    assert set(PROMISED) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_an_object_has_the_members_that_the_reference_lists_and_no_other(name, objects):
    assert type(objects[name]) is CLASSES[name]
    assert public(dir(objects[name])) == PROMISED[name]


def test_errors_and_warnings_add_nothing_to_those_of_python():
    errors = set(pytest_featuremaps.__all__) - set(CLASSES) - {"capture", "compare", "shapes_only"}
    assert errors
    for name in errors:
        kind = getattr(pytest_featuremaps, name)
        assert public(dir(kind)) == public(dir(Exception))


def test_the_package_shows_what_the_reference_says_it_exports():
    assert public(dir(pytest_featuremaps)) == set(pytest_featuremaps.__all__)
    assert [name for name in pytest_featuremaps.__all__ if f"`{name}`" not in REFERENCE] == []
