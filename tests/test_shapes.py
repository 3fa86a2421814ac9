"""The shape language: what fits, what each reason says, and what each slip is told."""

import contextlib
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_featuremaps.checks.shapes import Match, check
from pytest_featuremaps.errors import ShapeSpecError


@pytest.mark.parametrize(
    ("spec", "shape", "bound"),
    [
        ("", (), {}),
        ((), (), {}),
        ("8 128 4 4", (8, 128, 4, 4), {}),
        ((8, 128, 4, 4), (8, 128, 4, 4), {}),
        (tuple(np.array([8, 128])), (8, 128), {}),
        (torch.Size([8, 128]), (8, 128), {}),
        ("N 128 H W", (8, 128, 4, 5), {"N": 8, "H": 4, "W": 5}),
        ("N C S S", (8, 3, 4, 4), {"N": 8, "C": 3, "S": 4}),
        ("N _ H _", (8, 128, 4, 5), {"N": 8, "H": 4}),
        ("...", (), {}),
        ("...", (1, 2, 3), {}),
        ("N ...", (7,), {"N": 7}),
        ("N ... W", (7, 1, 2, 3), {"N": 7, "W": 3}),
        ("... C", (7, 1, 2), {"C": 2}),
        ("H H/2 2*H H-2 H+1", (8, 4, 16, 6, 9), {"H": 8}),
        ("H H//2", (7, 3), {"H": 7}),
        ("A B (A+B)*2 A+B*2 A-B-1 A//B//2", (9, 2, 22, 13, 6, 2), {"A": 9, "B": 2}),
        ("A (A-1)/((2))", (9, 4), {"A": 9}),
        ("A 12/A*2 A*2/3", (6, 4, 4), {"A": 6}),
        ("2*3 007", (6, 7), {}),
        ("  N\tC \n H ", (1, 2, 3), {"N": 1, "C": 2, "H": 3}),
        ("größe _x x1", (1, 2, 3), {"größe": 1, "_x": 2, "x1": 3}),
        ("N", (0,), {"N": 0}),
    ],
)
def test_fits(spec, shape, bound):
    assert check(spec, shape, {}) == Match("", bound)


@pytest.mark.parametrize(
    ("spec", "shape", "reason"),
    [
        ("N 128 H W", (8, 64, 4, 4), "dimension 1 is 64, expected 128"),
        ((8, 128), (8, 64), "dimension 1 is 64, expected 128"),
        ("N H H", (1, 8, 7), "dimension 2 (H) is 7, but H = 8 from dimension 1"),
        ("N ... N", (1, 8, 7), "dimension 2 (N) is 7, but N = 1 from dimension 0"),
        ("H H/2", (8, 5), "dimension 1 (H/2) is 5, expected 4 (H = 8)"),
        ("H H-9", (8, 5), "dimension 1 (H-9) is 5, expected -1 (H = 8)"),
        ("A B A*B+A", (2, 3, 5), "dimension 2 (A*B+A) is 5, expected 8 (A = 2, B = 3)"),
        ("2*3", (5,), "dimension 0 (2*3) is 5, expected 6"),
        ("H H/2", (7, 3), "dimension 1 (H/2) is 3, but 7/2 is not a whole number (H = 7)"),
        ("H 4/H", (0, 3), "dimension 1 (4/H) is 3, but 4/0 divides by zero (H = 0)"),
        ("H 4//H", (0, 3), "dimension 1 (4//H) is 3, but 4//0 divides by zero (H = 0)"),
        ("N C H W", (8, 3, 4), "3 dimensions, expected 4"),
        ("N C", (8,), "1 dimension, expected 2"),
        ("N C", (), "0 dimensions, expected 2"),
        ("", (1,), "1 dimension, expected 0"),
        ("N ... H W", (8, 3), "2 dimensions, expected at least 3"),
    ],
)
def test_reason(spec, shape, reason):
    assert check(spec, shape, {}) == Match(reason, {})


def test_names_bound_by_earlier_layers_must_agree():
    assert check("N H/2", (8, 4), {"N": 8, "H": 8}).reason == ""
    assert check("N C", (9, 4), {"N": 8}).reason == (
        "dimension 0 (N) is 9, but N = 8 from an earlier layer"
    )


def test_bindings_accumulate_and_leave_the_given_ones_alone():
    given_names = {"N": 8}
    assert check("N C", (8, 3), given_names).bound == {"N": 8, "C": 3}
    assert given_names == {"N": 8}


def test_a_misfit_binds_nothing():
    assert check("N C 5", (8, 3, 4), {"H": 1}).bound == {"H": 1}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("N,128", '`N,128` has a comma: tokens are separated by spaces, as in "N 128 H W"'),
        (
            "N 12% H",
            (
                "`12%` has the sign `%`, which no token knows: a token is an integer, a name, "
                "arithmetic with + - * / // ( ), `_` or `...`"
            ),
        ),
        (
            "N ....",
            "`....` is no token: any number of dimensions is three dots alone, `...`",
        ),
        (
            "... C ...",
            (
                "the spec '... C ...' has more than one `...`: "
                "where each would end cannot be known; write `_` for a single dimension of any size"
            ),
        ),
        (
            "N H/2",
            (
                "`H/2` uses `H`, which no earlier token or layer binds: "
                "write `H` alone where that size stands first"
            ),
        ),
        (
            "H/2 H",
            "`H/2` uses `H`, which only a later token binds: a spec is read from left to right",
        ),
        ("N -1", "`-1` is no size: `_` stands for any size"),
        (
            "H / 2",
            (
                "`/` lacks a number or a name before `/`: "
                "arithmetic such as `H/2` is written without spaces"
            ),
        ),
        ("C 2C", "`2C` has no sign before `C`: a product is written `2*C`"),
        ("C 2(C)", "`2(C)` has no sign before `(`: a product is written `2*C`"),
        ("C C/", "`C/` ends where a number or a name should follow"),
        ("C (C+1", "`(C+1` opens a parenthesis that nothing closes"),
        ("C C+1)", "`C+1)` closes a parenthesis that nothing opens"),
        ("_/2", "`_/2` calculates with `_`, which has no size: give it a name"),
        *[
            (
                f"N {word}",
                f"`{word}` has the sign `{sign}`, which no token knows: a token is an integer, a "
                "name, arithmetic with + - * / // ( ), `_` or `...`",
            )
            for word, sign in [("H²", "²"), ("²", "²"), ("2*½", "½"), ("٣", "٣"), ("፩", "፩")]
        ],
        (
            "N \x1b[31mC",
            (
                r"`\x1b[31mC` has the sign `\x1b`, which no token knows: a token is an integer, a "
                "name, arithmetic with + - * / // ( ), `_` or `...`"
            ),
        ),
        (
            "9" * 101,
            (
                "`99999999999999999999…` has 101 characters: "
                "a token has at most 100, and tokens are separated by spaces"
            ),
        ),
        (
            (1, -1),
            (
                "`-1` in the tuple is not a size: a tuple holds integers from 0 up; "
                'names and `_` need text, as in "N 128 _ _"'
            ),
        ),
        (
            (True, 3),
            (
                "`True` in the tuple is not a size: a tuple holds integers from 0 up; "
                'names and `_` need text, as in "N 128 _ _"'
            ),
        ),
        (
            ("N", 3),
            (
                "`'N'` in the tuple is not a size: a tuple holds integers from 0 up; "
                'names and `_` need text, as in "N 128 _ _"'
            ),
        ),
        (
            [1, 2],
            (
                "a shape spec is text or a tuple of integers, not list: "
                'write "N 128 H W" or (8, 128, 32, 32)'
            ),
        ),
    ],
)
def test_slip(spec, message):
    with pytest.raises(ShapeSpecError) as caught:
        check(spec, (1, 2), {})
    assert str(caught.value) == message


@pytest.mark.parametrize("spec", ["C+()", "()", "(C", "C)(", "+C", "C++1", "C**2", "C///2", "(1)2"])
def test_arithmetic_that_is_none(spec):
    with pytest.raises(ShapeSpecError):
        check(f"C {spec}", (1, 2), {})


def test_a_slip_is_told_whatever_the_shape():
    with pytest.raises(ShapeSpecError):
        check("N H/2", (), {})


@given(
    st.one_of(st.text(), st.text("NH_x123²½٣ .+-*/(),\t", max_size=30)),
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
)
def test_any_text_gives_a_match_or_says_why_not(spec, shape):
    try:
        match = check(spec, shape, {"N": 4})
    except ShapeSpecError:
        return
    assert match.reason == "" or match.bound == {"N": 4}
    assert match.bound["N"] == 4


@pytest.mark.parametrize(
    "spec",
    [
        " ".join(["_"] * 100_000),
        " ".join(f"n{number}" for number in range(100_000)),
        "N " + "N/2 " * 100_000,
        "(" * 100_000,
        "(" * 49 + "1" + ")" * 49,
        "*".join(["9" * 9] * 10),
        "N " + "*".join("N" * 50),
        "," * 1_000_000,
    ],
    ids=["tokens", "names", "ratios", "open", "deep", "large", "power", "commas"],
)
def test_what_is_read_is_bounded(spec):
    calls = Counter()
    before = sys.getprofile()
    sys.setprofile(lambda _frame, event, _argument: calls.update([event]))
    try:
        with contextlib.suppress(ShapeSpecError):
            check(spec, (2**62, 3), {})
    finally:
        sys.setprofile(before)
    assert calls.total() < 50 * len(spec) + 500  # at most linear


expressions = st.recursive(
    st.sampled_from(["A", "B", "1", "2", "10"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//"]), inner).map("".join),
        inner.map("({})".format),
    ),
    max_leaves=8,
)


@given(expressions, st.integers(0, 9), st.integers(0, 9))
def test_arithmetic_is_pythons(expression, a, b):
    try:
        expected = eval(expression, {"A": a, "B": b})  # noqa: S307 - the oracle of this test
    except ZeroDivisionError:
        assert "divides by zero" in check(f"A B {expression}", (a, b, 0), {}).reason
        return
    found = check(f"A B {expression}", (a, b, expected), {})
    # A lone name or number fits as well; a size below zero can only be expected, not found.
    assert found.reason == ""
    assert check(f"A B {expression}", (a, b, expected + 1), {}).reason != ""
