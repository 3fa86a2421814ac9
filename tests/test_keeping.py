"""How much is kept of a tensor, on modules of every kind, and what overlapping wishes give."""

import gc
import math
import weakref
from collections import OrderedDict

import pytest
import torch
from nets import Net, hook_count
from raised import text
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pytest_featuremaps import CaptureError, capture
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.values import take

X = torch.arange(24.0).reshape(2, 3, 4) - 5


def small():
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(conv=nn.Conv1d(3, 6, 1), relu=nn.ReLU(inplace=True)))


def gone(layer, how):
    return [
        f'{layer} was captured with keep="{how}", so its values are gone.',
        'Capture it with keep="values", which is the default.',
    ]


@pytest.mark.parametrize("how", ["stats", "shapes"])
def test_what_is_not_kept_is_told_where_it_is_asked_for(how):
    model = small()
    with capture(model, "conv", keep=how) as maps:
        model(X)
    one = maps["conv"]
    assert (one.shape, one.dtype, one.device.type) == ((2, 6, 4), torch.float32, "cpu")
    assert one.assert_shape("N 6 L") == {"N": 2, "L": 4}
    asked = [lambda: one.tensor, one.numpy, one.image, lambda: take(record_of(one), 0)]
    asked += [lambda: one.stats, one.assert_finite] if how == "shapes" else []
    for ask in asked:
        with pytest.raises(CaptureError) as caught:
            ask()
        assert text(caught) == gone("conv (Conv1d)", how)


def test_statistics_taken_in_the_hook_are_those_of_the_values():
    model = small()
    with capture(model, "**", keep="stats", channels=True) as kept:
        model(X)
    with capture(model, "**") as full:
        model(X)
    for key, one in kept.items():
        numbers, exact = one.stats, full[key].stats
        for name in ("min", "max", "zero_fraction", "nan_count", "inf_count", "count"):
            assert getattr(numbers, name) == getattr(exact, name)
        for name in ("mean", "std", "rms"):
            assert math.isclose(
                getattr(numbers, name), getattr(exact, name), abs_tol=1e-6 * exact.rms
            )
        assert numbers.channels.mean == pytest.approx(exact.channels.mean, abs=1e-6)
        assert numbers.dead_channels == exact.dead_channels
    assert kept["conv"].stats.min < 0, "taken before the in-place activation"


def test_statistics_along_channels_follow_the_declared_layout():
    model = nn.Sequential(nn.Identity())
    with capture(model, "0", keep="stats", channels=True, layout="NHC") as last:
        model(X)
    with capture(model, "0", keep="stats", channels=True, layout="NCH") as first:
        model(X)
    assert last["0"].stats.channels.mean.shape == (4,)
    assert first["0"].stats.channels.mean.shape == (3,)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([1.0, 2.0, 3.0], ""),
        ([math.nan, math.inf, -math.inf], "0 (Identity) is not finite: 1 NaN and 2 infinite of 3"),
    ],
)
def test_finiteness_is_checked_on_statistics(values, line):
    model = nn.Sequential(nn.Identity())
    with capture(model, "0", keep="stats") as maps:
        model(torch.tensor(values))
    if not line:
        maps.assert_finite()
        return
    with pytest.raises(AssertionError) as caught:
        maps.assert_finite()
    assert text(caught) == [f"{line} values."]


@pytest.mark.parametrize("how", ["stats", "shapes"])
def test_no_tensor_is_kept_alive(how):
    model = small()
    seen = []
    for module in (model.conv, model.relu):
        module.register_forward_hook(lambda _, args, output: seen.extend([*args, output]))
    with capture(model, "**", ".", keep=how, inputs=True, grads=True) as maps:
        output = model(X.clone())
        output.sum().backward()
        held = [weakref.ref(one) for one in seen]
        del output
        seen.clear()
        gc.collect()
        assert [one() for one in held] == [None] * len(held)
        assert not [one for fm in maps.values() for one in record_of(fm).kept if is_large(one)]
        assert all(
            one.inputs[0].shape == one.grad.shape[:1] + one.inputs[0].shape[1:]
            for one in maps.values()
        )


def is_large(value):
    return isinstance(value, torch.Tensor) and value.numel() > 1


def test_the_summary_shows_what_is_known():
    model = small()
    with capture(model, "conv", keep="shapes") as maps:
        maps.attach(model, "relu", keep="stats")
        model(X)
    _, conv, relu = maps.summary().splitlines()
    assert conv.split() == ["conv", "Conv1d", "2×6×4", "float32", *"–––––"]
    assert relu.split()[:4] == ["relu", "ReLU", "2×6×4", "float32"]
    assert relu.split()[-1].endswith("%")


def test_a_table_of_statistics_is_compared_with_a_baseline(write, pytester):
    write(
        """
        @pytest.mark.capture("**", keep="stats")
        def test_table(model, photo, feature_maps, feature_snapshot):
            gain = 1.0
            model(photo * gain)
            assert feature_maps == feature_snapshot
        """
    )
    pytester.runpytest("--snapshot-update").assert_outcomes(passed=1)
    pytester.runpytest().assert_outcomes(passed=1)
    file = pytester.path / "test_it.py"
    file.write_text(file.read_text(encoding="utf-8").replace("gain = 1.0", "gain = 1.01"))
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*small_model.conv1*"])


# Overlapping wishes


def test_the_richest_wish_wins_whatever_the_order():
    poor = {"keep": "shapes"}
    rich = {"keep": "stats", "inputs": True, "grads": True, "channels": True, "layout": "NCL"}
    for first, second in ((poor, rich), (rich, poor)):
        model = small()
        with capture(model, "conv", **first) as maps:
            maps.attach(model, "conv", **second)
            assert hook_count(model.conv) == 2
            model(X).sum().backward()
        one = maps["conv"]
        assert one.layout == "NCL"
        assert one.stats.channels.mean.shape == (6,)
        assert one.inputs["input"].stats.count == X.numel()
        assert one.grad.stats.count == 48
        with pytest.raises(CaptureError):
            _ = one.tensor


def test_a_second_wish_between_two_calls_leaves_one_layer():
    model = small()
    with capture(model, "conv") as maps:
        model(X)
        first = maps["conv"]
        maps.attach(model, "conv", inputs=True)
        model(X)
    assert list(maps) == ["conv#0", "conv#1"]
    assert first.key == "conv#0"
    assert torch.equal(maps["conv#1"].inputs["input"].tensor, X)
    with pytest.raises(CaptureError) as caught:
        _ = first.inputs
    assert text(caught)[0] == "conv#0 (Conv1d, call 0 of 2) was captured without its inputs."


def test_two_layouts_of_one_layer_contradict_each_other():
    model = small()
    with capture(model, "conv", layout="NCL") as maps:
        with pytest.raises(CaptureError) as caught:
            maps.attach(model, "**", layout="NLC")
        assert text(caught) == ["'conv' is captured with layout='NCL' and with layout='NLC'."]
        assert hook_count(model.relu) == 0
        model(X)
    assert list(maps) == ["conv"]


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        (
            "keep",
            "everything",
            "capture(keep='everything'): keep= is one of 'values', 'stats', 'shapes'.",
        ),
        ("name", "a:b", "attach(name='a:b'): a name is a word without a colon."),
        ("name", "", "attach(name=''): a name is a word without a colon."),
    ],
)
def test_a_wrong_option_is_told_before_any_hook(option, value, line):
    model = small()
    with pytest.raises(CaptureError) as caught:
        capture(model, "conv", **{option: value})
    assert text(caught) == [line]
    assert hook_count(model) == 0


def test_a_slip_in_a_layout_is_told_before_any_hook():
    model = small()
    with pytest.raises(CaptureError) as caught:
        capture(model, "conv", layout="NN")
    assert text(caught)[0].startswith("capture(layout='NN'): ")
    assert hook_count(model) == 0


# Modules of every kind


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "change",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
    ],
)
def test_normed_and_parametrized_layers_are_recorded_as_what_they_are(change):
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(conv=change(nn.Conv1d(3, 3, 1)), relu=nn.ReLU())).eval()
    model(X)
    hooks = hook_count(model)
    bare = model(X)
    with capture(model, "conv", "relu", inputs=True) as maps:
        assert torch.equal(model(X), bare)
    assert torch.equal(maps["relu"].tensor, bare)
    assert maps["conv"].layout == "NCL"
    assert maps["conv"].module_type.endswith("Conv1d")
    assert torch.equal(maps["conv"].inputs["input"].tensor, X)
    assert hook_count(model) == hooks, "the module's own hooks stay"


def test_a_packed_sequence_has_its_parts():
    rnn = nn.GRU(4, 5, batch_first=True)
    model = nn.Sequential(OrderedDict(rnn=rnn))
    packed = pack_padded_sequence(X, [3, 2], batch_first=True)
    with capture(model, "rnn", inputs=True) as maps:
        output, _ = model(packed)
    assert list(maps) == ["rnn[0][data]", "rnn[0][batch_sizes]", "rnn[1]"]
    assert maps["rnn[0][data]"].shape == (5, 5)
    assert maps["rnn[0][batch_sizes]"].tensor.tolist() == [2, 2, 1]
    assert list(maps["rnn[1]"].inputs) == ["input[data]", "input[batch_sizes]"]
    assert torch.equal(maps["rnn[0][data]"].tensor, output.data)
    assert pad_packed_sequence(output, batch_first=True)[0].shape == (2, 3, 5)


@pytest.mark.parametrize("how", ["values", "stats", "shapes"])
def test_every_kind_of_tensor_is_recorded_or_says_why_not(how):
    class Gives(nn.Module):
        def forward(self, x):
            return {
                "half": x.half(),
                "bfloat": x.bfloat16(),
                "int": x.int(),
                "bool": x > 0,
                "complex": torch.complex(x, x),
                "empty": x[:0],
                "scalar": x.sum(),
                "sparse": x[0].to_sparse(),
                "parameter": nn.Parameter(x),
                "expanded": x[:, :1].expand(2, 1000, 4),
            }

    model = nn.Sequential(Gives())
    with capture(model, "0", keep=how) as maps:
        model(X)
    assert len(maps) == 10
    assert maps["0[scalar]"].shape == ()
    assert maps["0[empty]"].shape == (0, 3, 4)
    assert len(maps.summary().splitlines()) == 11
    if how == "values":
        assert type(maps["0[parameter]"].tensor) in {torch.Tensor, nn.Parameter}
        assert maps["0[bool]"].tensor.dtype is torch.bool
        assert maps["0[sparse]"].tensor.to_dense().equal(X[0])


def test_a_shared_recording_of_two_models_keeps_their_wishes_apart(photo):
    student, teacher = Net(), Net()
    with capture(student, "features.*", name="student", keep="shapes") as maps:
        maps.attach(teacher, "features.*", name="teacher", grads=True)
        student(photo)
        teacher(photo).sum().backward()
    assert {record_of(one).kept.how for one in maps.of("student").values()} == {"shapes"}
    assert all(one.grad.shape == one.shape for one in maps.of("teacher").values())
