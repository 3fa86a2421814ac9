"""When unused baselines may be deleted: only after a complete, clean run."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

_DESELECTED = "featuremaps_deselected"

# What makes pytest collect or run a part of the tests.
_SELECTING = ("keyword", "markexpr", "lf", "failedfirst", "deselect", "ignore", "ignore_glob")


class Cleaning:
    """Keeps syrupy from deleting the baselines of tests that did not get to them.

    `--snapshot-update` deletes what no comparison of the run has asked for, also when a test
    failed before its comparison, was skipped, deselected or never reached. Registered for
    runs that update; asks for no fixture and touches no file.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._passed: set[str] = set()
        self._has_deselected = False
        selects = any(config.getoption(name, default=None) for name in _SELECTING)
        self._is_complete = not selects and not any("::" in one for one in config.args)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that could not be collected, or was skipped at import."""
        if report.outcome != "passed":
            self._is_complete = False

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note tests that were deselected."""
        if items:
            self._has_deselected = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note every test that did not pass in all its phases."""
        if report.outcome != "passed":
            self._is_complete = False
        elif report.when == "call":
            self._passed.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:  # noqa: ANN401 - xdist's
        """Note a worker that broke down, or that deselected tests, which it alone knows."""
        if error or getattr(node, "workeroutput", {}).get(_DESELECTED, True):
            self._is_complete = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, object, object]:
        """Tell syrupy, whose own hook comes next, to delete nothing after an unclean run."""
        clean = exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}
        reached = len(self._passed) >= session.testscollected
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            # The controller sees the reports of this worker's tests, but not what it deselected.
            output[_DESELECTED] = self._has_deselected
        if not (clean and reached and self._is_complete) or self._has_deselected:
            self._config.option.no_cleanup = True
        return (yield)
