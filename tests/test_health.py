"""Health: each default finds a network really broken that way, and says so in whole lines."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from raised import failure
from torch import nn

from pytest_featuremaps import CaptureError, UnsupportedTensor, capture
from pytest_featuremaps.checks.health import examine, tell
from pytest_featuremaps.checks.vitals import Limits, Vitals
from pytest_featuremaps.numbers.stats import summarise


class Log(nn.Module):
    def forward(self, x):
        return torch.log(x)


class Zero(nn.Module):
    def forward(self, x):
        return x * 0.0


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def dense(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*(layer() for layer in layers))


def recorded(model, x, *targets, **options):
    with capture(model, *targets or ("*",), **options) as maps:
        output = model(x)
        if options.get("grads"):
            output.square().mean().backward()
    return maps


# --- values that are not finite


def test_a_log_of_zero_is_told_with_what_follows():
    model = nn.Sequential(nn.ReLU(), Log(), nn.Identity())
    lines = failure(recorded(model, torch.tensor([[0.0, 1.0, 2.0, 4.0]]), inputs=True))
    assert lines == [
        "1 (Log) holds 1 Inf of 4 values, though its input was finite; 1 more finding.",
        "  feature map   finding  observed  allowed",
        "  1 (Log)       Inf      1 of 4    0 %",
        "  2 (Identity)  Inf      1 of 4    0 %",
        "look next at 1: its arithmetic: a log of or a division by zero, an overflow of its dtype, "
        "its weights",
    ]


def test_nan_comes_before_inf():
    lines = failure(recorded(nn.Sequential(Log()), torch.tensor([[0.0, -1.0, 1.0]])))
    assert lines == [
        "0 (Log) holds 1 NaN of 3 values; 1 more finding.",
        "  feature map  finding  observed  allowed",
        "  0 (Log)      NaN      1 of 3    0 %",
        "  0 (Log)      Inf      1 of 3    0 %",
        "look next at 0: what went in, with inputs=True; then its arithmetic (log or division by "
        "zero, overflow) and its weights",
    ]


def test_the_first_layer_that_is_not_finite_comes_first():
    class Difference(nn.Module):
        def forward(self, x):
            return x - x

    lines = failure(recorded(nn.Sequential(Log(), Difference()), torch.tensor([[0.0, 1.0]])))
    assert lines[0] == "0 (Log) holds 1 Inf of 2 values; 1 more finding."
    assert lines[3] == "  1 (Difference)  NaN      1 of 2    0 %"


def test_an_input_that_was_not_finite_is_not_blamed_on_the_layer():
    maps = recorded(nn.Sequential(nn.Identity()), torch.tensor([[torch.nan]]), inputs=True)
    assert failure(maps) == [
        "0 (Identity) holds 1 NaN of 1 values, and its input was not finite either.",
        "look next at 0: what comes before it",
    ]


def test_an_attention_mask_that_goes_in_is_finite():
    class Root(nn.Module):
        def forward(self, x, mask):
            return (x + 0 * mask).sqrt()

    mask = torch.tensor([[0.0, torch.finfo(torch.float32).min]])
    model = Root()
    with capture(model, ".", inputs=True) as maps:
        model(-torch.ones(1, 2), mask)
    assert failure(maps)[0] == (". (Root) holds 2 NaN of 2 values, though its input was finite.")


def test_a_module_that_takes_no_tensor_has_no_input_to_blame():
    class Source(nn.Module):
        def forward(self):
            return torch.full((1, 2), torch.nan)

    model = Source()
    with capture(model, ".", inputs=True) as maps:
        model()
    assert failure(maps) == [
        ". (Source) holds 2 NaN of 2 values.",
        "look next at .: its arithmetic: a log or root of what is negative, 0/0, Inf - Inf, "
        "its own weights",
    ]


def test_a_share_may_be_allowed_and_a_check_switched_off():
    maps = recorded(nn.Sequential(Log()), torch.tensor([[0.0, -1.0, 1.0]]))
    maps.assert_healthy(nan=0.5, inf=0.5)
    maps.assert_healthy(nan=None, inf=None)
    assert len(failure(maps, inf=None)) == 2


def test_the_fill_of_an_attention_mask_is_not_infinite():
    lowest = torch.finfo(torch.float32).min
    recorded(nn.Sequential(nn.Identity()), torch.tensor([[0.0, lowest]])).assert_healthy()


# --- channels


def test_a_bias_of_minus_100_before_a_relu_is_told():
    model = dense(lambda: nn.Conv2d(3, 16, 3), nn.ReLU, lambda: nn.Conv2d(16, 8, 3))
    nn.init.constant_(model[0].bias, -100)
    assert failure(recorded(model, random(2, 3, 9, 9))) == [
        "1 (ReLU) has 16 of 16 channels that are dead: zero throughout.",
        "look next at 1: the bias and the weights of the layer before it",
    ]


def test_half_of_the_channels_may_be_dead_unless_told():
    model = dense(lambda: nn.Conv2d(3, 16, 3), nn.ReLU)
    with torch.no_grad():
        model[0].bias[:8] = -100
    maps = recorded(model, random(2, 3, 9, 9))
    maps.assert_healthy()
    assert failure(maps, dead=0.25) == [
        "1 (ReLU) has 8 of 16 channels that are dead: zero throughout.",
        "look next at 1: the bias and the weights of the layer before it",
    ]


def test_few_channels_say_too_little():
    model = dense(lambda: nn.Conv2d(3, 7, 3), nn.ReLU, lambda: nn.Conv2d(7, 7, 3))
    nn.init.constant_(model[0].bias, -100)
    recorded(model, random(2, 3, 9, 9)).assert_healthy()
    model = dense(lambda: nn.Linear(4, 8), lambda: nn.Linear(8, 7))
    nn.init.zeros_(model[1].weight)
    recorded(model, random(5, 4)).assert_healthy()


def test_the_functional_form_is_an_activation_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, x):
            return nn.functional.relu(self.conv(x))

    model = Net()
    nn.init.constant_(model.conv.bias, -100)
    maps = recorded(model, random(1, 3, 9, 9), "relu()")
    assert failure(maps)[0] == "relu() (relu) has 8 of 8 channels that are dead: zero throughout."


def test_a_layer_that_lost_its_input_is_constant():
    model = dense(lambda: nn.Linear(4, 8), lambda: nn.Linear(8, 8))
    nn.init.zeros_(model[1].weight)
    assert failure(recorded(model, random(5, 4))) == [
        "1 (Linear) has 8 of 8 channels that are constant, though what came before varies.",
        "look next at 1: its weights, and whether what goes in still reaches what comes out",
    ]
    recorded(model, random(1, 4)).assert_healthy()  # one value has nothing to vary
    recorded(model, torch.ones(5, 4)).assert_healthy()  # nor has a constant input


@pytest.mark.parametrize("biased", [False, True])
def test_a_layer_whose_weight_is_zero_is_told_before_what_follows_it(biased):
    model = dense(lambda: nn.Linear(4, 16), lambda: nn.LayerNorm(16), nn.GELU)
    nn.init.zeros_(model[1].weight)
    nn.init.constant_(model[1].bias, float(biased))
    lines = failure(recorded(model, random(5, 4)))
    assert lines == [
        "1 (LayerNorm) has 16 of 16 channels that are constant, though what came before varies.",
        "look next at 1: its weights, and whether what goes in still reaches what comes out",
    ]


def test_an_input_that_faded_below_the_rounding_of_the_output_is_no_alarm():
    model = nn.Sequential(nn.Identity(), nn.Sigmoid())
    recorded(model, 1e-8 * random(5, 16)).assert_healthy()
    recorded(model, 1e-40 * random(5, 16)).assert_healthy()
    recorded(nn.Sequential(nn.Identity(), Zero()), 1e-40 * random(5, 16)).assert_healthy()
    large = torch.finfo(torch.float64).max * 0.9 * random(5, 16).double().sign()
    recorded(model, large).assert_healthy(saturated=None)


def test_the_first_layer_is_judged_by_its_own_input_where_that_is_recorded():
    model = dense(lambda: nn.Linear(4, 8))
    nn.init.zeros_(model[0].weight)
    recorded(model, random(5, 4)).assert_healthy()
    assert "constant" in failure(recorded(model, random(5, 4), inputs=True))[0]


# --- saturation and scale


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid])
def test_weights_times_50_saturate(activation):
    model = dense(lambda: nn.Linear(64, 64), activation)
    maps = recorded(model, random(32, 64))
    maps.assert_healthy()
    with torch.no_grad():
        model[0].weight *= 50
    lines = failure(recorded(model, random(32, 64)))
    name = activation.__name__
    assert lines[0].startswith(f"1 ({name}) is saturated: ")
    assert lines[0].endswith(" % of its values are at its bounds.")
    assert lines[1:] == [
        "look next at 1: the scale of the weights before it, and of the input of the network"
    ]
    recorded(model, random(32, 64)).assert_healthy(saturated=None)


def test_values_that_are_cut_off_hard_are_found_in_relu6_and_clamp():
    class Clamp(nn.Module):
        def forward(self, x):
            return x.clamp(-1, 1)

    x = 50 * random(32, 64)
    assert "saturated" in failure(recorded(nn.Sequential(nn.ReLU6()), x.abs()))[0]
    assert "saturated" in failure(recorded(Clamp(), x, "clamp()"))[0]
    recorded(nn.Sequential(nn.ReLU6()), x).assert_healthy()  # half are zero, as they should be
    recorded(nn.Sequential(nn.ReLU6()), torch.full((2, 3), 5.0)).assert_healthy()


def test_the_scale_from_layer_to_layer_is_checked_when_asked():
    model = dense(lambda: nn.Linear(64, 64, bias=False), lambda: nn.Linear(64, 64, bias=False))
    with torch.no_grad():
        model[1].weight *= 50
    maps = recorded(model, random(32, 64))
    maps.assert_healthy()
    lines = failure(maps, scale=(0.1, 10))
    assert lines[0].startswith("1 (Linear) changes the scale by 28")
    assert lines[1] == (
        "look next at 1: the initialisation of its weights, or a normalisation that is missing"
    )
    assert failure(recorded(model, random(32, 64), inputs=True), scale=(0.1, 10))[1:] == lines[1:]


# --- gradients


def deep(activation, *, depth, gain=1.0):
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(32, 32), activation())]
    model = nn.Sequential(*layers, nn.Linear(32, 1))
    with torch.no_grad():
        for layer in model[::2]:
            layer.weight *= gain
    return model


def test_a_deep_stack_of_sigmoids_loses_its_gradient():
    recorded(deep(nn.Sigmoid, depth=4), random(16, 32), grads=True).assert_healthy()
    maps = recorded(deep(nn.Sigmoid, depth=14), random(16, 32), grads=True)
    lines = failure(maps)
    assert " gets a gradient of " in lines[0]
    assert lines[-1].endswith(
        ": the activations after it, a residual connection that is missing, or a BatchNorm in "
        "eval mode that has seen no batch"
    )


def test_weights_times_50_make_the_gradient_explode():
    recorded(deep(nn.ReLU, depth=4), random(16, 32), grads=True).assert_healthy()
    lines = failure(recorded(deep(nn.ReLU, depth=4, gain=50), random(16, 32), grads=True))
    assert " times that of 8, and " in lines[0]
    assert lines[-1].endswith("or a normalisation that is missing")


def test_a_gradient_of_zero_is_told():
    model = dense(lambda: nn.Linear(4, 16), nn.ReLU, lambda: nn.Linear(16, 1))
    nn.init.constant_(model[0].bias, -100)
    lines = failure(recorded(model, random(8, 4), grads=True), dead=None)
    assert lines == [
        "0 (Linear) has a gradient of zero throughout.",
        "look next at 0: what cuts it off after this layer: a dead activation, a weight of zero",
    ]


class DropPath(Zero):
    """Stochastic depth that always leaves its branch out."""


def test_a_branch_that_stochastic_depth_left_out_is_no_alarm():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch = nn.Sequential(nn.Linear(16, 16), DropPath())

        def forward(self, x):
            return x + self.branch(x)

    torch.manual_seed(0)
    maps = recorded(Residual(), random(8, 16), "**", grads=True)
    assert maps["branch.0"].grad.stats.zero_fraction == 1
    maps.assert_healthy()


def test_few_channels_that_are_off_may_stop_a_gradient():
    model = dense(lambda: nn.Linear(4, 7), nn.ReLU, lambda: nn.Linear(7, 1))
    nn.init.constant_(model[0].bias, -100)
    recorded(model, random(8, 4), grads=True).assert_healthy()


def test_gradients_are_told_from_the_loss_on():
    model = dense(lambda: nn.Linear(4, 8), lambda: nn.Linear(8, 8), nn.ReLU)
    nn.init.constant_(model[1].bias, -100)
    lines = failure(recorded(model, random(8, 4), grads=True), dead=None)
    assert lines[0] == "2 (ReLU) has a gradient of zero throughout; 2 more findings."
    assert [line.split()[0] for line in lines[2:5]] == ["2", "1", "0"]


def test_a_gradient_that_is_not_finite_is_told():
    class Root(nn.Module):
        def forward(self, x):
            return x.abs().sqrt()

    model = nn.Sequential(nn.Identity(), nn.Identity(), Root())
    x = torch.zeros(1, 4, requires_grad=True)
    with capture(model, "1", grads=True) as maps:
        model(x * 1).sum().backward()
    assert failure(maps) == [
        "1 (Identity) holds 4 NaN of 4 values in its gradient.",
        "look next at 1: the loss, and what comes after it",
    ]


# --- what cannot be read, and slips


def test_maps_without_values_are_passed_over_unless_all_are():
    model = nn.Sequential(nn.ReLU(), Log())
    with capture(model, "0", keep="shapes") as maps:
        maps.attach(model, "1", name="other")
        model(torch.zeros(1, 2))
    assert failure(maps)[0].startswith("other:1 (Log) holds 2 Inf")
    with pytest.raises(CaptureError, match='captured with keep="shapes"'):
        maps.of("model").assert_healthy()
    with capture(nn.Linear(2, 2, device="meta"), ".") as meta:
        nn.Linear(2, 2)
    meta.assert_healthy()  # nothing is recorded


def test_a_model_of_shapes_cannot_be_healthy():
    model = nn.Linear(2, 2, device="meta")
    with capture(model, ".") as maps:
        model(torch.empty(1, 2, device="meta"))
    with pytest.raises(UnsupportedTensor):
        maps.assert_healthy()


def test_statistics_alone_are_enough_for_all_but_saturation():
    model = dense(lambda: nn.Conv2d(3, 16, 3), nn.ReLU)
    nn.init.constant_(model[0].bias, -100)
    maps = recorded(model, random(2, 3, 9, 9), keep="stats", channels=True)
    assert "dead" in failure(maps)[0]


def test_statistics_without_channels_tell_an_activation_that_is_dead_as_a_whole():
    model = dense(lambda: nn.Conv2d(3, 16, 3), nn.ReLU)
    nn.init.constant_(model[0].bias, -100)
    maps = recorded(model, random(2, 3, 9, 9), keep="stats")
    assert failure(maps) == [
        "1 (ReLU) is dead: zero throughout.",
        "look next at 1: the bias and the weights of the layer before it",
    ]
    maps.assert_healthy(dead=1.0)
    maps.assert_healthy(dead=None)
    with torch.no_grad():
        model[0].bias[0] = 0.0
    recorded(model, random(2, 3, 9, 9), keep="stats").assert_healthy()
    few = dense(lambda: nn.Conv2d(3, 7, 3), nn.ReLU)
    nn.init.constant_(few[0].bias, -100)
    recorded(few, random(2, 3, 9, 9), keep="stats").assert_healthy()


@pytest.mark.parametrize(
    ("limits", "error", "text"),
    [
        ({"nan": True}, TypeError, "nan=True: it is a number, or None to switch the check off."),
        ({"dead": 2}, ValueError, "dead=2: it is a share, from 0 to 1, or None."),
        ({"dead": math.nan}, ValueError, "dead=nan: it is a share, from 0 to 1, or None."),
        ({"exploding": 0}, ValueError, "exploding=0: it is a multiple, from 1, or None."),
        (
            {"scale": 3},
            TypeError,
            "scale=3: it is a pair (lo, hi) of ratios from layer to layer, such as (0.1, 10).",
        ),
        (
            {"scale": (3, 1)},
            ValueError,
            "scale=(3, 1): it is a pair (lo, hi) of ratios from layer to layer, such as (0.1, 10).",
        ),
    ],
)
def test_a_bound_that_is_none_is_told(limits, error, text):
    with pytest.raises(error) as caught:
        Limits(**limits)
    assert str(caught.value) == text


OFF = Limits(*[None] * 8)


def vitals(tensor, number=0, **options):
    families = options.pop("families", ("ReLU",))
    numbers = summarise(tensor, 1)
    return Vitals(str(number), f"{number} (ReLU)", families, numbers, tensor.shape[1], **options)


tensors = st.lists(
    st.lists(st.floats(width=32, allow_subnormal=False), min_size=8, max_size=8),
    min_size=1,
    max_size=3,
).map(torch.tensor)


@given(st.lists(tensors, max_size=4))
def test_any_numbers_give_findings_in_lines(some):
    seen = [vitals(one, number, gradient=summarise(one)) for number, one in enumerate(some)]
    text = tell(examine(seen, Limits(scale=(0.5, 2))))
    assert bool(text) == bool(examine(seen, Limits(scale=(0.5, 2))))
    assert all(len(line) < 160 for line in text.splitlines())
    if any(one.numbers.nan_count for one in seen):
        first = text.splitlines()[0]
        assert " NaN of " in first or " Inf of " in first
    assert examine(seen, OFF) == []
