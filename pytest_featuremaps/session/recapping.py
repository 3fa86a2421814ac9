"""Where the end of a run tells of failed baselines: the terminal, and a job of GitHub Actions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pytest

from pytest_featuremaps.runs.invocation import AGAINST, accept_command, accept_last_failed
from pytest_featuremaps.session import recap

if TYPE_CHECKING:
    from pytest_featuremaps.snapshots.verdicts import Verdict

_FACTS: Final = "featuremaps"


def attach(report: pytest.TestReport, verdicts: Sequence[Verdict]) -> None:
    """Note failed comparisons on a test's report, with which they cross from a worker of xdist."""
    setattr(report, _FACTS, recap.facts(verdicts))


def tell(reporter: pytest.TerminalReporter, reports: Sequence[pytest.TestReport]) -> None:
    """Write the summary of the failed baselines among these reports, if there are any."""
    told: dict[str, list[pytest.TestReport]] = {}
    for one in reports:
        if hasattr(one, _FACTS):
            told.setdefault(one.nodeid, []).append(one)
    tests = [_failed(one) for one in told.values()]
    if not tests:
        return
    accept = _accept(reporter.config, [one.test for one in tests])
    reporter.section("feature baselines", sep="-")
    for line in recap.block(tests, accept):
        reporter.write_line(line)
    if not recap.on_github(os.environ):
        return
    root = reporter.config.rootpath
    for line in recap.workflow_commands(tests, root=root, environ=os.environ):
        reporter.write_line(line)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        trouble = recap.append(summary, recap.step_summary(tests, accept))
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


def _failed(reports: Sequence[pytest.TestReport]) -> recap.Failed:
    file, line, _ = reports[0].location
    facts = [getattr(one, _FACTS) for one in reports]
    return recap.summed_up(reports[0].nodeid, facts, file=file, line=(line or 0) + 1)
