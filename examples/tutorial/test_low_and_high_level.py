"""By hand: an early and a late map are shown as figures, and the difference is told in words.

Low-level maps are large and show edges, high-level maps are small and show where things are: said
like that, nothing can fail. Here the same sentences are assertions about one network: a layer of
edges, and a layer whose three filters, two eyes and a mouth, are taken from the edges of a face.
"""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d

PARTS = [(9, 6), (10, 17), (20, 12)]  # the cells where her eyes and her mouth begin, 8 x 8 each

pytestmark = pytest.mark.capture("edges", "parts")


@pytest.fixture
def model(photo, edge_filters):
    layers = {"edges": nn.Conv2d(3, 4, 3), "relu": nn.ReLU(inplace=True), "pool": nn.AvgPool2d(2)}
    early = nn.Sequential(OrderedDict(layers)).requires_grad_(requires_grad=False)
    early.edges.weight.zero_()[:, 1] = edge_filters
    early.edges.bias.zero_()
    face = early(photo)[0]
    filters = torch.stack([face[:, y : y + 8, x : x + 8] for y, x in PARTS])
    filters -= filters.mean((2, 3), keepdim=True)
    parts = nn.Conv2d(4, 3, 8, bias=False).requires_grad_(requires_grad=False)
    parts.weight.copy_(filters / torch.linalg.vector_norm(filters, dim=(1, 2, 3), keepdim=True))
    return nn.Sequential(OrderedDict(layers, parts=parts))


def test_high_level_maps_are_smaller_and_move_in_larger_steps(model, photo, feature_maps):
    model(photo)
    sizes = feature_maps["edges"].assert_shape("N 4 H W", H=80 - 2, W=64 - 2)
    feature_maps["parts"].assert_shape("N 3 H/2-7 W/2-7", **sizes)
    model(photo[..., 2:])
    for layer, cells in [("edges", 2), ("parts", 1)]:
        before, after = (one.tensor for one in feature_maps.calls(layer))
        torch.testing.assert_close(after, before[..., cells:])


def test_low_level_maps_show_edges_and_high_level_maps_do_not(model, photo, feature_maps):
    model(photo)
    slope = np.hypot(*np.gradient(photo[0, 1].numpy()))[1:-1, 1:-1]
    edges = np.abs(feature_maps["edges"].numpy()[0]).sum(0)
    assert np.corrcoef(edges.ravel(), slope.ravel())[0, 1] > 0.9
    under_parts = avg_pool2d(torch.tensor(slope)[None], 2)[0, 4:36, 4:28].ravel()
    for part in feature_maps["parts"].numpy()[0]:
        assert abs(np.corrcoef(part.ravel(), under_parts)[0, 1]) < 0.3


def test_high_level_maps_say_where_things_are(model, photo, feature_maps):
    model(photo[..., 6:, 4:])
    maps = feature_maps["parts"].numpy()[0]
    peaks = [np.unravel_index(part.argmax(), part.shape) for part in maps]
    assert peaks == [(row - 3, column - 2) for row, column in PARTS]


def test_pictures(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert feature_maps["edges"] == feature_snapshot
    assert feature_maps["parts"] == feature_snapshot
