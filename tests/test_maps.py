"""The checks over all maps of a recording, and its summary."""

import pytest
import torch
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.errors import MissingMap


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
        ("0#7", "its keys are 0#0, 0#1"),
        ("0#1[1]", "its keys are 0#0, 0#1"),
        ("*", "its keys are 0#0, 0#1"),
        ("1.relu()#3", "its key is 1.relu()"),
        ("*.relu()", "its key is 1.relu()"),
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
