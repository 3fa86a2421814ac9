"""Carries decisions out: what is accepted becomes the baseline, what is rejected is forgotten."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Final

from pytest_featuremaps import disk, filenames
from pytest_featuremaps.baseline import table_files
from pytest_featuremaps.errors import FeatureMapsError
from pytest_featuremaps.review import folder, table_lines
from pytest_featuremaps.review.folder import Result
from pytest_featuremaps.review.records import Record, digest
from pytest_featuremaps.review.selection import Selection

_SUFFIXES: Final = {"table": ".jsonl", "picture": ".png"}
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


class Refused(FeatureMapsError):
    """A decision that is not carried out, or not noted; the text says why."""


def accept(selection: Selection, root: Path, *, dry: bool = False) -> None:
    """Write accepted maps into the baseline.

    Args:
        selection: what is accepted.
        root: the root directory, which paths of baselines are relative to.
        dry: whether only to find out if it can be done.

    Raises:
        Refused: the baseline is not the one that was reviewed, or the record is not sound.
        OSError: it cannot be written.
    """
    result = _as_it_is_now(selection)
    record = result.record
    if record.revision:
        raise Refused(
            f"it was compared with the code of {record.revision}, not with a baseline, so that "
            "there is nothing to accept"
        )
    path = _baseline(root, record)
    stored = path.read_bytes() if path.exists() else None
    accepted = _with_partners(record, selection.keys)
    update = _update(result)
    left = {one.key for one in record.maps if one.pending or one.decision == "rejected"}
    all_of_it = accepted >= left
    if stored is not None and all_of_it and digest(stored, record.kind) == record.update.sha256:
        written = stored  # an update of the baselines came first
    else:
        _check_is_reviewed(path, stored, record)
        written = update if all_of_it else _partly(record, stored, update, accepted)
        if record.kind == "table":
            written = table_lines.ended_as(stored, written)
    if not dry:
        if written != stored:
            path.parent.mkdir(parents=True, exist_ok=True)
            disk.replace(path, written)
        _note(result, accepted, written)


def reject(selection: Selection, *, dry: bool = False) -> None:
    """Forget maps that are not to become the baseline; the baseline stays as it is."""
    result = _as_it_is_now(selection)
    if not dry:
        _decide(result, _with_partners(result.record, selection.keys), "rejected")


def _as_it_is_now(selection: Selection) -> Result:
    try:
        return folder.again(selection.result)
    except FileNotFoundError:
        raise Refused("it is decided already, or its test has passed since") from None


def _baseline(root: Path, record: Record) -> Path:
    """Return the path of the baseline, which must be inside the root directory."""
    named = PurePosixPath(record.baseline)
    reason = f"{record.baseline} is not the path of a baseline inside {root}"
    try:
        # Not `resolve`, which fails where links lead round in a circle.
        path = Path(os.path.realpath(root / named))
    except ValueError:  # it has a character that no path has
        raise Refused(reason) from None
    plain = not named.is_absolute() and ".." not in named.parts
    if not plain or named.suffix != _SUFFIXES[record.kind]:
        raise Refused(reason)
    if not path.is_relative_to(root.resolve()):
        raise Refused(
            f"{record.baseline} is a link out of {root}, to {path}: run the test with "
            "--snapshot-update, which puts a file in the place of a link"
        )
    if path.suffix != named.suffix:
        raise Refused(f"{record.baseline} is a link to {path}, which is no baseline")
    if path.exists() and not path.is_file():
        raise Refused(f"{record.baseline} is not a file")
    test = record.test.partition("::")[0]
    if not (root / test).is_file():
        raise Refused(
            f"there is no {test} in {root}: run this in the root directory of the project, or "
            "name it with --root"
        )
    if not _is_of_test(named, record.test):
        raise Refused(
            f"{record.baseline} is not where baselines of {record.test} are kept; where "
            "--snapshot-dirname leads elsewhere, run the test with --snapshot-update"
        )
    return path


def _is_of_test(baseline: PurePosixPath, test: str) -> bool:
    """Tell whether a path is that of a test's baseline, in whatever folder of snapshots."""
    file = PurePosixPath(test.partition("::")[0])
    snapshots, name = baseline.parent.parent, filenames.name_of_test(test)
    return (
        baseline.parent.name == file.stem
        and snapshots.is_relative_to(file.parent)
        and snapshots != file.parent
        and filenames.may_begin_with(baseline.stem, name, limit=filenames.NAME_LIMIT)
    )


def _update(result: Result) -> bytes:
    """Return what accepting all of it writes."""
    record = result.record
    try:
        update = result.read(record.update)
    except OSError as error:
        raise Refused(f"the result is not complete: {error}") from None
    if digest(update, record.kind) != record.update.sha256:
        raise Refused(f"{record.update.file} is not what the run left: its digest differs")
    if record.kind == "picture" and not update.startswith(_SIGNATURE):
        raise Refused(f"{record.update.file} is not a PNG")
    if record.kind == "table":
        try:
            table_files.load(update)
        except table_files.BadBaseline as error:
            raise Refused(f"{record.update.file} is not a table: {error}") from None
    return update


def _check_is_reviewed(path: Path, stored: bytes | None, record: Record) -> None:
    reviewed = record.expected.sha256 if record.expected else None
    if stored is None and reviewed is not None:
        raise Refused(f"{path.name} is gone since: run the test again")
    if stored is not None and digest(stored, record.kind) != reviewed:
        raise Refused(
            f"{path.name} is not the baseline that was reviewed, it has changed since: run the "
            "test again"
        )


def _partly(
    record: Record, stored: bytes | None, update: bytes, accepted: AbstractSet[str]
) -> bytes:
    if record.status == "unreadable":
        raise Refused("its baseline cannot be read: accept the whole table")
    earlier = {one.key for one in record.maps if one.decision == "accepted"}
    try:
        return table_lines.choose(stored, update, record.maps, accepted | earlier)
    except table_lines.Clash as error:
        raise Refused(str(error)) from None
    except table_files.BadBaseline as error:  # a picture, or not what its record says
        raise Refused(f"a part of it cannot be accepted: {error}") from None


def _with_partners(record: Record, keys: AbstractSet[str]) -> AbstractSet[str]:
    return keys | {one.partner for one in record.maps if one.partner and one.key in keys}


def _note(result: Result, accepted: AbstractSet[str], written: bytes) -> None:
    try:
        _decide(result, accepted, "accepted", written)
    except OSError as error:
        raise Refused(
            f"the baseline is written, but that it is decided cannot be noted: {error}"
        ) from None


def _decide(
    result: Result, keys: AbstractSet[str], decision: str, baseline: bytes | None = None
) -> None:
    """Note a decision in the record; once nothing is left to decide, the result goes."""
    record = result.record
    maps = tuple(
        replace(one, decision=decision) if one.pending and one.key in keys else one
        for one in record.maps
    )
    left = replace(record, maps=maps)
    if not left.pending:
        folder.forget(result.folder)
        return
    files = {}
    if baseline is not None:
        file = record.expected or replace(record.update, file="expected.jsonl")
        expected = replace(file, sha256=digest(baseline, record.kind))
        left = replace(left, expected=expected)
        files = {expected.file: baseline}
    folder.replace(result, left, files)
