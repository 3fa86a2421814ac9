"""Starts the second run of an update that records noise, before the update itself."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_featuremaps.runs import rerun
from pytest_featuremaps.runs.invocation import NOISE_INTO, same_seed
from pytest_featuremaps.runs.noise_run import NoiseRun
from pytest_featuremaps.wording import counted

_NAME = "featuremaps-noise"


def set_up(config: pytest.Config) -> None:
    """Let the tests of this update run once more before it.

    The second run has none of its own, and workers leave it to the process that started them.

    Raises:
        pytest.UsageError: nothing is updated.
    """
    if config.getoption(NOISE_INTO):
        return
    if not config.getoption("update_snapshots", default=False):
        raise pytest.UsageError(
            "--featuremaps-noise records noise in baselines, and nothing is recorded in this run: "
            "say --snapshot-update as well"
        )
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(NoiseRunStarter(config), _NAME)


def noise_run_of(config: pytest.Config) -> NoiseRun | None:
    """Return the second run that this run has had, or is itself; None where there is none."""
    into = config.getoption(NOISE_INTO)
    if into:
        return NoiseRun(Path(into), is_this=True)
    starter = config.pluginmanager.get_plugin(_NAME)
    given = getattr(config, "workerinput", {}).get(NOISE_INTO)
    folder = starter.folder if starter else given
    return NoiseRun(Path(folder), is_this=False) if folder else None


class NoiseRunStarter:
    """A plugin that runs the tests of an update once more, under the lowest CPU capability.

    Registered in the process that writes to the terminal, where `--featuremaps-noise` asks for
    it.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.folder = Path(tempfile.mkdtemp(prefix="featuremaps-"))
        self._outcome: rerun.Outcome | None = None

    def pytest_sessionstart(self) -> None:
        """Run the tests, before any worker starts."""
        config = self._config
        if config.option.collectonly or getattr(config.option, "setupplan", False):
            return
        self._say("measuring noise: the tests run under the lowest CPU capability first ...")
        self._outcome = rerun.run(
            rerun.arguments(
                config.invocation_params.args,
                options=vars(config.option),
                folder=self.folder,
                own=self._own_arguments(),
            ),
            directory=config.invocation_params.dir,
            environment=rerun.LOWEST_CAPABILITY,
        )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 - xdist's
        """Tell a worker where the second run left its tables."""
        node.workerinput[NOISE_INTO] = str(self.folder)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell what the second run cost, and what it did not reach."""
        if self._outcome is None:
            return
        terminalreporter.section("feature maps: noise", sep="-")
        comparisons = NoiseRun(self.folder, is_this=False).count()
        for line in described(self._outcome, comparisons):
            terminalreporter.write_line(line)

    def pytest_unconfigure(self) -> None:
        """Leave nothing behind, however the run ends."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _own_arguments(self) -> Iterator[str]:
        yield f"--featuremaps-noise-into={self.folder}"
        # What syrupy itself compares there is written there, and passes.
        yield f"--snapshot-dirname={self.folder / 'snapshots'}"
        yield "--snapshot-no-cleanup"
        yield from same_seed(self._config)

    def _say(self, line: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(line)


def described(outcome: rerun.Outcome, comparisons: int) -> Iterator[str]:
    """Yield what the second run did, in one sentence each."""
    made = counted(comparisons, "comparison")
    yield f"the second run, under the lowest CPU capability, made {made} in {outcome.seconds:.1f} s"
    if outcome.failures:
        first, *more = outcome.failures
        others = f" (and {len(more)} more)" if more else ""
        yield f"what did not pass there has no noise: {first}{others}"
    elif outcome.status not in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
        ended = f"it ended with exit code {outcome.status}"
        yield f"{ended}, and noise is missing: {outcome.last_words}"
