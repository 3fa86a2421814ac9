"""Photographs to look at, from the ones that scikit-image ships."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from face_detector.installed import installed_file

# Pinned, since a baseline is only as lasting as the picture it was recorded from.
INSTALL_PHOTOS = "pip install scikit-image==0.26.0"


def load_photo(name: str = "astronaut") -> Tensor:
    """Return a photograph as float32 pixels from 0 to 255, shaped (1, 3, H, W).

    "astronaut" is Eileen Collins, photographed by NASA (public domain). See `installed_file`
    for the error.
    """
    path = installed_file("scikit-image", f"skimage/data/{name}.png", INSTALL_PHOTOS)
    with Image.open(path) as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB")))
    # Contiguous, since strides decide which convolution kernel runs, and so the last digits.
    return pixels.permute(2, 0, 1)[None].contiguous().float()


def normalise(pixels: Tensor) -> Tensor:
    """Map pixels from 0 ... 255 to nearly -1 ... 1, as the networks were trained."""
    return (pixels - 127.5) / 128
