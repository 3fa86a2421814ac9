"""What the axes of a map mean: by the kind of the layer that made it, or as declared."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from pytest_featuremaps import capture
from pytest_featuremaps.layouts.layouts import channel_axis, guess, misfit, slip
from pytest_featuremaps.maps import axes
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.values import take


class Call(nn.Module):
    """A module whose forward is one functional call."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


BY_LAYER = [
    (nn.Linear(4, 8), (2, 4), "NC"),
    (nn.Linear(4, 8), (2, 3, 4), "NLC"),
    (nn.Linear(4, 8), (2, 3, 5, 4), "NHWC"),
    (nn.Linear(4, 8), (2, 3, 5, 6, 4), "NDHWC"),
    (nn.Linear(4, 8), (4,), None),
    (nn.LayerNorm(4), (2, 3, 4), "NLC"),
    (nn.LayerNorm(4), (2, 3, 5, 4), "NHWC"),
    (nn.RMSNorm(4), (2, 3, 5, 4), "NHWC"),
    (nn.Conv1d(3, 8, 3), (2, 3, 9), "NCL"),
    (nn.Conv1d(3, 8, 3), (3, 9), "CL"),
    (nn.ConvTranspose1d(3, 8, 3), (2, 3, 9), "NCL"),
    (nn.MaxPool1d(2), (2, 4, 8), "NCL"),
    (nn.AdaptiveAvgPool1d(2), (4, 8), "CL"),
    (nn.ReflectionPad1d(1), (2, 4, 8), "NCL"),
    (nn.BatchNorm1d(4), (2, 4, 7), "NCL"),
    (nn.BatchNorm1d(4), (6, 4), "NC"),
    (nn.InstanceNorm1d(4), (4, 7), "CL"),
    (nn.GroupNorm(2, 4), (2, 4, 7), "NCL"),
    (nn.GroupNorm(2, 4), (2, 4, 7, 7), "NCHW"),
    (nn.Conv2d(3, 8, 3), (2, 3, 9, 9), "NCHW"),
    (nn.Conv2d(3, 8, 3), (3, 9, 9), "CHW"),
    (nn.Conv3d(3, 8, 3), (2, 3, 9, 9, 9), "NCDHW"),
    (nn.Conv3d(3, 8, 3), (3, 9, 9, 9), "CDHW"),
    (nn.Upsample(scale_factor=2), (2, 4, 8), "NLC"),
    (nn.ReLU(), (2, 3, 4), "NLC"),
    (nn.ReLU(), (2, 3, 4, 4), "NCHW"),
    (nn.Flatten(), (2, 3, 4), "NC"),
]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_the_state_of_a_recurrent_layer_has_its_samples_second(kind):
    layer = kind(4, 8, num_layers=2, batch_first=True)
    with capture(layer, ".") as maps:
        layer(torch.ones(3, 5, 4))
    output, *states = maps.values()
    assert (output.shape, output.layout) == ((3, 5, 8), "NLC")
    assert states
    assert {(one.shape, one.layout) for one in states} == {((2, 3, 8), "LNC")}
    assert take(record_of(states[0]), 1).shape == (2, 1, 8)


@pytest.mark.parametrize(("layer", "shape", "layout"), BY_LAYER, ids=str)
def test_a_layer_says_what_its_axes_mean(layer, shape, layout):
    with capture(layer, ".") as maps:
        layer(torch.ones(shape))
    assert maps["."].layout == layout
    expected = layout.index("C") if layout else None
    assert axes.channel_axis(record_of(maps["."])) == expected


BY_CALL = {
    "linear()": (lambda x: functional.linear(x, torch.ones(8, 4)), (2, 3, 5, 4), "NHWC"),
    "layer_norm()": (lambda x: functional.layer_norm(x, (4,)), (2, 3, 5, 4), "NHWC"),
    "conv1d()": (lambda x: functional.conv1d(x, torch.ones(8, 4, 1)), (2, 4, 5), "NCL"),
    "group_norm()": (lambda x: functional.group_norm(x, 2), (2, 4, 5), "NCL"),
    "relu()": (functional.relu, (2, 3, 5), "NLC"),
}


@pytest.mark.parametrize("name", BY_CALL)
def test_so_does_a_functional_call(name):
    call, shape, layout = BY_CALL[name]
    model = Call(call)
    with capture(model, name) as maps:
        model(torch.ones(shape))
    assert maps[name].layout == layout


def test_a_layer_is_known_by_what_it_derives_from():
    class Mine(nn.Conv1d):
        pass

    model = Mine(3, 8, 3)
    with capture(model, ".") as maps:
        model(torch.ones(2, 3, 9))
    assert maps["."].layout == "NCL"


@pytest.mark.parametrize(
    ("layout", "axis"), [("NCHW", 1), ("NHWC", 3), ("CHWN", 0), ("NLHW", None)]
)
def test_what_is_declared_goes_first(layout, axis):
    assert channel_axis(layout, ("Linear",), 4) == axis
    assert channel_axis(layout, ("Linear",), 3) == 2  # it does not fit


def test_six_axes_have_their_channels_where_most_maps_have():
    assert guess(("ReLU",), 6) is None
    assert channel_axis(None, ("ReLU",), 6) == 1
    assert channel_axis(None, ("ReLU",), 1) is None


def test_slips():
    assert slip("NCHW") == misfit("NCHW", 4) == ""
    assert slip(7) == "a layout is a word, such as 'NCHW'"
    assert slip("NCC") == "it names an axis twice"
    assert slip("nX").startswith("'X', 'n' is none of its letters")
    assert misfit("NC", 3) == "layout 'NC' names 2 axes, the map has 3"
