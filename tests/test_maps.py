"""The checks over all maps of a recording, and its summary."""

import pytest
import torch
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.errors import CaptureError, MissingMap
from pytest_featuremaps.recording.recorder import Recorder
from pytest_featuremaps.recording.recording import Recording


class Log(nn.Module):
    def forward(self, x):
        return torch.log(x)


@pytest.fixture
def broken():
    model = nn.Sequential(nn.Identity(), Log(), nn.ReLU(), nn.Linear(4, 2))
    with capture(model, "*") as maps:
        model(torch.tensor([[0.0, 1.0, -1.0, 2.0]]))
    return maps


def test_the_first_map_that_is_not_finite_is_named(broken):
    with pytest.raises(AssertionError) as caught:
        broken.assert_finite()
    assert str(caught.value).splitlines() == [
        "1 (Log) is not finite: 1 NaN and 1 infinite of 4 values.",
        "  the first at index (0, 0) of shape (1, 4)",
        "2 later feature maps are not finite either.",
    ]
    broken.only("0").assert_finite()


def test_the_summary_tells_what_its_numbers_leave_out(broken):
    last = "not finite, and left out of these numbers: 1 (1 NaN, 1 Inf of 4), 2 (1 NaN of 4)"
    assert broken.summary(most=3).splitlines()[-2:] == ["and 1 more", last]
    assert broken.summary().splitlines()[-1] == f"{last}, 3 (2 NaN of 2)"
    assert broken.only("0").summary().count("not finite") == 0


def test_the_summary_counts_what_is_not_finite_past_the_first_six():
    model = nn.Sequential(*(nn.Identity() for _ in range(8)))
    with capture(model, "*", keep="stats") as maps:
        model(torch.tensor([float("inf"), 1.0]))
    assert maps.summary().endswith("4 (1 Inf of 2), 5 (1 Inf of 2) and 2 more")


def test_the_summary_is_a_table(net):
    with capture(net, "small_model.*", "unused") as maps:
        net.small_model(torch.zeros(2, 3, 8, 8))
    lines = maps.summary().splitlines()
    assert lines[0].split() == [
        "feature",
        "map",
        "module",
        "shape",
        "dtype",
        "mean",
        "std",
        "min",
        "max",
        "zeros",
    ]
    assert lines[1].split()[:4] == ["small_model.conv1", "Conv2d", "2×4×6×6", "float32"]
    assert lines[2].split()[:4] == ["small_model.conv2", "Conv2d", "2×8×4×4", "float32"]
    assert lines[3] == "did not run: unused"
    assert len({len(line) for line in lines[:3]}) == 1


def test_the_summary_answers_without_readable_values():
    model = nn.Sequential(nn.Linear(2, 3))
    with capture(model.to("meta"), "0") as maps:
        model(torch.empty(1, 2, device="meta"))
    assert maps.summary().splitlines()[1].split() == [
        "0",
        "Linear",
        "1×3",
        "float32",
        *"–––––",
    ]


def test_an_empty_recording_has_a_summary(net):
    with capture(net, "relu") as maps:
        pass
    assert maps.summary().splitlines()[1:] == ["did not run: relu"]
    assert repr(maps) == "<FeatureMaps: nothing recorded>"


def test_a_collection_is_equal_to_itself_only(net):
    with capture(net, "relu") as maps:
        pass
    assert maps == maps  # noqa: PLR0124 - identity is the point
    assert maps != {}
    assert len({maps, maps.only("relu")}) == 2


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("0#7", "of its layer 0#0, 0#1 are recorded"),
        ("0#1[1]", "of its layer 0#0, 0#1 are recorded"),
        ("*", "of what it matches 0#0, 0#1 are recorded"),
        ("1.relu()#3", "of its layer only 1.relu() is recorded"),
        ("*.relu()", "of what it matches only 1.relu() is recorded"),
        ("2", "the module exists, but is not captured"),
    ],
)
def test_a_missing_key_whose_layer_has_maps_is_told_their_keys(key, told):
    class Block(nn.Module):
        def forward(self, x):
            return nn.functional.relu(x)

    relu = nn.ReLU()
    model = nn.Sequential(relu, Block(), nn.Sequential(relu))
    with capture(model, "0", "1.relu()") as maps:
        model(torch.ones(2))
    with pytest.raises(MissingMap) as caught:
        maps[key]
    assert str(caught.value).splitlines() == [
        f"There is no feature map {key!r}: {told}.",
        "Recorded are: 0#0, 0#1, 1.relu().",
    ]


def test_a_missing_key_is_told_near_ones():
    model = nn.Sequential()
    model.blocks = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    model.encoder = nn.Linear(4, 4)
    with capture(model, "**") as maps:
        model.encoder(torch.ones(4))
        model.encoder(torch.ones(4))
    for key in ("encodr#1", "part.encoder#1"):
        with pytest.raises(MissingMap) as caught:
            maps[key]
        assert str(caught.value).splitlines()[1].startswith("Did you mean 'encoder#1'")


# --- nothing is captured: the mark was forgotten

FORGOTTEN = (
    'Mark the test with capture("**"), or attach the model: feature_maps.attach(model, "**").'
)


CHECKS = {
    "conv": lambda maps: maps["conv"],
    "one of many shapes": lambda maps: maps.assert_shapes({"conv": "N 8"}),
    "finite": lambda maps: maps.assert_finite(),
    "healthy": lambda maps: maps.assert_healthy(),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
def test_no_check_passes_where_nothing_is_captured(check):
    with Recording(Recorder()) as maps, pytest.raises(CaptureError) as caught:
        check(maps)
    first, way_out = str(caught.value).splitlines()[:2]
    assert first.endswith(": nothing is captured.")
    assert way_out == FORGOTTEN


def test_the_summary_of_a_recording_that_captures_nothing_says_so():
    with Recording(Recorder()) as maps:
        assert maps.summary().splitlines()[1:] == [f"nothing is captured: m{FORGOTTEN[1:]}"]
        maps.attach(nn.ReLU(), ".", required=False)
        maps.assert_finite()
