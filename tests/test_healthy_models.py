"""Proof of `assert_healthy()`: fourteen fresh networks pass, and each broken twin is found.

The networks are those of transformers at their default initialisation, from small
configurations, and two convolutional ones; a twin is the same network with one thing wrong.
"""

import re

import pytest
import torch
from raised import failure
from test_real_models import ARCHITECTURES, build, leaves
from torch import nn

from pytest_featuremaps import capture

# Where a twin is broken: one layer in the middle of each network.
MIDDLE = {
    "resnet": "encoder.stages.1.layers.0.layer.1.convolution",
    "convnext": "encoder.stages.1.layers.0.pwconv1",
    "segformer": "stages.1.blocks.0.mlp.dwconv.dwconv",
    "vit": "layers.1.mlp.fc1",
    "swin": "encoder.layers.1.blocks.0.mlp.fc1",
    "dinov2": "encoder.layer.1.mlp.fc1",
    "wav2vec2": "encoder.layers.1.feed_forward.intermediate_dense",
    "bert": "encoder.layer.1.intermediate.dense",
    "gpt2": "h.1.mlp.c_fc",
    "t5": "encoder.block.1.layer.1.DenseReluDense.wi",
    "whisper": "encoder.layers.1.fc1",
    "llama": "layers.1.mlp.gate_proj",
    "mixtral": "layers.1.self_attn.v_proj",
    "mamba": "layers.1.mixer.in_proj",
}


def captured(model, arguments, **options):
    with capture(model, "**", grads=True, **options) as maps:
        output = model(**arguments)
        tensors = [output] if isinstance(output, torch.Tensor) else leaves(output)
        loss = sum(one.float().square().mean() for one in tensors if one.requires_grad)
        loss.backward()
    return maps


def broken(name, change, **options):
    """The maps of a network whose middle layer is changed in place."""
    architecture = ARCHITECTURES[name]
    model = build(architecture)
    with torch.no_grad():
        change(model.get_submodule(MIDDLE[name]))
    return captured(model, architecture.inputs, **options)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("inputs", [False, True], ids=["maps", "with inputs"])
def test_a_fresh_network_raises_no_alarm(name, inputs):
    architecture = ARCHITECTURES[name]
    captured(build(architecture), architecture.inputs, inputs=inputs).assert_healthy()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_weight_that_is_nan_is_found_where_it_is(name):
    maps = broken(name, lambda layer: layer.weight.view(-1)[0].fill_(torch.nan), inputs=True)
    first = failure(maps)[0]
    assert first.startswith(f"{MIDDLE[name]} (")
    assert re.search(r"holds \d+ NaN of \d+ values, though its input was finite; \d+ more", first)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_overflow_is_found_where_it_is(name):
    maps = broken(name, lambda layer: layer.weight.fill_(3e38), inputs=True)
    lines = failure(maps, nan=None)
    assert lines[0].startswith(f"{MIDDLE[name]} (")
    assert " Inf of " in lines[0]


# The others have no bias before an activation, or too few channels to tell.
BIASED = sorted(set(ARCHITECTURES) - {"llama", "mamba", "mixtral", "resnet", "t5"})


@pytest.mark.parametrize("name", BIASED)
def test_a_bias_of_minus_100_before_an_activation_is_found(name):
    lines = failure(broken(name, lambda layer: layer.bias.fill_(-100)))
    assert " channels that are dead: zero throughout" in lines[0]


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"resnet"}))  # it is too narrow
def test_a_layer_whose_weight_is_zero_is_found_where_it_is(name):
    maps = broken(name, lambda layer: nn.init.zeros_(layer.weight), inputs=True)
    first = failure(maps)[0]
    assert first.startswith(f"{MIDDLE[name]} (")
    assert " channels that are constant, though what came before varies" in first


SIZES = [(3, 16, 1), (16, 32, 2), (32, 64, 1), (64, 64, 2), *[(64, 64, 1)] * 6]


def convolutional(*, normalised):
    layers = []
    for channels, wider, stride in SIZES:
        layers.append(nn.Conv2d(channels, wider, 3, stride, 1, bias=not normalised))
        layers += [nn.BatchNorm2d(wider)] * normalised
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("normalised", [False, True], ids=["plain", "BatchNorm"])
@pytest.mark.parametrize("batch", [1, 4])
def test_a_fresh_convolutional_network_raises_no_alarm(training, normalised, batch):
    torch.manual_seed(0)
    model = convolutional(normalised=normalised).train(training)
    captured(model, {"input": torch.rand(batch, 3, 32, 32)}).assert_healthy()


@pytest.mark.parametrize("fill", [torch.zeros, torch.ones])
def test_an_input_without_anything_in_it_raises_no_alarm(fill):
    torch.manual_seed(0)
    model = convolutional(normalised=True).eval()
    for inputs in (False, True):
        with capture(model, "**", inputs=inputs) as maps:
            model(fill(2, 3, 32, 32))
        maps.assert_healthy()
