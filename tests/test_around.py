"""Tiles over the picture that a model was shown, and between the words that it has read."""

import numpy as np
import pytest
import torch
from PIL import Image
from test_fused_attention import attended, random
from test_looks import feature_map, pixels, text

from pytest_featuremaps.rendering import NAN, lettering, looks, palette

RAMP = np.frombuffer(palette("ramp"), np.uint8).reshape(-1, 3).astype(int)
WORDS = ["[CLS]", "a", "cat", "sat"]


def maps(*shape):
    return feature_map(torch.arange(float(np.prod(shape))).reshape(shape))


def attention(heads=2, queries=4, keys=4):
    torch.manual_seed(0)
    weights = torch.rand(1, heads, queries, keys).softmax(-1)
    return feature_map(weights, "scaled_dot_product_attention", layout="NCQK")


# --- over a picture -------------------------------------------------------------------------------


def test_six_tenths_are_the_colour_and_the_rest_is_the_picture_in_grey():
    photo = Image.new("RGB", (40, 40), (200, 100, 0))
    grey = photo.convert("L").getpixel((0, 0))
    one = maps(1, 1, 2, 2)
    drawn = pixels(one.image(over=photo, scale=3, numbers=False))
    assert drawn.shape == (6, 6, 3)
    colours = pixels(one.image(scale=3, numbers=False))
    np.testing.assert_allclose(drawn, 0.6 * colours + 0.4 * grey, atol=1)


def test_each_tile_is_as_large_as_a_picture_and_has_the_shape_of_the_map():
    wide = Image.new("L", (30, 10))
    assert maps(1, 1, 14, 14).image(over=wide, numbers=False).size == (224, 224)
    assert maps(1, 1, 7, 14).image(over=wide, numbers=False).size == (224, 112)
    assert maps(1, 1, 300, 300).image(over=wide, numbers=False).size == (300, 300)
    numbered, plain = (maps(1, 2, 14, 14).image(over=wide, numbers=on).size for on in (True, False))
    assert numbered[0] == plain[0]
    assert numbered[1] > 14 + plain[1]
    assert plain == (224 + 6 + 224, 224)


def test_the_picture_is_the_sample_that_is_drawn_from_its_darkest_to_its_lightest():
    batch = torch.zeros(2, 3, 2, 2)
    batch[1, :, 0, 0], batch[1, :, 1, 1] = -2.1, 2.6  # normalised, as a model is shown it
    lit = feature_map(torch.ones(2, 1, 2, 2))
    first, second = (
        pixels(lit.image(over=batch, sample=one, scale=1, ranges="layer", numbers=False))
        for one in (0, 1)
    )
    assert len(np.unique(first.reshape(-1, 3), axis=0)) == 1
    rise = (second[1, 1] - second[0, 0]).tolist()
    assert rise == pytest.approx([102, 102, 102], abs=1)


@pytest.mark.parametrize(
    "picture",
    [torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), np.zeros((3, 8, 8), np.float32)],
)
def test_a_picture_may_be_a_tensor_or_an_array(picture):
    assert maps(1, 1, 2, 2).image(over=picture, numbers=False).size == (224, 224)


def test_a_tensor_that_is_shown_stays_as_it_is():
    photo = torch.randn(1, 3, 8, 8, requires_grad=True)
    before = photo.detach().clone()
    maps(1, 4, 2, 2).image(over=photo)
    assert torch.equal(photo, before)


def test_marks_are_opaque():
    values = torch.ones(1, 1, 2, 2)
    values[0, 0, 0, 1] = torch.nan
    drawn = pixels(feature_map(values).image(over=Image.new("L", (4, 4), 255), scale=2))
    assert drawn[0, 2].tolist() == RAMP[NAN].tolist()


def test_tokens_before_the_patches_stay_below():
    heads = attended(*(random(1, 2, 10, 4, seed=seed) for seed in range(3))).attention()
    over = heads.image(
        query=0, layout="tokens", over=Image.new("L", (9, 9)), scale=70, numbers=False
    )
    bare = heads.image(query=0, channels=[0], scale=70, numbers=False)
    assert over.height > 3 * 70 + 70 > 70 == bare.height


@pytest.mark.parametrize("shape", [(2, 8, 8), (8, 8), (1, 3, 0, 8)])
def test_what_is_no_picture_is_told(shape):
    with pytest.raises(ValueError, match="over=") as caught:
        maps(1, 1, 2, 2).image(over=torch.zeros(shape))
    named = shape[1:] if len(shape) == 4 else shape
    assert text(caught) == [
        "over= is a picture of Pillow, or a tensor of one or three channels, (C, H, W) or "
        f"(N, C, H, W): this one's shape is {named}",
    ]


def test_of_many_channels_each_is_smaller():
    image = maps(1, 400, 14, 14).image(over=Image.new("L", (9, 9)))
    assert 8_000_000 < image.width * image.height < 20_000_000


def test_one_photo_is_under_all_samples_of_a_batch():
    assert maps(2, 1, 2, 2).image(over=torch.zeros(1, 3, 4, 4), sample=1, numbers=False).size == (
        224,
        224,
    )


def test_slices_of_a_volume_lie_over_nothing():
    with pytest.raises(ValueError, match="over=") as caught:
        feature_map(torch.rand(1, 1, 4, 3, 3), "Conv3d").image(over=Image.new("L", (4, 4)))
    assert text(caught) == ["over= lies under rows and columns, not under the slices of a volume"]


@pytest.mark.parametrize(("shape", "module"), [
    ((1, 8), "Linear"), ((1, 256), "Linear"), ((1, 5, 9), "Linear"), ((1, 5, 9), "Conv1d"),
])  # fmt: skip
def test_what_has_no_rows_and_columns_lies_over_nothing(shape, module):
    with pytest.raises(ValueError, match="over=") as caught:
        feature_map(torch.rand(shape), module).image(over=Image.new("L", (4, 4)))
    assert text(caught) == [
        "over= lies under the rows and columns of an image, and this map has none; where it is a "
        'sequence of patches, say so with layout="tokens"'
    ]


# --- between words --------------------------------------------------------------------------------


def test_words_are_at_columns_and_rows_of_each_head():
    image = attention(heads=1).image(words=WORDS, scale=20, numbers=False)
    drawn, plain = pixels(image), pixels(attention(heads=1).image(scale=20, numbers=False))
    assert np.array_equal(drawn[-80:, -80:], plain)
    beside, above = drawn[-80:, :-80], drawn[:-80, -80:]
    for place in range(4):
        lines = slice(20 * place, 20 * place + 20)
        assert beside[lines].min() < 200, WORDS[place]
        assert above[:, lines].min() < 200, WORDS[place]
    # The longest begins where the tile does, and so do all others.
    assert (beside[:, -3:] == 255).all()
    assert above[-4:-1].min() >= 200 > above[-12:].min()


def test_what_one_word_looks_at_is_a_table_of_heads():
    heads = attention(heads=3)
    image = heads.image(query=2, words=WORDS, scale=20)
    plain = heads.image(query=2, words=WORDS, scale=20, numbers=False)
    left, table = pixels(image), pixels(plain)[:, 6:]
    tall, wide = table.shape[:2]
    found = [
        start for start in range(6, 60) if np.array_equal(left[:tall, start : start + wide], table)
    ]
    assert len(found) == 1
    assert left[tall - 60 : tall, : found[0]].min() < 200  # their numbers


def test_two_heads_have_their_words_each():
    one, two = (attention(heads=count).image(words=WORDS, numbers=False) for count in (1, 2))
    assert two.size == (2 * one.width + 6, one.height)
    left, right = two.crop((0, 0, *one.size)), two.crop((one.width + 6, 0, *two.size))
    labels = slice(0, one.height - 4 * 32)
    assert np.array_equal(pixels(left)[labels], pixels(right)[labels])
    assert attention(heads=2).image(words=WORDS).height > 14 + one.height


@pytest.mark.parametrize(("count", "cell"), [(4, 32), (20, 25), (60, 14)])
def test_few_words_have_large_cells(count, cell):
    words = ["a"] * count
    tables = [
        attention(heads=1, queries=rows, keys=count).image(words=words, numbers=False)
        for rows in (2, 3)
    ]
    assert tables[1].height - tables[0].height == cell


def test_rows_of_a_table_are_numbered_unless_told():
    with_numbers, without = (
        attention(heads=3).image(query=0, words=WORDS, numbers=on) for on in (True, False)
    )
    assert without.width < with_numbers.width


def test_keys_of_another_sequence_leave_the_rows_alone():
    narrow, wide = (
        attention(heads=1, queries=queries).image(words=WORDS, scale=20, numbers=False)
        for queries in (2, 4)
    )
    assert narrow.width < wide.width


def test_a_word_is_one_line_of_few_characters():
    evil = ["\x1b[2J", "two\nlines", "x" * 500, "\ud800"]
    image = attention(heads=1).image(words=evil, scale=20)
    assert max(image.size) < 400


@pytest.mark.parametrize(("text", "expected"), [
    ("Ġcat", "·cat"), ("▁sat", "·sat"), ("日本", "\\u65e5\\u672c"), ("ñ…", "\\u00f1…"),
    ("🙂", "\\U0001f642"), ("a b", "a b"), ("\t", "\\u0009"),
])  # fmt: skip
def test_a_letter_that_the_font_lacks_is_written_as_its_code(text, expected):
    assert lettering.written(text) == expected


def test_words_of_small_text_stand_apart():
    for size in (10, 11, 12):
        space = lettering.length("a b", size) - lettering.length("ab", size)
        assert space >= 0.24 * size - 1e-9, size


def test_a_word_in_letters_that_the_font_lacks_is_drawn_readably():
    tokens, codes = (
        pixels(attention(heads=1).image(words=[*words, "a", "b"], scale=20))
        for words in (["Ġcat", "日"], ["·cat", "\\u65e5"])
    )
    assert np.array_equal(tokens, codes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": ["one"]}, "words= holds 1 words for 4 columns"),
        (
            {"words": WORDS, "over": Image.new("L", (4, 4))},
            "over= is for positions on a picture, words= for those of a text",
        ),
        (
            {"words": WORDS, "colours": "pca"},
            "colours='pca' is one picture of all channels, without over= or words=",
        ),
    ],
)
def test_options_that_do_not_fit_are_told(options, message):
    with pytest.raises(ValueError, match="words=") as caught:
        attention().image(**options)
    assert text(caught) == [message]


def test_a_file_takes_them_as_well(tmp_path):
    path = attention().save(tmp_path / "heads.png", words=WORDS)
    with Image.open(path) as image:
        assert image.size == attention().image(words=WORDS).size


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_in_a_photo_is_as_zero():
    photo = np.array([[[np.inf, -np.inf], [np.nan, 1.0]]])
    assert np.asarray(looks.backdrop(photo)).tolist() == [[0, 0], [0, 255]]


def test_a_path_is_no_picture():
    with pytest.raises(TypeError) as caught:
        maps(1, 1, 2, 2).image(over="photo.png")
    assert text(caught) == [
        "over= is a picture of Pillow or a tensor, not a str; PIL.Image.open(path) opens a file"
    ]


def test_an_empty_backdrop_is_black():
    assert looks.backdrop(np.zeros((1, 2, 2))).getextrema() == (0, 0)
