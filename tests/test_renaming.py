"""Names that are declared: what is renamed, and what cannot be read or fits nothing, in words."""

import re

import pytest

from pytest_featuremaps.baseline.renaming import renamed
from pytest_featuremaps.errors import BaselineError

OLD = ["stem", "layer.0.conv", "layer.1.conv", "layer.1.conv[0]", "."]
NEW = ["stem", "encoder.0.conv", "encoder.1.conv", "encoder.1.conv[0]", "."]


@pytest.mark.parametrize(
    "rename",
    [
        {"layer": "encoder"},
        {"layer.0": "encoder.0", "layer.1": "encoder.1"},
        (r"^layer", "encoder"),
        (re.compile(r"^layer"), "encoder"),
        {re.compile(r"^layer\.(\d)"): r"encoder.\1"},
        lambda key: key.replace("layer", "encoder"),
    ],
)
def test_what_is_renamed(rename):
    names = renamed(rename, OLD, NEW)
    assert [names.get(key, key) for key in OLD] == NEW


def test_a_wrapper_comes_and_goes():
    inside, wrapped = ["conv", "head[0]"], ["module.conv", "module.head[0]"]
    assert list(renamed({"": "module"}, inside, wrapped).values()) == wrapped
    assert list(renamed({"module": ""}, wrapped, inside).values()) == inside


def test_nothing_is_renamed_without_being_asked():
    assert renamed(None, OLD, NEW) == {}


@pytest.mark.parametrize(
    ("rename", "lines"),
    [
        (
            {"layers": "encoder"},
            [
                "rename={'layers': 'encoder'} fits no key of the baseline.",
                "Near matches: layer, layer.0, layer.1.",
                "If it was updated since and has the new names, take rename= away.",
            ],
        ),
        (
            {"layer": "decoder"},
            [
                "rename={'layer': 'decoder'} calls 'layer.0.conv' 'decoder.0.conv', and there is "
                "no such key here.",
                "Near matches: encoder.0, encoder.0.conv, encoder.1.conv, encoder.1.conv[0].",
            ],
        ),
        (("(layer", "encoder"), ["rename: '(layer' is no regular expression: missing ), "]),
        (("layer", r"\9"), [r"rename: '\\9' is no replacement for 'layer': invalid group"]),
        (
            ["layer", "encoder"],
            [
                "rename=['layer', 'encoder'] cannot be read.",
                "It is a mapping of old names to new ones, a pair (regular expression, "
                "replacement), or a function from old key to new.",
            ],
        ),
        ({"layer": 1}, ["rename={'layer': 1} cannot be read."]),
        (len, ["rename=len: it gives 4 for 'stem'; it must give a key."]),
        (
            {"layer.0": "encoder.0", "layer.1": "encoder.0"},
            ["rename makes 2 keys of the baseline the same, 'encoder.0.conv': "],
        ),
    ],
)
def test_what_cannot_be_renamed_is_told(rename, lines):
    with pytest.raises(BaselineError) as caught:
        renamed(rename, OLD, NEW)
    for line, told in zip(lines, str(caught.value).splitlines(), strict=False):
        assert told.startswith(line)


def test_of_a_reference_no_update_is_spoken_of():
    with pytest.raises(BaselineError) as caught:
        renamed({"layers": "encoder"}, OLD, NEW, of="the reference")
    assert "updated" not in str(caught.value)
