"""Pairs of maps, from their values to the verdict on their pictures: which match, which do not."""

import io
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pytest_featuremaps.rendering import (
    decode,
    differences,
    encode,
    render,
    side_by_side,
)


def features(count=12, height=10, width=14, seed=0):
    """Edges and blobs at several scales, as an early layer gives them before its ReLU."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [
        np.sin(rows * rng.uniform(0.1, 1.5) + columns * rng.uniform(-1.5, 1.5) + rng.uniform(0, 6))
        for _ in range(count)
    ]
    gains, shifts = rng.uniform(0.1, 5, count), rng.normal(size=count)
    return np.reshape(waves, (count, height, width)) * gains[:, None, None] + shifts[:, None, None]


def relu(planes):
    return np.maximum(planes, 0)


def noise(planes, size, seed=1):
    """Each value moved by up to `size` of the map's RMS, as another machine does."""
    rms = np.sqrt(np.mean(np.square(planes)))
    return planes + size * rms * np.random.default_rng(seed).uniform(-1, 1, planes.shape)


def moved(planes, *places):
    """Some values set: (channel, row, column, value)."""
    planes = planes.copy()
    for channel, row, column, value in places:
        planes[channel, row, column] = value
    return planes


def with_channel(planes, number, values):
    planes = planes.copy()
    planes[number] = values
    return planes


def compare(before, after, levels=1):
    """The verdict on `after`, drawn over the range of `before` as it is stored."""
    stored, _ = decode(encode(render(before)))
    now = render(after, low=stored.low, high=stored.high, layer_max=stored.layer_max)
    return differences.compare(stored.tiles, now.tiles, stored.channels, levels=levels)


MAP, ACTIVE = features(), relu(features())
FLAT = with_channel(MAP, 3, 0.3)
DEAD = with_channel(ACTIVE, 5, 0.0)
FAINT = with_channel(MAP, 4, MAP[4] * 1e-6)
SPIKED = moved(MAP, (2, 4, 4, 1e3))
BROKEN = moved(MAP, (2, 4, 4, np.nan), (3, 0, 0, np.inf), (3, 1, 0, -np.inf))

MATCHING = OrderedDict({
    "the same": (MAP, MAP.copy()),
    "float32 and float64": (MAP.astype(np.float32), MAP.astype(np.float32).astype(np.float64)),
    "noise of 1e-6": (MAP, noise(MAP, 1e-6)),
    "noise of 1e-6 after a ReLU": (ACTIVE, relu(noise(MAP, 1e-6))),
    "noise of 1e-5": (MAP, noise(MAP, 1e-5)),
    "noise in a constant channel": (FLAT, noise(FLAT, 1e-7)),
    "more noise in a constant channel": (FLAT, noise(FLAT, 1e-5)),
    "noise in a faint channel": (FAINT, noise(FAINT, 1e-7)),
    "another faint channel": (FAINT, with_channel(FAINT, 4, FAINT[4][::-1])),
    "noise around a spike": (SPIKED, noise(SPIKED, 1e-6)),
    "dust in a dead channel": (DEAD, with_channel(DEAD, 5, noise(ACTIVE, 1e-9)[5] * 1e-9)),
    "the same NaN and Inf": (BROKEN, BROKEN.copy()),
    "a lowest float and -Inf": (
        moved(MAP.astype(np.float32), (0, 0, 0, np.finfo(np.float32).min)),
        moved(MAP.astype(np.float32), (0, 0, 0, -np.inf)),
    ),
    "zero and minus zero": (ACTIVE, np.where(ACTIVE == 0, -0.0, ACTIVE)),
    "strides": (MAP, np.asfortranarray(MAP)),
    "bfloat16-like rounding of a constant": (FLAT, FLAT * (1 + 1e-7)),
})  # fmt: skip

DIFFERING = OrderedDict({
    "gain of 2": (MAP, MAP * 2, range(12)),
    "gain of 1.05": (MAP, MAP * 1.05, range(12)),
    "gain of 0.95 after a ReLU": (ACTIVE, ACTIVE * 0.95, range(12)),
    "gain of 2 in one channel": (MAP, with_channel(MAP, 7, 2 * MAP[7]), [7]),
    "offset of a tenth": (MAP, with_channel(MAP, 7, MAP[7] + 0.1 * np.ptp(MAP[7])), [7]),
    "a sign": (MAP, with_channel(MAP, 7, -MAP[7]), [7]),
    "a shift by one pixel": (MAP, np.roll(MAP, 1, axis=2), range(12)),
    "a shift by one row": (MAP, np.roll(MAP, 1, axis=1), range(12)),
    "a mirror": (MAP, MAP[:, :, ::-1], range(12)),
    "two channels swapped": (MAP, MAP[[0, 2, 1, *range(3, 12)]], [1, 2]),
    "one pixel": (MAP, moved(MAP, (6, 3, 8, MAP[6, 3, 8] + 0.05 * np.ptp(MAP[6]))), [6]),
    "the brightest pixel brighter": (
        MAP, with_channel(MAP, 6, np.where(MAP[6] == MAP[6].max(), 9e9, MAP[6])), [6]
    ),
    "a channel died": (ACTIVE, DEAD, [5]),
    "a channel came alive": (DEAD, ACTIVE, [5]),
    "a constant channel moved": (FLAT, with_channel(FLAT, 3, 0.35), [3]),
    "a constant channel became a picture": (FLAT, with_channel(FLAT, 3, MAP[3]), [3]),
    "a picture became constant": (MAP, FLAT, [3]),
    "a faint channel came out": (FAINT, MAP, [4]),
    "a NaN": (MAP, moved(MAP, (2, 4, 4, np.nan)), [2]),
    "a NaN that moved": (moved(MAP, (2, 4, 4, np.nan)), moved(MAP, (2, 4, 5, np.nan)), [2]),
    "an Inf that turned": (moved(MAP, (2, 4, 4, np.inf)), moved(MAP, (2, 4, 4, -np.inf)), [2]),
    "a NaN that became a number": (BROKEN, moved(BROKEN, (2, 4, 4, 0.0)), [2]),
    "rounding to steps of a fiftieth": (
        MAP, with_channel(MAP, 1, np.round(MAP[1] / np.ptp(MAP[1]) * 50) / 50 * np.ptp(MAP[1])), [1]
    ),
    "an activation left out": (ACTIVE, MAP, [
        channel for channel in range(12) if (MAP[channel] < -0.02 * np.ptp(ACTIVE[channel])).any()
    ]),
})  # fmt: skip


@pytest.mark.parametrize(("before", "after"), MATCHING.values(), ids=list(MATCHING))
def test_pairs_that_match(before, after):
    assert compare(before, after).lines() == []


@pytest.mark.parametrize(("before", "after", "channels"), DIFFERING.values(), ids=list(DIFFERING))
def test_pairs_that_differ(before, after, channels):
    difference = compare(before, after)
    assert sorted(tile.channel for tile in difference.tiles) == list(channels)
    assert difference.lines()[0].startswith(f"{len(channels)} of 12 channels differ")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [1e-7, 1e-6, 1e-5])
def test_noise_of_another_machine_passes_whatever_the_map(seed, size):
    planes = features(seed=seed)
    planes[::3] *= 10.0 ** -np.arange(4)[:, None, None]
    assert compare(planes, noise(planes, size)).equal
    assert compare(relu(planes), relu(noise(planes, size))).equal


@given(
    seed=st.integers(0, 2**32 - 1),
    gain=st.one_of(st.floats(1.03, 1e6), st.floats(1e-6, 0.97), st.floats(-1e3, -1e-3)),
)
@settings(max_examples=60, deadline=None)
def test_a_gain_is_seen_in_every_channel(seed, gain):
    planes = features(count=4, height=5, width=5, seed=seed)
    found = compare(planes, planes * gain)
    assert [tile.channel for tile in found.tiles if tile.largest > 1] == [
        tile.channel for tile in found.tiles
    ]
    assert len(found.tiles) == 4


@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0, 2e-5), offset=st.floats(-1e3, 1e3))
@settings(max_examples=60, deadline=None)
def test_a_nearly_constant_channel_never_flickers(seed, size, offset):
    rng = np.random.default_rng(seed)
    planes = np.full((2, 6, 6), offset)
    planes[1] += abs(offset) * size * rng.uniform(-1, 1, (6, 6))
    after = planes + abs(offset) * size * rng.uniform(-1, 1, planes.shape)
    assert compare(planes, after).equal


@given(seed=st.integers(0, 2**32 - 1), channel=st.integers(0, 3), share=st.floats(0.02, 10))
@settings(max_examples=60, deadline=None)
def test_one_moved_value_is_found_where_it_is(seed, channel, share):
    rng = np.random.default_rng(seed)
    planes = features(count=4, height=6, width=7, seed=seed)
    row, column = rng.integers(6), rng.integers(7)
    value = planes[channel, row, column] + share * np.ptp(planes[channel])
    (tile,) = compare(planes, moved(planes, (channel, row, column, value))).tiles
    assert (tile.channel, tile.row, tile.column, tile.pixels) == (channel, row, column, 1)


def test_a_gain_of_two_is_visible_in_the_difference():
    """The picture a reviewer gets is coloured nearly everywhere, and every tile is framed."""
    expected = render(MAP)
    actual = render(
        MAP * 2, low=expected.low, high=expected.high, layer_max=expected.layer_max
    )  # fmt: skip
    same, other = (
        np.asarray(side_by_side(expected, one, scale=2)).astype(int) for one in (expected, actual)
    )
    frame = (255, 160, 0)
    coloured = [
        (np.ptp(page[:, 2 * page.shape[1] // 3 :], axis=2) > 20).sum() for page in (same, other)
    ]
    assert coloured[0] == 0
    assert coloured[1] > 0.8 * 4 * MAP.size
    assert not (same == frame).all(axis=2).any()
    assert (other == frame).all(axis=2).sum() > 12 * 2 * 4 * 10


@pytest.mark.parametrize("level", [0, 1, 9])
def test_the_same_pixels_in_another_file_are_equal(level):
    stored = encode(render(MAP))
    with Image.open(io.BytesIO(stored)) as image:
        info = PngInfo()
        info.add_text("featuremaps", image.text["featuremaps"], zip=True)
        file = io.BytesIO()
        image.save(file, "PNG", pnginfo=info, compress_level=level)
    assert file.getvalue() != stored
    again, _ = decode(file.getvalue())
    mosaic, _ = decode(stored)
    verdict = differences.compare(mosaic.tiles, again.tiles, mosaic.channels)
    assert verdict.equal


def test_nothing_is_resized_cropped_or_padded():
    stored = render(MAP)
    for other in (MAP[:, :-1], MAP[:, :, :-1], MAP[:-1], MAP.swapaxes(1, 2)):
        tiles = render(other).tiles
        channels = range(len(tiles))
        verdict = differences.compare(stored.tiles, tiles, channels, levels=255)
        assert not verdict.equal
        assert verdict.reason
