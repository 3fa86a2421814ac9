"""The network, and a scene that holds stripes of every direction and width."""

import pytest
import torch
from stripes import StripeFinder


@pytest.fixture
def model():
    return StripeFinder().eval()


@pytest.fixture
def rings():
    place = torch.linspace(-1, 1, 64)
    return torch.cos(32 * (place[:, None] ** 2 + place**2))[None, None]
