"""By hand: a model that holds itself is searched by a recursive function that counts depths.

The tutorial's model cannot run its own forward; a hook that stores maps by name keeps the last
call of a layer only. Here `*` is one level, `**` any number, and each call has its own key.
"""

import pytest
import torch
from torch import nn

FACTORS = (2, 3, 5)


class Recursive(nn.Module):
    """Multiply twice by the factor of this depth, then do what the child does."""

    def __init__(self, depth=0):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.constant_(self.conv1.weight, FACTORS[depth])
        self.child = Recursive(depth + 1) if depth + 1 < len(FACTORS) else None

    def forward(self, x):
        x = self.conv1(self.conv1(x))
        return x if self.child is None else self.child(x)


@pytest.fixture
def model():
    return Recursive()


@pytest.fixture
def ones():
    return torch.ones(1, 1, 4, 6)


@pytest.mark.capture("*.conv1")
def test_one_depth(model, ones, feature_maps):
    model(ones)
    assert list(feature_maps) == ["child.conv1#0", "child.conv1#1"]
    assert torch.equal(feature_maps["child.conv1#0"].tensor, ones * 2 * 2 * 3)
    assert torch.equal(feature_maps["child.conv1#1"].tensor, ones * 2 * 2 * 3 * 3)


@pytest.mark.capture("**.conv1")
def test_every_depth(model, ones, feature_maps):
    output = model(ones)
    values = {key: one.stats.mean for key, one in feature_maps.items()}
    assert values == {
        "conv1#0": 2,
        "conv1#1": 2 * 2,
        "child.conv1#0": 2 * 2 * 3,
        "child.conv1#1": 2 * 2 * 3 * 3,
        "child.child.conv1#0": 2 * 2 * 3 * 3 * 5,
        "child.child.conv1#1": 2 * 2 * 3 * 3 * 5 * 5,
    }
    assert torch.equal(feature_maps["child.child.conv1#1"].tensor, output)
