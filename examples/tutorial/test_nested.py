"""By hand: a hook on a layer of a model inside the model is found by two nested loops over names.

A slip in a name finds nothing, and nothing is what the test then sees. Here the dotted path says
where the layer is, and a path that does not exist is an error.
"""

import pytest
from torch import nn


class SmallModel(nn.Module):
    """Two convolutions."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2)
        self.conv2 = nn.Conv2d(16, 128, 3, stride=2)

    def forward(self, x):
        return self.conv2(self.conv1(x).relu_())


class Model(nn.Module):
    """A model that holds a smaller one."""

    def __init__(self):
        super().__init__()
        self.small_model = SmallModel()
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.small_model(x).relu_().mean((2, 3)))


@pytest.fixture
def model():
    return Model()


@pytest.mark.capture("small_model.conv2")
def test_conv2(model, photo, feature_maps, feature_snapshot):
    model(photo)
    feature_maps["small_model.conv2"].assert_shape("N 128 H W", H=19, W=15)
    assert feature_maps == feature_snapshot
    assert feature_maps["small_model.conv2"] == feature_snapshot
