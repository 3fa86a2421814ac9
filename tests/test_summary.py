"""The end of a run with failed baselines: in a terminal, and in a job of GitHub Actions."""

import re
from html import unescape
from pathlib import Path

import pytest

from pytest_featuremaps.baseline.comparing import compare
from pytest_featuremaps.baseline.tables import Line, Table
from pytest_featuremaps.session.github import append, step_summary, workflow_commands
from pytest_featuremaps.session.summary import FailedTest, command, count, facts, lines
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
    assert facts([picture, whole]) == {"changed": 2, "first": "a changed first"}


def test_a_picture_alone_is_one_changed_map():
    seen = failure("t[b].png", {"b": 0.1}, {"b": 0.1}, "picture: 1 of 8 channels differs")
    assert facts([seen]) == {"changed": 1, "first": "t[b].png: picture: 1 of 8 channels differs"}


def test_a_missing_baseline_is_no_changed_map():
    missing = Failure("t.jsonl", ["t.jsonl: there is no baseline yet", "record it with: ..."], [])
    assert facts([missing]) == {"changed": 0, "first": "t.jsonl: there is no baseline yet"}


# --- the block ----------------------------------------------------------------------------------


def test_the_block_of_one_test():
    one = FailedTest("test_it.py::test_a[x y]", 1, "conv1 changed: ...")
    assert list(lines([one], last_failed=True)) == [
        "1 feature map changed in 1 test",
        "  test_it.py::test_a[x y]: conv1 changed: ...",
        "next, look at them; accept with: pytest --snapshot-update 'test_it.py::test_a[x y]'",
    ]


def test_the_block_of_many_tests_is_short():
    tests = [FailedTest(f"test_it.py::test_{i}", i, "conv1 changed first") for i in range(14)]
    told = list(lines(tests, last_failed=True))
    assert len(told) == 13
    assert told[0] == (
        "91 feature maps changed in 13 tests; 1 test without a baseline that can be read"
    )
    assert told[-2:] == [
        "  ... and 4 more",
        "next, look at them; accept with: pytest --snapshot-update --last-failed",
    ]


def test_what_is_counted():
    assert count([FailedTest("a", 0, ""), FailedTest("b", 0, "")]) == (
        "2 tests without a baseline that can be read"
    )


def test_without_a_cache_the_command_names_the_tests():
    tests = [FailedTest("a.py::b", 1, ""), FailedTest("c.py::d", 1, "")]
    assert command(tests, last_failed=False) == "pytest --snapshot-update a.py::b c.py::d"


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
    summary = step_summary([one], last_failed=True)
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


def test_a_step_summary_stays_far_below_a_megabyte():
    tests = [FailedTest("é" * 5000, 2, "|" * 5000) for _ in range(5000)]
    summary = step_summary(tests, last_failed=False)
    assert len(summary.encode()) < 500_000
    assert "| ... and 4950 more | | |" in summary.splitlines()


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
    "2 feature maps changed in 2 tests; 1 test without a baseline that can be read",
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


def test_a_run_is_summed_up_and_its_command_accepts_all_of_it(run):
    result = run()
    result.assert_outcomes(failed=4)
    accept = "pytest --snapshot-update --last-failed"
    result.stdout.fnmatch_lines(
        [*BLOCK, f"next, look at them; accept with: {accept}"], consecutive=True
    )
    run(*accept.split()[1:]).assert_outcomes(passed=3, failed=1)
    result = run()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.no_fnmatch_line("*feature baselines*")


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
