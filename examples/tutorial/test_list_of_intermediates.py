"""By hand: the model is written anew, so that it returns a list of intermediate results.

The ReLU behind each convolution works in place, so the list holds what the ReLU left: nothing
below zero. And the rewritten model is not the one that ships. A capture needs names only, and
copies each map at the moment it is made.
"""

import pytest
import torch
from torch import nn

CONVOLUTIONS = (0, 3, 6)


class ListOfIntermediates(nn.Module):
    """AlexNet's features as the tutorial writes them."""

    def __init__(self, alexnet):
        super().__init__()
        self.features = alexnet.features

    def forward(self, x):
        intermediates = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in CONVOLUTIONS:
                intermediates.append(x)
        return intermediates


pytestmark = pytest.mark.capture("features.0", "features.3", "features.6", model="alexnet")


def test_shapes(alexnet, large_photo, feature_maps):
    alexnet(large_photo)
    feature_maps["features.0"].assert_shape("N 48 55 55", N=1)
    feature_maps["features.3"].assert_shape("N 128 27 27", N=1)
    feature_maps["features.6"].assert_shape("N 192 13 13", N=1)


def test_each_map_is_what_the_convolution_returned(alexnet, large_photo, feature_maps):
    expected = [alexnet.features[: index + 1](large_photo) for index in CONVOLUTIONS]
    feature_maps.clear()
    alexnet(large_photo)
    for recorded, returned in zip(feature_maps.values(), expected, strict=True):
        assert recorded.stats.min < 0
        assert torch.equal(recorded.tensor, returned)


def test_the_list_holds_what_the_relu_left(alexnet, large_photo, feature_maps):
    by_hand = ListOfIntermediates(alexnet)(large_photo)
    for recorded, entry in zip(feature_maps.values(), by_hand, strict=True):
        assert entry.min() == 0 > recorded.stats.min
        assert torch.equal(entry, recorded.tensor.relu())
