"""Pictures: what a value looks like, that noise does not move it, and that files are checked."""

import contextlib
import hashlib
import io
import json
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pytest_featuremaps import rendering
from pytest_featuremaps.errors import FeatureMapsError, UnsupportedTensor
from pytest_featuremaps.rendering import (
    DEAD,
    FLAT,
    GUTTER,
    HIGHEST,
    LOWEST,
    MARKS_FROM,
    MIDDLE,
    MINUS_INF,
    NAN,
    PLUS_INF,
    BadPicture,
    Mosaic,
    PictureTooLarge,
    captions,
    decode,
    encode,
    grid,
    pairs,
    panels,
    people,
    render,
    side_by_side,
)


def features(count=6, height=9, width=11, seed=0):
    """Smooth, half of it zero, each channel at its own scale: like a layer after a ReLU."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [
        np.sin(rows * rng.uniform(0.2, 1) + rng.uniform(0, 6)) + np.cos(columns * rng.uniform(0, 1))
        for _ in range(count)
    ]
    gains = rng.uniform(0.2, 3, (count, 1, 1))
    return np.maximum(np.reshape(waves, (count, height, width)) * gains, 0).astype(np.float32)


def again(planes, baseline):
    return render(
        planes, low=baseline.low, high=baseline.high, layer_max=baseline.layer_max
    )  # fmt: skip


def levels_apart(first, second):
    """The largest distance of two pictures in levels; marks must be in the same places."""
    marks = first.tiles >= MARKS_FROM
    np.testing.assert_array_equal(marks, second.tiles >= MARKS_FROM)
    np.testing.assert_array_equal(first.tiles[marks], second.tiles[marks])
    return int(np.abs(first.tiles.astype(int) - second.tiles).max(initial=0))


def same(first, second):
    np.testing.assert_array_equal(first.tiles, second.tiles)
    np.testing.assert_array_equal(first.low, second.low)
    np.testing.assert_array_equal(first.high, second.high)
    assert first.channels == second.channels
    assert first.layer_max == second.layer_max
    return True


# --- the palette ----------------------------------------------------------------------------------


def test_a_palette_has_one_colour_per_index_and_no_two_alike():
    colours = [rendering.PALETTE[i : i + 3] for i in range(0, len(rendering.PALETTE), 3)]
    assert len(colours) == len(set(colours)) == GUTTER + 1


def test_grey_rises_with_the_level_from_black_to_white():
    greys = np.frombuffer(rendering.PALETTE, np.uint8).reshape(-1, 3)[LOWEST : HIGHEST + 1]
    assert (greys == greys[:, :1]).all()
    assert (np.diff(greys[:, 0].astype(int)) >= 1).all()
    assert (greys[0, 0], greys[-1, 0]) == (0, 255)


def test_marks_and_headroom_are_no_greys():
    table = np.frombuffer(rendering.PALETTE, np.uint8).reshape(-1, 3).astype(int)
    coloured = np.ptp(table, axis=1) > 0
    assert coloured[:LOWEST].all()
    assert coloured[HIGHEST + 1 :].all()


# --- values to levels -----------------------------------------------------------------------------


def test_a_channel_is_drawn_between_its_own_extremes():
    mosaic = render(np.array([[[0.0, 1.0, 2.0]], [[-5.0, 0.0, 5.0]]]))
    assert mosaic.tiles.tolist() == [[[LOWEST, MIDDLE, HIGHEST]]] * 2
    assert mosaic.tiles.dtype == np.uint8
    assert mosaic.low.tolist() == [0, -5]
    assert mosaic.high.tolist() == [2, 5]
    assert mosaic.channels == (0, 1)
    assert mosaic.layer_max == 5


def test_halfway_values_round_to_the_even_level():
    steps = HIGHEST - LOWEST
    planes = np.array([[[0, 0.5, 1.5, 2.5, steps]]])
    assert render(planes).tiles.tolist() == [
        [[LOWEST, LOWEST, LOWEST + 2, LOWEST + 2, HIGHEST]]
    ]  # fmt: skip


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "int64", "float16", "float32", "float64"]
)
def test_any_real_dtype_gives_the_same_picture(dtype):
    planes = np.array([[[0, 1], [1, 0]], [[1, 1], [0, 1]]])
    assert same(render(planes.astype(dtype)), render(planes.astype(np.float64)))


def test_complex_values_are_refused_with_the_way_out():
    message = (
        r"^complex values have no grey level; draw their magnitude, or the real and the "
        r"imaginary part$"
    )
    with pytest.raises(UnsupportedTensor, match=message):
        render(np.ones((1, 2, 2), np.complex64))


def test_strides_and_byte_order_do_not_matter():
    planes = features()
    swapped = np.asfortranarray(planes).astype(">f4")
    assert same(render(planes), render(swapped))


def test_the_pixels_of_a_fixed_array_never_change():
    """One digest for every platform, NumPy and Pillow; a new one needs a new format version."""
    counted = np.arange(5 * 6 * 7, dtype=np.float64).reshape(5, 6, 7)
    planes = np.modf(counted * 0.6180339887498949)[0] * 2.0 ** np.arange(5)[:, None, None]
    planes[0, 0, :3] = np.nan, np.inf, -np.inf
    planes[1] = 0
    picture = rendering.PALETTE + render(planes).image(1).tobytes()
    assert hashlib.sha256(picture).hexdigest()[:16] == "a8f3f1cd4768cbcf"


def test_input_is_left_alone():
    planes = features()
    planes[0, 0, 0] = np.nan
    before = planes.copy()
    planes.setflags(write=False)
    render(planes)
    np.testing.assert_array_equal(planes, before)


# --- marks ----------------------------------------------------------------------------------------


def test_non_finite_values_are_marked_and_do_not_stretch_the_range():
    plain = render(np.array([[[0.0, 1, 2, 3]]]))
    planes = np.array([[[0.0, 1, 2, 3, np.nan, np.inf, -np.inf]]])
    marked = render(planes)
    assert marked.tiles[0, 0].tolist() == [*plain.tiles[0, 0], NAN, PLUS_INF, MINUS_INF]
    assert marked.layer_max == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_value_of_a_type_is_an_attention_mask(dtype):
    largest = np.finfo(dtype).max
    tiles = render(np.array([[[0, 1, largest, -largest]]], dtype)).tiles
    assert tiles[0, 0].tolist() == [LOWEST, HIGHEST, PLUS_INF, MINUS_INF]


def test_the_largest_integer_is_only_a_number():
    tiles = render(np.array([[[0, 127]]], np.int8)).tiles
    assert tiles[0, 0].tolist() == [LOWEST, HIGHEST]


def test_a_channel_of_zeros_is_dead():
    planes = features(3)
    planes[1] = -0.0
    mosaic = render(planes)
    assert (mosaic.tiles[1] == DEAD).all()
    assert (mosaic.tiles[[0, 2]] != DEAD).all()
    assert mosaic.low[1] == mosaic.high[1] == 0


def test_zeros_with_a_nan_among_them_are_not_dead():
    mosaic = render(np.array([[[0.0, np.nan, 0.0]]]))
    assert mosaic.tiles[0, 0].tolist() == [MIDDLE, NAN, MIDDLE]


def test_a_channel_without_a_finite_value_has_no_range():
    mosaic = render(np.array([[[np.nan, np.inf]], [[0.0, 1.0]]]))
    assert mosaic.tiles.tolist() == [[[NAN, PLUS_INF]], [[LOWEST, HIGHEST]]]
    assert np.isnan([mosaic.low[0], mosaic.high[0]]).all()


# --- noise ----------------------------------------------------------------------------------------


def test_a_constant_channel_is_flat():
    planes = features(2)
    planes[1] = 0.7
    assert (render(planes).tiles[1] == MIDDLE).all()


def test_noise_in_a_nearly_constant_channel_does_not_flicker():
    rng = np.random.default_rng(3)
    pictures = [render(0.1 + rng.uniform(-1e-7, 1e-7, (1, 16, 16))) for _ in range(5)]
    assert all((picture.tiles == MIDDLE).all() for picture in pictures)


def test_a_flat_channel_shows_a_real_change():
    planes = np.full((1, 4, 4), 0.1)
    baseline = render(planes)
    now = planes.copy()
    now[0, 1, 2] *= 1.001
    assert levels_apart(baseline, again(now, baseline)) == 10


def test_a_channel_below_the_noise_floor_of_its_layer_is_flat():
    planes = features(2)
    planes[1] *= 1e-5 / planes[1].max()
    assert (render(planes).tiles[1] == MIDDLE).all()


def test_the_noise_floor_can_be_that_of_the_whole_layer():
    faint = features(1) * 1e-6
    assert np.ptp(render(faint).tiles) == HIGHEST - LOWEST
    assert (render(faint, layer_max=1.0).tiles == MIDDLE).all()


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.floats(0, 8).map(lambda power: 10.0**-power),
    offset=st.sampled_from([0.0, 1.0, -3.0]),
    noise=st.floats(0, 2e-5),
)
def test_relative_noise_moves_no_pixel_by_more_than_a_level(seed, spread, offset, noise):
    rng = np.random.default_rng(seed)
    planes = np.maximum(rng.normal(size=(3, 6, 6)), -0.5) * spread + offset
    planes[2] *= 1e-4
    baseline = render(planes)
    now = planes * (1 + noise * rng.uniform(-1, 1, planes.shape))
    assert levels_apart(baseline, again(now, baseline)) <= 1


def test_dust_in_a_dead_channel_leaves_it_dead():
    planes = features(2)
    planes[1] = 0
    baseline = render(planes)
    planes[1, 3, 3] = 1e-9
    assert same(again(planes, baseline), baseline)


def test_dust_that_is_gone_is_no_death():
    planes = features(2)
    planes[1] = 0
    planes[1, 3, 3] = 1e-9
    baseline = render(planes)
    planes[1] = 0
    assert same(again(planes, baseline), baseline)


def test_a_nan_in_a_dead_channel_is_seen():
    planes = features(2)
    planes[1] = 0
    baseline = render(planes)
    planes[1, 3, 3] = np.nan
    tile = again(planes, baseline).tiles[1]
    assert tile[3, 3] == NAN
    assert (tile != DEAD).all()


def test_a_channel_that_comes_alive_is_drawn():
    planes = features(2)
    baseline = render(planes * [[[1]], [[0]]])
    now = again(planes, baseline)
    assert (baseline.tiles[1] == DEAD).all()
    assert now.tiles[1].min() == LOWEST
    assert now.tiles[1].max() == HIGHEST


@pytest.mark.parametrize("alive", [
    features(1)[0],
    np.linspace(-1, 1, 99).reshape(9, 11),
    np.full((9, 11), 0.7),
], ids=["relu", "around-zero", "constant"])  # fmt: skip
def test_a_channel_that_dies_is_marked(alive):
    planes = features(2)
    planes[1] = alive
    baseline = render(planes)
    planes[1] = 0
    assert (again(planes, baseline).tiles[1] == DEAD).all()


# --- the range of a baseline ----------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64]),
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=4),
        elements=st.one_of(st.floats(width=32), st.sampled_from([0.0, -0.0, 1.0, 1 + 2**-20])),
    )
)
def test_the_same_values_give_the_same_picture_in_their_own_range(planes):
    baseline = render(planes)
    assert same(again(planes, baseline), baseline)


def test_a_change_of_scale_is_visible_in_the_range_of_the_baseline():
    planes = features()
    baseline = render(planes)
    assert levels_apart(baseline, render(planes * 2)) == 0
    assert levels_apart(baseline, again(planes * 2, baseline)) > 50


@pytest.mark.parametrize(("factor", "expected"), [(1.05, 241), (2, 246), (1e308, 246)])
def test_the_brightest_pixel_cannot_grow_unseen(factor, expected):
    planes = np.linspace(0, 1, 16).reshape(1, 4, 4)
    baseline = render(planes)
    planes[0, 3, 3] *= factor
    assert again(planes, baseline).tiles[0, 3, 3] == expected


def test_the_darkest_pixel_cannot_sink_unseen():
    planes = np.linspace(0, 1, 16).reshape(1, 4, 4)
    baseline = render(planes)
    planes[0, 0, 0] = -1e300
    assert again(planes, baseline).tiles[0, 0, 0] == 0


@pytest.mark.parametrize("planes", [
    np.array([[[-1.7e308, 1.7e308]]]),
    np.array([[[1.797e308, 1.797e308]], [[-1.797e308, -1.797e308]]]),
    np.array([[[0, 5e-324]]]),
    np.array([[[5e-324, 5e-324]]]),
    np.array([[[-(2**63), 2**63 - 1]]]),
], ids=["huge", "huge-constant", "tiny", "tiny-constant", "int64"])  # fmt: skip
def test_extreme_values_are_drawn_without_a_warning(planes):
    mosaic = render(planes)
    assert np.isfinite([mosaic.low, mosaic.high]).all()
    assert mosaic.tiles.max() < MARKS_FROM
    assert same(decode(encode(mosaic))[0], mosaic)


@pytest.mark.parametrize(("options", "message"), [
    ({"low": [0.0, 0.0]}, "a baseline's range has two ends: give both low and high, or neither"),
    (
        {"low": [0.0], "high": [1.0]},
        "2 planes need a low and a high of shape (2,), not (1,) and (1,)",
    ),
    ({"channels": [3]}, "2 planes were given with 1 channel numbers"),
    ({"layer_max": np.inf}, "layer_max is the largest finite |x| of the layer, not inf"),
    ({"layer_max": np.nan}, "layer_max is the largest finite |x| of the layer, not nan"),
    ({"layer_max": -1.0}, "layer_max is the largest finite |x| of the layer, not -1.0"),
])  # fmt: skip
def test_arguments_that_do_not_fit_together(options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole text is compared)
        render(np.ones((2, 3, 3)), **options)
    assert str(caught.value) == message


def test_a_picture_has_three_dimensions():
    message = r"^a picture is drawn from \(channels, height, width\), not from 4 dimensions$"
    with pytest.raises(ValueError, match=message):
        render(np.ones((1, 2, 3, 3)))


# --- the grid -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "height", "width", "expected"), [
    (64, 8, 8, (8, 8)),
    (256, 56, 56, (16, 16)),
    (5, 8, 8, (2, 3)),
    (1, 3, 400, (1, 1)),
    (12, 1, 100, (12, 1)),
    (12, 100, 1, (1, 12)),
    (0, 8, 8, (0, 0)),
    (3, 0, 0, (2, 2)),
])  # fmt: skip
def test_the_grid_is_nearly_square_in_pixels(count, height, width, expected):
    assert grid(count, height, width) == expected


@given(count=st.integers(1, 300), height=st.integers(0, 40), width=st.integers(0, 40))
def test_the_grid_holds_every_tile_and_no_empty_row(count, height, width):
    rows, columns = grid(count, height, width)
    assert (rows - 1) * columns < count <= rows * columns


def test_every_tile_is_framed_by_one_pixel():
    mosaic = render(features(3, 2, 2))
    pixels = np.asarray(mosaic.image(1))
    frame = np.ones(pixels.shape, bool)
    for row, column in ((0, 0), (0, 1), (1, 0)):
        frame[3 * row + 1 : 3 * row + 3, 3 * column + 1 : 3 * column + 3] = False
    assert pixels.shape == (7, 7)
    assert (pixels[frame] == GUTTER).all()
    np.testing.assert_array_equal(pixels[1:3, 4:6], mosaic.tiles[1])


def test_an_image_is_enlarged_without_new_colours():
    mosaic = render(features())
    small, large = np.asarray(mosaic.image(1)), np.asarray(mosaic.image(3))
    np.testing.assert_array_equal(large, small.repeat(3, axis=0).repeat(3, axis=1))
    assert mosaic.image().mode == "P"


def test_small_maps_are_made_visible_and_large_ones_left_alone():
    assert max(render(features(4, 3, 3)).image().size) == 9 * (512 // 9)
    assert render(features(1, 300, 600)).image().size == (600, 300)
    assert render(features(2, 300, 300)).image().size == (603, 302)


def test_an_image_is_never_shrunk():
    message = "^scale is 0, but a picture is only ever enlarged: 1 or more$"
    with pytest.raises(ValueError, match=message):
        render(features()).image(0)


# --- the file -------------------------------------------------------------------------------------


def picture(numbers="", **options):
    planes = features()
    planes[0, :2, :2] = np.nan
    planes[1] = 0
    planes[2] = np.nan
    return encode(render(planes, **options), numbers)


PICTURE = picture("mean 0.5")


def chunks(data):
    place = 8
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        yield kind, data[place + 8 : place + 8 + length]
        place += 12 + length


def joined(parts):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def replaced(kind, change):
    return joined((k, change(body) if k == kind else body) for k, body in chunks(PICTURE))


def with_text(text):
    return replaced(b"zTXt", lambda _: b"featuremaps\0\0" + zlib.compress(text.encode()))


def with_details(**changes):
    body = next(body for kind, body in chunks(PICTURE) if kind == b"zTXt")
    details = json.loads(zlib.decompress(body.removeprefix(b"featuremaps\0\0")))
    return with_text(json.dumps({**details, **changes}))


def header(width, height, *rest):
    return replaced(
        b"IHDR", lambda body: struct.pack(">II", width, height) + (bytes(rest) or body[8:])
    )


def complaint(data):
    with pytest.raises(BadPicture) as caught:
        decode(data)
    assert isinstance(caught.value, FeatureMapsError)
    return str(caught.value)


def test_the_parts_of_these_tests_are_faithful():
    assert joined(chunks(PICTURE)) == PICTURE
    assert same(decode(with_details())[0], decode(PICTURE)[0])


@settings(max_examples=60, deadline=None)
@given(
    planes=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=5),
        elements=st.floats(),
    ),
    numbers=st.text(),
    first=st.integers(0, 9),
)
def test_what_is_written_is_read_back(planes, numbers, first):
    mosaic = render(planes, channels=range(first, first + len(planes)))
    back, text = decode(encode(mosaic, numbers))
    assert same(back, mosaic)
    assert text == numbers


def test_a_file_depends_on_nothing_but_its_content():
    assert picture("x") == picture("x")
    assert {kind for kind, _ in chunks(PICTURE)} == {b"IHDR", b"PLTE", b"zTXt", b"IDAT", b"IEND"}


def test_other_programs_see_the_same_picture():
    mosaic, _ = decode(PICTURE)
    with Image.open(io.BytesIO(PICTURE)) as image:
        assert image.mode == "P"
        assert image.convert("RGB").tobytes() == mosaic.image(1).convert("RGB").tobytes()
        assert json.loads(image.text["featuremaps"])["numbers"] == "mean 0.5"


@pytest.mark.parametrize("level", [0, 1, 9])
def test_another_compression_gives_the_same_mosaic(level):
    with Image.open(io.BytesIO(PICTURE)) as image:
        info = PngInfo()
        info.add_text("featuremaps", image.text["featuremaps"], zip=True)
        info.add_text("Software", "something else")
        file = io.BytesIO()
        image.save(file, "PNG", pnginfo=info, compress_level=level)
    assert file.getvalue() != PICTURE
    assert same(decode(file.getvalue())[0], decode(PICTURE)[0])


def test_damage_is_named():
    said = {
        "empty": complaint(b""),
        "text": complaint(b"hello"),
        "pointer": complaint(b"version https://git-lfs.example/spec/v1\noid sha256:0\nsize 9\n"),
        "conflict": complaint(b"<<<<<<< HEAD\n" + PICTURE),
        "endings": complaint(PICTURE.replace(b"\r\n", b"\n")),
        "short": complaint(PICTURE[:3]),
        "cut": complaint(PICTURE[:-1]),
        "longer": complaint(PICTURE + b"\n"),
        "flipped": complaint(PICTURE[:-20] + bytes([PICTURE[-20] ^ 1]) + PICTURE[-19:]),
        "headless": complaint(joined(list(chunks(PICTURE))[1:])),
        "huge": complaint(header(70000, 70000)),
        "saved anew": complaint(replaced(b"PLTE", lambda body: body[::-1])),
        "depth": complaint(header(34, 21, 16, 0, 0, 0, 0)),
        "no text": complaint(joined(part for part in chunks(PICTURE) if part[0] != b"zTXt")),
        "two texts": complaint(
            joined(part for part in chunks(PICTURE) for _ in range(1 + (part[0] == b"zTXt")))
        ),
        "garbled text": complaint(replaced(b"zTXt", lambda body: body[:14] + b"garbage")),
        "cut text": complaint(replaced(b"zTXt", lambda body: body[:-1])),
        "version": complaint(with_details(version=2)),
        "no version": complaint(with_text("[1]")),
        "sizes": complaint(with_details(shape=[6, 9, 10])),
        "no pixels": complaint(joined(part for part in chunks(PICTURE) if part[0] != b"IDAT")),
        "filter method": complaint(header(25, 31, 8, 3, 0, 1, 0)),
        "short pixels": complaint(replaced(b"IDAT", lambda _: zlib.compress(b"0000"))),
    }
    flipped = said.pop("flipped")
    assert flipped.startswith("the picture is damaged at byte ")
    assert flipped.endswith(": a checksum is wrong")
    assert said == {
        "empty": "the file is empty",
        "text": "the file is not a PNG",
        "pointer": "the file is a Git LFS pointer, not the picture: run `git lfs pull`",
        "conflict": "the file holds merge conflict markers: keep one of the two versions",
        "endings": "the line endings of the file were converted: "
        "add `*.png binary` to .gitattributes",
        "short": "the picture is cut off after 3 bytes",
        "cut": f"the picture is cut off after {len(PICTURE) - 1:,} bytes",
        "longer": f"the picture ends at byte {len(PICTURE):,}, and something follows it",
        "headless": "the picture does not begin with a PNG header",
        "huge": "the picture says it has 70000x70000 pixels; at most 16,777,216 are read",
        "saved anew": "the colours are not ours: another program has saved the picture anew",
        "depth": "the colours are not ours: another program has saved the picture anew",
        "no text": "the PNG has 0 text chunks named featuremaps, where one is needed: "
        "it was not written here, or another program has saved it anew",
        "two texts": "the PNG has 2 text chunks named featuremaps, where one is needed: "
        "it was not written here, or another program has saved it anew",
        "garbled text": "the text chunk of the picture cannot be read",
        "cut text": "the text chunk of the picture cannot be read",
        "version": "the picture has format 2, this version reads format 1",
        "no version": "the picture has format None, this version reads format 1",
        "sizes": "the picture is 25x31 pixels, which does not fit the 6 tiles of 10x9 "
        "that it says it holds",
        "no pixels": "the pixels of the picture cannot be unpacked",
        "filter method": "the pixels of the picture cannot be unpacked",
        "short pixels": "the pixels of the picture cannot be unpacked",
    }


def ranges(end):
    """One end of the six ranges of `PICTURE`, whose third channel has none."""
    return [end, end, None, end, end, end]


def test_ranges_are_read():
    mosaic, _ = decode(with_details(low=ranges(-1.0), high=ranges(9.0)))
    assert mosaic.low[0] == -1
    assert np.isnan(mosaic.high[2])


@pytest.mark.parametrize("details", [
    {"shape": [6, 9]},
    {"shape": [6, 9, "11"]},
    {"shape": [6, 9, -1]},
    {"shape": None},
    {"channels": [0, 1, 2]},
    {"channels": [0, 1, 2, 3, 4, 5.0]},
    {"channels": [0, 1, 2, 3, 4, True]},
    {"low": [0.0] * 5},
    {"low": [0.0] * 5 + ["0"]},
    {"low": [None] * 6},
    {"low": ranges(9e9)},
    {"low": ranges(float("-inf"))},
    {"high": ranges(float("inf"))},
    {"low": ranges(float("nan")), "high": ranges(float("nan"))},
    {"low": ranges(0)},
    {"layer_max": -1.0},
    {"layer_max": float("inf")},
    {"layer_max": float("nan")},
    {"layer_max": "1"},
    {"numbers": None},
])  # fmt: skip
def test_text_that_does_not_describe_the_tiles(details):
    assert complaint(with_details(**details)) == (
        "the text chunk of the picture does not describe its tiles"
    )


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "1" * 5_000, '{"version": 1' + "0" * 5_000 + "}", "é"],
    ids=["empty", "open", "deep", "long-number", "long-version", "not-ascii"],
)
def test_text_that_is_no_json(text):
    assert complaint(with_text(text)) == "the text chunk of the picture cannot be read"


@pytest.mark.parametrize("place", ["tile", "line"])
def test_an_edited_picture_is_refused(place):
    pixels = np.asarray(decode(PICTURE)[0].image(1)).copy()
    row, value = (1, GUTTER) if place == "tile" else (0, LOWEST)
    pixels[row, 1] = value
    rows = b"".join(b"\0" + line.tobytes() for line in pixels)
    assert complaint(replaced(b"IDAT", lambda _: zlib.compress(rows))) == (
        "the lines between the tiles of the picture have been painted over"
    )


def test_bombs_are_refused_before_they_are_unpacked():
    zeros = zlib.compress(bytes(1 << 26), 9)
    text = replaced(b"zTXt", lambda _: b"featuremaps\0\0" + zeros)
    pixels = replaced(b"IDAT", lambda _: zeros)
    profile = joined(
        [*list(chunks(PICTURE))[:1], (b"iCCP", b"x\0\0" + zeros), *list(chunks(PICTURE))[1:]]
    )
    second_header = joined(
        part
        for chunk in chunks(PICTURE)
        for part in (
            [chunk, (b"IHDR", struct.pack(">II", 1 << 15, 1 << 15) + chunk[1][8:])]
            if chunk[0] == b"IHDR"
            else [chunk]
        )
    )
    tracemalloc.start()
    try:
        assert complaint(text) == "the text chunk of the picture cannot be read"
        complaint(header(60000, 60000))
        complaint(pixels)
        decode(profile)
        decode(second_header)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_raises_anything_else(data):
    kind = data.draw(st.sampled_from(["bytes", "tail", "cut", "flip", "swap"]))
    if kind == "bytes":
        damaged = data.draw(st.binary(max_size=200))
    elif kind == "tail":
        damaged = b"\x89PNG\r\n\x1a\n" + data.draw(st.binary(max_size=200))
    elif kind == "cut":
        damaged = PICTURE[: data.draw(st.integers(0, len(PICTURE) - 1))]
    elif kind == "flip":
        place = data.draw(st.integers(0, len(PICTURE) * 8 - 1))
        flipped = bytearray(PICTURE)
        flipped[place // 8] ^= 1 << place % 8
        damaged = bytes(flipped)
    else:
        parts = list(chunks(PICTURE))
        place = data.draw(st.integers(0, len(parts) - 1))
        damaged = joined([*parts[:place], *reversed(parts[place:])])
        if place == len(parts) - 1:
            damaged = damaged[:-1]
    complaint(damaged)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"IHDR", b"PLTE", b"zTXt", b"IDAT", b"IEND"]), st.data())
def test_damage_under_a_right_checksum_raises_nothing_else(kind, data):
    """Anyone can compute a CRC, so what comes after it is not trusted either."""
    body = bytearray(next(body for k, body in chunks(PICTURE) if k == kind))
    for place in data.draw(st.lists(st.integers(0, max(0, len(body) - 1)), max_size=4)):
        body[place : place + 1] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(BadPicture):
        decode(replaced(kind, lambda _: bytes(body)))


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=8,
    ),
    st.sampled_from(["shape", "channels", "low", "high", "layer_max", "numbers", "version"]),
)
def test_any_json_in_the_text_is_read_or_refused(value, field):
    with contextlib.suppress(BadPicture):
        decode(with_details(**{field: value}))


# --- size caps ------------------------------------------------------------------------------------


def too_large(mosaic, *arguments, **options):
    with pytest.raises(PictureTooLarge) as caught:
        encode(mosaic, *arguments, **options)
    return str(caught.value)


def test_a_size_cap_says_how_to_get_below_it():
    noise = np.random.default_rng(0).normal(size=(8, 40, 40))
    size = len(encode(render(noise)))
    assert len(encode(render(noise), max_bytes=size)) == size
    assert too_large(render(noise), max_bytes=size - 1) == (
        f"the picture of 8 channels of 40x40 takes {size:,} bytes; at most {size - 1:,} are "
        "allowed: choose fewer channels, for example channels=range(16)"
    )


def test_what_could_not_be_read_is_not_written():
    size = 4096
    tiles = np.zeros((1, size, size), np.uint8)
    mosaic = Mosaic(tiles, (0,), np.zeros(1), np.ones(1), 1.0)
    assert too_large(mosaic).startswith(
        "the picture of 1 channel of 4096x4096 has 16,793,604 pixels; at most 16,777,216 are"
    )
    text = "x" * rendering.MAX_TEXT
    assert " characters of text; at most 1,048,576 are" in too_large(render(features()), text)


# --- side by side ---------------------------------------------------------------------------------


def colours(image):
    return {colour for _, colour in image.getcolors(1 << 24)}


FRAME, UP, DOWN, OTHER = (255, 160, 0), (178, 16, 40), (16, 84, 176), (122, 62, 200)


def drawn(level, count=2):
    tiles = np.full((count, 4, 4), level, np.uint8)
    return Mosaic(tiles, tuple(range(count)), np.zeros(count), np.ones(count), 1.0)


def explained(expected, actual):
    pair, _ = pairs.pair(expected, actual, 1)
    return [text for _, text in panels._legend(pair, 9) if "%" not in text]


def tall(mosaic):
    """The same with tiles of one row and four positions, as a sequence has them."""
    tiles = mosaic.tiles[:, :1]
    return Mosaic(tiles, mosaic.channels, mosaic.low, mosaic.high, mosaic.layer_max)


def test_equal_pictures_have_no_frame_and_no_difference():
    mosaic = render(features())
    page = side_by_side(mosaic, mosaic)
    assert page.mode == "RGB"
    assert not {FRAME, UP, DOWN, OTHER} & colours(page)


@pytest.mark.parametrize(("before", "now", "shade"), [
    (0, 246, UP),
    (246, 0, DOWN),
    (100, NAN, OTHER),
    (NAN, DEAD, OTHER),
], ids=["rose", "fell", "became NaN", "NaN became dead"])  # fmt: skip
def test_a_change_is_framed_and_its_direction_seen(before, now, shade):
    page = side_by_side(drawn(before), drawn(now))
    above = page.crop((0, 0, page.width, page.height - 60))
    assert {FRAME, UP, DOWN, OTHER} & colours(above) == {FRAME, shade}


def test_the_difference_is_white_where_nothing_changed_and_grows_with_the_change():
    steps = [panels._difference_colour(120 + step) for step in range(121)]
    assert steps[0] == (255, 255, 255)
    assert steps[-1] == UP
    assert steps == sorted(steps, reverse=True)


@pytest.mark.parametrize(("most", "full"), [(2, 16), (40, 40), (140, 140)])
def test_a_small_change_is_seen_beside_a_large_one(most, full):
    now = drawn(100)
    now.tiles[0, 0, 0], now.tiles[0, 0, 1] = 102, 100 + most
    pair, count = pairs.pair(drawn(100), now, 1)
    assert (pair.full, count) == (full, 1)
    shade = panels._difference_colour(int(pair.difference[0, 0, 0]))
    assert max(np.subtract((255, 255, 255), shade)) > 40


def test_only_changed_tiles_are_framed_and_no_value_is_covered():
    before, now = drawn(100, 4), drawn(100, 4)
    now.tiles[3, 1, 1] = 200
    pixels = np.asarray(side_by_side(before, now, 10))[: 60 + 2 * 61]
    rows, columns = np.nonzero((pixels == FRAME).all(axis=2))
    assert np.ptp(rows) == np.ptp(columns[columns < columns.mean()]) == 40 + 6 - 1
    red = (pixels == panels._difference_colour(240)).all(axis=2)
    assert red.sum() == 10 * 10


@pytest.mark.parametrize(("side", "framed"), [(5, False), (6, True)])
def test_small_tiles_have_no_frames(side, framed):
    tiles = np.full((2, side, side), 100, np.uint8)
    before, now = (Mosaic(one, (0, 1), np.zeros(2), np.ones(2), 1.0) for one in (tiles, tiles + 9))
    seen = colours(side_by_side(before, now, 1))
    assert (FRAME in seen) == framed


def test_a_sequence_is_a_heat_map_with_ticks_beside_its_rows():
    before, now = tall(drawn(100, 3)), tall(drawn(100, 3))
    now.tiles[1, 0, 2] = 200
    page = np.asarray(side_by_side(before, now))
    orange = (page[60:111] == FRAME).all(axis=2)
    rows, columns = np.nonzero(orange)
    assert np.ptp(rows) == 16 - 1
    assert len(np.unique(columns)) == 2 * 4
    red = (page[60:111] == UP).all(axis=2)
    assert red.sum() == 16 * 24


@pytest.mark.parametrize(("count", "width"), [(1, 1), (48, 784), (3072, 197), (2, 100_000)])
def test_a_sequence_of_any_size_can_be_looked_at(count, width):
    planes = np.random.default_rng(0).random((count, 1, width))
    before = render(planes)
    planes[0, 0, -1] += 0.5
    now = again(planes, before)
    page = side_by_side(before, now)
    assert page.width < 1800
    assert page.height < 600
    pair, changed = pairs.pair(before, now, 1)
    assert changed == 1
    assert pair.labels[pair.changed[0]] == "0"
    assert (pair.difference > 230).sum() == 1


def test_what_is_left_out_of_a_long_sequence_is_told():
    planes = np.random.default_rng(0).random((400, 1, 1000))
    before = render(planes)
    pair, _ = pairs.pair(before, again(planes * 1.5, before), 1)
    assert pair.notes == [
        "shown: the 160 channels of 400 that moved farthest",
        "shown: of 3 positions the one that changed most",
    ]
    assert pair.now.shape == (160, 1, 334)


def test_the_legend_explains_the_colours_that_are_there():
    changed = "a channel that changed"
    dead, flat = "dead: zero throughout", "flat: constant to within the noise floor"
    assert explained(drawn(100), drawn(100)) == [flat]
    assert explained(drawn(DEAD), drawn(NAN)) == [dead, "NaN", "another mark", changed]
    assert explained(drawn(PLUS_INF), drawn(MINUS_INF)) == ["+Inf", "-Inf", "another mark", changed]
    assert explained(drawn(LOWEST), drawn(15)) == [flat, "below the baseline's range"]
    assert explained(drawn(HIGHEST), drawn(232)) == [flat, "above the baseline's range", changed]
    said = [text for _, text in panels._legend(pairs.pair(drawn(9), drawn(59), 1)[0], 9)]
    assert "lower / higher, by up to 50 levels (23 % of a channel's range); cube-root scale" in said


def test_a_flat_channel_and_one_of_nearly_zeros_do_not_look_like_a_signal():
    planes = features(4, 9, 11)
    planes[1], planes[2] = 0.7, 0.0
    planes[2, 4, 4] = 1e-3 * planes.max()
    mosaic = render(planes)
    assert mosaic.tiles[2, 0, 0] not in {LOWEST, HIGHEST}
    tiles = people.for_people(mosaic, mosaic)
    assert (tiles[1] == FLAT).all()
    assert (np.delete(tiles[2].ravel(), 4 * 11 + 4) == LOWEST).all()
    assert LOWEST < tiles[2, 4, 4] < LOWEST + 12
    assert (tiles[[0, 3]] == mosaic.tiles[[0, 3]]).all()
    planes[1] = np.linspace(0.7, 0.8, 99).reshape(9, 11)
    assert FLAT not in people.for_people(again(planes, mosaic), mosaic)[1]


def test_a_caption_continues_on_the_next_line():
    assert captions._flow([100, 100, 100], 250) == [(0, 0), (100, 0), (0, 1)]
    assert captions._flow([300, 10], 250) == [(0, 0), (0, 1)]


def test_a_change_within_tolerance_is_not_framed():
    baseline = render(features())
    tiles = baseline.tiles + np.uint8(2)
    now = Mosaic(tiles, baseline.channels, baseline.low, baseline.high, baseline.layer_max)
    assert FRAME in colours(side_by_side(baseline, now))
    assert FRAME not in colours(side_by_side(baseline, now, levels=2))


def test_channels_are_numbered_where_there_is_room():
    planes = features(4, 20, 20)
    mosaic = render(planes, channels=[3, 5, 8, 13])
    large, small = side_by_side(mosaic, mosaic, 4), side_by_side(mosaic, mosaic, 1)
    assert large.height - small.height == 2 * 3 * 20
    heads = np.asarray(large)[60 + 3 : 60 + 3 + 12]
    assert heads.min() < 200
    tiny = render(features(4, 8, 8))
    assert (np.asarray(side_by_side(tiny, tiny, 1))[60:63] > 200).all()


@pytest.mark.parametrize(("unseen", "expected"), [
    ("", "no pixel by more than 1 level"),
    ("numbers differ; ", "numbers differ; no pixel by more than 1 level"),
])  # fmt: skip
def test_a_map_whose_pixels_are_the_same_says_so(unseen, expected, monkeypatch):
    said = []
    monkeypatch.setattr(
        panels, "_page", lambda _panels, _titles, notes, _legend: said.extend(notes)
    )
    side_by_side(drawn(100), drawn(101), unseen=unseen)
    assert said[2] == expected


@pytest.mark.parametrize("other", [features(5), features(6, 3, 11), features(0), features(2, 0, 3)])
def test_pictures_of_other_shapes_stand_beside_each_other(other):
    page = side_by_side(render(features()), render(other))
    assert not {FRAME, UP, DOWN} & colours(page)


def test_panels_are_enlarged_alike():
    mosaic = render(features(4, 5, 5))
    small, large = side_by_side(mosaic, mosaic, 20), side_by_side(mosaic, mosaic, 30)
    assert large.width - small.width == 3 * 10 * 10
    assert large.height - small.height == 10 * 10


@pytest.mark.parametrize(
    "shape", [(0, 3, 3), (2, 0, 3), (1, 1, 0), (1, 1, 1), (1280, 1, 1), (1280, 2, 2), (3, 7, 1)]
)
def test_a_picture_of_any_size_is_made_readable(shape):
    image = rendering.readable(render(np.random.default_rng(0).random(shape)))
    assert 300 < image.width < 700
    assert 100 < image.height < 1500


def test_a_scale_that_would_fill_the_memory_is_refused():
    with pytest.raises(ValueError, match="makes a picture of 810,000,000,000 pixels"):
        render(features(1, 9, 9)).image(100_000)
