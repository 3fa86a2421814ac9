"""What must be caught: changes of the code that leave every shape as it was, at once and in place.

Each is made to one layer of a real network, which the first line of the story has to name.
"""

from pathlib import Path

import drifting
import pytest
import torch
import zoo
from torch import nn
from torch.nn.functional import gelu, silu

from pytest_featuremaps.baseline.comparing import compare
from pytest_featuremaps.story.story import headline

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture(scope="module")
def baseline():
    """Give the table of a network as it should be; recorded once."""
    known = {}

    def baseline(name):
        if name not in known:
            known[name] = zoo.record(zoo.load_or_skip(name), zoo.sample(name))
        return known[name]

    return baseline


def returning(change):
    """A change that makes a layer return something else."""

    def apply(layer):
        forward = layer.forward
        layer.forward = lambda *args: change(forward(*args))

    return apply


def calling(function):
    """A change that makes a layer call another function."""

    def apply(layer):
        layer.forward = function

    return apply


def let_eps_slip(layer):
    assert layer.eps == 1e-5
    layer.eps = 1e-3


def leave_in_train_mode(layer):
    layer.train()


def activate_dropout(layer):
    assert isinstance(layer, nn.Dropout)
    assert layer.p == 0.1
    layer.train()


def permuted(values):
    order = torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(0))
    return values[:, order]


def swapped(values):
    order = torch.arange(values.shape[1])
    order[:2] = torch.tensor([1, 0])
    return values[:, order]


RETURNED = {
    "one-pixel shift": lambda values: values.roll(1, -1),
    "one row of shift": lambda values: values.roll(1, -2),
    "flip": lambda values: values.flip(-1),
    "H/W transpose": lambda values: values.transpose(-1, -2),
    "channel permutation": permuted,
    "gain of 1.001": lambda values: values * 1.001,
}

PLACES = [
    ("mobilenet", "features.0.0"),
    ("mobilenet", "features.9.conv.2"),
    ("mobilenet", "features.17.conv.7"),
    ("pnet", "conv3"),
    ("rnet", "prelu1"),
    ("onet", "pool2"),
    ("resnet18", "7.layers.3"),
    ("convnext", "encoder.stages.1.layers.1.dwconv"),
    ("vit", "embeddings.patch_embeddings.projection"),
]


@pytest.mark.parametrize("change", RETURNED)
@pytest.mark.parametrize(("name", "path"), PLACES)
def test_what_a_layer_returns(name, path, change, baseline):
    is_told(path, compare(baseline(name), changed(name, path, returning(RETURNED[change]))))


TANH = calling(lambda x: gelu(x, approximate="tanh"))
SILU = calling(silu)
NOTHING = calling(lambda x: x)

CODE = [
    ("vit", "layers.0.mlp.activation_fn", TANH),
    ("swin", "encoder.layers.1.blocks.1.mlp.activation_fn", TANH),
    ("convnext", "encoder.stages.2.layers.1.act", TANH),
    ("bert", "encoder.layer.2.intermediate.intermediate_act_fn", TANH),
    ("vit", "layers.3.mlp.activation_fn", SILU),
    ("swin", "encoder.layers.0.blocks.0.mlp.activation_fn", SILU),
    ("convnext", "encoder.stages.3.layers.0.act", SILU),
    ("mobilenet", "features.0.1", let_eps_slip),
    ("mobilenet", "features.3.conv.1", let_eps_slip),
    ("mobilenet", "features.16.conv.7", let_eps_slip),
    ("resnet18", "9.layers.4", let_eps_slip),
    ("mobilenet", "features.0.1", leave_in_train_mode),
    ("mobilenet", "features.10.conv.4", leave_in_train_mode),
    ("resnet18", "6.layers.1", leave_in_train_mode),
    ("bert", "embeddings.dropout", activate_dropout),
    ("bert", "encoder.layer.3.attention.output.dropout", activate_dropout),
    ("gpt2", "h.2.mlp.dropout", activate_dropout),
    ("t5", "decoder.block.1.layer.2.dropout", activate_dropout),
    ("mobilenet", "features.2.conv.2", NOTHING),
    ("mobilenet", "features.17.conv.5", NOTHING),
    ("onet", "prelu3", NOTHING),
    ("resnet18", "5.relu", NOTHING),
]


@pytest.mark.parametrize(("name", "path", "change"), CODE)
def test_what_a_layer_computes(name, path, change, baseline):
    is_told(path, compare(baseline(name), changed(name, path, change)))


def changed(name, path, change):
    """Give the table of a network with one layer changed."""
    model = zoo.load_or_skip(name)
    change(model.get_submodule(path))
    torch.manual_seed(1)
    return zoo.record(model, zoo.sample(name))


def is_told(path, verdict):
    """Check that the changed layer is named first, and that nothing before it moved."""
    assert not verdict
    assert verdict.first.key == path
    line = headline(verdict, "a network")[0]
    # A long key is cut in its middle.
    assert line.startswith(path[:10])
    assert f"{path[-10:]} changed first: relative L2 change " in line
    assert {entry.kind for entry in verdict.entries} <= {"equal", "within", "changed"}
    before = verdict.entries[: verdict.entries.index(verdict.first)]
    assert {entry.kind for entry in before} <= {"equal"}


# A model that forgot `eval()`, as a whole.


@pytest.mark.parametrize(
    ("name", "path"), [("mobilenet", "features.0.1"), ("bert", "embeddings.dropout")]
)
def test_a_network_left_in_train_mode(name, path, baseline):
    model = zoo.load_or_skip(name).train()
    torch.manual_seed(1)
    is_told(path, compare(baseline(name), zoo.record(model, zoo.sample(name))))


# Changes that hide below the default, and not from a baseline with measured noise.


def with_eps(eps):
    def apply(layer):
        assert layer.eps < eps
        layer.eps = eps

    return apply


FAINT = [
    ("mobilenet", "features.0.1", with_eps(2e-5)),
    ("mobilenet", "features.10.conv.4", returning(lambda values: values * 1.00005)),
    ("convnext", "encoder.stages.1.layers.1.dwconv", returning(lambda values: values * 1.00003)),
    ("vit", "layers.3", returning(lambda values: values * 1.00003)),
    ("vit", "layers.0.layernorm_before", with_eps(1e-6)),
    ("vit", "layers.1.layernorm_before", with_eps(1e-5)),
]
# The default sees this one only seventy layers later.
LATE = "mobilenet", "features.3.conv.1", with_eps(2e-5)


def test_measured_noise_tells_what_the_default_does_not(tmp_path, baseline):
    names = sorted({name for name, _, _ in FAINT})
    tables = {name: baseline(name) for name in names}
    lowest = drifting.record(tmp_path, names, [drifting.LOWEST])[drifting.LOWEST, "one"]
    noisy = {name: drifting.with_noise(tables[name], lowest[name]) for name in names}
    for name, path, change in FAINT:
        now = changed(name, path, change)
        assert compare(tables[name], now), path
        is_told(path, compare(noisy[name], now))

    name, path, change = LATE
    now = changed(name, path, change)
    assert compare(tables[name], now).first.key != path
    is_told(path, compare(noisy[name], now))


# The same from end to end.

TEST = """
import sys
import pytest
import torch

sys.path.insert(0, {folder!r})
import zoo

@pytest.fixture
def model():
    return zoo.load("mobilenet")

@pytest.mark.capture("**")
def test_features(model, feature_maps, feature_snapshot):
    {change}
    with torch.no_grad():
        model(**zoo.sample("mobilenet"))
    assert feature_maps == feature_snapshot
"""


def test_a_whole_run(pytester, monkeypatch):
    zoo.load_or_skip("mobilenet")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def run(change, *options):
        folder = str(Path(zoo.__file__).parent)
        pytester.makepyfile(test_net=TEST.format(folder=folder, change=change))
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    run("pass", "--snapshot-update").assert_outcomes(passed=1)
    result = run("model.features[3].conv[1].eps = 1e-3")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *assert features.3.conv.1 changed first: relative L2 change *, allowed 1.0e-04"]
    )
