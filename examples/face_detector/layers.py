"""Make the three pictures of layers that the README shows.

The first is a page of the third network's convolutions, from edges to parts of a face. The
second is all 32 channels of the first network's last layer as colours: what it tells apart. The
third lays four of them over the photo.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from face_detector import load_onet, load_photo, load_pnet, normalise
from torch.nn.functional import avg_pool2d

from pytest_featuremaps import capture

SHEET = Path(__file__).with_suffix(".png")
OVER = SHEET.with_name("layers_over_photo.png")
COLOURS = SHEET.with_name("layers_as_colour.png")


@torch.no_grad()
def main():
    photo = normalise(load_photo("astronaut"))[..., :256, 112:368]
    face = avg_pool2d(photo[..., 72:168, 64:160], 2)
    onet, pnet = load_onet(), load_pnet()
    with capture(onet, "conv*") as maps:
        onet(face)
    maps.sheet(most=12).save(SHEET, optimize=True)
    with capture(pnet, "prelu3") as maps:
        pnet(photo)
    maps["prelu3"].save(COLOURS, colours="pca", scale=2)
    maps["prelu3"].image(over=photo, channels=[1, 3, 4, 5]).save(OVER, optimize=True)
    print(SHEET, COLOURS, OVER, sep="\n")


if __name__ == "__main__":
    main()
