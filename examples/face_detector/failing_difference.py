"""Make the picture of a failing difference that the README shows.

The change is a classic one: red and blue of the input changed places. The detector still
finds the face, and its first layer tells.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from face_detector import load_onet, load_photo, normalise
from torch.nn.functional import avg_pool2d

from pytest_featuremaps import capture
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.pictures import mosaic
from pytest_featuremaps.rendering import side_by_side

TARGET = Path(__file__).with_suffix(".png")


def main():
    face = avg_pool2d(normalise(load_photo("astronaut"))[..., 72:168, 176:272], 2)
    onet = load_onet()
    with capture(onet, "conv1") as maps:
        onet(face)
        onet(face.flip(1))
    channels = range(12)
    before = mosaic(record_of(maps["conv1#0"]), channels=channels)
    after = mosaic(record_of(maps["conv1#1"]), channels=channels, like=before)
    side_by_side(before, after, scale=2).save(TARGET, optimize=True)
    print(TARGET)


if __name__ == "__main__":
    main()
