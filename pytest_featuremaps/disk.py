"""Files on disk: replaced in one step, kept out of git, and cleared of what was left half done."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
import time
import uuid
from pathlib import Path
from typing import Final

IGNORE: Final = ".gitignore"
_TEMPORARY: Final = re.compile(r"\.featuremaps-[0-9a-f]{12}")
_LEFT_AFTER: Final = 10.0
"""Seconds after which the process that made a temporary file has surely ended."""


def replace(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that it is never half written.

    Raises:
        OSError: it cannot be written; it is as it was, and the error names it.
    """
    sweep(path.parent)
    fresh = temporary(path.parent)
    try:
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:
        # A full disk says neither which file it is about, nor that there was another name.
        raise type(error)(error.errno, error.strerror, str(path)) from None
    finally:
        fresh.unlink(missing_ok=True)


def temporary(folder: Path) -> Path:
    """Return a path in a folder that nobody else uses, and that `sweep` recognises."""
    # syrupy's search for unused snapshots leaves files with a leading dot alone.
    return folder / f".featuremaps-{uuid.uuid4().hex[:12]}"


def keep_out_of_git(folder: Path) -> None:
    """Let git ignore a folder, which is made if it does not exist."""
    path = folder / IGNORE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        replace(path, b"*\n")


@functools.cache  # once in a folder: nothing is left while this process runs
def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder under temporary names."""
    now = time.time()
    for one in [*folder.iterdir()] if folder.is_dir() else ():
        if _TEMPORARY.fullmatch(one.name) and now - _changed(one, now) > _LEFT_AFTER:
            _remove(one)


def _changed(path: Path, now: float) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return now  # its process has just taken it away


def _remove(path: Path) -> None:
    """Remove a file or a folder, which another process may do as well."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()
