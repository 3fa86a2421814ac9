"""By hand: the layers of an nn.Sequential are found by counting: `list(model.children())[0][3]`.

Insert one layer, and the number means another. Here a layer is named as in `named_modules()`,
from the end with a negative index, and best by a name of its own.
"""

from collections import OrderedDict

import pytest
from torch import nn


@pytest.fixture
def named():
    conv1, conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3)
    return nn.Sequential(OrderedDict(conv1=conv1, relu=nn.ReLU(inplace=True), conv2=conv2))


@pytest.mark.capture("features.3", "features.-1", model="alexnet")
def test_by_index(alexnet, large_photo, feature_maps):
    alexnet(large_photo)
    assert list(feature_maps) == ["features.3", "features.12"]
    assert feature_maps["features.3"].module_type == "Conv2d"
    assert feature_maps["features.-1"] is feature_maps["features.12"]
    feature_maps["features.-1"].assert_shape("N 128 6 6")


@pytest.mark.capture("features.*", where=nn.Conv2d, model="alexnet")
def test_by_type(alexnet, large_photo, feature_maps):
    alexnet(large_photo)
    assert [one.layer for one in feature_maps.values()] == [
        "features.0",
        "features.3",
        "features.6",
        "features.8",
        "features.10",
    ]


@pytest.mark.capture("conv2", model="named")
def test_by_name(named, photo, feature_maps):
    named(photo)
    feature_maps["conv2"].assert_shape("N 16 H W", H=80 - 4, W=64 - 4)
