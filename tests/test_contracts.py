"""Contracts on shapes over many layers, and on the numbers of one: all that is wrong, at once."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pytest_featuremaps import CaptureError, ShapeSpecError, UnsupportedTensor, capture
from pytest_featuremaps.checks.bounds import violations
from pytest_featuremaps.checks.contracts import Clause, Found, hold, propose
from pytest_featuremaps.errors import AmbiguousKey, MissingMap
from pytest_featuremaps.numbers.stats import summarise


@pytest.fixture
def maps():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 10, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(10, 16, 3), nn.Flatten()
    )
    with capture(model, "*") as maps:
        model(torch.rand(1, 3, 16, 14, generator=torch.Generator().manual_seed(1)))
    return maps


def lines(call, error=AssertionError):
    with pytest.raises(error) as caught:
        call()
    return str(caught.value).splitlines()


# --- shapes


def test_one_set_of_names_holds_over_all_layers(maps):
    sizes = maps.assert_shapes(
        {"0": "N 10 H W", "1": "N 10 H W", "2": "N 10 H/2 W/2", "4": "N K"}, N=1
    )
    assert sizes == {"N": 1, "H": 14, "W": 12, "K": 320}
    assert maps.assert_shapes({}) == {}
    assert maps.assert_shapes({"2": (1, 10, 7, 6)}) == {}


def test_every_layer_that_disagrees_is_told(maps):
    specs = {"0": "N 12 H W", "1": "N 10 H W", "2": "N 10 H/2 W/3", "3": "N 16 H W"}
    assert lines(lambda: maps.assert_shapes(specs, N=2)) == [
        "0 (Conv2d): dimension 0 (N) is 1, but N = 2 as given; dimension 1 is 10, expected 12; "
        "4 layers do not fit.",
        "  expected: N 12 H W",
        "  found:    1 10 14 12",
        "1 (ReLU): dimension 0 (N) is 1, but N = 2 as given.",
        "  expected: N 10 H W",
        "  found:    1 10 14 12",
        "2 (MaxPool2d): dimension 0 (N) is 1, but N = 2 as given; "
        "dimension 3 (W/3) is 6, expected 4 (W = 12).",
        "  expected: N 10 H/2 W/3",
        "  found:    1 10 7 6",
        "3 (Conv2d): dimension 0 (N) is 1, but N = 2 as given; "
        "dimension 2 (H) is 5, but H = 14 from 0, dimension 2; "
        "dimension 3 (W) is 4, but W = 12 from 0, dimension 3.",
        "  expected: N 16 H W",
        "  found:    1 16 5 4",
        "names: N = 2 (as given), H = 14 (from 0, dimension 2), W = 12 (from 0, dimension 3)",
    ]


def test_a_layer_whose_names_could_not_be_bound_is_not_blamed(maps):
    specs = {"4": "N C H W", "2": "N 10 H/2 W/2", "0": "N 10 H W"}
    assert lines(lambda: maps.assert_shapes(specs)) == [
        "4 (Flatten): 2 dimensions, expected 4; 2 layers do not fit.",
        "  expected: N C H W",
        "  found:    1 320",
        "2 (MaxPool2d): not checked, because no layer before it could bind H, W.",
        "  expected: N 10 H/2 W/2",
        "  found:    1 10 7 6",
        "names: N = 1 (from 0, dimension 0), H = 14 (from 0, dimension 2), "
        "W = 12 (from 0, dimension 3)",
    ]


def test_a_slip_is_told_whatever_the_shapes(maps):
    with pytest.raises(ShapeSpecError, match="uses `H`, which no earlier token or layer binds"):
        maps.assert_shapes({"4": "N C 1 1", "2": "N 10 H/2 W/2", "0": "N 10 H W"})
    with pytest.raises(MissingMap):
        maps.assert_shapes({"9": "N"})
    with capture(nn.ReLU(), ".") as twice:
        nn.ReLU()
    with pytest.raises(CaptureError):
        twice.assert_shapes({".": ""})


def test_a_size_that_is_given_is_an_integer(maps):
    assert maps["4"].assert_shape("N K", N=np.int64(1)) == {"N": 1, "K": 320}
    for size in ("1", 1.0, True, None):
        assert lines(lambda size=size: maps["4"].assert_shape("N N*2", N=size), ShapeSpecError) == [
            f"N={size!r}: the size of a name is an integer"
        ]


def test_a_specification_is_told_on_one_line(maps):
    assert lines(lambda: maps["4"].assert_shape("N\n\t128")) == [
        "4 (Flatten): dimension 1 is 320, expected 128.",
        "  expected: N 128",
        "  found:    1 320",
    ]


def test_a_key_that_means_several_maps_is_refused():
    relu = nn.ReLU()
    with capture(relu, ".") as maps:
        relu(relu(torch.ones(2)))
    with pytest.raises(AmbiguousKey):
        maps.assert_shapes({".": "N"})
    assert maps.assert_shapes({".#0": "N", ".#1": "N"}) == {"N": 2}


def test_a_name_may_be_called_as_an_argument_is(maps):
    assert maps.assert_shapes({"4": "self specs"}, self=1)["specs"] == 320
    assert maps["4"].assert_shape("spec C", spec=1) == {"spec": 1, "C": 320}


def test_specs_are_proposed_for_what_was_captured(maps):
    assert maps.summary(as_specs=True).splitlines() == [
        "feature_maps.assert_shapes(",
        "    {",
        '        "0": "N 10 H W",',
        '        "1": "N 10 H W",',
        '        "2": "N 10 H/2 W/2",',
        '        "3": "N 16 5 W/3",',
        '        "4": "N 320",',
        "    },",
        "    N=1,",
        "    H=14,",
        "    W=12,",
        ")",
    ]


def test_windows_and_sequences_become_ratios():
    proposal = propose(
        [
            Found("words", (2, 8, 32), "NLC"),
            Found("windows", (8, 4, 32), "NLC"),
            Found("up", (2, 16, 1), "NLC"),
            Found('a "b"', (), None),
            Found("empty", (0, 3), "NC"),
        ]
    )
    assert proposal.splitlines()[2:-2] == [
        '        "words": "N L 32",',
        '        "windows": "4*N L/2 32",',
        '        "up": "N 2*L 1",',
        '        "a \\"b\\"": "",',
        '        "empty": "0 3",',
        "    },",
        "    N=2,",
    ]


LAYOUTS = ["NCHW", "NHWC", "NCL", "NLC", "NC", "CHW", "NCDHW"]
found = st.sampled_from(LAYOUTS).flatmap(
    lambda layout: st.tuples(
        st.text(), st.tuples(*[st.integers(0, 64)] * len(layout)), st.sampled_from([layout, None])
    )
)


@given(st.lists(found, max_size=5, unique_by=lambda one: one[0]))
def test_what_is_proposed_holds(layers):
    shapes = {key: shape for key, shape, _ in layers}

    class Maps:
        def assert_shapes(self, specs, **dims):
            clauses = [Clause(key, key, spec, shapes[key]) for key, spec in specs.items()]
            assert list(specs) == list(shapes)
            return hold(clauses, dims)

    proposal = propose([Found(*one) for one in layers])
    agreement = eval(proposal, {"feature_maps": Maps()})  # noqa: S307 - as a user pastes it
    assert agreement.broken == []


specs = st.text("NHW_12 ./*", max_size=12)


@given(st.lists(st.tuples(specs, st.lists(st.integers(0, 4), max_size=3)), max_size=4))
def test_any_specs_give_an_agreement_or_say_why_not(pairs):
    clauses = [Clause(str(i), str(i), spec, tuple(shape)) for i, (spec, shape) in enumerate(pairs)]
    try:
        agreement = hold(clauses, {"N": 2})
    except ShapeSpecError:
        return
    assert bool(agreement.text) == bool(agreement.broken)
    assert agreement.bound["N"] == 2
    assert set(agreement.bound) == set(agreement.origins)


# --- numbers


@pytest.fixture
def relu():
    tensor = torch.tensor([[0.0, 0.0, 1.0, 3.0], [0.0, 0.0, 0.0, 4.0]])
    model = nn.ReLU()
    with capture(model, ".") as maps:
        model(tensor)
    return maps["."]


def test_bounds_that_hold(relu):
    relu.assert_stats(
        mean=1.0,
        std=(1, 2),
        min=(None, 0),
        max=pytest.approx(4.0000001),
        zero_fraction=[0.5, None],
        rms=(None, None),
        nan_count=0,
        inf_count=0,
        count=8,
    )


def test_every_bound_that_does_not_hold_is_told(relu):
    told = lines(
        lambda: relu.assert_stats(
            mean=(2, 3), max=pytest.approx(5), min=(None, -1), zero_fraction=(0.7, None), count=8
        )
    )
    assert told == [
        ". (ReLU): mean is 1.0, allowed 2 to 3; 4 of 5 bounds do not hold.",
        f"  max is 4.0, allowed {pytest.approx(5)}",
        "  min is 0.0, allowed at most -1",
        "  zero_fraction is 0.625, allowed at least 0.7",
        "  all of it: mean 1, std 1.5, min 0, max 4, rms 1.803, zero_fraction 0.625, nan_count 0, "
        "inf_count 0, count 8",
    ]
    assert lines(lambda: relu.assert_stats(nan_count=1)) == [
        ". (ReLU): nan_count is 0, allowed 1.",
        told[-1],
    ]


@pytest.mark.parametrize(
    ("bounds", "error", "text"),
    [
        (
            {},
            TypeError,
            "assert_stats() needs a bound on one of: mean, std, min, max, rms, zero_fraction, "
            "nan_count, inf_count, count.",
        ),
        (
            {"median": 1},
            TypeError,
            "There is no statistic 'median'. There are: mean, std, min, max, rms, zero_fraction, "
            "nan_count, inf_count, count.",
        ),
        ({"mean": None}, TypeError, "mean=None: a bound is a number or a pair (lo, hi)."),
        (
            {"mean": (1, 2, 3)},
            TypeError,
            "mean=(1, 2, 3): an interval is a pair (lo, hi), None for an open end.",
        ),
        ({"mean": (2, 1)}, ValueError, "mean=(2, 1): no number lies in this interval."),
    ],
)
def test_a_bound_that_is_none_is_told(relu, bounds, error, text):
    assert lines(lambda: relu.assert_stats(**bounds), error) == [text]


def test_the_numbers_of_an_empty_map_lie_in_no_interval():
    empty = summarise(torch.empty(0))
    assert violations("x", empty, {"mean": (None, None)}).startswith(
        "x: mean is nan, allowed any number."
    )
    assert violations("x", empty, {"mean": pytest.approx(np.nan, nan_ok=True), "count": 0}) == ""


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_an_interval_holds_its_ends(low, value, high):
    low, high = sorted([low, high])
    numbers = summarise(torch.tensor([value], dtype=torch.float64))
    assert (violations("x", numbers, {"max": (low, high)}) == "") == (low <= value <= high)
    assert violations("x", numbers, {"max": (value, value), "min": (value, None)}) == ""


# --- dead channels


def test_dead_channels_are_named_with_their_axis(relu):
    relu.assert_no_dead_channels(max_fraction=0.5)
    assert lines(relu.assert_no_dead_channels) == [
        ". (ReLU): 2 of 4 channels are dead: 0, 1.",
        "  allowed: 0 %",
        "  channels: axis 1 of shape (2, 4), layout NC",
        "  look next at the bias and the weights before it: every value of these is zero",
    ]
    assert lines(lambda: relu.assert_no_dead_channels(1.5), ValueError) == [
        "max_fraction=1.5: it is a share, from 0 to 1."
    ]


def test_dead_channels_need_channels():
    model = nn.ReLU()
    with capture(model, ".", keep="stats") as maps:
        model(torch.zeros(2, 4))
    assert lines(maps["."].assert_no_dead_channels, CaptureError) == [
        '. (ReLU) was captured with keep="stats" and no numbers per channel.',
        "Capture it with channels=True as well.",
    ]
    with capture(model, ".", keep="stats", channels=True) as maps:
        model(torch.zeros(2, 4))
    assert lines(maps["."].assert_no_dead_channels)[0] == (
        ". (ReLU): 4 of 4 channels are dead: 0, 1, 2, 3."
    )
    with capture(model, ".") as maps:
        model(torch.zeros(4))
    with pytest.raises(UnsupportedTensor, match="no numbers per channel"):
        maps["."].assert_no_dead_channels()


# --- what is infinite

FLOATS = [
    *[torch.float64, torch.float32, torch.float16, torch.bfloat16],
    *[torch.float8_e5m2, torch.float8_e4m3fn],
]
KEEPS = [{}, {"keep": "stats"}, {"keep": "stats", "channels": True}]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("options", KEEPS, ids=["values", "stats", "channels"])
def test_the_fill_of_an_attention_mask_is_finite(dtype, options):
    lowest = torch.finfo(dtype).min
    model = nn.Identity()
    with capture(model, ".", **options) as maps:
        model(torch.tensor([[0.0, lowest, 1.0, lowest]], dtype=torch.float64).to(dtype))
    one = maps["."]
    assert (one.stats.inf_count, one.infinite_count) == (2, 0)
    one.assert_finite()
    maps.assert_healthy()


@pytest.mark.parametrize("dtype", FLOATS[:-1], ids=str)  # the last has no Inf
@pytest.mark.parametrize("options", KEEPS, ids=["values", "stats", "channels"])
def test_an_infinity_is_not_hidden_by_the_fill_of_a_mask(dtype, options):
    model = nn.Identity()
    lowest = torch.finfo(dtype).min
    values = torch.tensor([[torch.inf, lowest, -torch.inf, torch.nan]], dtype=torch.float64)
    with capture(model, ".", **options) as maps:
        model(values.to(dtype))
    told = lines(maps.assert_finite)
    assert told[0] == ". (Identity) is not finite: 1 NaN and 2 infinite of 4 values."
    assert lines(lambda: maps.assert_healthy(nan=None))[0] == (
        ". (Identity) holds 2 Inf of 4 values."
    )
