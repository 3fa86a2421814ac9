"""The same tests once more, in a process of their own: its command, its surroundings, its end."""

from __future__ import annotations

import hashlib
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

LOWEST: Final[Mapping[str, str]] = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Surroundings in which torch takes the plainest kernels that a machine offers."""

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
class Rehearsal:
    """A run of the same tests under other conditions, which this run measures its noise by.

    Attributes:
        folder: where that run leaves its tables.
        here: whether this is that run; it compares with nothing and records no baseline.
    """

    folder: Path
    here: bool


@dataclass(frozen=True)
class End:
    """How a run ended.

    Attributes:
        seconds: how long it took.
        status: pytest's exit status, or the signal that ended it, negative.
        failures: a line for each test that did not pass, as pytest's summary has them.
        last: the last line of its output.
        output: its lines, without empty ones.
    """

    seconds: float
    status: int
    failures: tuple[str, ...]
    last: str
    output: tuple[str, ...] = ()


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
    return [*kept, *off, *into, *own, "-q", "-rfE", "--tb=no", "--color=no"]


def run(
    arguments: Sequence[str],
    *,
    directory: Path,
    surroundings: Mapping[str, str],
    paths: Sequence[str] | None = None,
) -> End:
    """Run pytest in a process of its own, and wait for it; nothing of it outlives the call.

    Args:
        arguments: pytest's arguments.
        directory: its working directory.
        surroundings: environment variables that are other than here.
        paths: where it imports from; where this process does when None.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
    }
    start = time.perf_counter()
    process = subprocess.Popen(  # noqa: S603 - the command of this very run
        [sys.executable, "-c", _START, json.dumps(paths or sys.path), *arguments],
        cwd=directory,
        env=inherited | dict(surroundings),
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
        _end(process)
    lines = tuple(line for line in said.splitlines() if line.strip())
    return End(
        seconds=time.perf_counter() - start,
        status=process.returncode,
        failures=tuple(line for line in lines if line.startswith(("FAILED ", "ERROR "))),
        last=lines[-1].strip("= ") if lines else "it said nothing",
        output=lines,
    )


def _end(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def put(folder: Path, name: str, data: bytes) -> None:
    """Leave bytes under a name, whatever its characters, for the other run."""
    _place(folder, name).write_bytes(data)


def get(folder: Path, name: str) -> bytes | None:
    """Return the bytes that the other run left under a name; None if it left none."""
    path = _place(folder, name)
    return path.read_bytes() if path.exists() else None


def left(folder: Path) -> int:
    """Count what the other run left."""
    return len(list(folder.glob("*.left")))


def _place(folder: Path, name: str) -> Path:
    code = name.encode("utf-8", "surrogatepass")
    return folder / f"{hashlib.blake2b(code, digest_size=16).hexdigest()}.left"
