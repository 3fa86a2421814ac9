"""Pictures for people: colours, ranges, numbers, marks, tokens, principal components, sheets."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Net
from PIL import Image
from raised import text
from torch import nn

from pytest_featuremaps import CaptureError, UnsupportedTensor, capture, rendering
from pytest_featuremaps.maps import sheets
from pytest_featuremaps.maps.feature_map import feature_map_of, record_of
from pytest_featuremaps.maps.keeping import keep
from pytest_featuremaps.maps.pictures import mosaic
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.maps.values import stats, take
from pytest_featuremaps.names.keys import Layer, Place
from pytest_featuremaps.rendering import (
    DEAD,
    FLAT,
    HIGHEST,
    LOWEST,
    MIDDLE,
    MINUS_INF,
    NAN,
    PLUS_INF,
    PictureTooLarge,
    captions,
    components,
    looks,
    palette,
)
from pytest_featuremaps.rendering.colours import DEAD_LINE, FLAT_LINE, shown


def feature_map(tensor, module_type="Conv2d", **options):
    layer = Layer("model", "conv", module_type, {"model"}, **options)
    return feature_map_of(Record(Place(layer, 0), keep(torch.as_tensor(tensor))))


def pixels(image):
    return np.asarray(image.convert("RGB")).astype(int)


def colour(name, index):
    return list(palette(name)[3 * index : 3 * index + 3])


# --- colours --------------------------------------------------------------------------------------


def lightness(name):
    """The lightness of each level in OKLab, from sRGB."""
    levels = np.frombuffer(palette(name), np.uint8).reshape(-1, 3)[LOWEST : HIGHEST + 1] / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.transpose([
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ])  # fmt: skip
    return np.cbrt(cones) @ [0.2104542553, 0.7936177850, -0.0040720468]


def test_the_lightness_of_the_ramp_rises_evenly():
    assert (np.diff(lightness("ramp")) > 0).all()
    steps = np.diff(lightness("ramp")[::20])
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.05)
    assert np.ptp(lightness("ramp")) > 0.7


def test_the_diverging_colours_are_as_light_on_both_sides_of_zero():
    light = lightness("diverging")
    np.testing.assert_allclose(light, light[::-1], atol=0.01)
    assert light.argmax() == MIDDLE - LOWEST
    blue, red = colour("diverging", LOWEST), colour("diverging", HIGHEST)
    assert blue[2] - blue[0] > 80
    assert red[0] - red[2] > 80


@pytest.mark.parametrize("name", ["grey", "ramp", "diverging"])
def test_no_mark_looks_like_a_level(name):
    colours = np.frombuffer(palette(name), np.uint8).reshape(-1, 3).astype(int)
    assert len(colours) == 256
    for mark in (NAN, PLUS_INF, MINUS_INF, *([] if name == "ramp" else [DEAD])):
        distance = np.abs(colours[LOWEST : HIGHEST + 1] - colours[mark]).max(axis=1).min()
        assert distance > 30, mark
    for one, other in itertools.combinations((NAN, PLUS_INF, MINUS_INF, DEAD), 2):
        assert np.abs(colours[one] - colours[other]).max() > 40


@pytest.mark.parametrize(("mark", "line"), [(FLAT, FLAT_LINE), (DEAD, DEAD_LINE)])
def test_what_is_flat_or_dead_has_lines_that_no_level_has(mark, line):
    drawn = np.asarray(shown(np.full((3, 3), mark, np.uint8), palette("ramp"), 8))
    assert set(np.unique(drawn)) == {mark, line}
    for side in (drawn, drawn.T):
        assert all(len(set(row)) == 2 for row in side.tolist())


def test_dead_has_the_same_colour_in_all_pictures():
    stored = tuple(rendering.PALETTE[3 * DEAD : 3 * DEAD + 3])
    assert {tuple(colour(name, DEAD)) for name in ("grey", "ramp", "diverging")} == {stored}


def test_zero_is_in_the_middle_for_values_on_both_sides():
    one = feature_map([[[[-1.0, 0.0, 0.5, 2.0]]]])
    row = pixels(one.image(scale=1))[0].tolist()
    assert row[1] == colour("diverging", MIDDLE)
    assert row[3] == colour("diverging", HIGHEST)
    assert row[0] == colour("diverging", MIDDLE - (HIGHEST - MIDDLE) // 2)
    assert (row == pixels(one.image(scale=1, colours="diverging"))[0]).all()


@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0], [-3.0, -1.0, -2.0], [-1e-9, 1.0, 2.0]])
def test_values_on_one_side_are_drawn_on_the_ramp(values):
    one = feature_map([[[values]]])
    assert (pixels(one.image(scale=1)) == pixels(one.image(scale=1, colours="ramp"))).all()
    assert pixels(one.image(scale=1))[0][values.index(max(values))].tolist() == colour(
        "ramp", HIGHEST
    )


def test_all_tiles_share_one_meaning_of_colour():
    """A channel above zero in a map of both signs is drawn around zero too."""
    one = feature_map([[[[-1.0, 1.0]], [[0.5, 1.0]]]])
    for channels in (None, [1]):
        image = pixels(one.image(scale=1, numbers=False, channels=channels))
        assert colour("ramp", LOWEST) not in image.reshape(-1, 3).tolist()


def test_ranges_are_those_of_each_channel_or_of_the_layer():
    one = feature_map([[[[0.0, 1.0]], [[0.0, 2.0]]]])
    own = one.image(scale=1, channels=[0], colours="grey")
    assert pixels(own)[0, 1].tolist() == colour("grey", HIGHEST)
    shared = one.image(scale=1, channels=[0], colours="grey", ranges="layer")
    assert pixels(shared)[0, 1].tolist() == colour("grey", MIDDLE)


def test_grey_is_the_picture_that_baselines_hold():
    one = feature_map(torch.rand(1, 3, 5, 4))
    image = one.image(scale=2, colours="grey", numbers=False)
    assert (pixels(image) == pixels(mosaic(record_of(one)).image(2))).all()


@pytest.mark.parametrize(("option", "message"), [
    ({"colours": "viridis"},
     "colours='viridis': it is one of 'auto', 'grey', 'ramp', 'diverging', 'pca'"),
    ({"ranges": "image"}, "ranges='image': it is one of 'channel', 'layer'"),
    ({"channels": []},
     "channels=[]: name at least one channel, such as [3] or range(16)"),
    ({"scale": 0}, "scale is 0, but a picture is only ever enlarged: 1 or more"),
    ({"scale": 0, "numbers": False}, "scale is 0, but a picture is only ever enlarged: 1 or more"),
    ({"scale": 99999}, "scale is 99999, which makes a picture of 119,997,600,012 pixels; at most "
     "268,435,456 are drawn: scale=4729 is the largest"),
])  # fmt: skip
def test_options_that_are_none(option, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole text is compared)
        feature_map(torch.rand(1, 3, 2, 2)).image(**option)
    assert str(caught.value) == message


@pytest.mark.parametrize(("option", "message"), [
    ({"channels": 3}, "channels=3: it takes their numbers, such as [3] or range(16)"),
    ({"channels": slice(0, 4)},
     "channels=slice(0, 4, None): it takes their numbers, such as [3] or range(16)"),
    ({"channels": 1.5}, "channels=1.5: it takes their numbers, such as [3] or range(16)"),
    ({"channels": "01"}, "channels='01': it takes their numbers, such as [3] or range(16)"),
    ({"channels": [0.5]},
     "channels=[0.5]: 0.5 is no whole number, as of [3] or range(16)"),
    ({"scale": 2.5}, "scale=2.5: it is a whole number of pixels, such as 4"),
])  # fmt: skip
def test_options_of_another_type(option, message):
    with pytest.raises(TypeError) as caught:
        feature_map(torch.rand(1, 3, 2, 2)).image(**option)
    assert str(caught.value) == message


def test_channels_may_be_given_in_many_ways():
    one = feature_map(torch.rand(1, 3, 2, 2))
    expected = pixels(one.image(channels=[0, 2]))
    for channels in ((0, 2), range(0, 3, 2), np.array([0, 2]), np.flatnonzero([1, 0, 1])):
        assert (pixels(one.image(channels=channels)) == expected).all()


# --- marks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("colours", ["auto", "grey", "ramp", "diverging"])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_marks_are_seen_in_all_colours(colours, low):
    values = torch.full((1, 3, 2, 2), low)
    values[0, 0] = torch.tensor([[low, 1.0], [torch.nan, torch.inf]])
    values[0, 1] = torch.tensor([[-torch.inf, 0.5], [0.25, 1.0]])
    values[0, 2] = 0
    image = pixels(feature_map(values).image(scale=1, colours=colours, numbers=False))
    name = {"auto": "diverging" if low < 0 else "ramp"}.get(colours, colours)
    found = image.reshape(-1, 3).tolist()
    for mark in (NAN, PLUS_INF, MINUS_INF, DEAD):
        assert colour(name, mark) in found, mark


def test_a_legend_explains_the_marks_that_are_there():
    values = torch.rand(1, 2, 3, 3)
    plain = feature_map(values).image()
    values[0, 1] = 0
    marked = feature_map(values).image()
    assert colour("ramp", DEAD) in pixels(marked)[-40:].reshape(-1, 3).tolist()
    assert colour("ramp", DEAD) not in pixels(plain).reshape(-1, 3).tolist()


def test_noise_in_a_flat_channel_is_not_drawn():
    rng = np.random.default_rng(0)
    values = np.stack([rng.random((4, 4)), np.full((4, 4), 0.3)])[None]
    noisy = values.copy()
    noisy[0, 1] += rng.uniform(-1e-7, 1e-7, (4, 4))
    for colours in ("ramp", "grey", "diverging"):
        before, after = (pixels(feature_map(one).image(colours=colours)) for one in (values, noisy))
        assert (before == after).all()


def test_a_map_without_a_finite_value_is_drawn():
    for colours in ("auto", "diverging", "pca"):
        image = pixels(feature_map(torch.full((1, 2, 2, 2), torch.nan)).image(colours=colours))
        assert colour("ramp", NAN) in image.reshape(-1, 3).tolist()


# --- the page -------------------------------------------------------------------------------------


def test_tiles_are_enlarged_without_new_colours_and_numbered():
    one = feature_map(torch.rand(1, 4, 6, 5))
    image = one.image(scale=4)
    assert image.mode == "RGB"
    tile = pixels(image)[13 : 13 + 24, :20]
    exact = pixels(rendering.pick(mosaic(record_of(one)), [0]).image(4))
    assert (tile != exact).any()  # in colour
    grey = pixels(one.image(scale=4, colours="grey"))[13 : 13 + 24, :20]
    assert (grey == exact).all()
    heads = pixels(image)[:13]
    assert (heads != 255).any()


@given(
    count=st.integers(1, 40), height=st.integers(1, 20), width=st.integers(1, 20),
    scale=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_every_tile_is_on_the_page_whole(count, height, width, scale):
    tiles = np.full((count, height, width), LOWEST, np.uint8)
    ends = np.zeros(count)
    whole = rendering.Mosaic(tiles, tuple(range(count)), ends, ends + 1, 1.0)
    image = pixels(rendering.numbered(whole, palette("ramp"), scale, labels=[""] * count))
    drawn = (image == colour("ramp", LOWEST)).all(axis=2).sum()
    assert drawn == tiles.size * scale * scale


def test_a_number_is_never_cut_off():
    values = torch.rand(1, 12, 2, 2)
    whole = mosaic(record_of(feature_map(values)))
    image = pixels(rendering.numbered(whole, palette("ramp"), 1))
    alone = pixels(rendering.numbered(rendering.pick(whole, [10, 11]), palette("ramp"), 30))
    heads = [(one[:13] < 200).any(axis=2).sum() for one in (image[-19:], alone)]
    assert heads[0] >= heads[1] // 2 > 5
    values = torch.rand(1, 10, 100)
    tokens = feature_map(values, layout="tokens").image(scale=1)
    below = pixels(tokens)[:-22]
    assert (below < 200).any(axis=2).any(axis=0).nonzero()[0].max() > 80


def test_tiles_are_as_wide_as_their_numbers():
    narrow = feature_map(torch.rand(1, 1200, 2, 2)).image()
    assert narrow.width / 40 > 22
    assert max(narrow.size) < 2000


def test_a_row_has_its_number_before_it():
    whole = mosaic(record_of(feature_map(torch.rand(1, 3, 9), "Conv1d")))
    image = pixels(rendering.numbered(whole, palette("ramp"), 12))
    assert image.shape[0] == 3 * (12 + 1)
    assert all(image[13 * row : 13 * row + 12, :10].min() < 200 for row in range(3))
    assert (image[12, -9 * 12 :] == 255).all()


def test_slices_of_a_volume_have_gaps_between_them():
    one = feature_map(torch.rand(1, 2, 4, 3, 3) + 1, "Conv3d")
    image = pixels(one.image(scale=2))
    tile = image[13:, : 2 * 6 + 2]
    assert (tile[6:8] == 255).all()
    assert (tile[: 2 * 6 + 2, 6:8] == 255).all()
    whole = rendering.numbered(mosaic(record_of(one)), palette("ramp"), 2, parts=(2, 2))
    assert whole.size == (2 * (14 + 4), 13 + 14 + 4)


def test_a_channel_alone_is_its_tile_and_what_its_colours_mean():
    one = feature_map(torch.rand(1, 3, 5, 4))
    bare, told = (one.image(channels=[2], scale=3, numbers=on) for on in (False, True))
    assert bare.size == (12, 15)
    assert (pixels(told)[:15, :12] == pixels(bare)).all()
    assert colour("ramp", HIGHEST) in pixels(told)[15:].reshape(-1, 3).tolist()


def test_too_many_values_are_refused():
    one = feature_map(torch.zeros(1).expand(1, 65, 512, 512))
    with pytest.raises(PictureTooLarge) as caught:
        one.image()
    assert str(caught.value) == (
        "the picture of 65 channels of 512x512 has 18,956,890 pixels; at most 16,777,216 are "
        "allowed: choose fewer channels, for example channels=range(16)"
    )
    assert one.image(channels=range(4)).size[0] > 1000


def test_files_take_the_options_of_the_picture(tmp_path):
    one = feature_map(torch.rand(1, 3, 5, 4) - 0.5)
    path = one.save(tmp_path / "all.png", colours="grey", numbers=False, scale=1)
    with Image.open(path) as picture:
        assert (pixels(picture) == pixels(mosaic(record_of(one)).image(1))).all()
    for options in ({}, {"colours": "auto", "ranges": "layer"}):
        paths = one.save_channels(tmp_path, scale=2, **options)
        same = {"colours": "grey", "channels": [1], "scale": 2} | options
        with Image.open(paths[1]) as picture:
            assert (pixels(picture) == pixels(one.image(numbers=False, **same))).all()
    with pytest.raises(ValueError, match=r"^colours='pca' is one picture of all channels: save"):
        one.save_channels(tmp_path, colours="pca")


# --- layouts --------------------------------------------------------------------------------------


def test_tokens_are_folded_and_those_before_the_patches_shown_apart():
    values = torch.rand(1, 10, 3)
    one = feature_map(values, layout="tokens:1+3x3")
    plain = feature_map(values[:, 1:], layout="tokens").image(scale=4, numbers=False)
    image = one.image(scale=4, numbers=False)
    assert (pixels(image)[: plain.height, : plain.width] == pixels(plain)).all()
    image = one.image(scale=4)
    assert image.height > plain.height
    assert (pixels(image) == pixels(feature_map(values).image(scale=4, layout="tokens"))).all()
    assert mosaic(record_of(one)).tiles.shape == (3, 3, 3)


def test_what_can_be_read_in_several_ways_is_an_error_with_the_choices():
    with pytest.raises(CaptureError) as caught:
        feature_map(torch.rand(1, 197, 768), "ViTLayer").image()
    assert text(caught) == [
        "conv (ViTLayer) has shape (1, 197, 768), which can be read in several ways:",
        '  layout="NLC"     768 channels, a sequence of 197',
        '  layout="tokens"  768 channels, 1 token and 14x14 patches',
        '  layout="NCL"     197 channels, a sequence of 768',
        '  layout="CHW"     1 channel, 197x768',
        "Say which one is meant when you capture, or in image(layout=...).",
    ]
    with pytest.raises(CaptureError) as caught:
        mosaic(record_of(feature_map(torch.rand(1, 7, 7, 96), "SwinBlock")))
    assert text(caught)[1:3] == [
        '  layout="NCHW"    7 channels, 7x96',
        '  layout="NHWC"    96 channels, 7x7',
    ]
    assert feature_map(torch.rand(1, 7, 7, 96), "SwinBlock")._repr_png_() is None


def test_a_declared_layout_beats_a_guess():
    values = torch.rand(1, 7, 7, 96)
    declared = feature_map(values, "SwinBlock", layout="NHWC")
    assert mosaic(record_of(declared)).tiles.shape == (96, 7, 7)
    assert mosaic(record_of(feature_map(values, layout="NHWC"))).tiles.shape == (96, 7, 7)
    assert (pixels(declared.image()) == pixels(feature_map(values).image(layout="NHWC"))).all()


@pytest.mark.parametrize(("layout", "message"), [
    ("tokens", "conv (ViTLayer) has shape (1, 8, 3): 8 tokens make no square of patches with up "
     "to five before it; declare one, such as 'tokens:2x4'."),
    ("tokens:1+2x3", "conv (ViTLayer) has shape (1, 8, 3): layout 'tokens:1+2x3' is a grid of 7 "
     "tokens, the map has 8."),
    ("NCHW", "conv (ViTLayer) has shape (1, 8, 3): layout 'NCHW' names 4 axes, the map has 3."),
    ("NXC", "image(layout='NXC'): 'X' is none of its letters, which are N (samples), C (channels), "
     "D, H, W (positions), L (sequence), Q and K (attention), E (of a head)."),
])  # fmt: skip
def test_a_layout_that_does_not_fit_is_told(layout, message):
    with pytest.raises(CaptureError) as caught:
        feature_map(torch.rand(1, 8, 3), "ViTLayer").image(layout=layout)
    assert str(caught.value) == message


def test_recurrent_layers_put_positions_first():
    values = torch.rand(5, 2, 3)
    model = nn.LSTM(3, 4)
    with capture(model, ".") as maps:
        model(values)
    assert maps[".[0]"].layout == "LNC"
    assert mosaic(record_of(maps[".[0]"]), sample=1).tiles.shape == (4, 1, 5)
    assert torch.equal(take(record_of(maps[".[0]"]), 1).kept.tensor, maps[".[0]"].tensor[:, 1:])
    model = nn.LSTM(3, 4, batch_first=True)
    with capture(model, ".") as maps:
        model(values)
    assert maps[".[0]"].layout == "NLC"
    assert maps[".[1][0]"].layout == "LNC"


def test_a_vector_is_drawn():
    vector = feature_map(torch.rand(2, 10), "Linear")
    assert vector.image(scale=2, numbers=False).size == (20, 2)
    assert mosaic(record_of(feature_map(torch.rand(2, 256), "Linear"))).tiles.shape == (1, 16, 16)


# --- features as colour ---------------------------------------------------------------------------


def scene(channels=8, side=6, seed=0):
    """Three directions of clearly different strength, and a little noise."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(3, channels))
    positions = rng.normal(size=(3, side * side)) * [[9.0], [3.0], [1.0]]
    noise = 0.01 * rng.normal(size=(channels, side * side))
    return (weights.T @ positions + noise).reshape(channels, side, side)


def test_components_are_those_of_the_singular_values():
    values = scene()
    shades, known = components.colours(values)
    assert known.all()
    points = values.reshape(8, -1).T
    points = points - points.mean(axis=0)
    _, _, directions = np.linalg.svd(points)
    for number, direction in enumerate(directions[:3]):
        scores = points @ direction * np.sign(direction[np.abs(direction).argmax()])
        expected = 255 * (scores - scores.min()) / np.ptp(scores)
        np.testing.assert_allclose(shades[..., number].ravel(), expected, atol=0.51)


@given(st.integers(0, 2**32 - 1), st.sampled_from([(8, 6), (40, 3)]), st.floats(1e-3, 1e3))
@settings(max_examples=40, deadline=None)
def test_the_same_map_has_the_same_colours(seed, size, gain):
    """Neither rounding, nor gain, nor an offset of a channel turns a colour into another."""
    values = scene(*size, seed)
    before, _ = components.colours(values)
    noise = 1 + 1e-7 * np.random.default_rng(seed).normal(size=values.shape)
    after, _ = components.colours(gain * values * noise + 5 * gain)
    assert np.abs(before.astype(int) - after).max() <= 1


def test_mirrored_positions_give_the_mirrored_picture():
    values = scene()
    shades, _ = components.colours(values)
    mirrored, _ = components.colours(values[..., ::-1])
    np.testing.assert_allclose(mirrored[:, ::-1].astype(int), shades, atol=1)


def test_of_equal_loadings_the_first_channel_counts_positive():
    ramp = np.arange(9.0).reshape(3, 3)
    shades, _ = components.colours(np.stack([ramp, -ramp]))
    assert (shades[0, 0, 0], shades[2, 2, 0]) == (0, 255)
    shades, _ = components.colours(np.stack([-ramp, ramp * (1 + 1e-12)]))
    assert (shades[0, 0, 0], shades[2, 2, 0]) == (255, 0)


@pytest.mark.parametrize(("values", "expected"), [
    (np.zeros((4, 3, 3)), 128), (np.full((4, 3, 3), 7.0), 128), (np.zeros((0, 3, 3)), 128),
])  # fmt: skip
def test_what_does_not_vary_is_grey(values, expected):
    assert (components.colours(values)[0] == expected).all()


def test_rounding_is_no_component():
    ramp = np.arange(9.0).reshape(3, 3)
    shades, _ = components.colours(np.stack([ramp, 2 * ramp + 1e-9 * ramp**2, ramp]))
    assert np.ptp(shades[..., 0]) == 255
    assert (shades[..., 1:] == 128).all()


@pytest.mark.parametrize("shape", [(4, 0, 0), (1, 1, 1), (2, 1, 5), (1280, 2, 2)])
def test_components_of_any_size(shape):
    shades, known = components.colours(np.random.default_rng(0).random(shape))
    assert shades.shape == (*shape[1:], 3)
    assert known.shape == shape[1:]


def said(monkeypatch, one, **options):
    """What stands below a picture."""
    found = []
    real = captions.note
    monkeypatch.setattr(
        captions, "note", lambda entries, width: found.extend(entries) or real(entries, width)
    )
    one.image(**options)
    return [text for _, text in found]


def test_a_channel_that_is_finite_hardly_anywhere_is_left_out_and_told(monkeypatch):
    values = torch.as_tensor(scene())[None].float()
    values[0, 5] = torch.nan
    values[0, 2, 0, 0] = torch.inf
    one = feature_map(values)
    image = pixels(one.image(colours="pca", scale=1, numbers=False))
    marked = (image == colour("grey", NAN)).all(axis=2)
    assert marked.sum() == marked[0, 0] == 1
    assert said(monkeypatch, one, colours="pca") == [
        "red, green, blue: principal components 1, 2, 3", "not finite in a channel",
        "left out, mostly not finite: channel 5",
    ]  # fmt: skip


@pytest.mark.parametrize(("values", "options", "expected"), [
    ([[0.0, 1.0], [0.0, 3.0]], {},
     ["lowest to highest value of each channel", "values of the layer: 0 to 3"]),
    ([[-1.0, 1.0], [0.0, 3.0]], {},
     ["each channel around 0, up to its largest value", "values of the layer: -1 to 3"]),
    ([[0.0, 1.0], [0.5, 3.0]], {"ranges": "layer"}, ["0 to 3"]),
    ([[-1.0, 1.0], [0.5, 3.0]], {"ranges": "layer"}, ["-3 to 3"]),
    ([[-1.0, 1.0], [0.5, 2.5]], {"channels": [1]}, ["-2.5 to 2.5"]),
    ([[1.0], [4.0]], {}, ["1 to 4"]),
    ([[0.0, 0.0], [1.0, 1.0]], {},
     ["lowest to highest value of each channel", "values of the layer: 0 to 1",
      "dead: zero throughout", "flat: constant to within the noise floor"]),
    ([[0.0, 0.0]], {}, ["dead: zero throughout"]),
])  # fmt: skip
def test_a_picture_says_what_its_colours_mean(monkeypatch, values, options, expected):
    one = feature_map(torch.tensor(values)[None, :, None])
    assert said(monkeypatch, one, **options) == expected


def test_attention_is_drawn_from_zero(monkeypatch):
    weights = torch.rand(1, 2, 4, 4) + 0.5
    one = feature_map(weights, layout="NCQK")
    assert said(monkeypatch, one)[0] == "0 to highest value of each channel"
    image = pixels(one.image(scale=1, channels=[0], numbers=False, colours="grey"))
    shares = weights[0, 0] / weights[0, 0].max()
    np.testing.assert_allclose(image[..., 0] / 255, shares, atol=0.01)


def test_a_channel_of_nearly_zeros_looks_like_zero():
    values = torch.linspace(0, 1, 32).reshape(1, 2, 4, 4).flip(1)
    values[0, 1] = 0
    values[0, 1, 2, 2] = 5e-4
    image = pixels(feature_map(values).image(channels=[1], scale=1, numbers=False))
    assert image[0, 0].tolist() == colour("ramp", LOWEST)
    assert image[2, 2].tolist() == colour("ramp", LOWEST + 5)


def test_tiles_tell_their_range_where_there_is_room():
    values = torch.rand(1, 4, 30, 30)
    wide, narrow = (pixels(feature_map(values).image(scale=scale))[:13] for scale in (5, 1))
    assert (wide[:, 40:100] < 200).any()
    assert not (narrow[:, 20:30] < 200).any()


def test_a_vector_in_rows_is_told_as_one(monkeypatch):
    told = "256 values of a vector, row by row"
    assert told in said(monkeypatch, feature_map(torch.rand(1, 256), "Linear"))
    for shape, module in (((1, 1, 16, 16), "Conv2d"), ((1, 20), "Linear"), ((1, 9, 1), "Linear")):
        found = said(monkeypatch, feature_map(torch.rand(shape), module))
        assert not any("vector" in text for text in found)


def test_slices_of_a_volume_are_told(monkeypatch):
    one = feature_map(torch.rand(1, 2, 6, 3, 3), "Conv3d")
    assert "slices 0 to 5 of each channel, row by row" in said(monkeypatch, one)


def test_huge_and_tiny_values_have_components():
    values = scene()
    for gain in (1e-300, 1e200):
        shades, _ = components.colours(values * gain)
        assert np.abs(shades.astype(int) - components.colours(values)[0]).max() <= 1


def test_a_position_that_is_not_finite_is_marked_and_left_out():
    values = torch.as_tensor(scene())[None].float()
    clean = pixels(feature_map(values).image(colours="pca", scale=1, numbers=False))
    assert clean.shape == (6, 6, 3)
    values[0, 3, 2, 1] = torch.inf
    image = pixels(feature_map(values).image(colours="pca", scale=1, numbers=False))
    assert image[2, 1].tolist() == colour("grey", NAN)
    assert np.abs(image - clean).max(axis=2).ravel()[[0, -1]].max() < 30


# --- sheets ---------------------------------------------------------------------------------------


@pytest.fixture
def maps():
    torch.manual_seed(0)
    model = Net()
    with capture(model, "**", required=False) as found:
        model(torch.rand(2, 3, 12, 12))
    return found


def test_a_sheet_has_a_band_for_each_map(maps):
    page = maps.sheet()
    bands = len(maps)
    assert page.mode == "RGB"
    assert page.height > 50 * bands
    fewer = maps.only("small_model.*").sheet()
    assert fewer.height < page.height
    assert maps.sheet(most=1).width < page.width
    assert (pixels(maps.sheet(sample=1)) != pixels(page)).any()
    assert (pixels(maps.sheet()) == pixels(page)).all()


def test_a_map_without_a_picture_says_so_on_the_sheet():
    class Odd(nn.Module):
        def forward(self, x):
            return x, x.sum(), x[0, 0], x.to(torch.complex64)

    with capture(model := Odd(), ".") as maps:
        model(torch.rand(1, 3, 4, 4))
    written = []

    def page(bands, legend):
        written.extend(bands)
        return Image.new("RGB", (1, 1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "page", page)
        maps.sheet()
    assert [(band.title, band.note, band.image is None) for band in written] == [
        (".[0]  (Odd)", "1x3x4x4, channels 0 to 2 of 3, values "
          f"{maps['.[0]'].stats.min:.3g} to {maps['.[0]'].stats.max:.3g}", False),
        (".[1]  (Odd)", "scalar, not drawn: has shape (): there is no picture of it.", True),
        (".[2]  (Odd)", f"4x4, values {stats(take(record_of(maps['.[2]']), 0)).min:.3g} to "
         f"{stats(take(record_of(maps['.[2]']), 0)).max:.3g}", False),
        (".[3]  (Odd)", "1x3x4x4, not drawn: has complex values: there is no picture of it.", True),
    ]  # fmt: skip


def test_a_map_that_can_be_read_in_several_ways_says_so_on_the_sheet():
    one = feature_map(torch.rand(1, 16, 4), "Block")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "page", lambda bands, legend: bands)
        (band,) = sheets.sheet({"conv": record_of(one)}, looks.Look(), sample=0, most=16)
    assert band.note == (
        "1x16x4, not drawn: has shape (1, 16, 4), which can be read in several ways: choose "
        'layout="NLC", "tokens", "NCL" or "CHW", here or where you capture'
    )  # fmt: skip
    with pytest.raises(CaptureError, match=r"tokens\"  4 channels, 4x4 patches"):
        one.image()


@pytest.mark.parametrize(("length", "width", "note"), [
    (12, 12 * 8, "1x3x12, channels 0 to 1 of 3, values 0 to 35"),
    (3000, 1000, "1x3x3000, channels 0 to 1 of 3, the first 1000 of 3000 positions, "
     "values 0 to 9e+03"),
])  # fmt: skip
def test_sequences_are_rows_of_a_sheet_and_cut_where_they_are_long(length, width, note):
    one = feature_map(torch.arange(3.0 * length).reshape(1, 3, length), "Conv1d")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "page", lambda bands, legend: bands)
        (band,) = sheets.sheet({"conv": record_of(one)}, looks.Look(), sample=0, most=2)
    assert band.note == note
    assert width < band.image.width < width + 30
    assert band.image.height == 2 * (12 + 1)


def bands_of(maps, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            rendering, "page", lambda bands, legend: (bands, [text for _, text in legend])
        )
        return maps.sheet(**options)


def test_a_layout_of_a_sheet_chooses_and_folds_but_overrides_nothing():
    model = nn.Sequential(nn.Conv2d(3, 5, 4, 4), nn.Flatten(2), Turn(), nn.Linear(5, 6), Mean())
    with capture(model, "*") as maps:
        model(torch.rand(1, 3, 12, 12))
    bands, _ = bands_of(maps)
    assert [band.image is None for band in bands] == [False, True, True, False, False]
    bands, _ = bands_of(maps, layout="tokens")
    notes = [band.note for band in bands]
    assert notes[0].startswith("1x5x3x3, channels 0 to 4 of 5")
    assert notes[2].startswith("1x9x5, channels 0 to 4 of 5")
    assert bands[0].image.size == bands[2].image.size
    assert bands[3].image.height == bands[2].image.height
    assert notes[4].startswith("1x6, values")
    with pytest.raises(CaptureError, match=r"^sheet\(layout='token'\): 'e', "):
        maps.sheet(layout="token")


class Turn(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def test_a_sheet_says_what_its_colours_mean():
    values = torch.randn(1, 5, 4, 4)
    values[0, 1], values[0, 2], values[0, 3, 0, 0], values[0, 4, 0, 0] = 0, 1, torch.nan, torch.inf
    model = nn.ModuleList([nn.Identity(), nn.ReLU()])
    with capture(model, "*") as maps:
        for module in model:
            module(values)
    page, legend = bands_of(maps, layout="NCHW")
    assert len(page) == 2
    assert legend == [
        "each channel around 0, up to its largest value", "dead: zero throughout",
        "flat: constant to within the noise floor", "NaN", "+Inf",
        "lowest to highest value of each channel",
    ]  # fmt: skip
    _, legend = bands_of(maps.only("1"), ranges="layer", most=2)
    assert legend == ["lowest to highest value of the layer", "dead: zero throughout"]
    assert maps.sheet().height > 40


def test_large_maps_are_made_smaller_on_a_sheet_and_keep_their_marks():
    values = torch.rand(1, 10, 300, 250)
    values[0, 3, 100, 101] = torch.nan
    one = feature_map(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "page", lambda bands, legend: bands)
        (band,) = sheets.sheet({"conv": record_of(one)}, looks.Look(), sample=0, most=16)
    assert band.note.endswith(", one of each 3x3 values")
    assert band.note.startswith("1x10x300x250, channels 0 to 9 of 10")
    assert band.image.size == (10 * (84 + 4), 13 + 100 + 4)
    found = (pixels(band.image) == colour("ramp", NAN)).all(axis=2)
    assert found.sum() == 1


def test_components_are_for_one_map(maps):
    with pytest.raises(ValueError, match=r"^colours='pca' is one picture of all channels: image"):
        maps.sheet(colours="pca")


@pytest.mark.parametrize("shape", [(1, 0, 3, 3), (1, 3, 0, 0), (1, 2, 0, 4)], ids=str)
def test_a_map_without_values_has_no_picture(shape):
    one = feature_map(torch.rand(shape))
    for options in ({}, {"colours": "pca"}, {"numbers": False}):
        with pytest.raises(UnsupportedTensor, match=r"has no values: there is no picture of it"):
            one.image(**options)
    assert one._repr_png_() is None
    assert sheets.sheet({"conv": record_of(one)}, looks.Look(), sample=0, most=4).height == 40 + 16


def test_a_sheet_of_nothing_and_of_a_wrong_sample(maps):
    with capture(Net(), "**", required=False) as empty:
        pass
    assert empty.sheet().size == (32, 16)
    with pytest.raises(IndexError, match=r"has no sample 2: it has 2, from 0"):
        maps.sheet(sample=2)


def test_a_sheet_of_too_many_pixels_is_refused():
    bands = [rendering.Band("a", "", Image.new("RGB", (1000, 4000)))] * 5
    with pytest.raises(PictureTooLarge) as caught:
        rendering.page(bands)
    assert str(caught.value) == (
        "the page of 5 pictures has 20,945,472 pixels; at most 16,777,216 are drawn: choose fewer "
        'of them, for example with feature_maps.only("layer1.*").sheet()'
    )


def test_a_name_in_other_letters_is_written_with_those_of_the_font():
    with capture(model := nn.ModuleDict({"ñ": nn.Conv2d(1, 1, 1)}), "ñ") as maps:
        model["ñ"](torch.rand(1, 1, 2, 2))
    assert maps.sheet().width > 100


def test_what_is_drawn_is_left_alone(maps):
    before = [one.tensor.clone() for one in maps.values()]
    maps.sheet()
    for one in maps.values():
        one.image(colours="pca")
        one.image()
    assert all(map(torch.equal, before, (one.tensor for one in maps.values())))


def test_unreadable_tensors_have_no_picture():
    with pytest.raises(UnsupportedTensor):
        feature_map(torch.empty(1, 2, 3, 3, device="meta")).image(colours="pca")
