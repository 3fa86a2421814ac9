"""What the models of this tutorial look at, and the AlexNet that three of its files share.

The photograph is read from scikit-image's files: `pip install scikit-image==0.26.0`.
"""

from importlib import metadata

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import avg_pool2d


class AlexNet(nn.Module):
    """AlexNet at half its width, with the in-place ReLUs that it is usually written with."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 48, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(48, 128, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(128, 192, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(192, 192, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(192, 128, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Linear(128 * 6 * 6, 10)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


@pytest.fixture(autouse=True)
def seed():
    """Give models the same weights in every run, whatever ran before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def alexnet():
    return AlexNet().eval()


@pytest.fixture
def edge_filters():
    """Edges that are upright, level, falling and rising: (4, 3, 3)."""
    upright = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    falling = torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0], [-2.0, -1.0, 0.0]])
    return torch.stack([upright, upright.T, falling, falling.flip(1)])


@pytest.fixture(scope="session")
def astronaut():
    """Eileen Collins, photographed by NASA (public domain): pixels 0 to 1, (1, 3, 512, 512)."""
    path = metadata.distribution("scikit-image").locate_file("skimage/data/astronaut.png")
    with Image.open(path) as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    return pixels.permute(2, 0, 1)[None].contiguous() / 255


@pytest.fixture
def photo(astronaut):
    """Her head, 80 high and 64 wide: unequal, so that a transposed map shows."""
    return avg_pool2d(astronaut[..., 48:208, 160:288], 2)


@pytest.fixture
def large_photo(astronaut):
    """Her head and shoulders at the size that AlexNet is made for."""
    return astronaut[..., :224, 112:336].contiguous()
