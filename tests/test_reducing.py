"""The fast numbers against float64, wherever they could go wrong, and in every mode of torch."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.numbers import reducing
from pytest_featuremaps.numbers.reducing import reduce, reduce_and_sketch
from pytest_featuremaps.numbers.sketch import sketch
from pytest_featuremaps.numbers.stats import summarise

CHUNK = 4096 * 256
LARGE = 2 * CHUNK + 5_000  # two chunks, and some rows
SIZES = [1, 2, 255, 256, 9_984, 9_985, 33_000, CHUNK, CHUNK + 1, LARGE]  # 9,984 are few

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture
def refuse_exact(monkeypatch):
    """Fail where the slow, exact way is taken."""

    def refuse(tensor, channel_axis=None):
        raise AssertionError("the exact way was taken")

    monkeypatch.setattr(reducing, "summarise", refuse)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def oracle(tensor):
    """The numbers as NumPy has them, in float64 throughout, in two passes."""
    tensor = tensor.detach().resolve_conj().resolve_neg()
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    limit = torch.finfo(tensor.dtype).max if tensor.is_floating_point() else math.inf
    values = tensor.double().numpy().reshape(-1)
    finite = values[np.abs(values) < limit]
    nan = int(np.isnan(values).sum())
    return SimpleNamespace(
        mean=finite.mean() if finite.size else math.nan,
        std=finite.std() if finite.size else math.nan,
        rms=np.sqrt(np.square(finite).mean()) if finite.size else math.nan,
        min=finite.min(initial=math.inf) if finite.size else math.nan,
        max=finite.max(initial=-math.inf) if finite.size else math.nan,
        zero_fraction=float((values == 0).mean()) if values.size else 0.0,
        nan_count=nan,
        inf_count=values.size - finite.size - nan,
        count=values.size,
    )


def assert_right(tensor):
    assert_within(reduce(tensor), oracle(tensor))


def assert_within(found, expected):
    found, expected = vars(found), vars(expected)
    rms = expected["rms"]
    for name in ("mean", "std", "rms"):
        assert found[name] == pytest.approx(expected[name], rel=0, abs=1e-6 * rms, nan_ok=True)
    for name in ("min", "max", "zero_fraction", "nan_count", "inf_count", "count"):
        assert found[name] == expected[name] or math.isnan(found[name]) == math.isnan(rms)
        assert found[name] == pytest.approx(expected[name], rel=0, abs=0, nan_ok=True)


# ---------------------------------------------------------------- any values


@st.composite
def maps(draw):
    """A tensor of any size, in which a few values take turns, at any magnitude."""
    size = draw(st.sampled_from(SIZES) | st.integers(1, 3_000))
    few = draw(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=4))
    magnitude = draw(st.sampled_from([1.0, 1e-3, 1e3, 1e-14, 1e14, 1e-25, 1e25, 1e-42, 1e37]))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, 1e3]))
    spread = draw(st.sampled_from([0.0, 1e-3, 1.0]))
    values = torch.tensor(few).repeat(-(-size // len(few)))[:size]
    values = (values + spread * noise(size, seed=size) + offset) * magnitude
    for odd in draw(st.lists(st.sampled_from([math.nan, math.inf, -math.inf, -0.0]), max_size=3)):
        values[draw(st.integers(0, size - 1))] = odd
    return values


@settings(max_examples=150, deadline=None)
@given(maps())
def test_any_values_are_within_a_millionth_of_the_rms(values):
    assert_right(values)


@pytest.mark.parametrize("size", SIZES)
def test_any_size_takes_the_fast_way(size, refuse_exact):
    values = noise(size, seed=size)
    if size > 1:
        assert_right(values)
        assert_right(values.relu())


# A dot product over 62,464 of these is wrong by up to 6e-5, and a spread that is the difference of
# two such sums by more. How much depends on the digits of the value.
@pytest.mark.parametrize(
    "pattern", [[1], [1, -1], [1, 0], [1, 1, 0], [1, 1, 1, -1], [1] * 50 + [0]]
)
def test_values_that_are_alike_do_not_drift(pattern):
    signs = torch.tensor(pattern).repeat(250_000 // len(pattern))
    for value in torch.linspace(1.0, 2.0, 40):
        assert_right(value * signs)


@pytest.mark.parametrize("offset", [1.0, 3.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_that_cancel_keep_their_spread(offset, dtype):
    values = offset + noise(LARGE, dtype=dtype)
    assert_right(values)
    assert reduce(values).std == pytest.approx(values.double().numpy().std(), rel=1e-6)


@pytest.mark.parametrize("power", [-140, -75, -70, -60, -51, -49, 0, 49, 51, 60, 120])
def test_any_magnitude(power):
    assert_right(noise(LARGE) * 2.0**power)


@pytest.mark.parametrize("power", [-1000, -400, 400, 1000])
def test_any_magnitude_of_float64(power):
    values = noise(LARGE, dtype=torch.float64)
    found, plain = reduce(values * 2.0**power), reduce(values)
    for name in ("mean", "std", "rms"):
        assert getattr(found, name) / 2.0**power == pytest.approx(getattr(plain, name), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("place", [0, CHUNK - 1, CHUNK, LARGE - 1])
def test_one_value_that_is_not_finite(dtype, place):
    limit = torch.finfo(dtype)
    for odd in (math.nan, math.inf, -math.inf, limit.max, limit.min):
        values = noise(LARGE, dtype=dtype)
        values[place] = odd
        assert_right(values)
    assert reduce(values).inf_count == 1


def test_negative_zero_is_a_zero(refuse_exact):
    values = noise(LARGE)
    values[::3] = -0.0
    values[1::3] = 0.0
    assert reduce(values).zero_fraction == pytest.approx(2 / 3)
    assert_right(values)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0, 3)])
def test_scalar_and_empty(shape):
    assert_right(torch.full(shape, -3.0))
    assert_right(torch.zeros(shape))


def test_all_zeros():
    assert_right(torch.zeros(LARGE))
    assert reduce(torch.zeros(LARGE)) == summarise(torch.zeros(LARGE))


# ---------------------------------------------------------------- any tensor

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.int64,
    torch.int32,
    torch.int8,
    torch.uint8,
    torch.bool,
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [7, 3_000, LARGE])
def test_any_dtype(dtype, size):
    assert_right((noise(size, seed=size) * 5).abs().to(dtype))


def test_complex_numbers_are_pairs():
    values = torch.complex(noise(40, 500), noise(40, 500, seed=1))
    for tensor in (values, values.conj(), values.conj().imag, values[0, :1].conj().imag, values.T):
        assert_right(tensor)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_lazily_negated_values(dtype):
    values = noise(50, 100).to(dtype)
    for tensor in (values, values.T):
        lazily = torch._neg_view(tensor)
        assert_right(lazily)
        assert reduce_and_sketch(lazily) == reduce_and_sketch(-tensor)


@settings(deadline=None, max_examples=60)
@given(st.permutations(range(4)), st.lists(st.integers(1, 9), min_size=4, max_size=4))
def test_any_strides(order, shape):
    values = noise(*shape)
    strided = values.permute(order)
    for tensor in (strided, strided[..., ::2], strided[:, :1].expand(-1, 3, -1, -1)):
        assert_right(tensor)


@pytest.mark.parametrize("shape", [(2, 30, 70, 80), (1, 1, 500, 600)])
def test_channels_last(shape, refuse_exact):
    assert_right(noise(*shape).to(memory_format=torch.channels_last))


def test_channels_are_the_exact_ones():
    values = noise(2, 5, 30, 30)
    found, expected = reduce(values, 1), summarise(values, 1)
    plain = [dataclasses.replace(one, channels=None) for one in (found, expected)]
    assert plain[0] == plain[1]
    for name, array in vars(expected.channels).items():
        assert np.array_equal(getattr(found.channels, name), array)


def test_a_tensor_without_values():
    with pytest.raises(UnsupportedTensor, match=r"^a meta tensor has a shape and no values: "):
        reduce(torch.empty(2, device="meta"))


# ---------------------------------------------------------------- inside a forward


@pytest.mark.parametrize("function", [reduce, reduce_and_sketch])
@pytest.mark.parametrize("count", [2, 3])
def test_the_number_of_threads_does_not_show(count, function, threads):
    for values in (noise(LARGE).exp(), 1.0 + noise(100_001), noise(33_000)):
        threads(1)
        expected = function(values)
        threads(count)
        assert function(values) == expected


MODES = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "another default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("function", [reduce, sketch, reduce_and_sketch])
@pytest.mark.parametrize("name", MODES)
def test_modes_do_not_show(name, function):
    for values in (noise(LARGE), 1.0 + noise(50_000), noise(30, dtype=torch.float16)):
        expected = function(values)
        with MODES[name]():
            assert function(values) == expected
            assert function(values.clone()) == expected
        assert function(values) == expected


# torch compiles what it needs for forward mode, in a way that it deprecates.
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("function", [reduce, sketch, reduce_and_sketch, summarise])
def test_tangents_do_not_show(function):
    for values in (noise(LARGE), noise(50).log()):
        expected = function(values)
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(values, torch.ones_like(values))
            assert repr(function(dual)) == repr(expected)  # a NaN equals no other


class Listening(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.heard = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.heard.append(func)
        return func(*args, **(kwargs or {})) * 0


@pytest.mark.parametrize("function", [reduce, sketch, reduce_and_sketch])
def test_a_mode_that_watches_functions_hears_nothing(function):
    values = 3.0 + noise(50_000)
    expected = function(values), function(noise(100))
    small = noise(100)
    with Listening() as mode:
        assert (function(values), function(small)) == expected
    assert mode.heard == []


class Strange(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise AssertionError("a subclass was asked")


@pytest.mark.parametrize("function", [reduce, sketch, reduce_and_sketch])
def test_a_subclass_is_not_asked(function):
    values = noise(5_000)
    assert function(values.as_subclass(Strange)) == function(values)


def test_nothing_is_changed():
    values = noise(LARGE).requires_grad_()
    result = values * 2
    before, state = result.detach().clone(), torch.get_rng_state()
    reduce(result)
    assert torch.equal(result.detach(), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    result.sum().backward()
    assert values.grad is not None


def test_no_temporary_of_full_size():
    values = noise(8_000_000)
    with torch.profiler.profile(profile_memory=True) as profile:
        reduce(values)
    taken = [event.cpu_memory_usage for event in profile.events()]
    assert sum(size for size in taken if size > 0) < 4_000_000


# ---------------------------------------------------------------- together with the sketch


@settings(max_examples=100, deadline=None)
@given(maps())
def test_the_sketch_is_that_taken_alone_and_the_numbers_are_right(values):
    assert_right_together(values)


def assert_right_together(values):
    numbers, drawn = reduce_and_sketch(values)
    assert_within(numbers, oracle(values))
    alone = sketch(values)
    assert (drawn.count, drawn.nonfinite) == (alone.count, alone.nonfinite)
    assert drawn.rms == pytest.approx(alone.rms, rel=1e-6, abs=0)
    # In units of the same size, the error of each bucket's sum is less than one.
    found, expected = (one.rms * np.array(one.values) for one in (drawn, alone))
    assert np.abs(found - expected).max() <= 1.5 * alone.rms


@pytest.mark.parametrize("dtype", [one for one in DTYPES if one.is_floating_point])
@pytest.mark.parametrize("size", [7, 3_904, 3_905, 33_000, LARGE])
def test_together_in_any_dtype(dtype, size):
    assert_right_together((noise(size, seed=size) * 5).to(dtype))


@pytest.mark.parametrize("size", [3_904, 200_704, LARGE])
@pytest.mark.parametrize("pattern", [[1], [1, -1], [1, 1, 0], [1, 0, 0, 0, -30]])
def test_signed_sums_do_not_drift(pattern, size):
    values = torch.tensor(pattern).repeat(-(-size // len(pattern)))[:size]
    for value in torch.linspace(1.0, 2.0, 7):
        assert_right_together(value * values)
        assert_right_together(value * values + 0.1 * noise(size))


@pytest.mark.parametrize("size", [8_000, 200_704, LARGE])
@pytest.mark.parametrize("share", [0.2, 1.0, 30.0, 1_000.0])
def test_signed_sums_keep_what_lies_beside_a_value_that_outweighs_them(share, size):
    for seed in range(5):
        values = noise(size, seed=seed)
        values[seed] = share * math.sqrt(size)
        assert_right_together(values)


def test_together_over_any_strides():
    values = noise(6, 20, 70, 80)
    for tensor in (
        values.to(memory_format=torch.channels_last),
        values[..., ::2],
        values.permute(3, 1, 0, 2),
        torch.complex(values, values).conj().imag,
        values.new_empty(0, 3),
        values[0, 0, 0, 0],
    ):
        assert_right_together(tensor)
