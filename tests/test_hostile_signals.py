"""Interrupted, terminated and killed runs: no baseline lost or half-written, nothing left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from attacking import FACTOR, TRIED

STRIKING = Path(__file__).with_name("striking.py")


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and finds processes in /proc")
def test_runs_that_are_struck_down_lose_nothing():
    unwanted = ("PYTEST_", "GITHUB_", "COV")  # it is no worker, and no job of its own
    around = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    arguments = [sys.executable, str(STRIKING), str(10 * FACTOR), str(FACTOR)]
    run = subprocess.run(  # noqa: S603 - a script of ours
        arguments, env=around, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["runs struck"] == 10 * FACTOR
    TRIED.update({f"signals: {kind}": count for kind, count in found.items()})
