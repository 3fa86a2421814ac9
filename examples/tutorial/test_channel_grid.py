"""By hand: each channel is scaled with `-= min` and `/= max`, then drawn in a grid.

`detach().numpy()` shares its memory with the running model, which goes on computing with the
scaled values, and a constant channel divides by zero. Here pictures are drawn from copies, a
constant channel is flat, and the picture is a baseline that the test compares with.
"""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

POINT = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]])
BLUR = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
CONSTANT = 7


@pytest.fixture
def model(edge_filters):
    """Filters that one can recognise: four edges, points, a blur, red without blue, a constant."""
    filters = nn.Conv2d(3, 8, 3).requires_grad_(requires_grad=False)
    filters.weight.zero_()
    filters.weight[:4] = edge_filters[:, None]
    filters.weight[4:6] = torch.stack([POINT, BLUR])[:, None]
    filters.weight[6] = torch.stack([BLUR, 0 * BLUR, -BLUR])
    filters.bias.copy_(torch.eye(8)[CONSTANT])
    layers = {"filters": filters, "relu": nn.ReLU(inplace=True), "pool": nn.AvgPool2d(8)}
    return nn.Sequential(OrderedDict(layers))


def scale(channels):
    """Scale each channel to 0 ... 1 where it lies."""
    channels -= channels.min(axis=(1, 2), keepdims=True)
    channels /= channels.max(axis=(1, 2), keepdims=True)


def test_by_hand_the_output_changes(model, photo):
    expected = model(photo)
    model.filters.register_forward_hook(lambda *call: scale(call[2].detach().numpy()[0]))
    with pytest.warns(RuntimeWarning, match="invalid value encountered in divide"):
        moved = model(photo)
    assert (moved - expected)[:, :CONSTANT].abs().max() > 0.5
    assert moved[:, CONSTANT].isnan().all()


@pytest.mark.capture("filters")
def test_drawing_half_way_through_leaves_the_output_alone(model, photo, feature_maps, tmp_path):
    def draw(*_):
        feature_maps["filters"].save(tmp_path / "grid.png")
        scale(feature_maps["filters"].numpy()[0, :CONSTANT])

    expected = copy.deepcopy(model)(photo)
    model.filters.register_forward_hook(draw)
    assert torch.equal(model(photo), expected)
    assert feature_maps["filters"].stats.min < 0


@pytest.mark.capture("filters")
def test_a_constant_channel_is_flat(model, photo, feature_maps):
    model(photo)
    assert feature_maps["filters"].stats.constant_channels == (CONSTANT,)
    picture = feature_maps["filters"].image(channels=[CONSTANT], numbers=False)
    assert len(picture.getcolors()) == 2  # pale, with lines


@pytest.mark.capture("filters")
def test_grid_of_channels(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert feature_maps["filters"] == feature_snapshot
