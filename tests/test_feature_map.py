"""One feature map: what it knows, its checks by whole lines, and its pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pytest_featuremaps import CaptureError, ShapeSpecError, UnsupportedTensor
from pytest_featuremaps.maps.feature_map import feature_map_of, record_of
from pytest_featuremaps.maps.keeping import keep
from pytest_featuremaps.maps.pictures import mosaic
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.maps.values import stats, take
from pytest_featuremaps.names.keys import Layer, Place


def feature_map(tensor, *, module_type="Conv2d", layout=None, calls=1):
    layer = Layer("model", "conv", module_type, {"model"}, layout=layout, calls=calls)
    return feature_map_of(Record(Place(layer, 0), keep(tensor)))


@pytest.fixture
def one():
    return feature_map(torch.arange(96, dtype=torch.float32).reshape(2, 3, 4, 4))


def test_a_map_knows_where_it_came_from(one):
    assert (one.key, one.layer, one.call, one.module_type) == ("conv", "conv", 0, "Conv2d")
    assert (one.shape, one.dtype, one.device) == ((2, 3, 4, 4), torch.float32, torch.device("cpu"))
    assert one.layout == "NCHW"
    assert repr(one) == "<FeatureMap conv (Conv2d) (2, 3, 4, 4) float32>"


def test_numpy_is_a_copy_that_cannot_reach_the_record(one):
    values = one.numpy()
    values -= values.min()
    values /= values.max()
    assert one.tensor[0, 0, 0, 1] == 1
    assert np.asarray(one, dtype=np.float64).dtype == np.float64


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, np.float32),
        (torch.float16, np.float16),
        (torch.float8_e4m3fn, np.float32),
        (torch.float64, np.float64),
        (torch.int32, np.int32),
        (torch.bool, np.bool_),
        (torch.complex64, np.complex64),
        (torch.complex32, np.complex64),
    ],
)
@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
def test_every_dtype_becomes_an_array(dtype, expected):
    values = feature_map(torch.ones(2, 3).to(dtype)).numpy()
    assert values.dtype == expected
    assert (values == 1).all()


def test_a_fitting_shape_gives_the_sizes(one):
    assert one.assert_shape("N 3 H W") == {"N": 2, "H": 4, "W": 4}
    assert one.assert_shape((2, 3, 4, 4)) == {}
    assert one.assert_shape("N C H/2 W-2 ".strip(), H=8, W=6) == {"N": 2, "C": 3, "H": 8, "W": 6}
    assert one.assert_shape("N ...") == {"N": 2}
    assert feature_map(torch.tensor(1.0)).assert_shape("") == {}


SHAPES = {
    "size": (
        "N 128 H W",
        {},
        [
            "conv (Conv2d): dimension 1 is 3, expected 128.",
            "  expected: N 128 H W",
            "  found:    2 3 4 4",
        ],
    ),
    "rank": (
        "N C",
        {},
        [
            "conv (Conv2d): 4 dimensions, expected 2.",
            "  expected: N C",
            "  found:    2 3 4 4",
        ],
    ),
    "bound": (
        "N C H W",
        {"H": 5},
        [
            "conv (Conv2d): dimension 2 (H) is 4, but H = 5 as given.",
            "  expected: N C H W",
            "  found:    2 3 4 4",
            "  with:     H = 5",
        ],
    ),
    "tuple": (
        (2, 3, 4, 5),
        {},
        [
            "conv (Conv2d): dimension 3 is 4, expected 5.",
            "  expected: 2 3 4 5",
            "  found:    2 3 4 4",
        ],
    ),
}


@pytest.mark.parametrize(("spec", "dims", "lines"), SHAPES.values(), ids=list(SHAPES))
def test_a_shape_that_does_not_fit_is_told(one, spec, dims, lines):
    with pytest.raises(AssertionError) as caught:
        one.assert_shape(spec, **dims)
    assert str(caught.value).splitlines() == lines


def test_a_slip_in_a_specification_is_another_error(one):
    with pytest.raises(ShapeSpecError, match=","):
        one.assert_shape("N, C, H, W")


def test_the_call_is_named_where_there_are_several():
    one = feature_map(torch.ones(1), calls=3)
    with pytest.raises(AssertionError, match=r"^conv#0 \(Conv2d, call 0 of 3\): 1 dimension, "):
        one.assert_shape("N C")


def test_what_is_not_finite_is_counted_and_placed():
    tensor = torch.zeros(2, 3, 4)
    tensor[1, 0, 2], tensor[1, 2, 3], tensor[1, 2, 1] = torch.nan, torch.inf, -torch.inf
    with pytest.raises(AssertionError) as caught:
        feature_map(tensor, module_type="Softmax").assert_finite()
    assert str(caught.value).splitlines() == [
        "conv (Softmax) is not finite: 1 NaN and 2 infinite of 24 values.",
        "  the first at index (1, 0, 2) of shape (2, 3, 4)",
    ]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2),
        torch.ones(2, dtype=torch.int64),
        torch.tensor([True]),
        torch.empty(0),
        torch.tensor(1.0),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2).to(torch.float8_e5m2),
        torch.full((2,), torch.finfo(torch.float32).max),
    ],
    ids=["float", "int", "bool", "empty", "scalar", "complex", "float8", "largest"],
)
def test_finite_maps_pass(tensor):
    feature_map(tensor).assert_finite()


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(2, 3, device="meta"),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.quint8),
        pytest.param(
            lambda: torch.zeros(2, 2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
            marks=pytest.mark.skipif(
                not hasattr(torch, "float4_e2m1fn_x2"), reason="new in torch 2.8"
            ),
        ),
        lambda: torch.masked.masked_tensor(torch.ones(2, 2), torch.eye(2).bool()),
    ],
    ids=["meta", "sparse", "quantised", "packed", "masked"],
)
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor", "ignore:.*[Mm]asked")
def test_a_tensor_without_readable_values_never_gives_a_number(make):
    tensor = make()
    one = feature_map(tensor)
    assert one.shape == tuple(tensor.shape)
    for ask in (lambda: one.stats, one.numpy, one.assert_finite, one.image):
        with pytest.raises(UnsupportedTensor):
            ask()
    assert one._repr_png_() is None


def test_statistics_follow_the_layout():
    tensor = torch.zeros(2, 4, 5, 3)
    tensor[..., 1] = 7
    first = feature_map(tensor)
    last = feature_map(tensor, module_type="LayerNorm")
    declared = feature_map(tensor, layout="NHWC")
    assert first.stats.channels.mean.shape == (4,)
    for one in (last, declared):
        assert one.stats.channels.mean.tolist() == [0, 7, 0]
        assert one.stats.dead_channels == (0, 2)
    assert feature_map(tensor, layout="NHWL").stats.channels is None


def test_a_layout_that_does_not_fit_is_told():
    one = feature_map(torch.zeros(2, 4, 5), layout="NCHW")
    with pytest.raises(CaptureError) as caught:
        _ = one.stats
    assert str(caught.value) == (
        "conv (Conv2d) has shape (2, 4, 5): layout 'NCHW' names 4 axes, the map has 3."
    )


def test_a_picture_shows_each_channel_in_its_own_range(one):
    picture = one.image(scale=1, numbers=False)
    tiles = mosaic(record_of(one), sample=1).tiles
    assert tiles.shape == (3, 4, 4)
    assert [tile.min() for tile in tiles] == [tile.min() for tile in tiles[:1]] * 3
    enlarged = one.image(scale=3, numbers=False)
    assert enlarged.size == tuple(3 * side for side in picture.size)


def test_pictures_of_chosen_channels_are_those_of_the_whole(one):
    whole = mosaic(record_of(one))
    some = mosaic(record_of(one), channels=[2, 0])
    assert some.channels == (2, 0)
    assert (some.tiles == whole.tiles[[2, 0]]).all()
    again = mosaic(record_of(one), channels=[2, 0], like=some)
    assert (again.tiles == some.tiles).all()


def test_the_range_of_a_baseline_makes_a_gain_visible(one):
    louder = feature_map(one.tensor * 2)
    assert (mosaic(record_of(louder)).tiles == mosaic(record_of(one)).tiles).all()
    assert (
        mosaic(record_of(louder), like=mosaic(record_of(one))).tiles != mosaic(record_of(one)).tiles
    ).any()


def test_what_cannot_be_drawn_is_told(one):
    with pytest.raises(IndexError, match="there is no channel 3: it has 3, from 0"):
        one.image(channels=[0, 3])
    with pytest.raises(IndexError, match="has no sample 2: it has 2, from 0"):
        one.image(sample=2)
    with pytest.raises(UnsupportedTensor) as caught:
        feature_map(torch.ones(2), module_type="Linear").image()
    assert str(caught.value).splitlines() == [
        "conv (Linear) has shape (2,): there is no picture of it.",
        "A picture needs an axis of channels, or one to three of positions. Declare them when you "
        'capture, such as layout="NHWC", or compare the numbers.',
    ]
    with pytest.raises(UnsupportedTensor, match="has complex values: there is no picture of it"):
        feature_map(torch.ones(1, 2, 3, 3, dtype=torch.complex64)).image()


@pytest.mark.parametrize(
    ("shape", "module_type", "layout", "tiles"),
    [
        ((2, 3, 4, 5), "Conv2d", None, (3, 4, 5)),
        ((3, 4, 5), "Conv2d", None, (3, 4, 5)),
        ((2, 4, 5, 3), "LayerNorm", None, (3, 4, 5)),
        ((4, 5, 3), "Conv2d", "HWC", (3, 4, 5)),
        ((2, 7, 3), "TransformerEncoderLayer", None, (3, 1, 7)),
        ((2, 3, 7), "Conv1d", None, (3, 1, 7)),
        ((2, 8, 7, 7), "MultiheadAttention", None, (8, 7, 7)),
    ],
    ids=str,
)
def test_layouts_become_tiles(shape, module_type, layout, tiles):
    one = feature_map(torch.rand(shape), module_type=module_type, layout=layout)
    assert mosaic(record_of(one)).tiles.shape == tiles


def test_files_are_written_where_the_user_says(one, tmp_path):
    path = one.save(tmp_path / "all.png", channels=[1], scale=2)
    with Image.open(path) as picture:
        assert picture.size == one.image(channels=[1], scale=2).size
    paths = one.save_channels(tmp_path / "new" / "folder", sample=1, scale=1)
    assert [path.name for path in paths] == ["channel_0.png", "channel_1.png", "channel_2.png"]
    with Image.open(paths[2]) as picture:
        assert picture.convert("P").size == one.image(channels=[2], scale=1, numbers=False).size


def test_drawing_and_measuring_do_not_touch_the_values(one):
    before = one.tensor.clone()
    one.image()
    _ = one.stats
    one.numpy()[...] = 0
    assert torch.equal(one.tensor, before)


def test_a_notebook_shows_the_picture(one):
    assert one._repr_png_().startswith(b"\x89PNG")


def test_an_attention_mask_in_bfloat16_draws_its_fill_as_infinite():
    tensor = torch.rand(1, 1, 4, 4).to(torch.bfloat16)
    tensor[0, 0, 0, 3] = torch.finfo(torch.bfloat16).min
    exact = tensor.float()
    exact[0, 0, 0, 3] = -torch.inf
    assert (
        mosaic(record_of(feature_map(tensor))).tiles == mosaic(record_of(feature_map(exact))).tiles
    ).all()


@given(st.integers(1, 4), st.integers(0, 3), st.floats(-5, 5))
def test_one_sample_is_the_same_in_any_batch(batch, sample, gain):
    if sample >= batch:
        return
    tensor = torch.rand(batch, 2, 3, 3) * gain
    alone = record_of(feature_map(tensor[sample : sample + 1]))
    whole = record_of(feature_map(tensor))
    within = take(whole, sample)
    assert torch.equal(alone.kept.tensor, within.kept.tensor)
    assert stats(alone).mean == stats(within).mean
    assert (mosaic(alone).tiles == mosaic(whole, sample=sample).tiles).all()
