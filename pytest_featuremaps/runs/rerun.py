"""The same tests once more, in a process of their own: its arguments, its environment, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOWEST_CAPABILITY: Final[Mapping[str, str]] = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Environment variables under which torch takes the plainest kernels that a machine offers."""

# Options that write, ask or distribute, by the name under which pytest keeps them, and what
# turns them off. Those of plugins are there only where the plugin is.
_OFF: Final[Mapping[str, str]] = {
    "xmlpath": "--junitxml=",
    "log_file": "--log-file=",
    "maxfail": "--maxfail=0",
    "numprocesses": "--numprocesses=0",
    "dist": "--dist=no",
    "no_cov": "--no-cov",
    "htmlpath": "--html=",
    "report_log": "--report-log=",
    "csv_path": "--csv=",
    "json_report_file": "--json-report-file=none",
    "allure_report_dir": "--alluredir=",
}
# Those that nothing turns off again.
_DROPPED: Final = ("--pdb", "--trace", "--debug", "--pastebin")
# What measures the first process, or tells of it.
_NOT_INHERITED: Final = ("COV_CORE_", "COVERAGE_PROCESS_", "PYTEST_XDIST_", "GITHUB_STEP_SUMMARY")

# Exactly where the first process imports from: `-m pytest` would add the working directory.
_START: Final = """
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
import pytest
sys.exit(pytest.main())
"""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        seconds: how long it took.
        status: pytest's exit status; where a signal ended the run, its number, negative.
        output: the lines that it wrote, without empty ones.
    """

    seconds: float
    status: int
    output: tuple[str, ...]

    @property
    def failures(self) -> list[str]:
        """A line for each test that did not pass, as pytest's summary has them."""
        return [line for line in self.output if line.startswith(("FAILED ", "ERROR "))]

    @property
    def last_words(self) -> str:
        """The last line of its output."""
        return self.output[-1].strip("= ") if self.output else "it said nothing"


def arguments(
    given: Sequence[str | os.PathLike[str]],
    *,
    options: Collection[str],
    folder: Path,
    own: Iterable[str],
) -> list[str]:
    """Return the arguments of a run that selects and configures as the first one does.

    It writes nothing but into its folder, asks nobody, and shares no work.

    Args:
        given: the arguments of the first run.
        options: the names of the options that pytest and its plugins know here.
        folder: where the run may write.
        own: further arguments.
    """
    words = [os.fspath(one) for one in given]
    kept = [one for one in words if one.partition("=")[0] not in _DROPPED]
    off = [argument for name, argument in _OFF.items() if name in options]
    into = [f"--basetemp={folder / 'tmp'}"] if "basetemp" in options else []
    into += [f"--override-ini=cache_dir={folder / 'cache'}"] if "cacheclear" in options else []
    return [*kept, *off, *into, *own, "-q", "-rfE", "--tb=no", "--color=no"]


def run(
    arguments: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    paths: Sequence[str] | None = None,
) -> Outcome:
    """Run pytest in a process of its own, and wait for it; nothing of it outlives the call.

    Args:
        arguments: pytest's arguments.
        directory: its working directory.
        environment: variables that are other than here.
        paths: where it imports from; where this process does when None.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
    }
    start = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - the command of this very run
        [sys.executable, "-c", _START, json.dumps(paths or sys.path), *arguments],
        cwd=directory,
        env=inherited | dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        # Ctrl-C is for this process, which ends the other with all that it started.
        start_new_session=True,
    )
    try:
        said, _ = process.communicate()
    finally:
        _kill(process)
    return Outcome(
        seconds=time.perf_counter() - start,
        status=process.returncode,
        output=tuple(line for line in said.splitlines() if line.strip()),
    )


def _kill(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
