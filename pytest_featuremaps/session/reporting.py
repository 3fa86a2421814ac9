"""What reports say of feature maps: that of each test, and the summary at the end of the run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pytest

from pytest_featuremaps.runs.invocation import AGAINST, accept_command, accept_last_failed
from pytest_featuremaps.wording import FAILED_SECTION, plain

if TYPE_CHECKING:
    from pytest_featuremaps.recording.recording import Recording
    from pytest_featuremaps.session.summary import FailedTest
    from pytest_featuremaps.snapshots.failures import Failure

# A report holds the numbers of this many maps: taking and sending them costs time.
_MOST_MAPS: Final = 50
_SAY_NOTHING: Final = ("assert False", "assert not True", "AssertionError")

_FACTS: Final = "featuremaps"
"""The attribute of a report with what the summary needs; xdist sends it along."""


def write_properties(item: pytest.Item, recording: Recording, *, measure: bool) -> None:
    """Make each map a property of the report; those of an earlier run of the test go."""
    from pytest_featuremaps.maps.feature_maps import view_of
    from pytest_featuremaps.maps.summaries import PROPERTY, properties

    kept = [one for one in item.user_properties if not one[0].startswith(PROPERTY)]
    item.user_properties[:] = [
        *kept,
        *properties(view_of(recording).index(), most=_MOST_MAPS, measure=measure),
    ]


def tell_maps(report: pytest.TestReport, recording: Recording) -> None:
    """Show what was captured in a test that fails."""
    if report.failed and recording:
        report.sections.append(("feature maps", recording.summary(most=_MOST_MAPS)))


def tell_failures(report: pytest.TestReport, failures: Sequence[Failure]) -> None:
    """Tell the whole story of each failed comparison, and note it for the summary."""
    from pytest_featuremaps.session import summary

    facts = summary.facts(failures)
    setattr(report, _FACTS, facts)
    _name_layer(report, facts["first"])
    for failure in failures:
        title = FAILED_SECTION + plain(failure.title, None)
        report.sections.append((title, "\n".join(failure.story)))


def _name_layer(report: pytest.TestReport, first: str) -> None:
    """Say in the one line of a failure what differed, where its assert saw a truth value alone."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is None:
        return
    message, newline, rest = crash.message.partition("\n")
    if message in _SAY_NOTHING:
        crash.message = f"{message}: {plain(first)}{newline}{rest}"


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
    told: dict[str, list[pytest.TestReport]] = {}
    for one in failed:
        if hasattr(one, _FACTS):
            told.setdefault(one.nodeid, []).append(one)
    if not told:
        return
    from pytest_featuremaps.session import github, summary

    tests = [_test(reports) for reports in told.values()]
    accept = _accept(reporter.config, list(told))
    reporter.section("feature baselines", sep="-")
    for line in summary.lines(tests, accept):
        reporter.write_line(line)
    if not github.is_here(os.environ):
        return
    root = reporter.config.rootpath
    for line in github.workflow_commands(tests, root=root, environ=os.environ):
        reporter.write_line(line)
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path:
        trouble = github.append(path, github.step_summary(tests, accept))
        if trouble:
            reporter.write_line(trouble)


def _accept(config: pytest.Config, tests: Sequence[str]) -> str:
    """Return the command that accepts the changes of these tests, and runs nothing else."""
    if config.getoption(AGAINST) is not None:
        return ""
    plugin = config.pluginmanager.get_plugin("lfplugin")
    last = {str(one) for one in getattr(plugin, "lastfailed", ())}
    if len(tests) > 1 and last == set(tests) and not config.option.pyargs:
        return accept_last_failed(config)
    return accept_command(config, *tests)


def _test(reports: Sequence[pytest.TestReport]) -> FailedTest:
    from pytest_featuremaps.session import summary

    file, line, _ = reports[0].location
    facts = [getattr(one, _FACTS) for one in reports]
    return summary.summed_up(reports[0].nodeid, facts, file=file, line=(line or 0) + 1)
