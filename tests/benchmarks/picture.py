"""What a picture costs beside the encoding of its pixels: 256 channels of 56×56 as PNG.

Usage: python tests/benchmarks/picture.py [ROUNDS]
"""

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's folder out

import numpy as np
import torch
from pairing import interleaved, machine, median_ms, ratio, table
from PIL import Image

from pytest_featuremaps import capture, rendering

BARE = "the pixels to PNG, and nothing else"


def main(rounds):
    one = activation()
    planes = one.numpy()[0]
    mosaic = rendering.render(planes)
    pixels = np.asarray(mosaic.image(1))
    ways = {
        BARE: lambda: png(Image.fromarray(pixels)),
        "the same, once more": lambda: png(Image.fromarray(pixels)),
        "values to levels to PNG, as a baseline holds it": lambda: rendering.encode(
            rendering.render(planes)
        ),
        "values to levels alone": lambda: rendering.render(planes),
        "`image(numbers=False)` to PNG": lambda: png(one.image(numbers=False, scale=1)),
        "`image()`, in colour and numbered": one.image,
        '`image(colours="pca")`': lambda: one.image(colours="pca"),
    }
    seconds = interleaved(ways, rounds)
    rows = [
        (name, median_ms(taken), ratio(taken, seconds[BARE])) for name, taken in seconds.items()
    ]
    print(f"A picture of 256 channels of 56×56: {rounds} rounds, median [middle half].\n")
    print(table(["way", "time", "/ bare encoding"], rows))
    print()
    print(machine(f"torch {torch.__version__}"))


def activation():
    """A feature map with the texture of an early layer: a random convolution of a smooth scene."""
    generator = torch.Generator().manual_seed(0)
    scene = torch.randn(1, 3, 15, 15, generator=generator)
    scene = torch.nn.functional.interpolate(scene, (58, 58), mode="bicubic")
    layer = torch.nn.Conv2d(3, 256, 3)
    layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
    model = torch.nn.Sequential(layer, torch.nn.ReLU())
    with torch.no_grad(), capture(model, "1") as maps:
        model(scene)
    return maps["1"]


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    return file.getvalue()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
