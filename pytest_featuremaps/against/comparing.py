"""The run that compares with another revision: has it recorded first, and tells what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from pytest_featuremaps import writing
from pytest_featuremaps.against import recordings, refusals, revision, running
from pytest_featuremaps.against.planning import Visit, plan
from pytest_featuremaps.against.references import Recording, References
from pytest_featuremaps.wording import FAILED_SECTION, counted

if TYPE_CHECKING:
    from pytest_featuremaps.against.stores import Recorded

MISSING: Final = "feature reference"
"""The property of a report that says why a comparison has no reference."""

_INPUT: Final = "featuremaps_against"
_TWICE: Final = 20  # failed tests are recorded a second time
_NO_RUN: Final = ("collectonly", "setuponly", "setupplan")


@dataclass(frozen=True)
class Told:
    """What every process of the run knows of the references.

    Attributes:
        folder: where they are, once they are recorded.
        revision: what they belong to, in words.
        checkout: the top of the checkout.
    """

    folder: str
    revision: str
    checkout: str

    @property
    def references(self) -> References:
        """The references."""
        return References(Path(self.folder))

    @cached_property
    def recording(self) -> Recording:
        """What became of the run that recorded them."""
        recording = self.references.recording()
        if recording is None:
            raise LookupError(f"{self.folder} is gone, or not complete")
        return recording

    def store(self, item: pytest.Item) -> Recorded:
        """Return what a test's comparisons are made with."""
        from pytest_featuremaps.against.stores import Recorded, location_of

        def miss(reason: str) -> None:
            told = (MISSING, f"no reference at {self.revision}, because {reason}")
            if told not in item.user_properties:
                item.user_properties.append(told)

        return Recorded(
            references=self.references,
            recording=self.recording,
            location=location_of(item),
            revision=self.revision,
            checkout=Path(self.checkout),
            miss=miss,
        )


def begin(config: pytest.Config, name: str, output: Path) -> Told:
    """Prepare a run that compares with a revision; return what its processes know of it.

    Args:
        config: the run's.
        name: the revision.
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
    told = getattr(config, "workerinput", {}).get(_INPUT)
    if told:
        return Told(*told)
    with _usage_errors(name):
        visit = plan(config, name)
    folder = output / "recordings" / visit.key()
    known = Told(str(folder), str(visit.revision), str(visit.repository.top))
    config.pluginmanager.register(Comparing(visit, known), "featuremaps-comparing")
    return known


class Comparing:
    """Has the selected tests recorded at another revision before the first one runs here."""

    def __init__(self, visit: Visit, told: Told) -> None:
        self._visit = visit
        self._told = told
        self._how = ""
        self._missing: dict[str, str] = {}
        self._failed: dict[str, None] = {}
        self._twice: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's
        """Tell a worker where the references will be."""
        told = self._told
        node.workerinput[_INPUT] = (told.folder, told.revision, told.checkout)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Have the tests recorded, or take what was recorded earlier."""
        config = session.config
        if session.testsfailed or any(config.getoption(name, default=False) for name in _NO_RUN):
            return
        folder = Path(self._told.folder)
        recording = recordings.reusable(folder)
        if recording:
            self._how = f"recorded earlier, in {recording.seconds:.1f} s"
            return
        _say(config, f"recording the references at {self._told.revision} ...")
        with _usage_errors(self._visit.revision.name):
            writing.keep_out_of_git(folder.parents[2])
            recording = recordings.record(self._visit, folder)
        self._how = f"recorded in {recording.seconds:.1f} s"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test without a reference, and one whose comparison failed."""
        for name, value in report.user_properties:
            if name == MISSING:
                self._missing[report.nodeid] = str(value)
        if any(title.startswith(FAILED_SECTION) for title, _ in report.sections):
            self._failed[report.nodeid] = None
        elif report.when == "setup":
            self._failed.pop(report.nodeid, None)  # it was run again

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Have failed tests recorded a second time: what differs then as well is chance."""
        if exitstatus != pytest.ExitCode.TESTS_FAILED or not self._failed:
            return
        from pytest_featuremaps.against.steadiness import unsteady

        tests = list(self._failed)[:_TWICE]
        of_all = f" of {len(self._failed)}" if len(self._failed) > _TWICE else ""
        number = f"{len(tests)}{of_all} failed test{'s' * (len(self._failed) != 1)}"
        where = self._told.revision
        references = self._told.references
        again = References(references.folder / "again")
        again.folder.mkdir(exist_ok=True)
        known = {test for test, _ in again.comparisons()}
        missing = [test for test in tests if test not in known]
        seconds = 0.0
        if missing:
            _say(session.config, f"recording {number} at {where} once more ...")
            try:
                seconds = running.run(self._visit, again.folder, only=missing).seconds
            except (refusals.AgainstError, revision.GitError, KeyboardInterrupt) as error:
                why = str(error) or "it was interrupted"
                self._twice = [f"{number} could not be recorded a second time: {why}"]
                return
        lost = set(tests) - {test for test, _ in again.comparisons()}
        if lost:
            self._twice = [f"{min(lost)} compared nothing when it was recorded a second time"]
            return
        found = unsteady(references, again, tests)
        cost = f"recorded twice at {where}" + (f", in {seconds:.1f} s more" if missing else "")
        if not found:
            self._twice = [f"{number}, {cost}: the same bits, so the difference is this code's"]
            return
        self._twice = [
            f"{number}, {cost}: not the same bits, so the difference may be chance:",
            *(f"  {test}: {what}" for test, what in found.items()),
            "seed what a test draws, call model.eval(), or give the comparison a tolerance",
        ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what was compared, what could not be, and what it cost."""
        if not self._how:
            return
        recording, where = self._told.recording, self._told.revision
        tell = terminalreporter.line
        terminalreporter.section(f"feature maps against {where}")
        tell(f"{counted(len(recording.comparisons), 'comparison')} {self._how}")
        for line in self._twice:
            tell(line)
        for test, reason in self._missing.items():
            tell(f"{test}: {reason}")
        for path in self._visit.repository.changed_submodules(self._visit.revision.commit):
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
