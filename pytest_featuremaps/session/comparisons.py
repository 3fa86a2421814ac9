"""The comparisons of a test: what its `feature_snapshot` compares with, and what came of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_featuremaps.runs.invocation import (
    AGAINST,
    ORDERS,
    REHEARSE_INTO,
    accept_command,
    run_tolerance,
)
from pytest_featuremaps.session import reporting, reviewing
from pytest_featuremaps.session.marks import SNAPSHOT, fixture_names

if TYPE_CHECKING:
    from pytest_featuremaps.snapshots.feature_snapshot import Claims, FeatureSnapshot, Run, Store
    from pytest_featuremaps.snapshots.verdicts import Verdict

_FILES: pytest.StashKey[dict[str, tuple[str, str]]] = pytest.StashKey()
_ALIKE: pytest.StashKey[dict[str, set[str]]] = pytest.StashKey()
_CLAIMED: pytest.StashKey[Claims] = pytest.StashKey()
_FAILURES: pytest.StashKey[list[Verdict]] = pytest.StashKey()
_AGREEMENTS: pytest.StashKey[list[str]] = pytest.StashKey()
# A property of a test, for those cross from a worker of xdist.
_GAPS: Final = "featuremaps_not_compared"
_MOST_GAPS: Final = 10  # told one by one
_STORE: pytest.StashKey[Callable[[pytest.Item], Store]] = pytest.StashKey()


def look_at_revisions(config: pytest.Config) -> None:
    """Let comparisons be recorded, or made with what was recorded at another revision."""
    name = config.getoption(AGAINST)
    if ORDERS in os.environ:
        from pytest_featuremaps.against import orders
        from pytest_featuremaps.against.visiting import Visitor

        visitor = Visitor(orders.read())
        config.stash[_STORE] = visitor.store
        config.pluginmanager.register(visitor, "featuremaps-visitor")
    elif name is not None:
        from pytest_featuremaps.against.comparing import begin

        config.stash[_STORE] = begin(config, name, reviewing.output_of(config)).store


def note_tests(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Mark tests with a baseline for syrupy, and note whose names differ in case only."""
    # syrupy has no part in a comparison with a revision.
    marks = config.getini("markers") if _STORE not in config.stash else []
    if any(line.startswith("syrupy_snapshot") for line in marks):
        for item in items:
            if SNAPSHOT in fixture_names(item):
                item.add_marker("syrupy_snapshot")
    # Here, because a worker of xdist collects all tests, but runs only some of them.
    alike = config.stash.setdefault(_ALIKE, {})
    for item in items:
        alike.setdefault(item.nodeid.casefold(), set()).add(item.nodeid)


def snapshot_of(request: pytest.FixtureRequest) -> FeatureSnapshot:
    """Return the baseline of a test; fail one that cannot have a baseline of its own."""
    from pytest_featuremaps.session.rehearsing import rehearsal_of
    from pytest_featuremaps.snapshots.feature_snapshot import Claims, FeatureSnapshot, Run

    _check_case(request.node)
    files = request.config.stash.setdefault(_FILES, {})
    claims = Claims(files, request.node.nodeid)
    tolerance, source = run_tolerance(request.config)
    run = Run(
        accept=accept_command(request.config, request.node.nodeid),
        updates=request.config.getoption("update_snapshots", default=False),
        tolerance=tolerance,
        source=source,
        rehearsal=rehearsal_of(request.config),
    )
    baseline = FeatureSnapshot(_store(request, run), claims, run)
    request.node.stash[_CLAIMED] = claims
    request.node.stash[_FAILURES] = baseline.failures
    request.node.stash[_AGREEMENTS] = baseline.agreements
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
    """Let every run of a test's body claim its baselines anew."""
    if _CLAIMED in item.stash:
        item.stash[_CLAIMED].begin_body()


def settle(item: pytest.Item, report: pytest.TestReport) -> None:
    """Tell what a test's comparisons came to, leave it to review, and forget it."""
    if _FAILURES not in item.stash:
        return
    failures, agreements = item.stash[_FAILURES], item.stash[_AGREEMENTS]
    if report.failed and failures:
        reporting.tell_failures(report, failures)
    if not item.config.getoption(REHEARSE_INTO):
        reviewing.leave(item, report, failures, agreements)
    agreements.clear()
    if report.failed:
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


def _store(request: pytest.FixtureRequest, run: Run) -> Store:
    """What this run compares with."""
    make = request.config.stash.get(_STORE, None)
    if make is not None:
        return make(request.node)
    from pytest_featuremaps.snapshots.feature_snapshot import Committed

    item = request.node

    def note_gaps(what: str) -> None:
        item.user_properties.append((_GAPS, f"{item.nodeid}: {what}"))

    return Committed(_syrupy_snapshot(request), run, note_gaps)


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
