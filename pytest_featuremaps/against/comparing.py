"""The run that compares with another revision: has it recorded first, and tells what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_featuremaps import disk
from pytest_featuremaps.against import cache, refusals, revision
from pytest_featuremaps.against.planning import Plan, make_plan
from pytest_featuremaps.against.references import RecordedRun, References
from pytest_featuremaps.wording import FAILED_SECTION, counted

if TYPE_CHECKING:
    from pytest_featuremaps.against.stores import ReferenceStore

_MISSING: Final = "feature reference"
"""The property of a report that says why a comparison has no reference."""

_INPUT: Final = "featuremaps_against"
_NO_RUN: Final = ("collectonly", "setuponly", "setupplan")


@dataclass(frozen=True)
class ReferenceSource:
    """What every process of the run knows of the references that it compares with.

    Attributes:
        folder: where they are, once they are recorded.
        revision: the revision that they were recorded at, in words.
        checkout: the top of the checkout.
    """

    folder: str
    revision: str
    checkout: str

    @property
    def references(self) -> References:
        """The folder that they are in, or will be."""
        return References(Path(self.folder))

    @cached_property
    def recording(self) -> RecordedRun:
        """What became of the run that recorded them."""
        recording = self.references.recorded_run()
        if recording is None:
            raise LookupError(f"{self.folder} is gone, or not complete")
        return recording

    def store(self, item: pytest.Item) -> ReferenceStore:
        """Return what a test's comparisons are made with."""
        from pytest_featuremaps.against.stores import ReferenceStore, location_of

        def miss(reason: str) -> None:
            told = (_MISSING, f"no reference at {self.revision}, because {reason}")
            if told not in item.user_properties:
                item.user_properties.append(told)

        return ReferenceStore(
            references=self.references,
            recording=self.recording,
            location=location_of(item),
            revision=self.revision,
            checkout=Path(self.checkout),
            miss=miss,
        )


def begin(config: pytest.Config, name: str, output: Path) -> ReferenceSource:
    """Set up a run that compares with a revision; return where its references will be.

    Args:
        config: the configuration of the run.
        name: the revision, as it was asked for.
        output: the folder for what such runs leave.

    Raises:
        pytest.UsageError: there is no such revision, or baselines are to be updated.
    """
    if config.getoption("update_snapshots", default=False):
        raise pytest.UsageError(
            f"--featuremaps-against={name} compares with a revision and writes no baselines; "
            "--snapshot-update writes them. Take one of the two away."
        )
    # Another user of syrupy in the same test file would find our baselines unused.
    if hasattr(config.option, "ignore_file_extensions"):
        ignored = config.option.ignore_file_extensions or []
        config.option.ignore_file_extensions = [*ignored, "jsonl", "png"]
    given = getattr(config, "workerinput", {}).get(_INPUT)
    if given:
        return ReferenceSource(*given)
    with _usage_errors(name):
        plan = make_plan(config, name)
    folder = output / "recordings" / plan.key()
    source = ReferenceSource(str(folder), str(plan.revision), str(plan.repository.top))
    config.pluginmanager.register(Comparing(plan, source), "featuremaps-comparing")
    return source


class Comparing:
    """Has the selected tests recorded at another revision before the first one runs here."""

    def __init__(self, plan: Plan, source: ReferenceSource) -> None:
        self._plan = plan
        self._source = source
        self._cost = ""
        self._missing: dict[str, str] = {}
        self._failed: dict[str, None] = {}
        self._second: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's
        """Tell a worker where the references will be."""
        node.workerinput[_INPUT] = astuple(self._source)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Have the tests recorded, or take what was recorded earlier."""
        config = session.config
        if session.testsfailed or any(config.getoption(name, default=False) for name in _NO_RUN):
            return
        folder = Path(self._source.folder)
        recording = cache.reusable(folder)
        if recording:
            self._cost = f"recorded earlier, in {recording.seconds:.1f} s"
            return
        _say(config, f"recording the references at {self._source.revision} ...")
        with _usage_errors(self._plan.revision.name):
            disk.keep_out_of_git(folder.parents[2])
            recording = cache.record(self._plan, folder)
        self._cost = f"recorded in {recording.seconds:.1f} s"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test without a reference, and one whose comparison failed."""
        for name, value in report.user_properties:
            if name == _MISSING:
                self._missing[report.nodeid] = str(value)
        if any(title.startswith(FAILED_SECTION) for title, _ in report.sections):
            self._failed[report.nodeid] = None
        elif report.when == "call":
            self._failed.pop(report.nodeid, None)  # it was run again

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Have failed tests recorded a second time: what differs then as well may be chance."""
        if exitstatus == pytest.ExitCode.TESTS_FAILED and self._failed:
            from pytest_featuremaps.against.determinism import record_again

            say = partial(_say, session.config)
            self._second = record_again(
                self._plan, self._source.references, list(self._failed), say
            )

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what was compared, what could not be, and what it cost."""
        if not self._cost:
            return
        recording, where = self._source.recording, self._source.revision
        tell = terminalreporter.line
        terminalreporter.section(f"feature maps against {where}")
        tell(f"{counted(len(recording.comparisons), 'comparison')} {self._cost}")
        for line in self._second:
            tell(line)
        for test, reason in self._missing.items():
            tell(f"{test}: {reason}")
        for path in self._plan.repository.changed_submodules(self._plan.revision.commit):
            tell(f"the submodule {path} holds changes that are not committed: they count as well")
        for path in recording.changed_tests:
            tell(f"{path} has changed, but counts as test code: it is the same on both sides")


@contextmanager
def _usage_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (refusals.AgainstError, revision.GitError) as error:
        raise pytest.UsageError(f"--featuremaps-against={name}: {error}") from None


def _say(config: pytest.Config, line: str) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.line("")
        reporter.line(f"feature maps: {line}")
