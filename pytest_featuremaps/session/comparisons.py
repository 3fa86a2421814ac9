"""The comparisons of a test: what its `feature_snapshot` compares with, and what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_featuremaps.runs.collected import SNAPSHOT, has_baseline
from pytest_featuremaps.runs.invocation import (
    AGAINST,
    INSTRUCTIONS,
    NOISE_INTO,
    accept_command,
    run_tolerance,
)
from pytest_featuremaps.session import reporting, reviewing

if TYPE_CHECKING:
    from pytest_featuremaps.snapshots.feature_snapshot import FeatureSnapshot
    from pytest_featuremaps.snapshots.options import RunOptions
    from pytest_featuremaps.snapshots.outcomes import Outcomes
    from pytest_featuremaps.snapshots.stores import Store

_FILES: pytest.StashKey[dict[str, tuple[str, str]]] = pytest.StashKey()
_ALIKE: pytest.StashKey[dict[str, set[str]]] = pytest.StashKey()
_OUTCOMES: pytest.StashKey[Outcomes] = pytest.StashKey()
_PASSED: pytest.StashKey[list[bool]] = pytest.StashKey()
# A property of a test, for those cross from a worker of xdist.
_GAPS: Final = "featuremaps_not_compared"
_MOST_GAPS: Final = 10  # told one by one
_STORE: pytest.StashKey[Callable[[pytest.Item], Store]] = pytest.StashKey()


def check_tolerance(config: pytest.Config) -> None:
    """Refuse a tolerance of the run that cannot be read.

    Raises:
        pytest.UsageError: it cannot be read.
    """
    tolerance, source = run_tolerance(config)
    if tolerance is None:
        return
    from pytest_featuremaps.baseline.tolerances import asked_for
    from pytest_featuremaps.errors import FeatureMapsError

    try:
        asked_for(tolerance)
    except FeatureMapsError as error:
        raise pytest.UsageError(f"{source}: {error}") from None


def choose_store(config: pytest.Config) -> None:
    """Choose what comparisons are made with: committed baselines, unless a revision is named.

    In the run at that revision, they are recorded.
    """
    name = config.getoption(AGAINST)
    if INSTRUCTIONS in os.environ:
        from pytest_featuremaps.against import instructions
        from pytest_featuremaps.against.at_revision import AtRevision

        there = AtRevision(instructions.read())
        config.stash[_STORE] = there.store
        config.pluginmanager.register(there, "featuremaps-at-revision")
    elif name is not None:
        from pytest_featuremaps.against.comparing import begin

        config.stash[_STORE] = begin(config, name, reviewing.output_of(config)).store


def note_tests(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Mark tests with a baseline for syrupy, and note whose names differ in case only."""
    # syrupy has no part in a comparison with a revision.
    marks = config.getini("markers") if _STORE not in config.stash else []
    if any(line.startswith("syrupy_snapshot") for line in marks):
        for item in items:
            if has_baseline(item):
                item.add_marker("syrupy_snapshot")
    # Here, because a worker of xdist collects all tests, but runs only some of them.
    alike = config.stash.setdefault(_ALIKE, {})
    for item in items:
        alike.setdefault(item.nodeid.casefold(), set()).add(item.nodeid)


def snapshot_of(request: pytest.FixtureRequest) -> FeatureSnapshot:
    """Return the baseline of a test; fail one that cannot have a baseline of its own."""
    from pytest_featuremaps.session.noise_plugin import noise_run_of
    from pytest_featuremaps.snapshots.feature_snapshot import FeatureSnapshot
    from pytest_featuremaps.snapshots.options import RunOptions
    from pytest_featuremaps.snapshots.outcomes import ClaimedFiles, Outcomes

    _check_case(request.node)
    noise_run = noise_run_of(request.config)
    _check_argument(request.node, noise=noise_run is not None)
    files = request.config.stash.setdefault(_FILES, {})
    outcomes = Outcomes(ClaimedFiles(files, request.node.nodeid))
    tolerance, source = run_tolerance(request.config)
    run = RunOptions(
        accept=accept_command(request.config, request.node.nodeid),
        updates=request.config.getoption("update_snapshots", default=False),
        tolerance=tolerance,
        source=source,
        noise_run=noise_run,
    )
    baseline = FeatureSnapshot(_store(request, run), outcomes, run)
    request.node.stash[_OUTCOMES] = outcomes
    request.node.stash[_PASSED] = []
    return baseline


def tell_gaps(reporter: pytest.TerminalReporter) -> None:
    """Say which comparisons passed although there was less to compare than one side holds."""
    told = {
        text: None
        for reports in reporter.stats.values()
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == _GAPS
    }
    if not told:
        return
    reporter.section("feature baselines compared in part", sep="-")
    for line in list(told)[:_MOST_GAPS]:
        reporter.write_line(line)
    if len(told) > _MOST_GAPS:
        reporter.write_line(f"... and {len(told) - _MOST_GAPS} more")
    reporter.write_line(
        "not both sides hold these numbers; what a baseline lacks, pytest --snapshot-update writes"
    )


def begin_body(item: pytest.Item) -> None:
    """Let every run of a test's body compare anew."""
    if _OUTCOMES in item.stash:
        item.stash[_OUTCOMES].begin_body()


def check_asserted(item: pytest.Item) -> None:
    """Fail a test that has passed although a comparison of it differed."""
    failures = item.stash[_OUTCOMES].failures if _OUTCOMES in item.stash else []
    if failures:
        from pytest_featuremaps.session.summary import facts

        pytest.fail(
            f"{facts(failures)['first']}\n"
            "The test compared this, and passed all the same. Nothing asserts what it found:\n"
            f"    assert feature_maps == {SNAPSHOT}\n"
            "To expect a difference, ask pytest_featuremaps.compare(reference, candidate) for it.",
            pytrace=False,
        )


def explain(op: str, left: object, right: object) -> list[str] | None:
    """Return the lines for an assertion that failed on a baseline; None for any other."""
    baselines = sys.modules.get("pytest_featuremaps.snapshots.feature_snapshot")
    if baselines is None:  # no test has asked for one
        return None
    for operand in (left, right):
        if op == "==" and isinstance(operand, baselines.FeatureSnapshot):
            failures = baselines.outcomes_of(operand).failures
            return failures[-1].headline if failures else None
    return None


def settle(item: pytest.Item, report: pytest.TestReport) -> None:
    """Report what a test's comparisons came to, keep what failed for review, and forget both."""
    if _OUTCOMES not in item.stash:
        return
    outcomes = item.stash[_OUTCOMES]
    failures, agreements = outcomes.failures, outcomes.agreements
    # A body has one report, and another one for each subtest in it.
    passed = item.stash[_PASSED]
    if report.when == "call":
        passed.append(report.passed or hasattr(report, "wasxfail"))
    if report.failed and failures:
        reporting.tell_failures(report, failures)
    if not item.config.getoption(NOISE_INTO):
        reviewing.leave(item, report, failures, agreements)
        if report.when == "teardown" and passed and all(passed):
            reviewing.forget(item)
    agreements.clear()
    if not report.passed:
        failures.clear()


def _check_case(item: pytest.Item) -> None:
    """Refuse a test whose baselines would be another test's on a disk that ignores case."""
    alike = item.config.stash[_ALIKE].get(item.nodeid.casefold(), set())
    others = sorted(alike - {item.nodeid})
    if others:
        pytest.fail(
            f"{item.nodeid} and {others[0]} differ in case only, so on some disks their baselines "
            "would be the same file.\nGive one of the tests, or of its parameters, another name.",
            pytrace=False,
        )


def _check_argument(item: pytest.Item, *, noise: bool) -> None:
    """Refuse a test that is not known to compare where only those that are run twice."""
    against = item.config.getoption(AGAINST) is not None
    if (noise or against) and not has_baseline(item):
        pytest.fail(
            f"{item.nodeid} asks for {SNAPSHOT} only while it runs, and "
            f"{'--featuremaps-against' if against else '--featuremaps-noise'} has to know before "
            "which tests compare.\n"
            f"Make {SNAPSHOT} an argument of the test, or of a fixture that it uses.",
            pytrace=False,
        )


def _store(request: pytest.FixtureRequest, run: RunOptions) -> Store:
    """What this run compares with."""
    make = request.config.stash.get(_STORE, None)
    if make is not None:
        return make(request.node)
    from pytest_featuremaps.snapshots.stores import BaselineStore

    item = request.node

    def note_gaps(what: str) -> None:
        item.user_properties.append((_GAPS, f"{item.nodeid}: {what}"))

    return BaselineStore(_syrupy_snapshot(request), run, note_gaps)


def _syrupy_snapshot(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401 - syrupy may be absent
    found = "no plugin gives a fixture 'snapshot'"
    try:
        snapshot = request.getfixturevalue("snapshot")
    except pytest.FixtureLookupError:
        pass
    else:
        if type(snapshot).__module__.partition(".")[0] == "syrupy":
            return snapshot
        found = f"the fixture 'snapshot' is {type(snapshot).__module__}'s here"
    return pytest.fail(
        f"{SNAPSHOT} keeps its baselines with syrupy, and {found}.\n"
        "Load syrupy: take `-p no:syrupy` away, or rename the other fixture. Everything but "
        f"{SNAPSHOT} works without it.",
        pytrace=False,
    )
