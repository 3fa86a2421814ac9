"""What this run was told on the command line that a later command must be told again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Final

import pytest

TOLERANCE: Final = "featuremaps_tolerance"
AGAINST: Final = "featuremaps_against"
NOISE_INTO: Final = "featuremaps_noise_into"
"""The option that tells the second run of an update where to leave its tables."""
TEST_FILES: Final = "featuremaps_test_files"
INSTRUCTIONS: Final = "PYTEST_FEATUREMAPS_INSTRUCTIONS"
"""The environment variable with the path of the instructions for a run at another revision."""

# What decides where baselines are, which tests there are, and what an update leaves alone.
_REPEATED: Final = (
    ("rootdir", "--rootdir", None),
    ("inifilename", "-c", None),
    ("confcutdir", "--confcutdir", None),
    ("snapshot_dirname", "--snapshot-dirname", "__snapshots__"),
    (TOLERANCE, "--featuremaps-tolerance", None),
)


def accept_command(config: pytest.Config, nodeid: str) -> str:
    """Return the command that records the baselines of one test anew, from where this run began."""
    words = ["pytest", "--snapshot-update", *_repeated(config), _from_here(config, nodeid)]
    return shlex.join(words)


def _repeated(config: pytest.Config) -> Iterator[str]:
    for name, flag, usual in _REPEATED:
        value = config.getoption(name, default=None)
        if value not in {None, usual}:
            yield from ([flag, str(value)] if flag == "-c" else [f"{flag}={value}"])


def _from_here(config: pytest.Config, nodeid: str) -> str:
    """Return a test's id relative to the folder that pytest was started in."""
    path, separator, rest = nodeid.partition("::")
    here = os.path.relpath(config.rootpath / path, config.invocation_params.dir)
    return here.replace(os.sep, "/") + separator + rest


def same_seed(config: pytest.Config) -> list[str]:
    """Return the arguments with which another run draws the same random numbers as this one."""
    # pytest-randomly chooses one where nobody asked for it.
    seed = config.getoption("randomly_seed", default=None)
    return [f"--randomly-seed={seed}"] if isinstance(seed, int) else []


def run_tolerance(config: pytest.Config) -> tuple[str | None, str]:
    """Return the tolerance of this run as it is written, and where it is; None where nowhere."""
    option = config.getoption(TOLERANCE, default=None)
    if option:
        return option, "--featuremaps-tolerance"
    if config.getoption(AGAINST, default=None) is not None:
        # The configuration speaks of other machines; on one, the same code gives the same bits.
        return "exact", "--featuremaps-against"
    written = config.getini(TOLERANCE)
    return (str(written), f"{TOLERANCE} in the configuration") if written else (None, "")
