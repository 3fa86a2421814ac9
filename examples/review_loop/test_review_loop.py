"""The loop runs as it is told, from the failing run to the green one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("review_loop.py")


@pytest.mark.skipif(shutil.which("git") is None, reason="the script needs git")
def test_the_loop_closes():
    done = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    essential = iter(
        [
            "author$ pytest -q --snapshot-update",
            "2 snapshots generated.",
            "ci$ pytest -q --tb=no --featuremaps-report=review.html",
            "5 feature maps changed in 2 tests",
            "2 snapshots failed.",
            "ci$ pytest-featuremaps accept",
            "author$ pytest-featuremaps list --from ../artifact",
            "    filters: relative L2 change 2.0e-01, allowed 1.0e-04 (its weights changed)",
            "5 feature maps of 2 tests wait for review.",
            "accepted tests/__snapshots__/test_stripes/test_filters[filters].png (filters)",
            "accepted tests/__snapshots__/test_stripes/test_layers.jsonl"
            " (filters, found, near, together)",
            "Nothing waits for review.",
            " 2 files changed, 4 insertions(+), 4 deletions(-)",
            "ci$ pytest -q",
            "2 snapshots passed.",
        ]
    )
    missing = next(essential)
    for line in done.stdout.splitlines():
        if line == missing:
            missing = next(essential, None)
    assert missing is None
