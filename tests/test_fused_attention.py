"""Attention: the weights of fused calls, equal to the unfused computation, and their pictures."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raised import text
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from pytest_featuremaps import AmbiguousKey, CaptureError, UnsupportedTensor, capture
from pytest_featuremaps.maps.attention import recomputed
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.given import has_inputs
from pytest_featuremaps.maps.pictures import mosaic, planes

SDPA = "scaled_dot_product_attention()"


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Calls(nn.Module):
    """One call of fused attention, as it is given."""

    def forward(self, *args, **kwargs):
        return scaled_dot_product_attention(*args, **kwargs)


def attended(*args, **kwargs):
    with capture(model := Calls(), SDPA, inputs=True) as maps:
        model(*args, **kwargs)
    return maps[SDPA]


# --- equal to the unfused computation -------------------------------------------------------------

BIAS = random(5, 7, seed=3)
MASK = torch.ones(5, 7, dtype=torch.bool)
MASK[0, 3:] = MASK[4, :2] = False


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"scale": 0.0},
        {"attn_mask": MASK},
        {"attn_mask": BIAS, "scale": 2.0},
        {"attn_mask": MASK.expand(2, 1, 5, 7)},
        {"attn_mask": BIAS.masked_fill(~MASK, -math.inf)},
        {"attn_mask": BIAS.masked_fill(~MASK, torch.finfo(torch.float32).min)},
        {"dropout_p": 0.0},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_the_weights_give_the_output_of_the_fused_call(options):
    query, key, value = random(2, 4, 5, 8), random(2, 4, 7, 8, seed=1), random(2, 4, 7, 6, seed=2)
    one = attended(query, key, value, **options)
    weights = one.attention()
    assert weights.shape == (2, 4, 5, 7)
    torch.testing.assert_close(weights.tensor.sum(-1), torch.ones(2, 4, 5))
    torch.testing.assert_close(weights.tensor @ value, one.tensor)


def test_grouped_heads_share_their_keys():
    query, key, value = random(2, 6, 5, 8), random(2, 2, 5, 8, seed=1), random(2, 2, 5, 8, seed=2)
    one = attended(query, key, value, is_causal=True, enable_gqa=True)
    weights = one.attention().tensor
    torch.testing.assert_close(weights @ value.repeat_interleave(3, 1), one.tensor)
    assert torch.equal(weights > 0, torch.ones(2, 6, 5, 5).tril().bool())


@pytest.mark.parametrize("shape", [(5, 8), (3, 5, 8), (2, 3, 4, 5, 8)], ids=str)
def test_any_number_of_leading_axes(shape):
    query, key, value = random(*shape), random(*shape, seed=1), random(*shape, seed=2)
    one = attended(query, key, value)
    torch.testing.assert_close(one.attention().tensor @ value, one.tensor)


def test_positional_and_keyword_arguments_are_the_same():
    query, key, value = (random(1, 2, 5, 8, seed=seed) for seed in range(3))
    first = attended(query, key, value, torch.ones(5, 5).bool().tril(), 0.0)
    second = attended(query=query, key=key, value=value, is_causal=True)
    assert list(first.inputs) == ["query", "key", "value", "attn_mask"]
    assert list(second.inputs) == ["query", "key", "value"]
    torch.testing.assert_close(first.attention().tensor, second.attention().tensor)


def test_a_query_that_may_look_at_nothing_has_no_weights():
    mask = torch.zeros(5, 7, dtype=torch.bool)
    mask[0, 0] = True
    query, key, value = random(2, 4, 5, 8), random(2, 4, 7, 8, seed=1), random(2, 4, 7, 6, seed=2)
    one = attended(query, key, value, attn_mask=mask)
    weights = one.attention().tensor
    assert weights[..., 1:, :].abs().max() == 0
    assert weights[..., 0, 0].min() == 1
    torch.testing.assert_close(weights @ value, one.tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_narrow_queries_have_weights_in_float32(dtype):
    query, key, value = (random(1, 2, 5, 8, seed=seed).to(dtype) for seed in range(3))
    weights = attended(query, key, value).attention()
    assert weights.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    exact = (query.double() @ key.double().mT / math.sqrt(8)).softmax(-1)
    torch.testing.assert_close(weights.tensor.double(), exact, atol=1e-6, rtol=1e-5)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 5)),
    st.booleans(),
    st.sampled_from([None, 0.5, 3.0]),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_every_call_is_explained_by_its_weights(sizes, causal, scale, seed):
    heads, groups, length, width = sizes
    query = random(2, heads * groups, length, width, seed=seed)
    key, value = random(2, 2, heads, length, width, seed=seed + 1)
    options = {"is_causal": causal, "scale": scale, "enable_gqa": True}
    fused = scaled_dot_product_attention(query, key, value, **options)
    given_ = {"query": query, "key": key, "value": value}
    weights = recomputed("scaled_dot_product_attention", given_, options)
    torch.testing.assert_close(weights @ value.repeat_interleave(groups, 1), fused)


def test_weights_are_those_before_dropout():
    query, key, value = (random(1, 2, 5, 8, seed=seed) for seed in range(3))
    dropped = attended(query, key, value, dropout_p=0.5)
    plain = attended(query, key, value)
    assert torch.equal(dropped.attention().tensor, plain.attention().tensor)


def test_what_changes_the_query_after_the_call_changes_no_weight():
    query, key, value = (random(1, 2, 5, 8, seed=seed) for seed in range(3))
    one = attended(query, key, value)
    before = one.attention().tensor
    query.zero_()
    assert torch.equal(one.attention().tensor, before)


# --- whole models ---------------------------------------------------------------------------------


def transformer(name):
    transformers = pytest.importorskip("transformers")
    small = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    extra = {
        "ViT": {"image_size": 32, "patch_size": 8},
        "Bert": {"vocab_size": 50},
        "Llama": {"vocab_size": 50, "num_key_value_heads": 2},
    }[name]
    config = getattr(transformers, f"{name}Config")
    torch.manual_seed(0)
    return getattr(transformers, f"{name}Model")(config(**small, **extra)).eval()


@pytest.mark.parametrize("name", ["ViT", "Bert", "Llama"])
def test_transformers_look_as_their_unfused_selves_do(name):
    model = transformer(name)
    tokens = torch.arange(12).reshape(2, 6)
    padded = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])
    inputs = {"input_ids": tokens, "attention_mask": padded}
    inputs = {"pixel_values": random(1, 3, 32, 32)} if name == "ViT" else inputs
    model.set_attn_implementation("sdpa")
    with torch.no_grad(), capture(model, f"**.{SDPA}", inputs=True) as maps:
        model(**inputs)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(**inputs, output_attentions=True).attentions
    assert len(maps) == len(expected) == 2
    for one, unfused in zip(maps.values(), expected, strict=True):
        torch.testing.assert_close(one.attention().tensor, unfused, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("batch_first", [True, False])
def test_torchs_own_attention_without_weights_has_them_recomputed(batch_first):
    model = nn.MultiheadAttention(8, 2, batch_first=batch_first).eval()
    x = random(3, 5, 8) if batch_first else random(5, 3, 8)
    padding = torch.zeros(3, 5).bool()
    padding[0, 3:] = True
    later = torch.ones(5, 5).triu(1).bool()
    options = {"key_padding_mask": padding, "attn_mask": later}
    with capture(model, "multi_head_attention_forward()", inputs=True) as maps:
        model(x, x, x, need_weights=False, **options)
    with capture(model, ".") as returned:
        model(x, x, x, average_attn_weights=False, **options)
    weights = maps["multi_head_attention_forward()"].attention()
    assert weights.layout == "NCQK"
    torch.testing.assert_close(weights.tensor, returned[".[1]"].tensor)
    assert returned[".[1]"].attention() is returned[".[1]"]
    assert returned[".[1]"].layout == "NCQK"
    assert returned[".[0]"].layout == ("NLC" if batch_first else "LNC")


def test_averaged_weights_are_one_picture():
    with capture(model := nn.MultiheadAttention(8, 2), ".") as maps:
        model(*[random(5, 3, 8)] * 3)
    assert maps[".[1]"].layout == "NQK"
    assert mosaic(record_of(maps[".[1]"]), sample=2).tiles.shape == (1, 5, 5)


# --- pictures -------------------------------------------------------------------------------------


def test_heads_are_tiles_and_one_query_lies_over_the_image():
    weights = attended(*(random(2, 3, 10, 4, seed=seed) for seed in range(3))).attention()
    assert mosaic(record_of(weights)).tiles.shape == (3, 10, 10)
    shown = planes(record_of(weights), sample=1, layout="tokens", query=4)
    np.testing.assert_array_equal(shown.pictures.reshape(3, 9), weights.numpy()[1, :, 4, 1:])
    np.testing.assert_array_equal(shown.apart[:, 0], weights.numpy()[1, :, 4, 0])
    assert weights.image(query=0).size != weights.image(query=0, layout="tokens:1+3x3").size
    assert planes(record_of(weights), query=0).pictures.shape == (3, 1, 10)


def test_a_grid_that_is_declared_for_the_call_is_that_of_its_weights():
    query, key, value = (random(1, 2, 7, 8, seed=seed) for seed in range(3))
    with capture(model := Calls(), SDPA, inputs=True, layout="tokens:1+2x3") as maps:
        model(query, key, value)
    weights = maps[SDPA].attention()
    assert weights.layout == "NCQK"
    assert planes(record_of(weights), query=0).pictures.shape == (2, 2, 3)
    assert planes(record_of(weights)).pictures.shape == (2, 7, 7)
    assert maps[SDPA].layout == "NCLE"
    assert mosaic(record_of(maps[SDPA])).tiles.shape == (16, 2, 3)


def test_a_query_that_is_not_there_is_told():
    weights = attended(*(random(1, 2, 5, 4, seed=seed) for seed in range(3))).attention()
    with pytest.raises(IndexError) as caught:
        weights.image(query=5)
    assert str(caught.value) == (
        "scaled_dot_product_attention().attention (scaled_dot_product_attention) has no query 5: "
        "it has 5, from 0."
    )
    with capture(model := nn.Conv2d(1, 1, 1), ".") as maps:
        model(random(1, 1, 2, 2))
    with pytest.raises(CaptureError) as caught:
        maps["."].image(query=0)
    assert text(caught) == [
        ". (Conv2d) has layout 'NCHW', which has no queries.",
        'query= is for weights of attention, with a layout such as "NCQK".',
    ]


# --- what is no attention -------------------------------------------------------------------------


def test_a_map_without_weights_says_how_to_get_them():
    with capture(model := nn.Conv2d(1, 1, 1), ".") as maps:
        model(random(1, 1, 2, 2))
    with pytest.raises(CaptureError) as caught:
        maps["."].attention()
    assert text(caught) == [
        ". (Conv2d) is no call of attention: it has no weights to show.",
        "Capture such a call, with what goes into it: "
        'capture("**.scaled_dot_product_attention()", inputs=True).',
    ]


def test_without_inputs_or_values_the_reason_is_told():
    arguments = [random(1, 2, 5, 4, seed=seed) for seed in range(3)]
    for options, line in [
        ({}, "Capture it with inputs=True."),
        ({"inputs": True, "keep": "stats"}, 'Capture it with keep="values", which is the default.'),
    ]:
        with capture(model := Calls(), SDPA, **options) as maps:
            model(*arguments)
        with pytest.raises(CaptureError) as caught:
            maps[SDPA].attention()
        assert text(caught)[-1] == line
    with capture(model := Calls(), SDPA, inputs=True) as maps:
        model(*(one.to("meta") for one in arguments))
    with pytest.raises(UnsupportedTensor, match="a meta tensor has a shape and no values"):
        maps[SDPA].attention()


# --- what goes into functional calls --------------------------------------------------------------


def test_inputs_of_a_call_are_those_before_it_changed_them():
    class Adds(nn.Module):
        def forward(self, x, y):
            x += y
            return torch.cat([x, y], dim=1).clamp(min=0.5)

    x, y = torch.ones(2, 2), torch.ones(2, 2)
    with capture(model := Adds(), "add_()", "cat()", "clamp()", inputs=True) as maps:
        model(x, y)
    assert torch.equal(maps["add_()"].inputs[0].tensor, torch.ones(2, 2))
    assert torch.equal(maps["add_()"].inputs["1"].tensor, torch.ones(2, 2))
    assert list(maps["cat()"].inputs) == ["0[0]", "0[1]"]
    assert maps["cat()"].inputs["0[0]"].tensor[0, 0] == 2
    assert maps["cat()"].inputs["0[0]"].key == "cat().inputs[0[0]]"
    assert list(maps["clamp()"].inputs) == ["0"]


def test_inputs_of_a_python_function_have_the_names_of_its_parameters():
    class Drops(nn.Module):
        def forward(self, x):
            return nn.functional.dropout(nn.functional.linear(x, torch.ones(3, 2)), p=0.0)

    with capture(model := Drops(), "dropout()", "linear()", inputs=True) as maps:
        model(torch.ones(4, 2))
    assert list(maps["dropout()"].inputs) == ["input"]
    assert list(maps["linear()"].inputs) == ["0", "1"]


def test_the_richest_of_two_wishes_for_a_call_is_kept():
    for first, second in [("add()", "**.add()"), ("**.add()", "add()"), ("add()", "add()")]:
        for options in ({"inputs": True}, {}):

            class Adds(nn.Module):
                def forward(self, x):
                    return x + 1

            with capture(model := Adds(), first, **options) as maps:
                maps.attach(model, second, **({} if options else {"inputs": True}))
                model(torch.ones(2))
            assert has_inputs(record_of(maps["add()"]))


@pytest.mark.parametrize("second", ["add()", "**.add()"])
@pytest.mark.parametrize("first", ["add()", "**.add()"])
def test_two_wishes_for_a_call_that_exclude_each_other_are_refused_before_the_forward(
    first, second
):
    class Adds(nn.Module):
        def forward(self, x):
            return x + 1

    with capture(model := Adds(), first, keep="stats", layout="NC") as maps:
        model(torch.ones(2, 3))
        with pytest.raises(CaptureError) as caught:
            maps.attach(model, ".", second, layout="CN")
        assert str(caught.value) == ("'add()' is captured with layout='NC' and with layout='CN'.")
        maps.attach(model, second, inputs=True)
        model(torch.ones(2, 3))
    assert list(maps) == ["add()#0", "add()#1"]
    assert [has_inputs(record_of(one)) for one in maps.values()] == [False, True]
    assert maps["add()#1"].tensor.shape == (2, 3)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_inputs_that_cannot_be_kept_leave_the_value():
    class Nests(nn.Module):
        def forward(self, x):
            return torch.nested.nested_tensor([x, x[:1]]).to_padded_tensor(0.0)

    with capture(model := Nests(), "to_padded_tensor()", inputs=True) as maps:
        model(torch.ones(2, 3))
    assert maps["to_padded_tensor()"].shape == (2, 2, 3)
    assert maps.summary().splitlines()[-1].startswith("inputs not recorded: to_padded_tensor() (")
    with pytest.raises(CaptureError, match=r"could not be recorded: Unsupported.* differ in size"):
        _ = maps["to_padded_tensor()"].inputs


def test_ambiguity_of_calls_is_told_as_ever():
    class Twice(nn.Module):
        def forward(self, x):
            return scaled_dot_product_attention(x, x, scaled_dot_product_attention(x, x, x))

    with capture(model := Twice(), SDPA, inputs=True) as maps:
        model(random(1, 2, 3, 4))
    with pytest.raises(AmbiguousKey):
        maps[SDPA]
    assert maps[f"{SDPA}#1"].attention().key == f"{SDPA}#1.attention"
