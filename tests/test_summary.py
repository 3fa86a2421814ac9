"""The end of a run with failed baselines: in a terminal, and in a job of GitHub Actions."""

import re
import shlex
from html import unescape
from pathlib import Path

import pytest

from pytest_featuremaps.baseline.comparing import compare
from pytest_featuremaps.baseline.tables import Line, Table
from pytest_featuremaps.review import folder
from pytest_featuremaps.session.github import append, step_summary, workflow_commands
from pytest_featuremaps.session.summary import FailedTest, count, facts, lines, summed_up
from pytest_featuremaps.snapshots.failures import Failure


def table(**means):
    lines = (
        Line(key, "Conv2d", (4,), "float32", "cpu", {"mean": mean, "rms": 1.0})
        for key, mean in means.items()
    )
    return Table({}, tuple(lines))


def failure(name, before, after, *headline):
    return Failure(name, list(headline), [], compare(table(**before), table(**after)))


# --- what a report carries ----------------------------------------------------------------------


def test_a_map_in_a_table_and_a_picture_changed_once_and_the_table_says_what_was_first():
    picture = failure("t[b].png", {"b": 0.1}, {"b": 0.2}, "b changed")
    whole = failure("t.jsonl", {"a": 0.1, "b": 0.1}, {"a": 0.2, "b": 0.2}, "a changed first")
    assert facts([picture, whole]) == {
        "changed": ["b", "a"],
        "first": "a changed first",
        "width": 2,
        "new": False,
    }


def test_a_picture_alone_is_one_changed_map():
    seen = failure("t[b].png", {"b": 0.1}, {"b": 0.1}, "picture: 1 of 8 channels differs")
    assert facts([seen]) == {
        "changed": ["b"],
        "first": "t[b].png: picture: 1 of 8 channels differs",
        "width": 1,
        "new": False,
    }


def test_a_missing_baseline_is_no_changed_map():
    missing = Failure("t.jsonl", ["t.jsonl: there is no baseline yet", "record it with: ..."], [])
    assert facts([missing]) == {
        "changed": [],
        "first": "t.jsonl: there is no baseline yet",
        "width": 0,
        "new": True,
    }
    broken = Failure("t.png", ["t.png cannot be read: ..."], [], expected=b"<<<<<<<")
    assert facts([broken])["new"] is False
    assert facts([broken, missing])["new"] is False
    assert facts([missing, failure("u.jsonl", {"a": 0.1}, {"a": 0.2}, "a changed")])["new"] is False


def test_the_reports_of_one_test_are_summed_up():
    told = [
        {"changed": ["b"], "first": "b changed", "width": 1, "new": False},
        {"changed": ["a", "b"], "first": "a changed first", "width": 3, "new": False},
        {"changed": [], "first": "t.jsonl: there is no baseline yet", "width": 0, "new": True},
    ]
    whole = FailedTest("t.py::test_a", 2, "a changed first", file="t.py", line=3)
    assert summed_up("t.py::test_a", told, file="t.py", line=3) == whole


# --- the block ----------------------------------------------------------------------------------


def test_the_block_of_one_test():
    one = FailedTest("test_it.py::test_a[x y]", 1, "conv1 changed: ...")
    assert list(lines([one], "pytest --snapshot-update 'test_it.py::test_a[x y]'")) == [
        "1 feature map changed in 1 test",
        "  test_it.py::test_a[x y]: conv1 changed: ...",
        "next, look at them; accept with: pytest --snapshot-update 'test_it.py::test_a[x y]'",
    ]


def test_the_block_of_many_tests_is_short():
    tests = [
        FailedTest(f"test_it.py::test_{i}", i, "conv1 changed first", new=not i) for i in range(14)
    ]
    told = list(lines(tests, "pytest --snapshot-update --last-failed"))
    assert len(told) == 13
    assert told[0] == ("91 feature maps changed in 13 tests; 1 test has no baseline yet")
    assert told[-2:] == [
        "  ... and 4 more",
        "next, look at them; accept with: pytest --snapshot-update --last-failed",
    ]


def test_what_is_counted():
    new, broken, changed = (
        FailedTest("a", 0, "", new=True),
        FailedTest("b", 0, ""),
        FailedTest("c", 2, ""),
    )
    assert count([new]) == "1 test has no baseline yet"
    assert count([new, new]) == "2 tests have no baseline yet"
    assert count([broken]) == "1 test has a baseline that cannot be read"
    assert count([changed, new, broken, broken]) == (
        "2 feature maps changed in 1 test; 1 test has no baseline yet; "
        "2 tests have baselines that cannot be read"
    )


def test_what_is_to_be_done_next():
    new, broken, changed = (
        FailedTest("a", 0, "", new=True),
        FailedTest("b", 0, ""),
        FailedTest("c", 2, ""),
    )

    def last(*tests):
        return list(lines(tests, "THIS"))[-1]

    assert last(new) == "record with: THIS"
    assert last(new, new) == "record with: THIS"
    assert last(broken) == "restore them from version control, or record them anew with: THIS"
    assert last(changed, new) == "next, look at them; accept with: THIS"
    assert "Accept with: <code>" in step_summary([changed, new], "THIS")
    assert "Record with: <code>" in step_summary([new], "THIS")


def test_without_baselines_there_is_nothing_to_accept():
    one = FailedTest("test_it.py::test_a", 1, "conv1 changed")
    assert list(lines([one], ""))[1:] == ["  test_it.py::test_a: conv1 changed"]


# --- GitHub -------------------------------------------------------------------------------------

HOSTILE = "a|b <img src=x onerror=alert(1)> `c` *d* [e](javascript:f) @user\r\n::error::g 100%, h"


def test_workflow_commands_are_escaped_and_relative_to_the_workspace(tmp_path):
    one = FailedTest("x", 2, HOSTILE, file="tests/test_a,b:c.py", line=7)
    environ = {"GITHUB_WORKSPACE": str(tmp_path)}
    (told,) = workflow_commands([one], root=tmp_path / "sub", environ=environ)
    assert told == (
        "::error file=sub/tests/test_a%2Cb%3Ac.py,line=7,title=2 feature maps changed::"
        "a|b <img src=x onerror=alert(1)> `c` *d* [e](javascript:f) @user%0D%0A::error::g 100%25, h"
    )


def test_ten_workflow_commands_are_all_that_is_shown(tmp_path):
    tests = [FailedTest(str(i), 0, "there is no baseline yet", file="a.py") for i in range(30)]
    told = list(workflow_commands(tests, root=tmp_path, environ={}))
    assert len(told) == 10
    assert told[0] == "::error file=a.py,line=1,title=feature baseline::there is no baseline yet"


def test_a_step_summary_is_a_table_in_which_nothing_is_markup():
    one = FailedTest(HOSTILE, 2, HOSTILE)
    summary = step_summary([one], "pytest --snapshot-update 'a|b'")
    row = summary.splitlines()[6]
    assert re.fullmatch(r"\| ([\w ,.&#;-]+) \| 2 \| \1 \|", row)
    assert unescape(row.split(" | ")[0]) == "| " + HOSTILE.replace("\r\n", "  ")
    assert summary.splitlines()[:6] == [
        "### Feature baselines",
        "",
        "2 feature maps changed in 1 test.",
        "",
        "| test | feature maps changed | first divergent layer |",
        "| --- | ---: | --- |",
    ]
    accept = "Accept with: <code>pytest &#45;&#45;snapshot-update &#39;a&#124;b&#39;</code>"
    assert accept.replace("&#45;", "-") in summary.splitlines()


def test_a_step_summary_stays_far_below_a_megabyte():
    tests = [FailedTest("é" * 5000, 2, "|" * 5000) for _ in range(5000)]
    summary = step_summary(tests, f"pytest --snapshot-update {'é' * 5000}")
    assert len(summary.encode()) < 500_000
    assert summary.splitlines()[-4:] == [
        "| ... and 4950 more | | |",
        "",
        "The log of this run ends with the command that accepts them.",
        "",
    ]


def test_a_step_summary_that_cannot_be_written_is_told(tmp_path):
    assert append(str(tmp_path / "out.md"), "a") == ""
    assert append(str(tmp_path / "out.md"), "b") == ""
    assert Path(tmp_path / "out.md").read_text() == "ab"
    assert append(str(tmp_path), "a").startswith("the step summary could not be written: [Errno ")


# --- a whole run --------------------------------------------------------------------------------

BODY = """
@pytest.mark.capture("small_model.*")
@pytest.mark.parametrize("case", ["a", "b"])
def test_table(model, photo, feature_maps, feature_snapshot, case):
    model.small_model.conv2.weight.data *= {gain}
    model(photo)
    assert feature_maps == feature_snapshot

@pytest.mark.capture("small_model.conv2")
def test_new(output, feature_maps, feature_snapshot):
    assert feature_maps == feature_snapshot

def test_other():
    assert {gain} == 1
"""
BLOCK = [
    "*- feature baselines -*",
    "2 feature maps changed in 2 tests; 1 test has no baseline yet",
    "  test_it.py::test_table[[]a]: small_model.conv2 changed first: relative L2 change *",
    "  test_it.py::test_table[[]b]: small_model.conv2 changed first: relative L2 change *",
    "  test_it.py::test_new: test_new.jsonl: there is no baseline yet",
]


@pytest.fixture
def run(pytester, write, monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    write(BODY.format(gain=1))
    pytester.runpytest("--snapshot-update", "-k", "table").assert_outcomes(passed=2, deselected=2)
    write(BODY.format(gain=1.5))
    return pytester.runpytest


def accept_of(result):
    """The command that a run ends with, as a list of arguments."""
    starts = ("next, look at them; accept with: pytest ", "record with: pytest ")
    (line,) = [one for one in result.outlines if one.startswith(starts)]
    return shlex.split(line.partition(": pytest ")[2])


def test_a_run_is_summed_up_and_its_command_accepts_all_of_it(run):
    result = run()
    result.assert_outcomes(failed=4)
    tests = ["test_it.py::test_table[a]", "test_it.py::test_table[b]", "test_it.py::test_new"]
    accept = ["--snapshot-update", *tests]
    assert accept_of(result) == accept
    quoted = "'test_it.py::test_table[[]a]' 'test_it.py::test_table[[]b]' test_it.py::test_new"
    line = f"next, look at them; accept with: pytest --snapshot-update {quoted}"
    result.stdout.fnmatch_lines([*BLOCK, line], consecutive=True)
    run(*accept).assert_outcomes(passed=3)
    result = run()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.no_fnmatch_line("*feature baselines*")


@pytest.mark.parametrize("arguments", [[], ["test_it.py"]], ids=["whole", "a file"])
def test_what_failed_last_is_the_command_where_nothing_else_has_failed(run, arguments):
    run("-k", "table", "--deselect=test_it.py::test_table[b]")
    result = run(*arguments, "-k", "table", "--deselect=test_it.py::test_table[a]")
    assert accept_of(result) == ["--snapshot-update", "test_it.py::test_table[b]"]
    result = run(*arguments, "-k", "table or new")
    accept = ["--snapshot-update", "--last-failed", *arguments]
    assert accept_of(result) == accept
    run(*accept).assert_outcomes(passed=3)


def test_what_failed_in_an_earlier_run_is_not_accepted_as_well(run):
    run("-k", "other").assert_outcomes(failed=1, deselected=3)
    result = run("-k", "table")
    tests = ["test_it.py::test_table[a]", "test_it.py::test_table[b]"]
    assert accept_of(result) == ["--snapshot-update", *tests]


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_the_command_repeats_what_decides_what_it_does(run, pytester, monkeypatch, workers):
    folder = pytester.mkdir("below")
    (pytester.path / "other.ini").write_text("[pytest]\n")
    pytester.path.joinpath("test_it.py").rename(folder / "test_it.py")
    monkeypatch.chdir(folder)
    options = [
        *("-o", "console_output_style=classic", "-c", "../other.ini", f"--rootdir={folder.parent}"),
        *("--snapshot-dirname=kept here", "--featuremaps-tolerance=half"),
    ]
    result = run(*options, *workers, "-k", "new")
    told = [
        *("--snapshot-update", "-o", "console_output_style=classic", f"--rootdir={folder.parent}"),
        *("-c", "../other.ini", "--snapshot-dirname=kept here", "--featuremaps-tolerance=half"),
        "test_it.py::test_new",
    ]
    assert accept_of(result) == told
    own = f"record it with: {shlex.join(['pytest', *told])}"
    assert own in [line.removeprefix("E").strip() for line in result.outlines]
    run(*told).assert_outcomes(passed=1)
    assert (folder / "kept here" / "test_it" / "test_new.jsonl").exists()


def test_on_github_it_is_written_once_whatever_the_workers_and_reruns(run, pytester, monkeypatch):
    summary = pytester.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(pytester.path.parent))
    result = run("-n", "2", "--reruns", "1", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*- feature baselines -*", BLOCK[1]])
    place = f"::error file={pytester.path.name}/test_it.py"
    commands = sorted(line for line in result.outlines if line.startswith("::"))
    assert [line.partition("::small")[0].partition("::test")[0] for line in commands] == [
        f"{place},line=12,title=feature baseline",
        f"{place},line=5,title=1 feature map changed",
        f"{place},line=5,title=1 feature map changed",
    ]
    text = unescape(summary.read_text())
    assert text.count("###") == 1
    assert text.count("small_model.conv2 changed first") == 2
    assert "<code>pytest --snapshot-update " in text


def test_a_test_that_passes_when_it_runs_again_is_not_told(run, pytester, write):
    write(
        BODY.format(gain=1),
        conftest="""
tried = set()

@pytest.fixture(autouse=True)
def flaky(request, model):
    if request.node.name not in tried:
        model.small_model.conv2.weight.data *= 1.5
    tried.add(request.node.name)
""",
    )
    result = run("--reruns", "1", "-k", "table")
    assert result.parseoutcomes()["rerun"] == 2
    assert result.parseoutcomes()["passed"] == 2
    result.stdout.no_fnmatch_line("*feature baselines*")


SUBTESTS = """
@pytest.mark.capture("small_model.*", "relu")
def test_layers(model, photo, feature_maps, feature_snapshot, subtests):
    model.small_model.conv2.weight.data *= {gain}
    model(photo)
    for key in ["small_model.conv2", "small_model.conv1", "relu"]:
        with subtests.test(key=key):
            {body}
"""
ASSERTED = "assert feature_maps.only(key) == feature_snapshot(name=key)"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_subtests_are_told_as_one_test_and_all_of_them_is_left(pytester, write, workers):
    pytest.importorskip("_pytest.subtests")
    write(SUBTESTS.format(gain=1, body=ASSERTED))
    pytester.runpytest("--snapshot-update").assert_outcomes(passed=1)
    write(SUBTESTS.format(gain=1.5, body=ASSERTED))
    result = pytester.runpytest(*workers)
    result.stdout.fnmatch_lines(
        [
            "2 feature maps changed in 1 test",
            "  test_it.py::test_layers: small_model.conv2 changed: relative L2 change *",
            "next, look at them; accept with: pytest --snapshot-update test_it.py::test_layers",
        ]
    )
    left = folder.read(pytester.path / ".featuremaps")
    assert [one.record.name for one in left] == ["relu", "small_model.conv2"]
    write(SUBTESTS.format(gain=1, body=ASSERTED))
    pytester.runpytest(*workers).assert_outcomes(passed=1)
    assert not (pytester.path / ".featuremaps").exists()


def test_a_forgotten_assert_in_a_subtest_and_a_subtest_that_is_given_up(pytester, write):
    pytest.importorskip("_pytest.subtests")
    forgotten = ASSERTED.removeprefix("assert ")
    write(SUBTESTS.format(gain=1, body=forgotten))
    pytester.runpytest("--snapshot-update").assert_outcomes(passed=1)
    write(SUBTESTS.format(gain=1.5, body=forgotten))
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_layers - Failed: small_model.conv2 *"])
    write(SUBTESTS.format(gain=1.5, body=f"if not {forgotten}: pytest.xfail('some day')"))
    result = pytester.runpytest()
    assert "passed" in result.parseoutcomes()
    assert result.ret == pytest.ExitCode.OK
