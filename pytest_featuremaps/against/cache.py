"""The recordings at other revisions: kept in the checkout, and used as long as they hold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from pytest_featuremaps.against import refusals, running
from pytest_featuremaps.against.planning import Plan
from pytest_featuremaps.against.references import RecordedRun, References, stamp

_KEPT: Final = 8  # recordings of a checkout


def reusable(folder: Path) -> RecordedRun | None:
    """Return an earlier recording, unless a module that it loaded has changed since."""
    recording = References(folder).recorded_run()
    if recording and all(stamp(Path(file)) == one for file, one in recording.stamps.items()):
        return recording
    return None


def record(plan: Plan, folder: Path) -> RecordedRun:
    """Run the tests with the code of the revision, and keep their comparisons in a folder.

    The folder is there when all went well, and not before. Of two runs at the same time, the
    first to be done is the one that both compare with.

    Raises:
        AgainstError: there is nothing to compare with.
        GitError: git could not give the revision's files.
    """
    begun = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir(parents=True)
    try:
        recording = running.run(plan, begun)
        refusals.judge(plan, recording)
        References(begun).finish(recording)
        other = reusable(folder)
        if other is None:
            shutil.rmtree(folder, ignore_errors=True)
            begun.replace(folder)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
    _forget(folder.parent)
    return other or recording


def _forget(folder: Path) -> None:
    """Keep the newest recordings only."""
    recordings = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    recordings.sort(key=lambda path: path.stat().st_mtime)
    for path in recordings[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
