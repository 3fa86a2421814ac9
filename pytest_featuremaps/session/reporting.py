"""What reports say of feature maps: that of each test, and the summary at the end of the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pytest

from pytest_featuremaps.runs.invocation import AGAINST
from pytest_featuremaps.wording import FAILED_SECTION, plain

if TYPE_CHECKING:
    from pytest_featuremaps.recording.recording import Recording
    from pytest_featuremaps.session.summary import FailedTest
    from pytest_featuremaps.snapshots.failures import Failure

# A report holds the numbers of this many maps: taking and sending them costs time.
_MOST_MAPS: Final = 50

_FACTS: Final = "featuremaps"
"""The attribute of a report with what the summary needs; xdist sends it along."""


def write_properties(item: pytest.Item, recording: Recording, *, measure: bool) -> None:
    """Make each map a property of the report; those of an earlier run of the test go."""
    from pytest_featuremaps.maps.summaries import PROPERTY, properties

    kept = [one for one in item.user_properties if not one[0].startswith(PROPERTY)]
    item.user_properties[:] = [
        *kept,
        *properties(recording, most=_MOST_MAPS, measure=measure),
    ]


def tell_maps(report: pytest.TestReport, recording: Recording) -> None:
    """Show what was captured in a test that fails."""
    if report.failed and recording:
        report.sections.append(("feature maps", recording.summary(most=_MOST_MAPS)))


def tell_failures(report: pytest.TestReport, failures: Sequence[Failure]) -> None:
    """Tell the whole story of each failed comparison, and note it for the summary."""
    from pytest_featuremaps.session import summary

    setattr(report, _FACTS, summary.facts(failures))
    for failure in failures:
        title = FAILED_SECTION + plain(failure.title, None)
        report.sections.append((title, "\n".join(failure.story)))


def tell_comparisons(report: pytest.TestReport) -> None:
    """Tell the whole story of what `compare()` found in a test that fails; then forget it."""
    two_models = sys.modules.get("pytest_featuremaps.maps.two_models")
    if two_models is None:  # nobody has called `compare()`
        return
    if report.failed:
        found = [("feature maps compared", str(comparison)) for comparison in two_models.FOUND]
        report.sections.extend(found)
    if report.failed or report.when == "teardown":
        two_models.FOUND.clear()


def tell_summary(reporter: pytest.TerminalReporter) -> None:
    """Sum the failed baselines of the run up, if there are any, also for GitHub Actions."""
    # A test that failed, then passed when it ran again, is under another name.
    failed = [one for kind in ("failed", "error") for one in reporter.stats.get(kind, [])]
    tests = list({one.nodeid: _test(one) for one in failed if hasattr(one, _FACTS)}.values())
    if not tests:
        return
    from pytest_featuremaps.session import github, summary

    last_failed = reporter.config.pluginmanager.hasplugin("lfplugin")
    accepts = reporter.config.getoption(AGAINST) is None
    reporter.section("feature baselines", sep="-")
    for line in summary.lines(tests, last_failed=last_failed, accepts=accepts):
        reporter.write_line(line)
    if not github.is_here(os.environ):
        return
    root = reporter.config.rootpath
    for line in github.workflow_commands(tests, root=root, environ=os.environ):
        reporter.write_line(line)
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        page = github.step_summary(tests, last_failed=last_failed, accepts=accepts)
        trouble = github.append(path, page)
        if trouble:
            reporter.write_line(trouble)


def _test(report: pytest.TestReport) -> FailedTest:
    from pytest_featuremaps.session.summary import FailedTest

    file, line, _ = report.location
    return FailedTest(report.nodeid, **getattr(report, _FACTS), file=file, line=(line or 0) + 1)
