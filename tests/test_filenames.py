"""File names: nothing lost, nothing outside the folder."""

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_featuremaps.filenames import encode, may_begin_with, name_of_test, slug

LIMIT = 60
TEXTS = st.text(max_size=120)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("test_a[conv2]", "test_a[conv2]"),
        ("test_a[layer1.0.conv2#1]", "test_a[layer1.0.conv2#1]"),
        ("teacher:0", "teacher%3A0"),
        ("a/b\\c", "a%2Fb%5Cc"),
        ("50%", "50%25"),
        ("..", ".."),
        ("é", "é"),
        ("\x1b[31m", "%1B[31m"),
        ("\ud800", "%ED%A0%80"),
        ("\u202e", "%E2%80%AE"),
        ("\u2028", "%E2%80%A8"),
        ("a b\xa0c", "a b%C2%A0c"),
    ],
)
def test_what_a_file_name_cannot_hold_is_encoded(text, name):
    assert encode(text, limit=LIMIT) == name


@given(TEXTS)
def test_a_name_is_one_safe_component(text):
    name = encode(text, limit=LIMIT)
    assert len(name.encode()) <= LIMIT
    assert not set(name) & set('/\\:*?"<>|\0\n')
    file = f"{name}.png"
    assert PurePosixPath(file).parts == (file,)
    assert PureWindowsPath(file).parts == (file,)


@given(TEXTS, TEXTS)
def test_two_texts_never_share_a_name(one, other):
    assert (encode(one, limit=LIMIT) == encode(other, limit=LIMIT)) == (one == other)


def test_texts_that_differ_after_the_cut_never_share_a_name():
    names = {encode("x" * 500 + str(i), limit=LIMIT) for i in range(1000)}
    assert len(names) == 1000


@given(TEXTS, st.text(max_size=20))
@example("x" * (LIMIT - 9), "suffix")
@example("x" * (LIMIT - 10), "suffix")
@example("x" * (LIMIT - 8), "suffix")
def test_a_name_belongs_to_the_text_it_begins_with(text, suffix):
    assert may_begin_with(encode(text, limit=LIMIT), text, limit=LIMIT)
    assert may_begin_with(encode(text, f"[{suffix}]", limit=LIMIT), text, limit=LIMIT)


@pytest.mark.parametrize("more", ["", "x" * 100], ids=["short", "cut"])
def test_a_suffix_is_told_from_what_looks_like_one(more):
    one = encode(f"test_a[{more}a]", "[b]", limit=LIMIT)
    other = encode(f"test_a[{more}a][b]", limit=LIMIT)
    assert one != other
    if not more:
        assert (one, other) == ("test_a[a][b]", "test_a[a]%5Bb]")


NAMES = {
    "test_it.py::test_a": "test_a",
    "a/test_it.py::A::B::test_a[x y]": "A.B.test_a[x y]",
    "test_it.py::A::test_a[x::y::z]": "A.test_a[x.y.test_a[x::y::z]",
    "test_it.py": "",
}


@pytest.mark.parametrize(("test", "name"), NAMES.items())
def test_what_syrupy_calls_a_test(test, name):
    assert name_of_test(test) == name


def test_a_longer_test_name_is_another_test():
    assert not may_begin_with("test_ab", "test_a", limit=LIMIT)
    assert not may_begin_with("test_a", "test_ab", limit=LIMIT)


def test_a_short_name_shows_how_a_text_begins():
    assert slug("tests/test_it.py::test_a[x y]").startswith("tests.test_it.py.test_a[x.y]~")
    assert slug("test_" + "x" * 100) == slug("test_" + "x" * 100)
    assert slug("test_" + "x" * 100).startswith(f"test_{'x' * 55}~")
    assert slug("a" * 90, "b" * 70, "c" * 20).startswith(f"{'c' * 20}~")
    assert slug("a" * 90, "b" * 70, "c" * 80).startswith(f"{'c' * 60}~")
    assert slug("a" * 90, "c") != slug("b" * 90, "c")
