"""The table: written and read, aligned and compared, updated."""

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_featuremaps.baseline.comparing import compare, merge
from pytest_featuremaps.baseline.judging import narrowest
from pytest_featuremaps.baseline.table_files import BadBaseline, dump, load
from pytest_featuremaps.baseline.tables import BUCKETS, INPUTS, Line, Table
from pytest_featuremaps.baseline.tolerances import PROFILES, Tolerance, estimate, profile_for
from pytest_featuremaps.errors import FeatureMapsError

ENVIRONMENT = {"torch": "2.13.0", "cpu": "AVX512", "threads": 2, "tf32": False, "gpu": None}


def line(key="conv", values=(1.0, -2.0, 3.0, 0.0, 5.0), **fields):
    """The line of a short map; its sketch, up to 61 elements, is the map itself."""
    values = np.array(values, dtype=float)
    rms = float(np.sqrt(np.mean(values**2)))
    scaled = np.zeros(BUCKETS)
    scaled[: len(values)] = values / math.sqrt(len(values)) / ((rms or 1.0) * 1e-7)
    stats = {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "rms": rms,
        "zero_fraction": float(np.mean(values == 0)),
        "nan_count": 0,
        "inf_count": 0,
        "count": len(values),
    }
    usual = Line(
        key=key,
        module_type="Conv2d",
        shape=(1, len(values)),
        dtype="float32",
        device="cpu",
        stats=stats,
        sketch=tuple(int(v) for v in np.round(scaled)),
        digest=hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest(),
        weights="0123456789abcdef",
    )
    return replace(usual, **fields)


def with_stats(old, **stats):
    return replace(old, stats={**old.stats, **stats})


def table(*lines, **environment):
    return Table({**ENVIRONMENT, **environment}, tuple(lines))


def one(expected, actual, tolerance=None):
    (entry,) = compare(table(expected), table(actual), tolerance).entries
    return entry


def quantities(entry):
    return [violation.quantity for violation in entry.violations]


def wave(n, shift=0.0, gain=1.0):
    return gain * np.sin(np.arange(n) * 0.7 + shift)


# --- the file -----------------------------------------------------------------------------------


def test_the_file_is_one_header_and_one_compact_line_per_map():
    small = Line("a.b", "ReLU", (2, 3), "int64", "cpu", {"mean": math.nan, "count": 6}, digest="ff")

    assert dump(Table({"torch": "2.13.0", "cpu": None}, (small,))) == (
        b'{"featuremaps":1,"environment":{"cpu":null,"torch":"2.13.0"}}\n'
        b'{"key":"a.b","module":"ReLU","shape":[2,3],"dtype":"int64","device":"cpu",'
        b'"stats":{"mean":null,"count":6},"digest":"ff"}\n'
    )


def test_the_order_of_dictionaries_does_not_show():
    backwards = Table(
        dict(reversed(ENVIRONMENT.items())),
        (replace(line(), stats=dict(reversed(line().stats.items()))),),
    )

    assert dump(backwards) == dump(table(line()))


def test_a_thousand_bytes_hold_a_map():
    generator = np.random.default_rng(0)
    largest = float(np.finfo(np.float32).max)
    lines = [
        Line(
            key=f"encoder.stages.3.layers.{i}.attention.projection",
            module_type="Linear",
            shape=(8, 197, 768),
            dtype="float32",
            device="cpu",
            stats={
                "mean": float(generator.normal()) * largest / 1e3,
                "std": float(generator.uniform()) * largest / 1e3,
                "min": -largest,
                "max": largest,
                "rms": float(generator.uniform()) * largest / 1e3,
                "zero_fraction": float(generator.uniform()),
                "nan_count": 0,
                "inf_count": 0,
                "count": 8 * 197 * 768,
            },
            sketch=tuple(int(v) for v in generator.normal(0, 1e7 / math.sqrt(61), 61)),
            digest="0123456789abcdef",
            weights="0123456789abcdef",
            noise=2e-6,
        )
        for i in range(200)
    ]

    written = dump(table(*lines))

    assert len(written) < 200_000
    assert load(written) == table(*lines)


@pytest.mark.parametrize("ending", [b"\r\n", b"\n\n", b" \n"])
def test_line_ends_that_an_editor_or_a_checkout_made_are_read(ending):
    assert load(dump(table(line())).replace(b"\n", ending)) == table(line())


def test_a_missing_last_line_end_is_read():
    assert load(dump(table(line()))[:-1]) == table(line())


def test_fields_of_a_newer_version_are_ignored():
    header, first, _ = dump(table(line())).split(b"\n")
    newer = b"\n".join(
        [
            header[:-1] + b',"signed":[1]}',
            first.replace(b'"stats":{', b'"stats":{"median":"?",')[:-1] + b',"colour":{}}',
        ]
    )

    assert load(newer) == table(line())


finite = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**63 - 1)
sketches = st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=61, max_size=61).map(tuple)
# Every character, half surrogate pairs and terminal escapes included.
texts = st.text(st.characters(exclude_categories=()), max_size=12)
lines = st.builds(
    Line,
    key=texts,
    module_type=texts,
    shape=st.lists(st.integers(0, 2**63 - 1), max_size=5).map(tuple),
    dtype=st.sampled_from(["float32", "bfloat16", "int64", "bool", "complex64", "strange"]),
    device=st.sampled_from(["cpu", "cuda:0"]),
    stats=st.fixed_dictionaries(
        {},
        optional={
            **{
                name: st.just(math.nan) | finite
                for name in ("mean", "std", "min", "max", "rms", "zero_fraction")
            },
            **dict.fromkeys(("nan_count", "inf_count", "count"), counts),
        },
    ),
    sketch=st.none() | sketches,
    nonfinite=st.none() | sketches,
    digest=st.none() | texts,
    weights=st.none() | texts,
    inputs=st.none() | texts,
    noise=st.none() | st.floats(0, 1e300),
)
tables = st.builds(
    Table,
    environment=st.dictionaries(texts, texts | st.integers() | st.booleans() | st.none()),
    lines=st.lists(lines, max_size=4, unique_by=lambda one: one.key).map(tuple),
)
few = settings(max_examples=60, deadline=None)


@few
@given(tables)
def test_what_was_written_is_read(written):
    # `math.nan` is one object, and a dictionary finds an object equal to itself.
    assert load(dump(written)) == written
    assert dump(load(dump(written))) == dump(written)


# --- bytes that are no table --------------------------------------------------------------------

HEADER = b'{"featuremaps":1,"environment":{}}\n'
GOOD = json.loads(dump(table(line())).splitlines()[1])


def broken(**fields):
    return HEADER + json.dumps({**GOOD, **fields}).encode()


def without(name):
    return HEADER + json.dumps({k: v for k, v in GOOD.items() if k != name}).encode()


BROKEN = {
    b"": "the baseline is empty",
    b" \n\r\n": "the baseline is empty",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n": (
        "the baseline is a Git LFS pointer, not the file it stands for: run `git lfs pull`"
    ),
    HEADER + b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> main\n": (
        "the baseline has merge-conflict markers, the first in line 2: "
        "resolve the merge, or take one side and update"
    ),
    HEADER + b'{"key":"\xff"}': "the baseline is not UTF-8 text, at byte 43",
    HEADER + b'{"key":"a","mod': (
        "line 2 of the baseline is not JSON; the file may have been cut off"
    ),
    HEADER + b"\n" + b"[" * 100_000: (
        "line 3 of the baseline is not JSON; the file may have been cut off"
    ),
    broken(noise=0).replace(b'"noise": 0', b'"noise": ' + b"9" * 5000): (
        "line 2 of the baseline is not JSON; the file may have been cut off"
    ),
    broken(noise=math.nan): "line 2 of the baseline holds NaN, which JSON does not know",
    broken(noise=-math.inf): "line 2 of the baseline holds -Infinity, which JSON does not know",
    b"\xef\xbb\xbf" + HEADER: ("the baseline begins with a byte order mark: save it without one"),
    (HEADER + broken()).replace(b"\n", b"\r"): (
        "the lines of the baseline end in CR alone: save it with LF line ends"
    ),
    b"[]": "line 1 of the baseline must be an object, found a list",
    HEADER + b"null": "line 2 of the baseline must be an object, found null",
    b"{}": "line 1 of the baseline has no `featuremaps`",
    b'{"featuremaps":1}': "line 1 of the baseline has no `environment`",
    b'{"featuremaps":2}': (
        "the baseline has format 2, newer than the format 1 that this version of "
        "pytest-featuremaps reads: upgrade pytest-featuremaps"
    ),
    b'{"featuremaps":true}': (
        "`featuremaps` in line 1 of the baseline must be a positive integer, found a truth value"
    ),
    b'{"featuremaps":1,"environment":{"torch":[2]}}': (
        "`environment` in line 1 of the baseline must be an object of strings, integers, "
        "truth values and null, found an object"
    ),
    without("key"): "line 2 of the baseline has no `key`",
    without("stats"): "line 2 of the baseline has no `stats`",
    b'{"featuremaps":0}': (
        "`featuremaps` in line 1 of the baseline must be a positive integer, found the number 0"
    ),
    b'{"featuremaps":1.0}': (
        "`featuremaps` in line 1 of the baseline must be a positive integer, found the number 1.0"
    ),
    broken(key=10**30): "`key` in line 2 of the baseline must be a string, found a number",
    broken(key=7): "`key` in line 2 of the baseline must be a string, found the number 7",
    broken(dtype=None): "`dtype` in line 2 of the baseline must be a string, found null",
    broken(shape=[1, -2]): (
        "`shape` in line 2 of the baseline must be a list of non-negative integers, found a list"
    ),
    broken(shape=[1, 2**63]): (
        "`shape` in line 2 of the baseline must be a list of non-negative integers, found a list"
    ),
    broken(sketch=[1] * 60): (
        "`sketch` in line 2 of the baseline must be a list of 61 integers, found a list"
    ),
    broken(sketch=[1.5] * 61): (
        "`sketch` in line 2 of the baseline must be a list of 61 integers, found a list"
    ),
    broken(nonfinite="x"): (
        "`nonfinite` in line 2 of the baseline must be a list of 61 integers, found a string"
    ),
    broken(stats=[]): (
        "`stats` in line 2 of the baseline must be an object of numbers, found a list"
    ),
    broken(stats={"mean": "0"}): (
        "`stats` in line 2 of the baseline must be an object whose `mean` is a number or null, "
        "found an object"
    ),
    broken(stats={"mean": 0}).replace(b'"mean": 0', b'"mean": 1e999'): (
        "`stats` in line 2 of the baseline must be an object whose `mean` is a number or null, "
        "found an object"
    ),
    broken(stats={"mean": 10**400}): (
        "`stats` in line 2 of the baseline must be an object whose `mean` is a number or null, "
        "found an object"
    ),
    broken(stats={"nan_count": 1.5}): (
        "`stats` in line 2 of the baseline must be an object whose `nan_count` is a "
        "non-negative integer, found an object"
    ),
    broken(noise=-1.0): (
        "`noise` in line 2 of the baseline must be a non-negative number, found the number -1.0"
    ),
    broken() + b"\n" + broken().splitlines()[1]: (
        "line 3 of the baseline repeats the `key` of an earlier line"
    ),
}


@pytest.mark.parametrize(("data", "sentence"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_file_says_what_is_wrong(data, sentence):
    with pytest.raises(BadBaseline) as caught:
        load(data)

    assert str(caught.value) == sentence
    assert isinstance(caught.value, FeatureMapsError | ValueError)


def readable(data):
    """Whether the bytes are a table; every other exception escapes.

    What is read can be written, and is read again as the same.
    """
    try:
        found = load(data)
    except BadBaseline:
        return False
    written = dump(found)
    assert dump(load(written)) == written
    return True


def compared_with_itself_and_others(data):
    """Compare a table with any values in it, which differs at most from others."""
    found = load(data)
    compare(found, table(line()))
    assert compare(found, found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
any_bytes = st.binary() | st.one_of(st.text(), json_values.map(json.dumps)).map(str.encode)


@few
@given(any_bytes | any_bytes.map(HEADER.__add__))
def test_any_bytes_are_a_table_or_a_bad_baseline(data):
    readable(data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*GOOD, "nonfinite", "noise"]), json_values, st.booleans())
def test_any_value_of_a_field_is_read_or_refused(name, value, nested):
    fields = {"stats": {"rms": value}} if nested else {name: value}

    if readable(broken(**fields)):
        compared_with_itself_and_others(broken(**fields))


def test_a_truncated_file_is_refused_unless_it_ends_with_a_line():
    whole = dump(table(line(), line("b")))
    ends = {i for i, byte in enumerate(whole) if byte == ord("\n")}

    read = {i for i in range(len(whole)) if readable(whole[:i])}

    assert read == ends | {i + 1 for i in ends if i + 1 < len(whole)}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_bit_is_read_or_refused(data):
    whole = bytearray(dump(table(line())))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))

    if readable(bytes(whole)):
        compared_with_itself_and_others(bytes(whole))


# --- tolerances ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "device", "profile"),
    [
        ("float32", "cpu", "cpu"),
        ("float64", "cpu", "cpu"),
        ("complex64", "cpu", "cpu"),
        ("float32", "cuda:1", "gpu"),
        ("float32", "mps", "gpu"),
        ("float16", "cpu", "float16"),
        ("complex32", "cuda", "float16"),
        ("bfloat16", "cuda", "bfloat16"),
        ("float8_e4m3fn", "cpu", "bfloat16"),
        ("int64", "cuda", "exact"),
        ("uint8", "cpu", "exact"),
        ("bool", "cpu", "exact"),
    ],
)
def test_the_profile_follows_from_dtype_and_device(dtype, device, profile):
    assert profile_for(dtype, device) == profile


def test_the_profiles_have_the_numbers_of_the_contract():
    assert {name: profile.relative_l2 for name, profile in PROFILES.items()} == {
        "exact": 0.0,
        "cpu": 1e-4,
        "gpu": 1e-3,
        "half": 5e-3,
        "float16": 5e-3,
        "bfloat16": 4e-2,
    }


def test_an_unknown_tolerance_names_the_known_ones():
    with pytest.raises(FeatureMapsError) as caught:
        compare(table(), table(), "cpuu")

    assert str(caught.value).splitlines() == [
        "no tolerance is called 'cpuu'",
        "the profiles: exact, cpu, gpu, half, float16, bfloat16",
        "a number, the relative L2 change, or Tolerance(relative_l2, fraction, levels) do as well",
    ]


@pytest.mark.parametrize("text", ["-1", "nan", "inf", True, -1, math.nan])
def test_a_number_that_is_no_tolerance_is_refused(text):
    with pytest.raises(FeatureMapsError):
        compare(table(), table(), text)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"relative_l2": math.nan}, "relative_l2 must be a number from 0 up, found nan"),
        ({"relative_l2": -1.0}, "relative_l2 must be a number from 0 up, found -1.0"),
        ({"relative_l2": math.inf}, "relative_l2 must be a number from 0 up, found inf"),
        ({"relative_l2": "0.1"}, "relative_l2 must be a number from 0 up, found '0.1'"),
        ({"relative_l2": True}, "relative_l2 must be a number from 0 up, found True"),
        ({"relative_l2": 1.0, "fraction": None}, "fraction must be a number from 0 up, found None"),
        ({"relative_l2": 1.0, "levels": "a"}, "levels must be a whole number from 0 up, found 'a'"),
        ({"relative_l2": 1.0, "levels": 1.5}, "levels must be a whole number from 0 up, found 1.5"),
        ({"relative_l2": 1.0, "levels": -1}, "levels must be a whole number from 0 up, found -1"),
    ],
)
def test_a_tolerance_of_what_is_no_amount_is_refused(fields, told):
    with pytest.raises(FeatureMapsError) as caught:
        Tolerance(**fields)

    assert str(caught.value) == f"Tolerance: {told}"


def test_a_tolerance_takes_numbers_of_numpy():
    assert Tolerance(np.float32(0.5), levels=np.int64(3)) == Tolerance(0.5, levels=3)


@pytest.mark.parametrize("asked", [Tolerance(2e-3), "2e-3", "half"])
def test_a_wider_tolerance_lets_a_change_pass(asked):
    before, after = line(values=wave(50)), line(values=wave(50, gain=1.001))

    assert one(before, after).kind == "changed"
    assert one(before, after, asked).kind == "within"


@pytest.mark.parametrize(
    ("asked", "dtype", "name", "levels"),
    [
        (None, "float32", "cpu", 1),
        ("half", "float32", "float16", 4),
        ("half", "float16", "float16", 4),
        ("half", "bfloat16", "bfloat16", 16),
        ("2e-3", "float32", "relative_l2=0.002", 1),
        (Tolerance(1.0, levels=9), "float32", "relative_l2=1", 9),
        (Tolerance(1.0, levels=9), "int64", "exact", 0),
    ],
)
def test_an_entry_names_its_tolerance(asked, dtype, name, levels):
    entry = one(line(dtype=dtype), line(dtype=dtype), asked)

    assert (entry.tolerance, entry.levels) == (name, levels)


def test_the_wider_device_decides():
    before, after = line(values=wave(50), device="cuda:0"), line(values=wave(50, gain=1.0005))

    assert one(before, after).tolerance == one(after, before).tolerance == "gpu"
    assert one(before, after).agrees


@pytest.mark.parametrize(
    ("noise", "t"), [(0.0, 4.8e-6), (6e-7, 4.8e-6), (1e-5, 8e-5), (3e-4, 2.4e-3)]
)
def test_a_measured_noise_sets_the_tolerance_of_its_map(noise, t):
    before = line(values=wave(50), noise=noise)

    assert one(before, line(values=wave(50, gain=1 + 0.9 * t))).kind == "within"
    beyond = one(before, line(values=wave(50, gain=1 + 1.2 * t)))
    assert beyond.violations[0].quantity == "relative_l2"
    assert beyond.violations[0].allowed == pytest.approx(t)


def test_a_measured_noise_does_not_touch_a_tolerance_that_was_asked_for():
    before = line(values=wave(50), noise=0.0)

    assert one(before, line(values=wave(50, gain=1.0005)), Tolerance(1e-3)).agrees


# --- the rules, quantity by quantity ------------------------------------------------------------

T = 1e-4
RMS = line().stats["rms"]
EXTREME = 10 * T * RMS + T * 5.0


@pytest.mark.parametrize(
    ("quantity", "allowed"),
    [("mean", T * RMS), ("std", T * RMS), ("min", EXTREME), ("max", EXTREME)],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_statistic_may_move_by_its_share_of_the_rms(quantity, allowed, sign):
    before = line()
    # Away from the largest magnitude, which is itself part of what is allowed.
    near = with_stats(before, **{quantity: before.stats[quantity] + sign * 0.999 * allowed})
    far = with_stats(before, **{quantity: before.stats[quantity] + sign * 1.002 * allowed})

    assert one(before, near).kind == "within"
    assert quantities(one(before, far)) == [quantity]
    assert one(before, far).violations[0].observed == pytest.approx(1.002 * allowed)
    assert one(before, far).violations[0].allowed == pytest.approx(allowed, rel=1e-3)


@pytest.mark.parametrize(
    ("n", "allowed"), [(10, 4), (100, 4), (1000, 4), (4000, 4), (100_000, 100)]
)
def test_a_few_elements_may_cross_zero(n, allowed):
    before = with_stats(replace(line(), shape=(n,)), zero_fraction=(n // 2) / n)

    def crossing(k):
        return one(before, with_stats(before, zero_fraction=(n // 2 + k) / n))

    assert crossing(allowed).kind == "within"
    assert crossing(-allowed).kind == "within"
    assert quantities(crossing(allowed + 1)) == ["zero_fraction"]


def test_exact_allows_no_element_to_cross_zero():
    before = replace(line(), digest=None)

    entry = one(before, with_stats(before, zero_fraction=0.4), "exact")

    assert [(v.quantity, v.allowed) for v in entry.violations] == [("zero_fraction", 0.0)]


@pytest.mark.parametrize("quantity", ["nan_count", "inf_count"])
def test_one_more_non_finite_value_is_a_change_whatever_the_tolerance(quantity):
    entry = one(line(), with_stats(line(), **{quantity: 1}), Tolerance(1.0, fraction=1.0))

    assert quantities(entry) == [quantity]


def test_a_nan_that_moves_is_a_change():
    here = replace(with_stats(line(), nan_count=1), nonfinite=(4, *[0] * 60))
    there = replace(here, nonfinite=(0, 4, *[0] * 59))

    assert one(here, here).kind == "equal"
    assert quantities(one(here, there)) == ["nonfinite"]


def test_a_map_of_nothing_is_equal_to_itself():
    empty = with_stats(
        replace(line(), shape=(0,), sketch=(0,) * 61),
        **dict.fromkeys(("mean", "std", "min", "max", "rms"), math.nan),
    )
    again = with_stats(empty, **dict.fromkeys(("mean", "std", "min", "max", "rms"), float("nan")))

    assert one(empty, again).kind == "equal"


@pytest.mark.parametrize("quantity", ["mean", "std", "min", "max", "zero_fraction"])
def test_a_number_that_becomes_nan_is_a_change(quantity):
    lost = with_stats(line(), **{quantity: math.nan})

    assert quantities(one(line(), lost)) == [quantity]
    assert quantities(one(lost, line())) == [quantity]
    assert quantities(one(line(), lost, Tolerance(1e6, fraction=1.0))) == [quantity]


def test_two_dead_maps_are_equal_and_a_revived_one_is_not():
    dead = line(values=[0.0] * 5)

    assert one(dead, dead).kind == "equal"
    assert one(dead, line(values=[0.0, 0.0, 1e-12, 0.0, 0.0])).violations[0].observed == 1.0
    assert one(line(values=[0.0, 0.0, 1e-12, 0.0, 0.0]), dead).violations[0].observed == 1.0


@pytest.mark.parametrize(
    ("fields", "kind", "found"),
    [
        ({"shape": (5,)}, "reshaped", [("shape", "5", "1×5")]),
        ({"shape": ()}, "reshaped", [("shape", "scalar", "1×5")]),
        ({"dtype": "float16"}, "retyped", [("dtype", "float16", "float32")]),
        (
            {"shape": (5, 1), "dtype": "float64"},
            "reshaped",
            [("shape", "5×1", "1×5"), ("dtype", "float64", "float32")],
        ),
    ],
)
def test_shape_and_dtype_are_exact(fields, kind, found):
    entry = one(line(), line(**fields), Tolerance(1.0))

    assert entry.kind == kind
    assert [(v.quantity, v.observed, v.allowed) for v in entry.violations] == found
    assert narrowest(entry) is None


@pytest.mark.parametrize(
    "fields", [{"weights": "other"}, {"inputs": "x"}, {"module_type": "Conv1d"}]
)
def test_what_only_explains_never_fails(fields):
    assert one(line(), line(**fields)).kind == "equal"


def test_integers_are_compared_by_their_bytes():
    before = line(dtype="int64", sketch=None)
    after = replace(before, digest="other")

    assert one(before, before).kind == "equal"
    assert quantities(one(before, after, Tolerance(1.0))) == ["bytes"]
    assert one(before, after).violations[0].observed == "other"
    assert narrowest(one(before, after)) is None


def test_exact_sees_what_the_numbers_do_not():
    before, after = line(), line(digest="other")

    assert one(before, after).kind == "equal"
    assert quantities(one(before, after, "exact")) == ["bytes"]
    assert quantities(one(before, after, "0")) == ["bytes"]


def test_exact_forgives_the_rounding_of_sums_over_the_same_bytes_only():
    rounded = with_stats(line(), mean=math.nextafter(line().stats["mean"], 9))

    assert one(line(), rounded, "exact").kind == "within"
    assert quantities(one(line(), replace(rounded, digest="other"), "exact")) == ["mean", "bytes"]
    assert quantities(one(line(), with_stats(line(), mean=1.5), "exact")) == ["mean"]


def test_what_one_side_does_not_hold_is_named_and_not_compared():
    before = replace(line(), stats={"mean": 1.4, "rms": RMS}, sketch=None, digest=None)

    entry = one(before, line())

    assert entry.kind == "equal"
    assert entry.skipped == (
        "relative_l2", "std", "min", "max", "zero_fraction", "nan_count", "inf_count", "count",
    )  # fmt: skip
    assert one(line(), before).skipped == entry.skipped
    assert "bytes" in one(before, line(), "exact").skipped
    assert one(line(), line()).skipped == ()


def test_a_table_of_shapes_compares_shapes():
    shapes = replace(line(), stats={}, sketch=None, digest=None, weights=None)

    assert one(shapes, shapes).kind == "equal"
    assert one(shapes, replace(shapes, shape=(2, 5))).kind == "reshaped"


# --- the sketch ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_the_estimate_is_exact_for_short_maps_at_any_scale(scale):
    before, after = wave(50) * scale, wave(50, shift=0.1, gain=1.2) * scale
    a, b = line(values=before / scale), line(values=after / scale)
    truth = np.linalg.norm((before - after) / scale) / math.sqrt(50)

    change = estimate(a.sketch, a.stats["rms"] * scale, b.sketch, b.stats["rms"] * scale)

    assert change == pytest.approx(truth / max(a.stats["rms"], b.stats["rms"]), rel=1e-5)


def test_the_estimate_uses_the_rms_of_each_side():
    before, after = line(values=wave(50)), line(values=wave(50, gain=2.0))

    assert before.sketch == after.sketch
    assert one(before, after).violations[0].observed == pytest.approx(0.5)


@few
@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=61),
    st.floats(-5, -1).map(lambda exponent: 10**exponent),
    st.integers(0, 2**32 - 1),
)
def test_the_verdict_is_symmetric_and_noise_below_tolerance_passes(values, scale, seed):
    values = np.array(values)
    rms = np.sqrt(np.mean(values**2))
    noise = np.random.default_rng(seed).normal(size=len(values)) * (values != 0)
    noise *= scale * rms * math.sqrt(len(values)) / (np.linalg.norm(noise) or 1.0)
    before, after = line(values=values), line(values=values + noise)

    forth, back = one(before, after), one(after, before)

    assert (forth.kind, quantities(forth)) == (back.kind, quantities(back))
    drift = np.linalg.norm(values - (values + noise)) / math.sqrt(len(values))
    share = drift / max(before.stats["rms"], after.stats["rms"]) if drift else 0.0
    if share < 0.99 * T:
        # ‖Δ‖∞ ≤ √n·RMS(Δ) stays below what extremes may move by, for 61 elements.
        assert forth.agrees
    if share > 1.01 * T:
        assert "relative_l2" in quantities(forth)


# --- aligning -----------------------------------------------------------------------------------


def kinds(comparison):
    return [(entry.key, entry.kind) for entry in comparison.entries]


def test_an_inserted_block_does_not_fail_what_follows():
    before = table(line("a"), line("b"), line("c"))
    after = table(line("a"), line("new", values=wave(7)), line("b"), line("c"))

    assert kinds(compare(before, after)) == [
        ("a", "equal"), ("new", "added"), ("b", "equal"), ("c", "equal"),
    ]  # fmt: skip
    assert not compare(before, after)
    assert compare(before, after).first.key == "new"


def test_removed_maps_stand_where_they_stood():
    before = table(*(line(key, values=wave(i + 3)) for i, key in enumerate("abcde")))
    after = table(*(one for one in before.lines if one.key in "bd"))

    assert kinds(compare(before, after)) == [
        ("a", "removed"), ("b", "equal"), ("c", "removed"), ("d", "equal"), ("e", "removed"),
    ]  # fmt: skip
    assert kinds(compare(before, table())) == [(key, "removed") for key in "abcde"]
    assert kinds(compare(table(), before)) == [(key, "added") for key in "abcde"]


def test_another_order_is_told_and_passes():
    before = table(*(line(key) for key in "abcd"))
    after = table(*(line(key) for key in "acbd"))

    comparison = compare(before, after)

    assert comparison
    assert comparison.first is None
    assert comparison.reordered == ("b",)
    assert [entry.key for entry in comparison.entries] == list("acbd")
    assert compare(before, before).reordered == ()


def test_a_renamed_map_is_recognised_by_its_values():
    before = table(
        line("a", values=wave(9), weights=None), line("b", values=wave(9, shift=1), weights=None)
    )
    after = table(
        line("y", values=wave(9) * (1 + 1e-6), weights=None),
        line("z", values=wave(9, shift=2), weights=None),
        line("c", values=wave(9), module_type="ReLU"),
    )

    comparison = compare(before, after)

    assert comparison.renamed == (("a", "y"),)
    assert not comparison
    entry = comparison.entries[0]
    assert (entry.key, entry.kind, entry.partner) == ("y", "renamed", "a")


def test_maps_without_values_are_never_called_renamed():
    before = replace(line("a"), stats={}, sketch=None, digest=None, weights=None)

    assert compare(table(before), table(replace(before, key="b"))).renamed == ()


def test_one_renamed_map_stands_for_one_other():
    before = table(line("a"), line("b"))
    after = table(line("x"), line("y"))

    assert compare(before, after).renamed == (("a", "x"), ("b", "y"))


def test_environments_are_compared_where_both_know():
    before = Table({"torch": "2.13.0", "cpu": "AVX512", "old": 1}, ())
    after = Table({"torch": "2.14.1", "cpu": "AVX512", "new": 1}, ())

    assert compare(before, after).environment_changes == (("torch", "2.13.0", "2.14.1"),)
    assert compare(before, after)


@pytest.mark.parametrize(
    ("gain", "profile"),
    [(1.0002, "gpu"), (1.002, "half"), (1.02, "bfloat16"), (1.2, None)],
)
def test_the_narrowest_profile_that_would_pass(gain, profile):
    assert narrowest(one(line(values=wave(50)), line(values=wave(50, gain=gain)))) == profile


def test_the_narrowest_profile_of_what_agrees_and_of_what_is_new():
    assert narrowest(one(line(), line(), "half")) == "exact"
    assert narrowest(compare(table(), table(line())).entries[0]) is None


@few
@given(tables, tables)
def test_any_two_tables_can_be_compared(before, after):
    comparison = compare(before, after)

    assert {entry.key for entry in comparison.entries} == {
        one.key for one in (*before.lines, *after.lines)
    }
    assert bool(comparison) == all(
        entry.kind in {"equal", "within"} for entry in comparison.entries
    )
    for entry in comparison.entries:
        narrowest(entry)


@few
@given(tables)
def test_any_table_agrees_with_itself(any_table):
    assert compare(any_table, any_table)
    assert compare(any_table, load(dump(any_table)), "exact")


# --- updating -----------------------------------------------------------------------------------


def drifted(shape=50, gain=1.0, **fields):
    return line(values=wave(shape, gain=gain), **fields)


def test_nothing_stored_or_nothing_readable_is_written_anew():
    assert merge(None, table(line())) == dump(table(line()))
    assert merge(b"garbage", table(line())) == dump(table(line()))
    assert merge(b"", table()) == dump(table())


def test_an_update_changes_the_lines_beyond_tolerance_only():
    stored = dump(table(*(drifted(key=key) for key in "abcd"))).replace(b'"key"', b' "key"')
    here = table(
        drifted(key="a", gain=1.00001),
        drifted(key="new"),
        drifted(key="b", gain=1.1),
        drifted(key="d", gain=1.00001),
        torch="2.14.1",
    )

    header, a, _, _, d, _ = stored.split(b"\n")
    _, _, new, b, *_ = dump(here).split(b"\n")
    assert merge(stored, here) == b"\n".join([header, a, new, b, d, b""])


def test_what_a_stored_line_lacks_is_written_and_what_this_run_lacks_is_kept():
    whole = [drifted(key="a"), drifted(key="b"), drifted(key="c")]
    bare = {"stats": {}, "sketch": None, "digest": None}
    before = table(replace(whole[0], **bare), replace(whole[1], sketch=None), whole[2])
    here = table(*whole[:2], replace(whole[2], sketch=None))

    assert merge(dump(before), here) == dump(table(*whole))


def test_what_agrees_is_left_alone_to_the_byte():
    stored = b" " + dump(table(drifted(key="a"), drifted(key="b")))[:-1] + b" \n \n"
    here = table(drifted(key="b", gain=1.00001), drifted(key="a", gain=1.00001), torch="2.14.1")

    assert merge(stored, here) == stored
    assert merge(stored, here, "exact") == dump(here)


def test_the_header_is_written_anew_when_it_describes_no_line():
    stored = dump(table(drifted(key="a")))
    here = table(drifted(key="a", gain=2.0), torch="2.14.1")

    assert merge(stored, here) == dump(here)


def test_the_header_is_written_anew_when_the_input_changed():
    before = table(drifted(key="a"), drifted(key="b"), **{INPUTS: "01"})
    here = table(drifted(key="a"), drifted(key="b", gain=2.0), **{INPUTS: "02"})

    assert merge(dump(before), here) == dump(here)


def test_a_newly_measured_noise_is_written():
    before = table(drifted(key="a", noise=1e-6), drifted(key="b"), drifted(key="c", noise=2e-6))
    here = table(
        drifted(key="a", gain=1.000001),
        drifted(key="b", gain=1.000001, noise=3e-6),
        drifted(key="c", gain=1.000001, noise=2e-6),
    )

    header, a, _, c, _ = dump(before).split(b"\n")
    b = dump(here).split(b"\n")[2]
    assert merge(dump(before), here) == b"\n".join([header, a, b, c, b""])


def test_an_update_keeps_the_line_ends_of_the_file():
    before = table(drifted(key="a"), drifted(key="b"))
    here = table(drifted(key="a"), drifted(key="b", gain=2.0))

    merged = merge(dump(before).replace(b"\n", b"\r\n"), here)

    assert merged == dump(here).replace(b"\n", b"\r\n")


@few
@given(tables, tables)
def test_after_an_update_the_run_agrees_and_a_second_one_changes_nothing(before, here):
    merged = merge(dump(before), here)

    assert compare(load(merged), here)
    assert {one.key for one in load(merged).lines} == {one.key for one in here.lines}
    assert merge(merged, here) == merged
    assert merge(dump(here), here) == dump(here)


@few
@given(st.binary())
def test_an_update_repairs_any_file(data):
    assert compare(load(merge(data, table(line()))), table(line()))
