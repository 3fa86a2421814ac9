"""Files and names from anywhere: an error that names the file, and no baseline that is lost."""

import json
from itertools import product

import pytest
from attacking import TRIED, cases
from hypothesis import given
from hypothesis import strategies as st
from waiting import AFTER, BEFORE, KEYS, Project, drawn, table

from pytest_featuremaps import cli
from pytest_featuremaps.review.records import RECORD, Map

CODES = {cli.DONE, cli.LEFT, cli.WRONG, cli.NOTHING}
COMMANDS = (
    ["list"], ["list", "--json"], ["accept", "--dry-run"], ["report"], ["accept", "--json"],
    ["accept", "--layer", "conv2"], ["reject", "--layer", "conv1"], ["accept"], ["reject"],
)  # fmt: skip
# What a file system, a terminal, HTML, or a reader of paths would obey.
NASTY = (
    "", ".", "..", "../../x", "/etc/passwd", "a\0b", "\ud800", "\x1b[2J\x07", "\u202e", "\r\n",
    "C:\\x", "</script>", "x" * 5000, "é", "É", "~", "-rf", "record.json", "NUL",
)  # fmt: skip
TEXTS = st.sampled_from(NASTY) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def fresh(tmp_path_factory, monkeypatch):
    """Make a project of its own for each case: a table and a picture that wait for review."""
    monkeypatch.delenv("CI", raising=False)

    def fresh():
        project = Project(tmp_path_factory.mktemp("hostile"))
        project.store(BEFORE)
        project.leave()
        project.store(drawn(1), "test_a[conv1].png")
        maps = (Map("conv1", "changed", "1 of 2 channels differs", "conv1", "conv1"),)
        project.leave(drawn(1), drawn(2), maps, "test_a[conv1].png")
        monkeypatch.chdir(project.root)
        return project

    return fresh


def records(project):
    return sorted(project.output.rglob(RECORD))


def attack(project, capsys, command):
    """Run a command; it ends in an orderly way, prints what is printable, and loses nothing."""
    TRIED["commands on hostile files"] += 1
    outside = {path for path in project.root.parent.iterdir() if path != project.root}
    code = cli.main(command)
    said = capsys.readouterr()
    assert code in CODES
    lines = (said.out + said.err).split("\n")
    assert all(line.isprintable() for line in lines), lines
    assert project.path().read_bytes() in {BEFORE, AFTER, *MIXED}
    assert project.path("test_a[conv1].png").read_bytes() in {drawn(1), drawn(2)}
    assert len(list(project.path().parent.iterdir())) == 2
    assert {path for path in project.root.parent.iterdir() if path != project.root} == outside
    return code, said


MIXED = tuple(
    table({key: float(taken) for key, taken in zip(KEYS, chosen, strict=True)})
    for chosen in product((False, True), repeat=len(KEYS))
)
"""The tables that accepting some of the maps leaves."""


@cases(60)
@given(data=st.data())
def test_a_damaged_record_is_told_by_its_path(fresh, capsys, data):
    project = fresh()
    path = data.draw(st.sampled_from(records(project)), label="record")
    path.write_bytes(data.draw(damaged(path.read_bytes()), label="bytes"))
    command = data.draw(st.sampled_from(COMMANDS), label="command")
    code, said = attack(project, capsys, command)
    if code == cli.WRONG:
        assert str(path) in said.err
        TRIED["faults told"] += 1


@cases(120)
@given(data=st.data())
def test_a_record_may_say_anything(fresh, capsys, data):
    project = fresh()
    path = data.draw(st.sampled_from(records(project)), label="record")
    fields = json.loads(path.read_bytes())
    place = data.draw(st.sampled_from(list(places(fields))), label="place")
    replaced = with_value(fields, place, data.draw(VALUES | TEXTS, label="value"))
    path.write_bytes(json.dumps(replaced).encode())
    for command in data.draw(st.permutations(COMMANDS), label="commands")[:3]:
        code, said = attack(project, capsys, command)
        if code == cli.WRONG:
            assert str(path.parent) in said.err
            TRIED["faults told"] += 1


@cases(60)
@given(data=st.data())
def test_decisions_may_say_anything(fresh, capsys, data):
    project = fresh()
    known = [one.id for one in project.left()]
    fields = {
        "featuremaps_approvals": 1,
        "decisions": [
            {"decision": "accept", "id": known[0], "layers": ["conv1"]},
            {"decision": "reject", "id": known[1], "layers": None},
        ],
    }
    path = project.root / "approvals.json"
    written = json.dumps(fields).encode()
    if data.draw(st.booleans(), label="sound JSON"):
        place = data.draw(st.sampled_from(list(places(fields))), label="place")
        value = data.draw(VALUES | TEXTS | st.just(known[1]), label="value")
        written = json.dumps(with_value(fields, place, value)).encode()
    else:
        written = data.draw(damaged(written), label="bytes")
    path.write_bytes(written)
    code, said = attack(project, capsys, ["accept", "--approvals", str(path)])
    if code == cli.WRONG:
        assert str(path) in said.err
        TRIED["faults told"] += 1


def damaged(whole):
    """Bytes like these, but cut, flipped, doubled, or others altogether."""
    return st.one_of(
        st.binary(max_size=60),
        st.integers(0, len(whole) - 1).map(lambda end: whole[:end]),
        st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)).map(
            lambda at: whole[: at[0]] + bytes([whole[at[0]] ^ at[1]]) + whole[at[0] + 1 :]
        ),
        st.just(whole * 2),
        st.just(b"\xef\xbb\xbf" + whole),
        st.just(whole.decode().encode("utf-16")),
        st.just(b"[" * 50_000),
        st.just(b"9" * 50_000),
        st.just(b"<<<<<<< HEAD\n" + whole),
    )


def places(fields, above=()):
    """Yield the way to every value in nested JSON."""
    yield above
    if not isinstance(fields, dict | list):
        return
    steps = fields.items() if isinstance(fields, dict) else enumerate(fields)
    for step, value in steps:
        yield from places(value, (*above, step))


def with_value(fields, place, value):
    if not place:
        return value
    copy = fields.copy()
    copy[place[0]] = with_value(fields[place[0]], place[1:], value)
    return copy
