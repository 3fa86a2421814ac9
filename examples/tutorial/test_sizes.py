"""By hand: a hook prints the size of what each layer returns.

Nobody reads what a passing test prints, and the size for one input says little about another.
Here sizes are rules with names in them, checked for several inputs.
"""

import pytest
import torch
from torch import nn


class LeNet(nn.Module):
    """Two convolutions without padding, and a pooling between them."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5)

    def forward(self, x):
        return self.conv2(self.pool(self.conv1(x)))


@pytest.fixture
def model():
    return LeNet()


@pytest.mark.capture("conv2")
def test_size_of_conv2(model, feature_maps):
    model(torch.zeros(4, 3, 32, 32))
    feature_maps["conv2"].assert_shape((4, 16, 10, 10))


@pytest.mark.capture("conv1", "conv2")
@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 48), (224, 160), (16, 18)])
def test_sizes_follow_the_input(model, feature_maps, height, width):
    model(torch.zeros(2, 3, height, width))
    sizes = feature_maps["conv1"].assert_shape("N 6 H W", N=2, H=height - 4, W=width - 4)
    feature_maps["conv2"].assert_shape("N 16 H/2-4 W/2-4", **sizes)


@pytest.mark.capture("conv2")
def test_a_wrong_size_is_told(model, feature_maps):
    model(torch.zeros(1, 3, 32, 48))
    with pytest.raises(AssertionError) as error:
        feature_maps["conv2"].assert_shape("N 16 S S")
    assert str(error.value).splitlines() == [
        "conv2 (Conv2d): dimension 3 (S) is 18, but S = 10 from dimension 2.",
        "  expected: N 16 S S",
        "  found:    1 16 10 18",
    ]
