"""Files and names from anywhere: an error that names the file, and no baseline that is lost."""

import errno
import inspect
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import textwrap
import unicodedata
from contextlib import contextmanager
from importlib import metadata
from itertools import product
from pathlib import Path

import pytest
from attacking import TRIED, cases
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from waiting import AFTER, BEFORE, KEYS, TEST, Project, drawn, table

from pytest_featuremaps import cli
from pytest_featuremaps.review import folder, page
from pytest_featuremaps.review.records import RECORD

CODES = {cli.DONE, cli.LEFT, cli.WRONG, cli.NOTHING}
COMMANDS = (
    ["list"], ["list", "--json"], ["accept", "--dry-run"], ["report"], ["accept", "--json"],
    ["accept", "--layer", "conv2"], ["reject", "--layer", "conv1"], ["accept"], ["reject"],
)  # fmt: skip
# What a file system, a terminal, HTML, or a reader of paths would obey.
NASTY = (
    "", ".", "..", "../../x", "/etc/passwd", "a\0b", "\ud800", "\x1b[2J\x07", "\u202e", "\u2028",
    "\xa0", "\r\n", "C:\\x", "</script>", "x" * 5000, "é", "É", "~", "-rf", "record.json", "NUL",
)  # fmt: skip
TEXTS = st.sampled_from(NASTY) | st.text(max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def fresh(tmp_path_factory, monkeypatch):
    """Make a project of its own for each case, and go there."""
    monkeypatch.delenv("CI", raising=False)

    def fresh():
        project = Project(tmp_path_factory.mktemp("hostile")).with_results()
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


# --- disks that are full, folders that may not be written, and files that are none ----------------


@contextmanager
def full_after(size):
    """Let no file grow beyond a size, as on a full disk."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@contextmanager
def at_most(seconds):
    """Fail where a block does not end."""

    def fail(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@cases(60)
@given(size=st.integers(0, 2500), command=st.sampled_from(COMMANDS))
def test_a_full_disk_loses_no_baseline(fresh, capsys, size, command):
    project = fresh()
    with full_after(size):
        code, said = attack(project, capsys, command)
    TRIED["disks full"] += 1
    if code == cli.WRONG or "too large" in said.out:
        assert "test_a" in said.out + said.err or "featuremaps.html" in said.err
        TRIED["faults told"] += 1
    attack(project, capsys, ["accept"])


@contextmanager
def powerless():
    """Be nobody in particular: the administrator may write everywhere."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("kept", ["tests", ".featuremaps", "."])
def test_folders_that_may_not_be_written(monkeypatch, capsys, command, kept):
    monkeypatch.delenv("CI", raising=False)
    with tempfile.TemporaryDirectory() as root:
        project = Project(Path(root).resolve()).with_results()
        monkeypatch.chdir(root)
        closed = [project.root / kept, *(project.root / kept).rglob("*")]
        for path in (project.root, *project.root.rglob("*")):
            path.chmod((0o555 if path in closed else 0o777) if path.is_dir() else 0o666)
        page.render([])  # what it is made of may lie where nobody may read
        with powerless():
            code, said = attack(project, capsys, command)
        for path in (project.root, *project.root.rglob("*")):
            path.chmod(0o777)
        if code in {cli.LEFT, cli.WRONG} and "Permission denied" in said.out + said.err:
            assert "test_a" in said.out + said.err or "featuremaps.html" in said.err
    monkeypatch.undo()


def test_accepted_and_not_noted_is_told(monkeypatch, capsys, fresh):
    project = fresh()

    def fail(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "record.json")

    monkeypatch.setattr(folder, "forget", fail)
    assert cli.main(["accept", "-k", TEST]) == cli.LEFT
    assert project.path().read_bytes() == AFTER
    assert capsys.readouterr().out.splitlines()[0] == (
        "refused tests/__snapshots__/test_it/test_a.jsonl: the baseline is written, but that it is "
        "decided cannot be noted: [Errno 13] Permission denied: 'record.json'"
    )


NO_FILES = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "an endless file": lambda path: path.symlink_to("/dev/zero"),
    "a circle": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link out": lambda path: path.symlink_to("/etc/hostname"),
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=list(NO_FILES))
@pytest.mark.parametrize("name", ["record.json", "update.jsonl", "expected.png"])
def test_an_artifact_whose_files_are_none(fresh, capsys, make, name):
    project = fresh()
    (path,) = project.output.rglob(name) if name != "record.json" else records(project)[:1]
    path.unlink()
    make(path)
    for command in COMMANDS:
        with at_most(10):
            code, said = attack(project, capsys, command)
        if code == cli.WRONG:
            assert str(path) in said.err


@pytest.mark.parametrize("make", NO_FILES.values(), ids=list(NO_FILES))
def test_a_baseline_that_is_no_file_is_not_accepted_over(fresh, capsys, make):
    project = fresh()
    path = project.path()
    path.unlink()
    make(path)
    with at_most(10):
        assert cli.main(["accept", "--layer", "conv2"]) == cli.LEFT
    assert "test_a.jsonl" in capsys.readouterr().out
    assert not path.is_file() or path.is_symlink()


BODY = """
{full}

@pytest.mark.capture("relu")
@pytest.mark.parametrize("number", range({count}))
def test_a(number, output, feature_maps, feature_snapshot):
    {around}
        assert feature_maps == feature_snapshot
"""
FULL = textwrap.dedent(
    """
    import resource
    from contextlib import contextmanager

    """
) + inspect.getsource(full_after)


def test_a_test_whose_baseline_is_no_file_says_so_and_does_not_wait(write, pytester):
    if metadata.version("syrupy") < "6" and sys.version_info < (3, 13):
        pytest.skip("there syrupy itself fails where links lead round in a circle")
    write(BODY.format(full="", count=len(NO_FILES), around="if True:"))
    place = pytester.path / "__snapshots__" / "test_it"
    place.mkdir(parents=True)
    for number, make in enumerate(NO_FILES.values()):
        make(place / f"test_a[{number}].jsonl")
    run = ("-p", "no:cacheprovider", "-p", "no:torch", "--featuremaps-output=left")
    result = pytester.runpytest_subprocess(*run, timeout=600)
    result.assert_outcomes(failed=len(NO_FILES))
    says = "something that is no file stands where the baseline should be."
    for line in (
        f"E * test_a[[]0].jsonl: {says}",
        "E * test_a[[]1].jsonl: a folder stands where the baseline should be.",
        f"E * test_a[[]2].jsonl: {says}",
        "E * test_a[[]3].jsonl: there is no baseline yet",
        "E * test_a[[]4].jsonl: there is no baseline yet",
        "E * test_a[[]5].jsonl cannot be read: line 1 of the baseline is not JSON; *",
    ):
        result.stdout.fnmatch_lines([line])
    before = Path("/etc/hostname").read_bytes()
    result = pytester.runpytest_subprocess(*run, "--snapshot-update", timeout=600)
    result.assert_outcomes(passed=3, failed=3)
    names = [f"test_a[{number}].jsonl" for number in range(len(NO_FILES))]
    assert sorted(path.name for path in place.iterdir()) == ["nothing", *names]
    assert Path("/etc/hostname").read_bytes() == before


def test_a_full_disk_is_told_by_name_and_leaves_the_baseline(write, pytester):
    run = ("-p", "no:cacheprovider", "-p", "no:torch", "--snapshot-update")
    write(BODY.format(full="", count=1, around="if True:"))
    pytester.runpytest(*run).assert_outcomes(passed=1)
    table = pytester.path / "__snapshots__" / "test_it" / "test_a[0].jsonl"
    before = table.read_bytes()
    changed = (
        "\nclass Net(Net):\n    def forward(self, x):\n        return super().forward(x * 2)\n"
    )
    write(BODY.format(full=FULL, count=1, around="with full_after(300):"), conftest=changed)
    result = pytester.runpytest(*run)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * test_a[[]0].jsonl cannot be written: File too large.",
            "E * The baseline is as it was before this run.",
        ]
    )
    assert table.read_bytes() == before
    assert list(table.parent.iterdir()) == [table]


# --- names ----------------------------------------------------------------------------------------

NAMED = """
NAMES = {names!r}
LAYERS = [name.replace(".", "_") or "empty" for name in NAMES]

@pytest.fixture
def model():
    net = nn.Sequential()
    for name in LAYERS:
        net.add_module(name, nn.Identity())
    return net

@pytest.mark.capture("*")
@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_a(number, model, feature_maps, feature_snapshot):
    model(torch.ones(1, 3, 4, 4) * {gain})
    own = feature_snapshot(NAMES[number])
    results = [feature_maps == own, list(feature_maps.values())[number] == own]
    assert all(results)
"""


# torch takes no name that a module's attribute has, such as `modules`.
LAYERS = TEXTS.filter(lambda name: not hasattr(nn.Sequential(), name.replace(".", "_")))


def told_apart(text):
    return unicodedata.normalize("NFC", text).casefold()


def everything(pytester):
    """All files, and what is around: other cases have thousands of files there."""
    around = {path for path in pytester.path.parent.iterdir() if path != pytester.path}
    return around | {path for path in pytester.path.rglob("*") if not path.is_dir()}


@cases(3)
@given(names=st.lists(LAYERS, min_size=1, max_size=8, unique_by=told_apart))
@example(names=["\xa0"])
@example(names=list({told_apart(name): name for name in NASTY}.values()))
def test_no_name_leads_out_of_its_folder_or_commands_a_terminal(write, pytester, names):
    TRIED["names"] += len(names)
    place = pytester.path / "__snapshots__" / "test_it"
    output, page = pytester.path / ".featuremaps", pytester.path / "page.html"
    run = ("-p", "no:cacheprovider", "-p", "no:torch")
    for left in (place, output):
        shutil.rmtree(left, ignore_errors=True)
    page.unlink(missing_ok=True)
    before = everything(pytester)
    write(NAMED.format(names=names, gain=1))
    pytester.runpytest(*run, "--snapshot-update").assert_outcomes(passed=len(names))
    stored = everything(pytester) - before
    assert {path.parent for path in stored if path.suffix in {".jsonl", ".png"}} == {place}
    pytester.runpytest(*run).assert_outcomes(passed=len(names))
    write(NAMED.format(names=names, gain=1.5))
    # Long tracebacks show the repr of the model, which is of torch.
    result = pytester.runpytest(*run, "--tb=short", "--featuremaps-report=page.html")
    result.assert_outcomes(failed=len(names))
    assert [line for line in result.outlines if not line.isprintable()] == []
    left = everything(pytester) - stored - before - {page}
    assert all(path.is_relative_to(output) for path in left)
    listed = pytester.run(sys.executable, "-m", "pytest_featuremaps", "list")
    assert [line for line in listed.outlines if not line.isprintable()] == []
