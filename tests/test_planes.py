"""Layouts: how axes are declared and guessed, patch grids, and what is drawn of each."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_featuremaps.layouts import grids, layouts
from pytest_featuremaps.layouts.grids import Grid
from pytest_featuremaps.layouts.planes import lay_out

# --- declared -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layout",
    [
        "NCHW",
        "NHWC",
        "C",
        "LNC",
        "NCDHW",
        "NCQK",
        "tokens",
        "tokens:14x14",
        "NLC:1+12x20",
        "NCQK:1+2x2",
        "tokens:8x2x2",
    ],
)
def test_layouts_without_a_slip(layout):
    assert layouts.slip(layout) == ""


@pytest.mark.parametrize(("layout", "reason"), [
    (4, "a layout is a word, such as 'NCHW'"),
    ("NCXY", "'X', 'Y' is none of its letters, which are N (samples), C (channels), "
     "D, H, W (positions), L (sequence), Q and K (attention), E (of a head)"),
    ("NCHH", "it names an axis twice"),
    ("NCHW:14x14", "a grid of patches needs an axis L or K, which 'NCHW' has not"),
    ("tokens:", "'' is no grid of patches: write '14x14' or, with a token, '1+14x14'"),
    ("NLC:14", "'14' is no grid of patches: write '14x14' or, with a token, '1+14x14'"),
    ("NLC:0x4", "'0x4' is no grid of patches: write '14x14' or, with a token, '1+14x14'"),
    ("NLC:-1x4", "'-1x4' is no grid of patches: write '14x14' or, with a token, '1+14x14'"),
    ("tokens:1+2x2:", "'1+2x2:' is no grid of patches: write '14x14' or, with a token, '1+14x14'"),
])  # fmt: skip
def test_a_slip_is_told(layout, reason):
    assert layouts.slip(layout) == reason


@pytest.mark.parametrize(("layout", "ndim", "reason"), [
    ("NLC:1+2x2", 3, ""),
    ("tokens", 4, ""),
    ("NLC:1+2x2", 4, "layout 'NLC:1+2x2' names 3 axes, the map has 4"),
    ("tokens", 5, "layout 'tokens' is for 2 to 4 axes, the map has 5"),
    ("tokens", 1, "layout 'tokens' is for 2 to 4 axes, the map has 1"),
])  # fmt: skip
def test_a_layout_that_does_not_fit_the_axes(layout, ndim, reason):
    assert layouts.misfit(layout, ndim) == reason


def test_tokens_are_what_the_number_of_axes_says():
    assert [layouts.axes("tokens", ndim) for ndim in (2, 3, 4)] == ["LC", "NLC", "NCLE"]
    assert layouts.axes("tokens:2x3", 3, sequence_first=True) == "LNC"
    assert [layouts.axes("tokens", n, attention=True) for n in (2, 3, 4)] == ["QK", "NQK", "NCQK"]
    assert layouts.axes("NHWC", 4, sequence_first=True, attention=True) == "NHWC"


@pytest.mark.parametrize(("layout", "expected"), [
    (None, None), ("NLC", None), ("tokens", "tokens"), ("tokens:1+2x2", "tokens:1+2x2"),
    ("NLC:1+2x2", "tokens:1+2x2"), ("NQK", "NQK"), ("NCQK:2x2", "NCQK:2x2"),
])  # fmt: skip
def test_what_an_output_says_of_its_weights(layout, expected):
    assert layouts.for_attention(layout) == expected


# --- guessed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "ndim", "known", "expected"), [
    ("Conv2d", 4, {}, "NCHW"),
    ("Conv2d", 3, {}, "CHW"),
    ("MaxPool1d", 3, {}, "NCL"),
    ("Conv3d", 5, {}, "NCDHW"),
    ("Conv3d", 4, {}, "CDHW"),
    ("LayerNorm", 4, {}, "NHWC"),
    ("LayerNorm", 5, {}, "NDHWC"),
    ("Linear", 2, {}, "NC"),
    ("GELU", 3, {}, "NLC"),
    ("LSTM", 3, {"sequence_first": True}, "LNC"),
    ("LSTM", 2, {"sequence_first": True}, "NC"),
    ("MultiheadAttention", 4, {"attention": True}, "NCQK"),
    ("MultiheadAttention", 3, {"attention": True, "sequence_first": True}, "NQK"),
    ("GELU", 1, {}, None),
    ("GELU", 6, {}, None),
])  # fmt: skip
def test_the_guess(module, ndim, known, expected):
    assert layouts.guess([module, "Module"], ndim, **known) == expected


@pytest.mark.parametrize(("module", "shape", "expected"), [
    ("SwinBlock", (1, 7, 7, 768), ("NHWC",)),
    ("GELU", (2, 8, 8, 8), ()),
    ("ReLU", (1, 64, 56, 56), ()),
    ("ReLU", (1, 3, 80, 64), ()),
    ("Block", (1, 4, 7, 7, 96), ("NDHWC",)),
    ("LayerNorm", (1, 7, 7, 768), ()),
    ("Conv2d", (1, 7, 7, 768), ()),
    ("ViTLayer", (1, 197, 768), ("tokens", "NCL", "CHW")),
    ("BertLayer", (1, 8, 768), ("NCL", "CHW")),
    ("LSTM", (1, 8, 768), ("NCL", "CHW")),
    ("Linear", (1, 197, 768), ()),
    ("Linear", (1, 768), ()),
])  # fmt: skip
def test_what_else_a_map_may_be(module, shape, expected):
    assert layouts.others([module], shape) == expected


def test_a_recurrent_layer_says_what_its_base_says():
    assert layouts.others(["LSTM", "RNNBase"], (1, 7, 768)) == ()
    assert layouts.is_state(["LSTM", "RNNBase"], (1, 0))
    assert not layouts.is_state(["LSTM", "RNNBase"], (0,))


# --- patch grids ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "expected"), [
    ("14x14", Grid(0, (14, 14))), ("1+12x20", Grid(1, (12, 20))),
    ("8x14x14", Grid(0, (8, 14, 14))), ("14", None), ("a+2x2", None), ("2x2x2x2", None),
    ("2X2", None), ("٢x٢", None), ("", None),
])  # fmt: skip
def test_a_grid_is_read(text, expected):
    assert grids.parse(text) == expected


@settings(deadline=None)
@given(
    st.integers(0, 9), st.lists(st.integers(1, 99), min_size=2, max_size=3)
)  # fmt: skip
def test_a_grid_is_read_as_it_is_written(before, sizes):
    grid = Grid(before, tuple(sizes))
    assert grids.parse(str(grid)) == grid
    assert grid.length == before + np.prod(sizes)


@pytest.mark.parametrize(("length", "expected"), [
    (197, "1+14x14"), (196, "14x14"), (198, "2+14x14"), (261, "5+16x16"), (50, "1+7x7"),
    (10, "1+3x3"), (9, "3x3"), (8, None), (241, None), (202, None), (3, None),
    (1, "1x1"), (0, None),
])  # fmt: skip
def test_the_square_of_a_sequence(length, expected):
    found = grids.square(length)
    assert (str(found) if found else None) == expected


@settings(deadline=None)
@given(st.integers(0, 5000))
def test_there_is_never_a_second_square(length):
    fitting = [
        Grid(length - side * side, (side, side))
        for side in range(1, 80)
        if 0 <= length - side * side <= 5 and length - side * side < side * side
    ]
    assert fitting == ([grids.square(length)] if grids.square(length) else [])


@settings(deadline=None)
@given(st.integers(0, 3000))
def test_cells_fit_exactly_and_rows_are_the_fewer(count):
    rows, columns = grids.nearest(count)
    assert rows * columns == count
    assert rows <= max(columns, 1)


def test_a_grid_that_is_not_known_is_told_with_choices():
    assert layouts.grid("tokens", 197) == (Grid(1, (14, 14)), "")
    assert layouts.grid("NLC", 197) == (None, "")
    assert layouts.grid("tokens:1+12x20", 241) == (Grid(1, (12, 20)), "")
    assert layouts.grid("tokens:1+14x14", 196) == (
        None,
        "layout 'tokens:1+14x14' is a grid of 197 tokens, the map has 196",
    )
    assert layouts.grid("tokens", 241) == (
        None,
        "241 tokens make no square of patches with up to five before it; declare one, such as "
        "'tokens:1+15x16' or 'tokens:1+12x20'",
    )
    assert layouts.grid("tokens", 47)[1].endswith("before it")


# --- planes ---------------------------------------------------------------------------------------

AXES = {letter: size for size, letter in enumerate("NCDHWL", 2)}


def numbered(axes):
    """A map whose values tell their place: digits in the order of `axes`, counted from 0."""
    sizes = [AXES[letter] for letter in axes]
    return np.arange(np.prod(sizes)).reshape(sizes)


@settings(deadline=None)
@given(st.permutations("NCHW"))
def test_the_order_of_axes_does_not_matter(order):
    values = numbered("NCHW")
    shuffled = values.transpose(["NCHW".index(letter) for letter in order])
    found = lay_out(shuffled, "".join(order))
    np.testing.assert_array_equal(found.pictures, values[0])


def test_a_sequence_makes_one_row_for_each_channel():
    values = numbered("NLC")
    found = lay_out(values, "NLC")
    np.testing.assert_array_equal(found.pictures[:, 0], values[0].T)
    assert found.apart.shape == (3, 0)


def test_tokens_lie_on_their_grid_and_those_before_it_apart():
    values = np.arange(2 * 7 * 3).reshape(2, 7, 3)
    found = lay_out(values, "NLC", Grid(1, (2, 3)))
    np.testing.assert_array_equal(found.pictures[1], [[4, 7, 10], [13, 16, 19]])
    np.testing.assert_array_equal(found.apart, [[0], [1], [2]])


def test_the_slices_of_a_volume_lie_side_by_side():
    values = np.arange(2 * 6 * 2 * 3).reshape(2, 6, 2, 3)
    found = lay_out(values, "CDHW")
    assert found.parts == (2, 3)
    assert found.pictures.shape == (2, 4, 9)
    for number, one in enumerate(values[1]):
        row, column = divmod(number, 3)
        tile = found.pictures[1, 2 * row : 2 * row + 2, 3 * column : 3 * column + 3]
        np.testing.assert_array_equal(tile, one)
    tokens = lay_out(values.reshape(1, 2, 36), "NCL", Grid(0, (6, 2, 3)))
    np.testing.assert_array_equal(tokens.pictures, found.pictures)


def test_a_vector_is_one_picture_in_rows():
    assert lay_out(np.arange(20).reshape(2, 10), "NC").pictures.shape == (1, 1, 10)
    long = lay_out(np.arange(256).reshape(2, 128), "NC").pictures
    assert long.shape == (1, 8, 16)
    np.testing.assert_array_equal(long.ravel(), np.arange(128))
    assert lay_out(np.arange(97), "C").pictures.shape == (1, 1, 97)


def test_of_attention_one_query_is_a_row_over_the_image():
    values = np.random.default_rng(0).random((1, 2, 5, 5))
    whole = lay_out(values, "NCQK")
    np.testing.assert_array_equal(whole.pictures, values[0])
    one = lay_out(values, "NCQK", Grid(1, (2, 2)), query=3)
    np.testing.assert_array_equal(one.pictures.reshape(2, 4), values[0, :, 3, 1:])
    np.testing.assert_array_equal(one.apart[:, 0], values[0, :, 3, 0])
    assert lay_out(values[0, 0], "QK").pictures.shape == (1, 5, 5)


def test_the_values_of_heads_are_channels():
    values = np.arange(1 * 2 * 5 * 3).reshape(1, 2, 5, 3)
    found = lay_out(values, "NCLE", Grid(1, (2, 2)))
    assert found.pictures.shape == (6, 2, 2)
    np.testing.assert_array_equal(found.pictures[4].ravel(), values[0, 1, 1:, 1])


@pytest.mark.parametrize(("axes", "shape"), [("N", (3,)), ("", ()), ("NCDHWL", (1,) * 6)])
def test_what_has_no_channels_or_too_many_positions_has_no_picture(axes, shape):
    assert lay_out(np.zeros(shape), axes) is None


@pytest.mark.parametrize(("axes", "shape", "expected"), [
    ("CHW", (3, 0, 0), (3, 0, 0)), ("CDHW", (2, 0, 3, 3), (2, 3, 0)), ("NCL", (1, 0, 5), (0, 1, 5)),
    ("C", (0,), (1, 1, 0)),
])  # fmt: skip
def test_empty_maps_give_empty_pictures(axes, shape, expected):
    assert lay_out(np.zeros(shape), axes).pictures.shape == expected
