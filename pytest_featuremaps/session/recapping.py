"""Where the end of a run tells of failed baselines: the terminal, and a job of GitHub Actions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pytest

from pytest_featuremaps.runs.invocation import AGAINST
from pytest_featuremaps.session import recap

if TYPE_CHECKING:
    from pytest_featuremaps.snapshots.failures import Failure

_FACTS: Final = "featuremaps"


def attach(report: pytest.TestReport, failures: Sequence[Failure]) -> None:
    """Note failed comparisons on a test's report, with which they cross from a worker of xdist."""
    setattr(report, _FACTS, recap.facts(failures))


def tell(reporter: pytest.TerminalReporter, reports: Sequence[pytest.TestReport]) -> None:
    """Write the summary of the failed baselines among these reports, if there are any."""
    tests = list({one.nodeid: _failed(one) for one in reports if hasattr(one, _FACTS)}.values())
    if not tests:
        return
    last_failed = reporter.config.pluginmanager.hasplugin("lfplugin")
    accepts = reporter.config.getoption(AGAINST) is None
    reporter.section("feature baselines", sep="-")
    for line in recap.block(tests, last_failed=last_failed, accepts=accepts):
        reporter.write_line(line)
    if not recap.on_github(os.environ):
        return
    root = reporter.config.rootpath
    for line in recap.workflow_commands(tests, root=root, environ=os.environ):
        reporter.write_line(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        text = recap.step_summary(tests, last_failed=last_failed, accepts=accepts)
        trouble = recap.append(summary, text)
        reporter.write_line(trouble)


def _failed(report: pytest.TestReport) -> recap.Failed:
    file, line, _ = report.location
    facts = getattr(report, _FACTS)
    return recap.Failed(report.nodeid, **facts, file=file, line=(line or 0) + 1)
