"""When the tests of an update run once more: before it, so that it can record their noise."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_featuremaps.runs import rerun
from pytest_featuremaps.runs.invocation import REHEARSE_INTO
from pytest_featuremaps.wording import counted

_NAME = "featuremaps-rehearsing"


def rehearse(config: pytest.Config) -> None:
    """Let the tests of this update run once more, and before it.

    A rehearsal has none of its own, and workers leave it to the process that started them.

    Raises:
        pytest.UsageError: nothing is updated.
    """
    if config.getoption(REHEARSE_INTO):
        return
    if not config.getoption("update_snapshots", default=False):
        raise pytest.UsageError(
            "--featuremaps-noise records noise in baselines, and nothing is recorded in this run: "
            "say --snapshot-update as well"
        )
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Rehearsing(config), _NAME)


def rehearsal_of(config: pytest.Config) -> rerun.Rehearsal | None:
    """Return the rehearsal that this run is, or has had; None where there is none."""
    into = config.getoption(REHEARSE_INTO)
    if into:
        return rerun.Rehearsal(Path(into), here=True)
    rehearsing = config.pluginmanager.get_plugin(_NAME)
    given = getattr(config, "workerinput", {}).get(REHEARSE_INTO)
    folder = rehearsing.folder if rehearsing else given
    return rerun.Rehearsal(Path(folder), here=False) if folder else None


class Rehearsing:
    """Runs the tests of an update once more, under the lowest CPU capability, and before it.

    Registered in the process that tells people, for a run that asks for it.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.folder = Path(tempfile.mkdtemp(prefix="featuremaps-"))
        self._end: rerun.End | None = None

    def pytest_sessionstart(self) -> None:
        """Run the rehearsal, before any worker starts."""
        config = self._config
        if config.option.collectonly or getattr(config.option, "setupplan", False):
            return
        self._say("measuring noise: the tests run under the lowest CPU capability first ...")
        self._end = rerun.run(
            rerun.arguments(
                config.invocation_params.args,
                options=vars(config.option),
                folder=self.folder,
                own=self._own_arguments(),
            ),
            directory=config.invocation_params.dir,
            surroundings=rerun.LOWEST,
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's
        """Tell a worker where the rehearsal left its tables."""
        node.workerinput[REHEARSE_INTO] = str(self.folder)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what the rehearsal cost, and what it did not reach."""
        if self._end is None:
            return
        terminalreporter.section("feature maps: noise", sep="-")
        for line in told(self._end, rerun.left(self.folder)):
            terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        """Leave nothing behind, however the run ends."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _own_arguments(self) -> Iterator[str]:
        yield f"--featuremaps-rehearse-into={self.folder}"
        # What syrupy itself compares there is written there, and passes.
        yield f"--snapshot-dirname={self.folder / 'snapshots'}"
        yield "--snapshot-no-cleanup"
        if self._config.pluginmanager.hasplugin("cacheprovider"):
            yield f"--override-ini=cache_dir={self.folder / 'cache'}"

    def _say(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(line)


def told(end: rerun.End, comparisons: int) -> Iterator[str]:
    """Yield what a rehearsal did, in one sentence each."""
    made = counted(comparisons, "comparison")
    yield f"the second run, under the lowest CPU capability, made {made} in {end.seconds:.1f} s"
    if end.failures:
        first, *more = end.failures
        others = f" (and {len(more)} more)" if more else ""
        yield f"what did not pass there has no noise: {first}{others}"
    elif end.status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        yield f"it ended with exit code {end.status}, and noise is missing: {end.last}"
