"""The numbers of a tensor against exact arithmetic, and every kind of tensor that has none."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.numbers.stats import Stats, summarise

LARGE = 600_000  # more than two chunks

pytestmark = pytest.mark.usefixtures("threads")


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def exact(values):
    """Mean, std and RMS in extended precision, about a value of the tensor."""
    values = np.asarray(values, np.float64).reshape(-1)
    deviations = values.astype(np.longdouble) - np.longdouble(values[0])
    mean = deviations.mean()
    std = np.sqrt(((deviations - mean) ** 2).mean())
    mean = mean + np.longdouble(values[0])
    return float(mean), float(std), float(np.hypot(mean, std))


def assert_exact(stats, values, rel=1e-13):
    values = np.asarray(values, np.float64)
    mean, std, rms = exact(values)
    assert stats.mean == pytest.approx(mean, rel=rel, abs=1e-15 * np.abs(values).max())
    assert stats.std == pytest.approx(std, rel=rel)
    assert stats.rms == pytest.approx(rms, rel=rel)
    assert (stats.min, stats.max) == (values.min(), values.max())
    assert stats.zero_fraction == np.mean(values == 0)
    assert (stats.nan_count, stats.inf_count, stats.count) == (0, 0, values.size)


def test_a_small_tensor_by_hand():
    stats = summarise(torch.tensor([[0.0, 2.0], [-4.0, 0.0]]))
    assert stats == Stats(
        mean=-0.5,
        std=math.sqrt(4.75),
        min=-4.0,
        max=2.0,
        rms=math.hypot(0.5, math.sqrt(4.75)),
        zero_fraction=0.5,
        nan_count=0,
        inf_count=0,
        count=4,
    )


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
        torch.int64,
        torch.int32,
        torch.int8,
        torch.uint8,
        torch.bool,
    ],
)
@pytest.mark.parametrize("size", [1, 61, 976, 32_768, 33_000, 100_352, LARGE])
def test_exact_whatever_the_dtype_and_size(dtype, size):
    values = (noise(size, seed=size) * 5).abs().to(dtype)
    assert_exact(summarise(values), values.double())


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_wide_unsigned_integers(dtype):
    values = torch.arange(100).to(dtype)
    assert_exact(summarise(values), np.arange(100))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_numbers_are_pairs(dtype):
    values = torch.complex(noise(40, 50), noise(40, 50, seed=1)).to(dtype)
    pairs = torch.view_as_real(values).double()
    assert_exact(summarise(values), pairs)
    assert summarise(values, 0).channels.mean == pytest.approx(pairs.mean((1, 2)).numpy())
    assert summarise(values, -1).channels.mean == pytest.approx(pairs.mean((0, 2)).numpy())


def test_lazily_conjugated_and_negated_values_have_their_sign():
    values = torch.complex(torch.ones(3), torch.tensor([1.0, 2.0, 6.0]))
    assert summarise(values.conj()).min == -6.0
    assert summarise(values.conj().imag).mean == -3.0


def test_values_that_cancel_keep_their_spread():
    for values in (
        1e6 + 0.1 * noise(LARGE, dtype=torch.float64),
        1e15 + torch.round(noise(LARGE, dtype=torch.float64) * 8),
        torch.cat([1e8 + noise(LARGE, dtype=torch.float64), torch.tensor([-1e8]).double()]),
    ):
        assert_exact(summarise(values), values, rel=1e-12)


def test_an_outlier_does_not_spoil_the_rest():
    values = noise(LARGE, dtype=torch.float64)
    values[-1] = 1e12
    assert_exact(summarise(values), values)


@pytest.mark.parametrize("magnitude", [1e308, 1e200, 1e-200, 1e-290])
def test_magnitudes_whose_squares_leave_float64(magnitude):
    ordinary = torch.rand(LARGE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    stats, scaled = summarise(ordinary), summarise(ordinary * magnitude)
    for name in ("mean", "std", "rms", "min", "max"):
        assert getattr(scaled, name) == pytest.approx(getattr(stats, name) * magnitude, rel=1e-12)


def test_channels_of_very_different_magnitudes_stay_apart():
    ordinary = noise(3, 100, dtype=torch.float64)
    magnitudes = np.array([1e250, 1.0, 1e-250])
    channels = summarise(ordinary * torch.from_numpy(magnitudes)[:, None], 0).channels
    expected = summarise(ordinary, 0).channels
    assert channels.std / magnitudes == pytest.approx(expected.std, rel=1e-12)
    assert channels.mean / magnitudes == pytest.approx(expected.mean, rel=1e-12)


def test_the_ends_of_float32():
    values = torch.tensor([3.4e38, -3.4e38, 1e-45, 1e38]).repeat(1000)
    assert_exact(summarise(values), values.double())


finite = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)


@settings(max_examples=200)
@given(st.lists(finite.filter(lambda x: abs(x) < 1.7e308), min_size=1, max_size=50))
def test_moments_against_fractions(values):
    stats = summarise(torch.tensor(values, dtype=torch.float64))
    peak = Fraction(max(map(abs, values)) or 1.0)
    scaled = [Fraction(value) / peak for value in values]
    mean = sum(scaled) / len(scaled)
    std = math.sqrt(sum((value - mean) ** 2 for value in scaled) / len(scaled))
    assert float(Fraction(stats.mean) / peak) == pytest.approx(float(mean), rel=1e-12, abs=2e-15)
    assert float(Fraction(stats.std) / peak) == pytest.approx(std, rel=1e-12, abs=2e-15)


# ---------------------------------------------------------------- zeros and non-finite values


def test_zeros_at_the_ends_are_counted():
    assert summarise(torch.tensor([0.0, 1.0])).zero_fraction == 0.5
    assert summarise(torch.tensor([0.0, -1.0])).zero_fraction == 0.5
    assert summarise(torch.tensor([2.0, 1.0])).zero_fraction == 0.0


def test_negative_zero_is_a_zero():
    assert summarise(torch.tensor([0.0, -0.0, 1.0, -1.0])).zero_fraction == 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [10, LARGE])
def test_non_finite_values_are_counted_and_left_out(dtype, size):
    values = noise(size, dtype=dtype)
    values[1] = 0.0
    rest = torch.cat([values[:2], values[7:]]).double()
    values[2], values[3], values[4] = math.nan, math.inf, -math.inf
    values[5], values[6] = torch.finfo(dtype).max, torch.finfo(dtype).min
    stats = summarise(values)
    assert (stats.nan_count, stats.inf_count, stats.count) == (1, 4, size)
    assert stats.zero_fraction == float((rest == 0).sum()) / size
    finite_part = dataclasses.replace(
        stats,
        nan_count=0,
        inf_count=0,
        count=size - 5,
        zero_fraction=float((rest == 0).double().mean()),
    )
    assert_exact(finite_part, rest)


@pytest.mark.parametrize("repeats", [1, LARGE // 3])
def test_all_non_finite(repeats):
    stats = summarise(torch.tensor([math.nan, math.inf, -math.inf]).repeat(repeats))
    assert all(math.isnan(x) for x in (stats.mean, stats.std, stats.min, stats.max, stats.rms))
    assert (stats.nan_count, stats.inf_count) == (repeats, 2 * repeats)
    assert stats.zero_fraction == 0.0


def test_a_start_without_finite_values_does_not_spoil_the_spread():
    values = 1e15 + torch.round(noise(LARGE, dtype=torch.float64) * 8)
    _, expected, _ = exact(values[5000:])
    values[:5000] = math.nan
    assert summarise(values).std == pytest.approx(expected, rel=1e-12)


def test_a_channel_without_finite_values_does_not_touch_the_others():
    values = torch.tensor([[math.nan, math.nan], [1.0, 3.0]])
    stats = summarise(values, 0)
    assert np.isnan(stats.channels.mean).tolist() == [True, False]
    assert (stats.mean, stats.std, stats.min, stats.max) == (2.0, 1.0, 1.0, 3.0)


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), (0, 4)])
def test_empty(shape):
    stats = summarise(torch.empty(shape))
    assert all(math.isnan(x) for x in (stats.mean, stats.std, stats.min, stats.max, stats.rms))
    assert (stats.zero_fraction, stats.count) == (0.0, 0)


def test_empty_channels():
    stats = summarise(torch.empty(2, 3, 0), 1)
    assert stats.channels.count.tolist() == [0, 0, 0]
    assert (stats.dead_channels, stats.constant_channels) == ((), ())
    assert summarise(torch.empty(2, 0), 1).channels.mean.shape == (0,)


def test_scalar():
    stats = summarise(torch.tensor(-3.0))
    assert (stats.mean, stats.std, stats.rms, stats.count) == (-3.0, 0.0, 3.0, 1)


# ---------------------------------------------------------------- channels


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2, 5, 7, 9), 1),
        ((2, 5, 7, 9), -1),
        ((2, 5, 7, 9), 0),
        ((3, 50, 64), 2),
        ((4, 1000), 1),
        ((2, 3, 200, 200), 1),  # a channel over the grain
        ((1, 700, 20, 20), 1),  # several groups of channels
        ((6,), 0),
    ],
)
def test_channels(shape, axis):
    values = noise(*shape).relu()
    stats = summarise(values, axis)
    channels = values.movedim(axis, 0).reshape(shape[axis], -1).double()
    assert_exact(stats, values.double())
    for index in range(shape[axis]):
        one = {name: array[index] for name, array in vars(stats.channels).items()}
        assert_exact(Stats(**one), channels[index])


def test_channel_arrays_have_their_types():
    channels = summarise(noise(2, 3, 4), 1).channels
    for name, array in vars(channels).items():
        assert array.dtype == (np.int64 if name.endswith("count") else np.float64)
        assert array.shape == (3,)


def test_dead_and_constant_channels():
    values = noise(2, 6, 4)
    values[:, 1] = 0.0
    values[0, 2] = -0.0
    values[1, 2] = 0.0
    values[:, 3] = 7.0
    values[:, 4] = 7.0
    values[0, 4, 0] = math.nan
    values[:, 5] = 0.0
    values[0, 5, 0] = math.nan
    stats = summarise(values, 1)
    assert stats.dead_channels == (1, 2)
    assert stats.constant_channels == (3, 4, 5)


def test_a_channel_of_one_element_is_not_constant():
    assert summarise(torch.tensor([[1.0, 0.0]]), 1).constant_channels == ()
    assert summarise(torch.tensor([[1.0, 0.0]]), 1).dead_channels == (1,)


@pytest.mark.parametrize("name", ["dead_channels", "constant_channels"])
def test_channels_need_an_axis(name):
    with pytest.raises(UnsupportedTensor) as caught:
        getattr(summarise(torch.ones(2, 3)), name)
    assert str(caught.value) == (
        "there are no numbers per channel, because no channel axis is known: "
        'say which axis it is with `layout=`, such as layout="NCHW"'
    )


@pytest.mark.parametrize(("shape", "axis"), [((2, 3), 2), ((2, 3), -3), ((), 0)])
def test_no_such_axis(shape, axis):
    with pytest.raises(UnsupportedTensor) as caught:
        summarise(torch.ones(shape), axis)
    assert str(caught.value) == (
        f"a tensor of shape {shape} has no axis {axis} for its channels: "
        "say which axis it is with `layout=`"
    )


# ---------------------------------------------------------------- order, state, unsupported


def same(a, b):
    channels = [vars(x.channels) if x.channels else {} for x in (a, b)]
    assert dataclasses.replace(a, channels=None) == dataclasses.replace(b, channels=None)
    for name, array in channels[0].items():
        assert np.array_equal(array, channels[1][name])


@pytest.mark.parametrize("axis", [None, 1, -1])
def test_neither_strides_nor_threads_show(axis, threads):
    values = noise(3, 40, 70, 80)
    expected = summarise(values, axis)
    for count in (1, 2):
        threads(count)
        same(summarise(values, axis), expected)
        same(summarise(values.contiguous(memory_format=torch.channels_last), axis), expected)
        same(summarise(values.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0), axis), expected)
        same(summarise(values.repeat_interleave(2, 3)[..., ::2], axis), expected)


def test_the_number_of_threads_does_not_show_in_long_sums(threads):
    for seed in range(8):
        values = noise(240_000, seed=seed).exp()
        threads(1)
        expected = summarise(values)
        for count in (2, 3, 4):
            threads(count)
            assert summarise(values) == expected


def test_an_expanded_tensor_counts_every_element():
    assert summarise(torch.tensor([[1.0], [3.0]]).expand(2, 500_000)).count == 1_000_000


def test_the_tensor_is_left_as_it_was():
    values = noise(100_000).requires_grad_()
    values.data[5] = math.nan
    before = values.detach().clone()
    summarise(values, 0)
    assert torch.equal(values.detach().nan_to_num(9.0), before.nan_to_num(9.0))
    assert values.requires_grad
    assert values.grad is None
    assert torch.is_grad_enabled()


def test_inference_mode():
    with torch.inference_mode():
        values = torch.ones(4) + 1
        assert summarise(values).mean == 2.0
    assert summarise(values, 0).mean == 2.0


def no_values():
    with FakeTensorMode():
        yield "fake", torch.empty(2, 2)
    yield "meta", torch.empty(2, 2, device="meta")
    yield "sparse", torch.eye(3).to_sparse()
    yield "csr", torch.eye(3).to_sparse_csr()
    yield "nested", torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    yield (
        "jagged",
        torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
    )
    yield "quantised", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    yield "packed", torch.ones(2, dtype=torch.uint8).view(torch.uint4)


MESSAGES = {
    "fake": "a fake tensor has a shape and no values: run the model outside `shapes_only`",
    "meta": "a meta tensor has a shape and no values: move the model to a device that computes",
    "sparse": "a torch.sparse_coo tensor does not hold each value in its place: use `.to_dense()`",
    "csr": "a torch.sparse_csr tensor does not hold each value in its place: use `.to_dense()`",
    "nested": "a nested tensor has no common shape: use `.to_padded_tensor(0.0)` or `.unbind()`",
    "jagged": "a nested tensor has no common shape: use `.to_padded_tensor(0.0)` or `.unbind()`",
    "quantised": ("a quantised tensor (torch.qint8) holds codes, not values: use `.dequantize()`"),
    "packed": (
        "a tensor of torch.uint4 cannot be read as numbers: convert it first, "
        "for example with `.to(torch.float32)`"
    ),
}


# torch warns that some of these kinds are in beta or on their way out.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_tensors_without_plain_values():
    for kind, tensor in no_values():
        with pytest.raises(UnsupportedTensor) as caught:
            summarise(tensor)
        assert str(caught.value) == MESSAGES[kind]


def test_packed_floats():
    # The dtype is younger than the oldest torch that is supported.
    packed = getattr(torch, "float4_e2m1fn_x2", None)
    if packed is None:
        pytest.skip("this torch has no packed floating dtype")
    with pytest.raises(UnsupportedTensor, match=r"^a tensor of torch.float4_e2m1fn_x2 cannot be"):
        summarise(torch.ones(2, dtype=torch.uint8).view(packed))
