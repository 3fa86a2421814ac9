"""A small network that sees stripes: in which direction, and roughly where."""

import math

import torch
from torch import nn

DIRECTIONS = 6
WIDTHS = (4.0, 8.0)  # of a dark and a bright stripe, in pixels


class StripeFinder(nn.Module):
    """Filters for stripes of each width and direction, and corners of what they find."""

    def __init__(self):
        super().__init__()
        kernels = [stripes(width, turn) for width in WIDTHS for turn in range(DIRECTIONS)]
        self.filters = nn.Conv2d(1, len(kernels), 11, padding=5, bias=False)
        self.filters.weight = nn.Parameter(torch.stack(kernels)[:, None])
        self.found = nn.ReLU()
        self.near = nn.MaxPool2d(4)
        self.together = nn.AvgPool2d(2)

    def forward(self, x):
        return self.together(self.near(self.found(self.filters(x))))


def stripes(width, turn, size=11):
    """Return a patch of stripes that fades towards its rim."""
    place = torch.arange(size) - size // 2.0
    y, x = torch.meshgrid(place, place, indexing="ij")
    angle = math.pi * turn / DIRECTIONS
    wave = torch.cos(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / width)
    patch = wave * torch.exp(-(x**2 + y**2) / (size / 2))
    return patch - patch.mean()
