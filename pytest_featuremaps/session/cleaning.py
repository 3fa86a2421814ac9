"""When unused baselines may be deleted: only after a complete, clean run."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

_UNCLEAN = "featuremaps_unclean"

# What makes pytest collect or run a part of the tests.
_SELECTING = ("keyword", "markexpr", "lf", "failedfirst", "deselect", "ignore", "ignore_glob")
# Settings that do the same where one run alone has another value of them.
_COLLECTING = (
    "python_files",
    "python_functions",
    "python_classes",
    "testpaths",
    "norecursedirs",
    "collect_imported_tests",
)


class Cleaning:
    """Keeps syrupy from deleting the baselines of tests that did not get to them.

    `--snapshot-update` deletes what no comparison of the run has asked for, also when a test
    failed before its comparison, was skipped, deselected or never reached. Registered for
    runs that update; asks for no fixture and touches no file.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reasons: list[str] = []
        self._passed: set[str] = set()
        self._collected: set[str] = set()
        options = (name for name in _SELECTING if config.getoption(name, default=None))
        self._reasons += [f"of --{name}" for name in options]
        if any("::" in argument for argument in config.args):
            self._reasons.append("only some tests were named")
        overridden = config.getoption("override_ini", default=None) or ()
        names = (setting.partition("=")[0].strip() for setting in overridden)
        self._reasons += [f"of -o {name}" for name in names if name in _COLLECTING]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that could not be collected, or was skipped at import."""
        if report.outcome != "passed":
            self._reasons.append(f"{report.nodeid} was {report.outcome}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Note the tests there are, before any plugin takes some of them away without a word."""
        self._collected = {item.nodeid for item in items}
        return (yield)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note tests that were deselected."""
        if items:
            self._reasons.append(f"{len(items)} tests were deselected")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note every test that did not pass in all its phases."""
        if report.outcome != "passed":
            self._reasons.append(f"{report.nodeid} was {report.outcome}")
        elif report.when == "call":
            self._passed.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:  # noqa: ANN401 - xdist's
        """Note what a worker saw, which alone knows of the tests that it deselected."""
        if error or getattr(node, "workeroutput", {}).get(_UNCLEAN, True):
            self._reasons.append("a worker did not run everything")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, object, object]:
        """Tell syrupy, whose own hook comes next, to delete nothing after an unclean run."""
        if exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            self._reasons.append("the run failed or was interrupted")
        if len(self._passed) < session.testscollected:
            self._reasons.append("some tests were not reached")
        # A controller of workers has no tests of its own.
        left_out = self._collected - {item.nodeid for item in getattr(session, "items", ())}
        if left_out:
            self._reasons.append(f"{len(left_out)} tests were deselected")
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            # Reports of a worker's tests are seen by the controller.
            output[_UNCLEAN] = any("deselected" in reason for reason in self._reasons)
        if self._reasons:
            self._config.option.no_cleanup = True
        return (yield)
