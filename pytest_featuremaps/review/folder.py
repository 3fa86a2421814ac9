"""The folder of pending results: each is a folder of its own, written and removed as a whole."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_featuremaps import disk, filenames
from pytest_featuremaps.review.records import RECORD, BadRecord, File, Record, dump, load
from pytest_featuremaps.wording import natural

DEFAULT: Final = ".featuremaps"
_RESULTS: Final = "results"
_TRIES: Final = 20


@dataclass(frozen=True)
class Result:
    """A failed comparison, and the folder that holds its record and its files."""

    folder: Path
    record: Record

    def read(self, file: File) -> bytes:
        """Return the bytes of a file beside the record.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        path = self.folder / file.file
        # An artifact may come from anybody: a link could lead to any file, a pipe never ends.
        if path.is_symlink() or not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "there is no such file", str(path))
        return path.read_bytes()


def write(output: Path, record: Record, files: Mapping[str, bytes]) -> Path:
    """Put a result into the folder, in place of an earlier one of the same comparison.

    It is made under another name first: whoever reads sees the whole of it or nothing, and of
    two runs at the same time the later one stays.

    Args:
        output: the folder for what runs leave.
        record: the result.
        files: the files beside it, by name.

    Raises:
        OSError: it cannot be written.
    """
    target = _comparison_folder(output, record.test, record.baseline)
    # Another run may put the same result there, or clear an empty parent, between two steps.
    for left in reversed(range(_TRIES)):
        try:
            _put(output, target, {**files, RECORD: dump(record)})
        except OSError:
            if not left:
                raise
        else:
            break
    return target


def again(result: Result) -> Result:
    """Return a result as it is now, for an earlier decision may have changed its record.

    Raises:
        FileNotFoundError: it is gone.
        BadRecord: it cannot be read.
    """
    path = result.folder / RECORD
    return Result(path.parent, load(path.read_bytes()))


def replace(result: Result, record: Record, files: Mapping[str, bytes]) -> None:
    """Put another record, and other bytes of its files, in place of those of a result."""
    for name, data in {**files, RECORD: dump(record)}.items():
        disk.replace(result.folder / name, data)


def read(folder: Path) -> list[Result]:
    """Return the results of a folder, those of one test together.

    Args:
        folder: the folder for what runs leave, or any that holds such folders, as the
            artifacts of several jobs.

    Raises:
        BadRecord: a record cannot be read.
    """
    results = [one for path in _records(folder) if (one := _read(path)) is not None]
    return sorted(results, key=lambda result: _order(result.record))


def forget(result: Path) -> None:
    """Remove one result, and the folders that are empty without it."""
    gone = disk.temporary(result.parent)
    with contextlib.suppress(FileNotFoundError):
        result.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    _prune(result.parent)


def forget_test(output: Path, test: str) -> None:
    """Remove the results of a test."""
    folder = _test_folder(output, test)
    if folder.is_dir():
        for one in _visible(folder):
            forget(one)


def forget_comparison(output: Path, test: str, baseline: str) -> None:
    """Remove the result of one comparison, if there is one."""
    folder = _comparison_folder(output, test, baseline)
    if folder.is_dir():
        forget(folder)


def sweep(output: Path, root: Path | None, files: Collection[str], tests: Collection[str]) -> None:
    """Remove the results of tests that exist no more.

    Args:
        output: the folder for what runs leave.
        root: the root directory, which test ids are relative to; None where other projects may
            use the folder as well, so that a file that is not there may be in another one.
        files: the test files that were collected whole.
        tests: the ids of the tests in them that may have a baseline.
    """
    clear(output)
    try:
        results = read(output)
    except BadRecord:
        return  # whoever reviews is told
    for result in results:
        test = result.record.test
        file = test.partition("::")[0]
        gone = root is not None and not (root / file).exists()
        if gone or (file in files and test not in tests):
            forget(result.folder)


def clear(output: Path) -> None:
    """Remove what a run or a decision left half done when it was killed."""
    results = output / _RESULTS
    for folder in _visible(results) if results.is_dir() else ():
        disk.sweep(folder)
        _prune(folder)
    if output.name == DEFAULT:  # any other one may be somebody's own
        _prune_results(results)


def _test_folder(output: Path, test: str) -> Path:
    # How a test is called says more than where it is.
    file, _, name = test.partition("::")
    return output / _RESULTS / filenames.slug(test, test[file.rfind("/") + 1 :], name or file)


def _comparison_folder(output: Path, test: str, baseline: str) -> Path:
    # A test has one folder of baselines.
    return _test_folder(output, test) / filenames.slug(baseline.rpartition("/")[2])


def _put(output: Path, target: Path, files: Mapping[str, bytes]) -> None:
    fresh = disk.temporary(target.parent)
    fresh.mkdir(parents=True)
    try:
        disk.keep_out_of_git(output)
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        if target.exists():
            forget(target)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _prune(folder: Path) -> None:
    """Remove a test's folder and those above it, as far as nothing is in them."""
    with contextlib.suppress(OSError):
        folder.rmdir()
        _prune_results(folder.parent)


def _prune_results(results: Path) -> None:
    """Remove the folder of all results and the one it is in, as far as nothing is in them."""
    output = results.parent
    with contextlib.suppress(OSError):
        if results.exists():
            results.rmdir()
        if results.name == _RESULTS and all(one.name == disk.IGNORE for one in output.iterdir()):
            (output / disk.IGNORE).unlink(missing_ok=True)
            output.rmdir()


def _records(folder: Path) -> Iterator[Path]:
    own = folder / _RESULTS
    # Not `rglob`, which fails where another run takes a folder away under it.
    for place, folders, files in os.walk(own if own.is_dir() else folder):
        folders[:] = [one for one in folders if one == DEFAULT or not one.startswith(".")]
        path = Path(place) / RECORD
        if RECORD in files and path.is_file():
            yield path


def _read(path: Path) -> Result | None:
    try:
        return Result(path.parent, load(path.read_bytes()))
    except FileNotFoundError:
        return None  # another run has just taken it away
    except BadRecord as error:
        reason = str(error)
    raise BadRecord(f"{path}: {reason}.")


def _visible(folder: Path) -> list[Path]:
    try:
        return [one for one in folder.iterdir() if not one.name.startswith(".")]
    except FileNotFoundError:
        return []  # another run has just taken it away


def _order(record: Record) -> tuple[object, ...]:
    return natural(record.test), record.name, record.kind != "table", natural(record.baseline)
