"""The story of a comparison, line by line."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_featuremaps.baseline.comparing import compare
from pytest_featuremaps.baseline.tables import INPUTS, Line, Table
from pytest_featuremaps.baseline.tolerances import Tolerance
from pytest_featuremaps.story import story
from pytest_featuremaps.story.phrases import clip

headline = partial(story.headline, accept="pytest --snapshot-update")
tell = partial(story.tell, accept="pytest --snapshot-update")

ENVIRONMENT = {"torch": "2.13.0", "cpu_capability": "AVX512"}
STEP = 128_037  # on each of 61 sums this is a relative L2 change of 0.1


def line(key, change=0.0, module_type="Conv2d", **fields):
    """A map whose sketch is off by `change`, everything else being the same."""
    usual = Line(
        key=key,
        module_type=module_type,
        shape=(1, 64, 56, 56),
        dtype="float32",
        device="cpu",
        stats={
            "mean": 0.25,
            "std": 0.75,
            "min": -1.5,
            "max": 2.5,
            "rms": 1.0,
            "zero_fraction": 0.5,
            "nan_count": 0,
            "inf_count": 0,
        },
        sketch=tuple(1_000_000 + i + round(change * 10 * STEP) for i in range(61)),
        weights="aa",
    )
    return replace(usual, **fields)


def with_stats(old, **stats):
    return replace(old, stats={**old.stats, **stats})


def table(*lines, **environment):
    return Table({**ENVIRONMENT, **environment}, lines)


# Distinct sketches, so that no map is taken for another one renamed.
A, B, C, D = (
    replace(line(key), sketch=tuple(1_000_000 * (i + 1) + j for j in range(61)))
    for i, key in enumerate(["a", "b", "c", "d"])
)


def off(old, change=0.031):
    return replace(old, sketch=tuple(v + round(change * 10 * STEP) for v in old.sketch))


def why(before, after):
    comparison = compare(table(before), table(after))
    return headline(comparison, "t")[1]


def test_counts_are_told_to_the_last_one():
    comparison = compare(table(A), table(with_stats(A, nan_count=1_605_632)))
    assert "    NaN count moved by 1605632, allowed 0 (0 → 1605632)" in tell(comparison, "n.jsonl")


def test_one_changed_layer():
    after = with_stats(off(B), mean=0.3, max=3.0, nan_count=2)
    comparison = compare(table(A, B, C), table(A, after, C))

    assert headline(comparison, "n.jsonl") == [
        "b changed first: 2 values became NaN; relative L2 change 3.1e-02, allowed 1.0e-04",
        "why: same weights: its code or its input changed",
        "nothing after it; within tolerance: 2 of 3 maps",
        "n.jsonl: the whole story is in the report section; accept with: pytest --snapshot-update",
    ]
    assert tell(comparison, "n.jsonl") == [
        "n.jsonl: 1 of 3 maps differs from the baseline",
        "b changed first: 2 values became NaN; relative L2 change 3.1e-02, allowed 1.0e-04",
        "  it is a Conv2d of shape 1×64×56×56, float32",
        "  beyond what is allowed (tolerance cpu):",
        "    NaN count moved by 2, allowed 0 (0 → 2)",
        "    relative L2 change 3.1e-02, allowed 1.0e-04",
        "    mean moved by 5.0e-02, allowed 1.0e-04 (0.25 → 0.3)",
        "    max moved by 5.0e-01, allowed 1.3e-03 (2.5 → 3)",
        "  why: same weights: its code or its input changed",
        "no tolerance profile would pass",
        "environment: no difference from the baseline's",
        "accept with: pytest --snapshot-update",
    ]


@pytest.mark.parametrize("key", [".", ".#1", ".[0]"])
def test_the_model_itself_is_called_so(key):
    before, after = replace(A, key=key), replace(off(A), key=key)
    told = headline(compare(table(before), table(after)), "t")[0]
    assert told == f"the model ({key}) changed: relative L2 change 3.1e-02, allowed 1.0e-04"
    told = tell(compare(table(B), table(B, before)), "t")
    assert f"the model ({key}) is new: the baseline does not hold it" in told
    told = tell(compare(table(B, before), table(off(B), after)), "t")
    assert f"  the model ({key}): relative L2 change 3.1e-02, allowed 1.0e-04" in told


NOT_FINITE = [
    ((0, 0), (960, 0), "960 values became NaN"),
    ((0, 0), (1, 3), "1 value became NaN; 3 values became Inf"),
    ((5, 0), (7, 0), "2 values became NaN"),
    ((1, 0), (0, 2), "1 value is no longer NaN; 2 values became Inf"),
    ((0, 9), (0, 0), "9 values are no longer Inf"),
]


@pytest.mark.parametrize(("before", "after", "told"), NOT_FINITE)
def test_values_that_are_not_finite_come_first(before, after, told):
    names = ("nan_count", "inf_count")
    expected = with_stats(B, **dict(zip(names, before, strict=True)))
    actual = with_stats(off(B), **dict(zip(names, after, strict=True)), mean=0.3)
    comparison = compare(table(A, expected), table(A, actual))
    moved = "relative L2 change 3.1e-02, allowed 1.0e-04"
    assert headline(comparison, "t")[0] == clip(f"b changed first: {told}; {moved}")
    still = with_stats(B, **dict(zip(names, after, strict=True)))
    comparison = compare(table(A, expected), table(A, still))
    assert headline(comparison, "t")[0] == f"b changed first: {told}"


def test_values_that_are_not_finite_come_first_in_a_long_line():
    long = "encoder." * 12 + "conv"
    before, after = replace(A, key=long), replace(with_stats(off(A), nan_count=960), key=long)
    told = headline(compare(table(before), table(after)), "t")[0]
    assert told.startswith("encoder.encoder.en…oder.encoder.conv changed: 960 values became NaN")
    assert len(told) <= 100


def test_a_change_of_everything():
    before = table(A, B, C, D, replace(A, key="e"), line("old", module_type="ReLU"))
    after = table(
        A,
        replace(line("new"), shape=(3,)),
        off(C),
        replace(off(B), weights="bb"),
        replace(D, shape=(1, 64, 28, 28)),
        replace(A, key="e", dtype="float16"),
        line("now", module_type="ReLU"),
        torch="2.14.1",
        cpu_capability="AVX2",
    )
    comparison = compare(before, after)

    assert headline(comparison, "t") == [
        "new is new: the baseline does not hold it",
        "c follows it: relative L2 change 3.1e-02, allowed 1.0e-04",
        "5 more after it, 1 with other weights; within tolerance: 1 of 7 maps",
        "structure: 1 added, 1 renamed, 1 reshaped, 1 retyped, "
        "1 in another order than in the baseline",
        "baseline: torch 2.13.0, cpu capability AVX512; here: torch 2.14.1, cpu capability AVX2",
        "t: the whole story is in the report section; accept with: pytest --snapshot-update",
    ]
    assert tell(comparison, "t") == [
        "t: 6 of 7 maps differ from the baseline",
        "new is new: the baseline does not hold it",
        "  it is a Conv2d of shape 3, float32",
        "  c follows it: relative L2 change 3.1e-02, allowed 1.0e-04",
        "then, in order:",
        "  c: relative L2 change 3.1e-02, allowed 1.0e-04",
        "  b: relative L2 change 3.1e-02, allowed 1.0e-04 (its weights changed)",
        "  d: shape 1×64×28×28, the baseline has 1×64×56×56",
        "  e: dtype float16, the baseline has float32",
        "  now: was called old",
        "weights changed as well: b",
        "structure:",
        "  added: new",
        "  renamed: old → now",
        "  reshaped: d",
        "  retyped: e",
        "  in another order than in the baseline: b",
        "no tolerance profile would pass",
        "baseline: torch 2.13.0, cpu capability AVX512; here: torch 2.14.1, cpu capability AVX2",
        "accept with: pytest --snapshot-update",
    ]


@pytest.mark.parametrize(
    ("before", "after", "opening"),
    [
        ([A, B], [A], "b is gone: the baseline holds it, this run does not"),
        ([A], [A, B], "b is new: the baseline does not hold it"),
        ([A, B], [A, replace(B, key="x")], "x was called b: the same map"),
        ([A, B], [replace(B, key="x"), A], "x was called b: the same map"),
        (
            [A],
            [replace(A, shape=())],
            "a changed: shape scalar, the baseline has 1×64×56×56",
        ),
        (
            [A],
            [replace(A, dtype="bfloat16")],
            "a changed: dtype bfloat16, the baseline has float32",
        ),
        (
            [replace(A, dtype="int64", digest="01")],
            [replace(A, dtype="int64", digest="02")],
            "a changed: bytes 02, the baseline has 01",
        ),
        (
            [A],
            [with_stats(A, zero_fraction=0.75)],
            "a changed: zero fraction moved by 2.5e-01, allowed 1.0e-03",
        ),
    ],
)
def test_the_opening_names_the_first_divergent_layer(before, after, opening):
    comparison = compare(table(*before), table(*after))

    assert headline(comparison, "t")[0] == opening
    assert tell(comparison, "t")[1] == opening


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ({}, {"weights": "bb"}, "its weights changed"),
        ({"inputs": "1"}, {"inputs": "2", "weights": "bb"}, "its weights changed"),
        ({}, {}, "same weights: its code or its input changed"),
        ({"inputs": "1"}, {}, "same weights: its code or its input changed"),
        ({"inputs": "1"}, {"inputs": "1"}, "same weights and same input: its code changed"),
        (
            {"inputs": "1"},
            {"inputs": "2"},
            "same weights, other input: the change is before this layer",
        ),
        (
            {"weights": None},
            {"weights": None},
            "no weights to compare: its code or its input changed",
        ),
        ({"weights": None}, {}, "no weights to compare: its code or its input changed"),
        (
            {"weights": ""},
            {},
            "its weights are not known any more: they, its code or its input changed",
        ),
        (
            {},
            {"weights": ""},
            "its weights are not known, as in training: they, its code or its input changed",
        ),
        (
            {"inputs": "1", "weights": ""},
            {"inputs": "1", "weights": ""},
            "its weights are not known any more: they or its code changed",
        ),
        ({}, {"module_type": "Conv3d"}, "it was a Conv2d, now it is a Conv3d"),
    ],
)
def test_the_reason_follows_from_the_digests(before, after, reason):
    assert why(replace(A, **before), replace(off(A), **after)) == f"why: {reason}"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"weights": "bb"}, ", and its weights changed"),
        ({"module_type": "Conv3d"}, ", and it was a Conv2d, now it is a Conv3d"),
    ],
)
def test_another_input_of_the_model_is_the_first_suspect(fields, reason):
    before, after = table(A, **{INPUTS: "01"}), table(replace(off(A), **fields), inputs="02")

    assert headline(compare(before, after), "t")[1] == (
        f"why: the model's input is not the baseline's{reason}"
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"weights": "bb"}, "its weights changed (the model's input is another one as well)"),
        (
            {"module_type": "Conv3d"},
            "it was a Conv2d, now it is a Conv3d (the model's input is another one as well)",
        ),
        ({}, "same weights, other input of the model, if only by rounding"),
    ],
)
def test_another_input_is_no_suspect_where_the_model_began_as_it_did(fields, reason):
    before = table(A, B, **{INPUTS: "01"})
    after = table(off(A, 1e-6), replace(off(B), **fields), inputs="02")

    assert headline(compare(before, after), "t")[1] == f"why: {reason}"


def test_another_dtype_explains_another_input():
    before, after = table(A, **{INPUTS: "01"}), table(replace(A, dtype="float64"), inputs="02")

    assert headline(compare(before, after), "t")[1] == (
        "why: it is computed in float64, the baseline's in float32 "
        "(the model's input is another one as well)"
    )


def test_many_that_follow_are_counted():
    keys = [f"layer{i}" for i in range(30)]
    comparison = compare(
        table(*(line(key) for key in keys)), table(*(line(key, 0.031) for key in keys))
    )

    told = tell(comparison, "t")

    start = told.index("then, in order:")
    assert told[start + 1] == "  layer1: relative L2 change 3.1e-02, allowed 1.0e-04"
    assert told[start + 20] == "  layer20: relative L2 change 3.1e-02, allowed 1.0e-04"
    assert told[start + 21] == "  … and 9 more"
    assert headline(comparison, "t")[2] == "29 more after it; within tolerance: 0 of 30 maps"


def test_many_of_one_kind_are_counted():
    comparison = compare(table(), table(*(line(f"n{i}") for i in range(11))))

    assert "  added: n0, n1, n2, n3, n4, n5, n6, n7, … and 3 more" in tell(comparison, "t")
    assert "structure: 11 added" in headline(comparison, "t")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (5e-4, "narrowest tolerance profile that would pass: gpu"),
        (3e-3, "narrowest tolerance profile that would pass: half"),
        (2e-2, "narrowest tolerance profile that would pass: bfloat16"),
        (2e-1, "no tolerance profile would pass"),
    ],
)
def test_the_narrowest_profile_is_that_of_the_widest_change(change, verdict):
    comparison = compare(table(A, B), table(off(A, 2e-4), off(B, change)))

    assert verdict in tell(comparison, "t")


def test_the_tolerance_is_named_as_it_was_asked_for():
    comparison = compare(table(A), table(off(A)), Tolerance(2e-3))

    assert "  beyond what is allowed (tolerance relative_l2=0.002):" in tell(comparison, "t")


def test_agreement_is_one_line():
    comparison = compare(table(A, B), table(A, off(B, 1e-5)))

    assert headline(comparison, "t") == ["t: 2 maps agree with the baseline"]
    assert tell(comparison, "t") == ["t: 2 maps agree with the baseline"]
    assert tell(compare(table(A), table(A)), "t") == ["t: 1 map agrees with the baseline"]


def test_what_agrees_in_another_order_or_in_part_is_told():
    old = replace(A, sketch=None, stats={"mean": 0.25})
    comparison = compare(table(old, B, C), table(A, C, B))

    assert tell(comparison, "t") == [
        "t: 3 maps agree with the baseline",
        "structure:",
        "  in another order than in the baseline: b",
        "not compared, for only one side holds it: relative L2 change of 1 map",
        "not compared, for only one side holds it: std of 1 map",
        "not compared, for only one side holds it: min of 1 map",
        "not compared, for only one side holds it: max of 1 map",
        "not compared, for only one side holds it: rms of 1 map",
        "not compared, for only one side holds it: zero fraction of 1 map",
        "not compared, for only one side holds it: NaN count of 1 map",
        "not compared, for only one side holds it: Inf count of 1 map",
    ]


def test_the_command_that_accepts_is_the_callers_and_is_never_cut():
    comparison = compare(table(A), table(off(A)))
    command = (
        "pytest tests/a/deep/folder/test_of_a_long_name.py::test_of_a_very_long_name -k x -n 2"
    )

    assert headline(comparison, "t", accept=command)[-1] == f"accept with: {command}"
    assert tell(comparison, "t", accept=command)[-1] == f"accept with: {command}"
    assert headline(comparison, "t", accept="")[-1] == (
        "t: the whole story is in the report section"
    )
    assert tell(comparison, "t", accept="")[-1] == "environment: no difference from the baseline's"


def test_what_a_terminal_would_obey_is_escaped():
    hostile = "a\x1b[2J\n\u202e\ud800é"
    before = replace(A, key=hostile)
    after = replace(off(A), key=hostile, module_type="\x07")
    comparison = compare(table(before, torch="\x1b"), table(after, torch="\x9b"))

    shown = "a\\x1b[2J\\n\\u202e\\ud800é"
    assert headline(comparison, "t\r")[0] == (
        f"{shown} changed: relative L2 change 3.1e-02, allowed 1.0e-04"
    )
    for told in (headline(comparison, "t\r"), tell(comparison, "t\r")):
        assert all(line.isprintable() for line in told)
        assert "baseline: torch \\x1b; here: torch \\x9b" in told
        assert "why: it was a Conv2d, now it is a \\x07" in [line.strip() for line in told]


def test_a_long_key_loses_its_middle_in_the_headline_only():
    key = "model." + "block." * 40 + "conv"
    comparison = compare(table(replace(A, key=key)), table(replace(off(A), key=key)))

    assert headline(comparison, "t")[0] == (
        "model.block.block.….block.block.conv changed: relative L2 change 3.1e-02, allowed 1.0e-04"
    )
    assert tell(comparison, "t")[1].startswith(f"{key} changed")


short_lines = st.builds(
    line,
    key=st.sampled_from("abcdef"),
    change=st.sampled_from([0.0, 1e-6, 0.1]),
    weights=st.sampled_from([None, "aa", "bb"]),
    shape=st.sampled_from([(1,), (2, 3)]),
    dtype=st.sampled_from(["float32", "bool"]),
    digest=st.sampled_from([None, "01", "02"]),
)
tables = st.builds(
    Table,
    environment=st.dictionaries(st.sampled_from(["torch", INPUTS]), st.text(max_size=150)),
    lines=st.lists(short_lines, max_size=6, unique_by=lambda one: one.key).map(tuple),
)


@settings(max_examples=100, deadline=None)
@given(tables, tables, st.text())
def test_every_story_is_short_printable_and_names_the_first(before, after, title):
    comparison = compare(before, after)

    short, whole = headline(comparison, title), tell(comparison, title)

    assert len(short) <= 6
    assert all(len(line) <= 100 for line in short)
    assert all(line.isprintable() and line for line in short + whole)
    if comparison.first:
        assert short[0].startswith(f"{comparison.first.key} ")
        assert whole[1] == short[0]
