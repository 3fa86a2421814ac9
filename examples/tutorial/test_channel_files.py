"""By hand: a loop over the channels saves one figure for each, with axes, margins and a colour map.

No pixel of such a file is a value of the map. Here each file is the channel, one pixel
for each value or `scale` by `scale` of them, and is named after the channel's number.
"""

import numpy as np
import pytest
from PIL import Image
from torch import nn

HEIGHT, WIDTH = 80 - 2, 64 - 2

pytestmark = pytest.mark.capture(".")


@pytest.fixture
def model():
    return nn.Conv2d(3, 12, 3)


def test_one_file_for_each_channel(model, photo, feature_maps, tmp_path):
    model(photo)
    paths = feature_maps["."].save_channels(tmp_path / "conv")
    assert [path.name for path in paths] == [f"channel_{number}.png" for number in range(12)]
    assert set(paths) == set((tmp_path / "conv").iterdir())


@pytest.mark.parametrize("scale", [1, 3])
def test_size_of_a_file(model, photo, feature_maps, tmp_path, scale):
    model(photo)
    for path in feature_maps["."].save_channels(tmp_path, scale=scale):
        with Image.open(path) as picture:
            assert picture.size == (scale * WIDTH, scale * HEIGHT)


def test_each_file_shows_its_channel(model, photo, feature_maps, tmp_path):
    model(photo)
    paths = feature_maps["."].save_channels(tmp_path, scale=1)
    for path, values in zip(paths, feature_maps["."].numpy()[0], strict=True):
        with Image.open(path) as picture:
            shown = np.asarray(picture.convert("L"))
        expected = 255 * (values - values.min()) / np.ptp(values)
        np.testing.assert_allclose(shown, expected, atol=2)
