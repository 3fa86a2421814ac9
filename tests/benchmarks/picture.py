"""What a picture costs: a mosaic of 256 channels, drawn and written, beside its bare encoding.

Usage: python tests/benchmarks/picture.py [ROUNDS]
"""

import io
import sys
from functools import partial
from pathlib import Path

import PIL
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate

from pytest_featuremaps import capture, rendering

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's folder out

from pairing import interleaved, machine, median_ms, ratio, table

BARE = "bare PNG encoding of these pixels"
OURS = "pytest-featuremaps: drawn and written"
READ = "pytest-featuremaps: read again"


def main(rounds):
    torch.set_num_threads(1)
    one = feature_map()
    written = draw(one)
    with Image.open(io.BytesIO(written)) as picture:
        picture.load()
        ways = {
            BARE: partial(encode, picture),
            OURS: partial(draw, one),
            READ: partial(rendering.decode, written),
        }
        seconds = interleaved(ways, rounds)
        shape = "×".join(map(str, one.shape))
        print(
            f"A picture of a {shape} map, {picture.width}×{picture.height} pixels, "
            f"{len(written) / 1024:.0f} KB: {rounds} rounds, median [middle half].\n"
        )
    rows = [
        (name, median_ms(taken), ratio(taken, seconds[BARE])) for name, taken in seconds.items()
    ]
    print(table(["picture", "time", "/ bare encoding"], rows))
    print()
    print(machine(f"Pillow {PIL.__version__}"))


def feature_map():
    """Give a map as a trained network makes it: smooth, a little noise, half of it zero."""
    torch.manual_seed(0)
    coarse = torch.randn(1, 256, 14, 14)
    smooth = interpolate(coarse, size=(56, 56), mode="bicubic") + 0.05 * torch.randn(1, 256, 56, 56)
    model = nn.ReLU()
    with capture(model, ".") as maps:
        model(smooth)
    return maps["."]


def draw(one):
    return rendering.encode(one.mosaic())


def encode(picture):
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=6)
    return file.getvalue()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
