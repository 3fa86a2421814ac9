"""Two pictures: what must count as equal, what must not, and how the difference reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_featuremaps.rendering.differences import Difference, TileDifference, compare
from pytest_featuremaps.rendering.mosaic import MARKS_FROM

NAN, INF, DEAD = 247, 248, 250


def stack(count=8, size=12, seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size]
    waves = [
        np.sin(rows * rng.uniform(0.2, 1)) * np.cos(columns * rng.uniform(0.2, 1) + i)
        for i in range(count)
    ]
    return np.rint(123 + 107 * np.reshape(waves, (count, size, size))).astype(np.uint8)


def check(expected, actual, levels=1):
    return compare(expected, actual, range(len(actual)), levels=levels)


def changed(place, value):
    tiles = stack()
    tiles[place] = value
    return tiles


def jittered():
    return stack() + np.random.default_rng(1).integers(-1, 2, stack().shape).astype(np.int8)


def swapped():
    tiles = stack()
    tiles[[2, 5]] = tiles[[5, 2]]
    return tiles


def shifted():
    tiles = stack()
    tiles[3] = np.roll(tiles[3], 1, axis=1)
    return tiles


# --- the corpus -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("expected", "actual"), [
    pytest.param(stack(), stack(), id="the same"),
    pytest.param(stack(), jittered().astype(np.uint8), id="one level anywhere"),
    pytest.param(changed((0, 0, 0), 1), changed((0, 0, 0), 0), id="one level at the bottom"),
    pytest.param(changed((0, 0, 0), 245), changed((0, 0, 0), 246), id="one level at the top"),
    pytest.param(changed(2, DEAD), changed(2, DEAD), id="dead before and now"),
    pytest.param(changed((1, 4, 4), NAN), changed((1, 4, 4), NAN), id="the same NaN"),
    pytest.param(np.asfortranarray(stack()), stack(), id="other strides"),
    pytest.param(stack(0), stack(0), id="no channels"),
    pytest.param(stack(3, 0), stack(3, 0), id="empty maps"),
])  # fmt: skip
def test_equal(expected, actual):
    difference = check(expected, actual)
    assert difference.equal
    assert (difference.tiles, difference.reason, difference.lines()) == ((), "", [])


@pytest.mark.parametrize(("expected", "actual", "channels"), [
    pytest.param(stack(), changed((4, 7, 2), stack()[4, 7, 2] + 2), [4], id="two levels once"),
    pytest.param(stack(), stack() + np.uint8(2), list(range(8)), id="two levels everywhere"),
    pytest.param(stack(), swapped(), [2, 5], id="two channels swapped"),
    pytest.param(stack(), shifted(), [3], id="one pixel of shift"),
    pytest.param(stack(), stack()[:, :, ::-1].copy(), list(range(8)), id="a flip"),
    pytest.param(stack(), changed(6, DEAD), [6], id="a channel that died"),
    pytest.param(changed(6, DEAD), stack(), [6], id="a channel that came alive"),
    pytest.param(stack(), changed((1, 0, 0), NAN), [1], id="a NaN"),
    pytest.param(changed((1, 0, 0), NAN), changed((1, 0, 0), INF), [1], id="NaN and then Inf"),
    pytest.param(changed((1, 0, 0), NAN), changed((1, 0, 0), 246), [1], id="a mark and white"),
])  # fmt: skip
def test_different(expected, actual, channels):
    difference = check(expected, actual)
    assert not difference.equal
    assert sorted(tile.channel for tile in difference.tiles) == channels


@pytest.mark.parametrize(("expected", "actual", "reason"), [
    (stack(16), stack(12), "12 channels, the baseline has 16"),
    (stack(2), stack(1), "1 channel, the baseline has 2"),
    (stack(4, 8), stack(4, 7), "tiles of 7x7, the baseline has 8x8"),
    (stack(4)[:, :5], stack(4)[:, :, :5], "tiles of 12x5, the baseline has 5x12"),
    (stack(0, 8), stack(0, 7), "tiles of 7x7, the baseline has 8x8"),
])  # fmt: skip
def test_other_shapes_never_match(expected, actual, reason):
    difference = check(expected, actual, levels=255)
    assert not difference.equal
    assert difference.lines() == [difference.reason] == [reason]


# --- properties -----------------------------------------------------------------------------------

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)
PAIRS = SHAPES.flatmap(
    lambda shape: st.tuples(hnp.arrays(np.uint8, shape), hnp.arrays(np.uint8, shape))
)
BOUNDS = st.integers(0, 20)


@given(hnp.arrays(np.uint8, SHAPES, elements=st.integers(20, 226)), BOUNDS, st.data())
def test_noise_within_the_bound_passes(tiles, levels, data):
    noise = data.draw(hnp.arrays(np.int16, tiles.shape, elements=st.integers(-levels, levels)))
    assert check(tiles, (tiles + noise).astype(np.uint8), levels).equal


@given(hnp.arrays(np.uint8, SHAPES, elements=st.integers(0, 246)), BOUNDS, st.data())
def test_one_pixel_beyond_the_bound_fails_and_is_found(tiles, levels, data):
    place = tuple(data.draw(st.integers(0, side - 1)) for side in tiles.shape)
    far = [v for v in range(256) if abs(v - int(tiles[place])) > levels or v >= MARKS_FROM]
    now = tiles.copy()
    now[place] = data.draw(st.sampled_from(far))
    (tile,) = check(tiles, now, levels).tiles
    distance = abs(int(now[place]) - int(tiles[place]))
    assert (tile.channel, tile.row, tile.column, tile.pixels) == (*place, 1)
    assert tile.largest == (255 if now[place] >= MARKS_FROM else distance)


@given(PAIRS, BOUNDS)
def test_it_does_not_matter_which_came_first(pair, levels):
    first, second = pair
    assert check(first, second, levels) == check(second, first, levels)


@settings(max_examples=60)
@given(PAIRS, BOUNDS)
def test_every_tile_agrees_with_a_plain_count(pair, levels):
    expected, actual = pair
    found = {tile.channel: tile for tile in check(expected, actual, levels).tiles}
    for channel, (before, now) in enumerate(zip(expected, actual, strict=True)):
        distances = [
            255 if max(a, b) >= MARKS_FROM and a != b else abs(a - b)
            for a, b in zip(before.ravel().tolist(), now.ravel().tolist(), strict=True)
        ]
        beyond = sum(distance > levels for distance in distances)
        assert (channel in found) == (beyond > 0)
        if beyond:
            tile = found[channel]
            row, column = divmod(distances.index(max(distances)), now.shape[1])
            assert tile == TileDifference(channel, max(distances), beyond, row, column)


@pytest.mark.parametrize("levels", [246, 255, 1000])
def test_no_tolerance_hides_a_mark(levels):
    assert check(changed((0, 0, 0), 0), changed((0, 0, 0), 246), levels).equal
    assert not check(changed((0, 0, 0), 246), changed((0, 0, 0), NAN), levels).equal


def test_inputs_are_left_alone():
    expected, actual = stack(), swapped()
    expected.setflags(write=False)
    actual.setflags(write=False)
    assert not check(expected, actual).equal


def test_one_channel_number_per_tile():
    with pytest.raises(ValueError, match=r"^8 tiles were given with 2 channel numbers$"):
        compare(stack(), stack(), [0, 1])


# --- in words -------------------------------------------------------------------------------------


def test_a_difference_reads_as_lines_with_the_worst_first():
    expected, actual = stack(4), stack(4)
    expected[1, 3, 4], actual[1, 3, 4] = 10, 222
    expected[0, :2, :3], actual[0, :2, :3] = 100, 104
    actual[2] = DEAD
    difference = compare(expected, actual, [3, 5, 8, 13], levels=2)
    assert difference.lines() == [
        "3 of 4 channels differ",
        (
            "channel 8: 144 of 144 pixels differ by more than 2 levels, "
            "most at row 0, column 0 (another mark: NaN, Inf or dead)"
        ),
        (
            "channel 5: 1 of 144 pixels differs by more than 2 levels, "
            "most at row 3, column 4 (212 levels)"
        ),
        (
            "channel 3: 6 of 144 pixels differ by more than 2 levels, "
            "most at row 0, column 0 (4 levels)"
        ),
    ]


def test_one_of_one():
    expected, actual = np.zeros((1, 1, 1), np.uint8), np.ones((1, 1, 1), np.uint8)
    assert check(expected, actual, levels=0).lines() == [
        "1 of 1 channel differs",
        "channel 0: 1 of 1 pixel differs by more than 0 levels, most at row 0, column 0 (1 level)",
    ]


@pytest.mark.parametrize(("count", "last"), [
    (3, "also channel 2"),
    (14, "also channels 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13"),
    (20, "also channels 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13 and 6 more"),
])  # fmt: skip
def test_many_channels_are_listed_by_number(count, last):
    lines = check(stack(count), stack(count) + np.uint8(2)).lines(most=2)
    assert len(lines) == 4
    assert lines[-1] == last


def test_a_difference_is_a_plain_value():
    difference = Difference((), "", (1, 2, 3), 1)
    assert difference == Difference((), "", (1, 2, 3), 1)
    assert hash(difference)
