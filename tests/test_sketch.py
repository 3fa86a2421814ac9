"""The sketch: pinned on every platform, and a fair estimate of every kind of change."""

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.numbers.folding import BUCKETS, signs
from pytest_featuremaps.numbers.sketch import UNIT, Sketch, digest, estimate, sketch

LARGE = 1_100_000  # more than two chunks

pytestmark = pytest.mark.usefixtures("threads")


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def change(before, after):
    """The relative L2 change that `estimate` estimates."""
    before, after = before.double(), after.double()
    return float((before - after).norm() / max(before.norm(), after.norm()))


def by_hand(values):
    """The sketch as the definition reads, one element at a time."""
    values = [float(value) for value in values]
    rms = math.sqrt(math.fsum(value * value for value in values) / len(values))
    sums = [0.0] * BUCKETS
    for i, (sign, value) in enumerate(zip(signs(0, len(values)), values, strict=True)):
        sums[i % BUCKETS] += int(sign) * value
    return [round(total / math.sqrt(len(values)) / (UNIT * rms)) for total in sums], rms


# ---------------------------------------------------------------- the same everywhere


def test_first_words():
    bits = (signs(0, 192) > 0).reshape(3, 64)
    words = [sum(1 << i for i in np.flatnonzero(word).tolist()) for word in bits]
    assert words == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_first_signs():
    assert "".join("+" if sign > 0 else "-" for sign in signs(0, 16)) == "++++-+-++-++--++"


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 0), (0, 1), (5, 63), (63, 65), (64, 64), (100, 999)]
)
def test_signs_of_any_range(start, stop):
    found = signs(start, stop)
    assert found.dtype == np.int8
    assert np.array_equal(found, signs(0, 1000)[start:stop])


def test_raw_sums_of_one_to_a_thousand():
    values = torch.arange(1.0, 1001.0)
    made = sketch(values)
    raw = np.array(made.values) * UNIT * made.rms * math.sqrt(1000)
    assert raw[:4] == pytest.approx([-731, -2808, -3425, -728], abs=0.01)


# fmt: off
PINNED = Sketch(
    values=(
        -715262, -888659, 964520, -606889, -1896529, -21675, 151722,
        -10837, -422655, 2817700, -953683, -2373371, 1332989, -563540,
        -1202941, 249258, 3034446, 455167, -2438394, 1788156, -1603922,
        2026577, 2687653, 1929041, 2199974, 1560572, 2806863, 2102438,
        346794, -65024, 2275835, -498516, -422655, 1723132, -173397,
        260095, -682750, -671913, 986195, -574377, -1072894, 1332989,
        563540, 119210, -921171, 628564, 1376338, -75861, -617727,
        1116243, -130048, 184234, -791124, -585215, -1528061, 411818,
        184234, 1430525, 2449232, -1690620, 0,
    ),
    rms=3.647443453982529,
    count=1000,
    nonfinite=None,
)
# fmt: on


def test_stored_integers_are_pinned():
    values = (torch.arange(1000) * 37 % 101 - 50).float() / 8
    assert sketch(values) == PINNED


@pytest.mark.parametrize("size", [1, 60, 61, 62, 1000, 3904, 3905, 250_000])
def test_as_the_definition_reads(size):
    values = noise(size, seed=size)
    expected, rms = by_hand(values)
    made = sketch(values)
    assert made.rms == pytest.approx(rms, rel=1e-14)
    # A sum in another order may fall on the other side of a rounding.
    assert np.array(made.values) == pytest.approx(np.array(expected), abs=1)
    assert all(type(value) is int for value in made.values)


def test_neither_strides_nor_threads_show(threads):
    values = noise(3, 40, 70, 80)
    values[0, 0, 0, 0] = math.nan
    alone = sketch(values)
    for count in (1, 2):
        threads(count)
        expected = sketch(values)
        # Where a dot product is split is up to the BLAS.
        assert replace(expected, rms=alone.rms) == alone
        assert expected.rms == pytest.approx(alone.rms, rel=1e-13)
        assert sketch(values.contiguous(memory_format=torch.channels_last)) == expected
        assert sketch(values.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)) == expected
        assert sketch(values.repeat_interleave(2, 3)[..., ::2]) == expected


@given(st.permutations(range(4)), st.lists(st.integers(1, 7), min_size=4, max_size=4))
def test_any_strides(order, shape):
    values = noise(*shape)
    strided = values.permute(order).contiguous().permute(np.argsort(order).tolist())
    assert sketch(strided) == sketch(values)
    assert digest(strided) == digest(values)


# ---------------------------------------------------------------- the estimate


def conv_like(channels=32, size=28, batch=2):
    """A map as a trained network makes it: smooth, rectified, channels of their own strength."""
    coarse = noise(batch, channels, 10, 10, seed=1)
    smooth = interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    strength = noise(1, channels, 1, 1, seed=2).exp()
    return ((smooth + 0.1 * noise(*smooth.shape, seed=3) - 0.2) * strength).relu()


def as_nchw(values):
    return values


def as_nhwc(values):
    return values.permute(0, 2, 3, 1).contiguous()


def as_tokens(values):
    return values.flatten(2).transpose(1, 2).contiguous()


def dead_channel(values):
    strongest = int(values.square().sum((0, 2, 3)).argmax())
    return values.index_fill(1, torch.tensor([strongest]), 0.0)


def swapped_channels(values):
    order = torch.arange(values.shape[1])
    order[:2] = torch.tensor([1, 0])
    return values[:, order]


def border_column(values):
    changed = values.clone()
    changed[..., -1] = changed[..., -1].flip(2) + 0.3
    return changed


def one_wrong_element(values):
    changed = values.clone()
    changed[1, 3, 5, 7] += 3.0
    return changed


CHANGES = {
    "noise": lambda values: values + 0.01 * noise(*values.shape, seed=4),
    "tiny noise": lambda values: values + 1e-4 * noise(*values.shape, seed=4),
    "gain": lambda values: values * 1.001,
    "bias": lambda values: values + 0.05,
    "shift": lambda values: values.roll(1, -1),
    "shift by rows": lambda values: values.roll(1, -2),
    "flip": lambda values: values.flip(-1),
    "transpose": lambda values: values.transpose(-1, -2),
    "samples swapped": lambda values: values.flip(0),
    "channels swapped": swapped_channels,
    "dead channel": dead_channel,
    "border column": border_column,
    "one wrong element": one_wrong_element,
}


@pytest.mark.parametrize("layout", [as_nchw, as_nhwc, as_tokens])
@pytest.mark.parametrize("channels", [32, 64])
@pytest.mark.parametrize("name", CHANGES)
def test_estimate_is_within_forty_percent(name, channels, layout):
    before = conv_like(channels)
    after = CHANGES[name](before)
    before, after = layout(before), layout(after)
    truth = change(before, after)
    assert truth > 1e-5
    assert estimate(sketch(before), sketch(after)) == pytest.approx(truth, rel=0.4)


def test_estimate_is_unbiased():
    before = conv_like()
    made = sketch(before)
    ratios = []
    for seed in range(40):
        after = before + 0.01 * noise(*before.shape, seed=seed)
        ratios.append(estimate(made, sketch(after)) / change(before, after))
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.05)
    assert np.std(ratios) == pytest.approx(0.09, abs=0.03)


@given(st.integers(1, BUCKETS), st.integers(0, 1000))
def test_estimate_is_exact_up_to_sixty_one_elements(size, seed):
    before, after = noise(size, seed=seed), noise(size, seed=seed + 1)
    found = estimate(sketch(before), sketch(after))
    assert found == pytest.approx(change(before, after), abs=2e-6)


def test_equal_tensors_do_not_differ():
    assert estimate(sketch(conv_like()), sketch(conv_like())) == 0.0


def test_each_sketch_counts_in_its_own_unit():
    values = conv_like()
    assert estimate(sketch(values), sketch(values * 2)) == pytest.approx(0.5, rel=0.3)
    assert estimate(sketch(values * 2), sketch(values)) == pytest.approx(0.5, rel=0.3)


def test_estimate_of_zeros():
    zeros, values = sketch(torch.zeros(500)), sketch(noise(500))
    assert estimate(zeros, zeros) == 0.0
    assert estimate(zeros, values) == pytest.approx(1.0, rel=0.3)
    assert estimate(values, zeros) == estimate(zeros, values)


def test_different_sizes_cannot_be_compared():
    with pytest.raises(ValueError, match=r"^sketches of 4 and 5 values cannot be compared$"):
        estimate(sketch(torch.ones(4)), sketch(torch.ones(5)))


# ---------------------------------------------------------------- dtypes and odd values


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_narrow_dtypes_are_widened(dtype):
    values = noise(5000).to(dtype)
    assert sketch(values) == sketch(values.double())


def test_complex_numbers_are_pairs():
    values = torch.complex(noise(50, 60), noise(50, 60, seed=1))
    assert sketch(values) == sketch(torch.view_as_real(values))
    assert sketch(values.conj()) == sketch(torch.view_as_real(values.conj().resolve_conj()))


@pytest.mark.parametrize("power", [-1000, -600, 600, 1000])
def test_magnitudes_whose_squares_leave_float64(power):
    values = noise(LARGE, dtype=torch.float64)
    values[9], values[300_000] = math.nan, math.inf
    made, scaled = sketch(values), sketch(values * math.ldexp(1.0, power))
    assert scaled.values == made.values
    assert scaled.rms == math.ldexp(made.rms, power)
    assert estimate(scaled, scaled) == 0.0


@pytest.mark.parametrize(
    "value", [torch.tensor([1e-45]), torch.tensor([5e-324], dtype=torch.float64)]
)
def test_values_below_the_normal_range(value):
    assert sketch(value).values[0] == 10**7


def test_empty_and_scalar():
    assert sketch(torch.empty(0, 3)) == Sketch((0,) * BUCKETS, 0.0, 0, None)
    assert estimate(sketch(torch.empty(0)), sketch(torch.empty(0))) == 0.0
    assert sketch(torch.tensor(-2.0)) == Sketch((-(10**7), *[0] * 60), 2.0, 1, None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_non_finite_values_count_as_zero(dtype):
    values = noise(LARGE, dtype=dtype)
    zeroed = values.clone()
    odd = {7: math.nan, 300_000: math.inf, 300_001: -math.inf, 599_999: torch.finfo(dtype).min}
    for index, value in odd.items():
        values[index], zeroed[index] = value, 0.0
    made, expected = sketch(values), sketch(zeroed)
    assert (made.values, made.rms, made.count) == (expected.values, expected.rms, LARGE)
    codes = [0] * BUCKETS
    for index, code in {7: 1, 300_000: 2, 300_001: 3, 599_999: 3}.items():
        codes[index % BUCKETS] += code * int(signs(index, index + 1)[0])
    assert made.nonfinite == tuple(codes)
    assert expected.nonfinite is None


def test_a_nan_that_moves_and_an_inf_that_turns_show():
    values = torch.zeros(1000)
    seen = set()
    for index, value in [(5, math.nan), (6, math.nan), (5, math.inf), (5, -math.inf)]:
        values.zero_()[index] = value
        seen.add(sketch(values).nonfinite)
    assert len(seen) == 4


def test_non_finite_values_that_cancel_in_a_bucket_are_still_told():
    places = np.arange(0, 61 * 40, 61)
    plus = places[signs(0, 61 * 40)[places] > 0][0]
    minus = places[signs(0, 61 * 40)[places] < 0][0]
    values = torch.zeros(61 * 40)
    values[[plus, minus]] = math.nan
    assert sketch(values).nonfinite == (0,) * BUCKETS


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_integers_have_no_sketch(dtype):
    with pytest.raises(UnsupportedTensor) as caught:
        sketch(torch.ones(3).to(dtype))
    assert str(caught.value) == (
        f"a tensor of {dtype} has no sketch: integers and booleans are compared exactly, "
        "by `digest(tensor)`"
    )


@pytest.mark.parametrize("function", [sketch, digest])
def test_tensors_without_values(function):
    with pytest.raises(UnsupportedTensor, match=r"^a meta tensor has a shape and no values: "):
        function(torch.empty(2, device="meta"))


def test_the_tensor_is_left_as_it_was():
    values = noise(1000).requires_grad_()
    before = values.detach().clone()
    sketch(values)
    digest(values)
    assert torch.equal(values, before)
    assert values.requires_grad


def test_inference_mode():
    with torch.inference_mode():
        inside = sketch(noise(10))
    assert sketch(noise(10)) == inside


# ---------------------------------------------------------------- the digest


def blake(raw):
    return hashlib.blake2b(raw, digest_size=8).hexdigest()


@pytest.mark.parametrize(
    "dtype", ["?", "<i1", "<u1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8", "<c8", "<c16"]
)
@pytest.mark.parametrize("shape", [(), (0,), (30, 20), (LARGE,)])
def test_digest_is_of_the_little_endian_bytes(dtype, shape):
    array = np.asarray(np.arange(math.prod(shape)).reshape(shape) % 99, dtype)
    assert digest(torch.from_numpy(array)) == blake(array.tobytes())


def test_digest_of_types_that_numpy_lacks():
    assert digest(torch.tensor([1.0, -2.0]).bfloat16()) == blake(bytes.fromhex("803f00c0"))
    assert digest(torch.tensor([1.0, -2.0]).to(torch.float8_e5m2)) == blake(bytes.fromhex("3cc0"))


def test_digest_is_pinned():
    assert digest(torch.arange(10)) == blake(np.arange(10, dtype="<i8").tobytes())
    assert digest(torch.empty(0)) == "e4a6a0577479b2b4"


def test_digest_sees_bits():
    assert digest(torch.tensor([0.0])) != digest(torch.tensor([-0.0]))
    assert digest(torch.tensor([math.nan])) == digest(torch.tensor([math.nan]))


def test_digest_of_lazily_negated_values():
    values = torch.complex(torch.ones(3), torch.arange(3.0)).conj()
    assert digest(values) == digest(values.resolve_conj())
    assert digest(values.imag) == digest(-torch.arange(3.0))
