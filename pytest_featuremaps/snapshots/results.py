"""The results that failed comparisons leave for review, and when they are removed again."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_featuremaps import rendering
from pytest_featuremaps.baseline import table_files, tables
from pytest_featuremaps.baseline.judging import Entry
from pytest_featuremaps.review import folder
from pytest_featuremaps.review.records import File, Map, Record, digest, identity
from pytest_featuremaps.snapshots.failures import Failure
from pytest_featuremaps.story import story, structure
from pytest_featuremaps.story.phrases import own_change, say

PICTURE = "picture.png"
"""A picture that has no baseline yet, enlarged to be looked at."""


def keep(
    output: Path, root: Path, test: str, failures: Sequence[Failure], *, review: str
) -> list[str]:
    """Keep failed comparisons for review, and return lines that say where they are.

    Args:
        output: the folder for what runs leave.
        root: the root directory, which paths of baselines are relative to.
        test: the test's id.
        failures: why each comparison failed.
        review: the command that decides on it.
    """
    lines, left = [], False
    for failure in failures:
        record, files = _result(failure, test, _relative(root, failure.location))
        try:
            place = folder.write(output, record, files)
        except OSError as error:
            # The failure itself must be reported, whatever becomes of its pictures.
            lines.append(f"{failure.title} could not be kept for review: {error}")
        else:
            shown = PICTURE if PICTURE in files else (record.difference or record.update).file
            lines.append(_relative(root, str(place / shown)))
            left = left or not failure.revision  # there is no baseline to accept it into
    return [*lines, f"decide with: {review}"] if left else lines


def settle(output: Path, root: Path, test: str, agreements: Iterable[str]) -> None:
    """Remove the results of earlier runs that no longer wait for a decision.

    Args:
        output: the folder for what runs leave.
        root: the root directory, which paths of baselines are relative to.
        test: the test's id.
        agreements: the baselines that the test agreed with.
    """
    for location in agreements:
        folder.forget_comparison(output, test, _relative(root, location))


def _relative(root: Path, location: str) -> str:
    return Path(os.path.relpath(location, root)).as_posix()


def _result(failure: Failure, test: str, baseline: str) -> tuple[Record, dict[str, bytes]]:
    """Return the record of a failed comparison, and the files beside it by name."""
    suffix = Path(baseline).suffix
    kind = "picture" if suffix == ".png" else "table"
    contents = {
        "expected": (f"expected{suffix}", failure.expected),
        "update": (f"update{suffix}", failure.actual),
        "actual": ("actual.png", failure.redrawn),
        "difference": ("difference.png", _difference(failure)),
    }
    named = {
        name: File(file, digest(data, kind))
        for name, (file, data) in contents.items()
        if data is not None
    }
    comparison = failure.comparison
    first = comparison.first if comparison is not None else None
    record = Record(
        id=identity(baseline, named["update"].sha256),
        test=test,
        name=failure.name,
        kind=kind,
        status=_status(failure),
        baseline=baseline,
        first=first.key if first else None,
        why=story.why(comparison) if comparison is not None else "",
        headline=tuple(failure.headline),
        story=tuple(failure.story),
        levels=_levels(failure) if kind == "picture" else 0,
        update=named["update"],
        expected=named.get("expected"),
        actual=named.get("actual"),
        difference=named.get("difference"),
        environment=comparison.environment_changes if comparison is not None else (),
        maps=tuple(_maps(failure, kind)),
        revision=failure.revision,
    )
    files = {file: data for file, data in contents.values() if data is not None}
    if kind == "picture" and failure.redrawn is None:
        drawn, _ = rendering.decode(failure.actual)
        files[PICTURE] = rendering.as_file(rendering.readable(drawn))
    return record, files


def _status(failure: Failure) -> str:
    if failure.expected is None:
        return "new"
    return "unreadable" if failure.comparison is None else "changed"


def _levels(failure: Failure) -> int:
    """Return what a pixel may move: a picture's numbers are those of one map."""
    return 0 if failure.comparison is None else failure.comparison.entries[0].levels


def _difference(failure: Failure) -> bytes | None:
    """Return the two pictures and their difference side by side, as a PNG."""
    if failure.expected is None or failure.redrawn is None:
        return None
    (expected, _), (actual, _) = map(rendering.decode, (failure.expected, failure.redrawn))
    # Where no pixel tells why the comparison failed, its numbers do.
    unseen = "numbers differ; " if failure.comparison is not None else ""
    levels = _levels(failure)
    return rendering.as_file(rendering.side_by_side(expected, actual, levels=levels, unseen=unseen))


def _maps(failure: Failure, kind: str) -> Iterator[Map]:
    comparison = failure.comparison
    if comparison is None:
        yield from (_new(line) for line in _lines(failure, kind))
        return
    by_itself = set(structure.changed_weights(comparison))
    for entry in comparison.entries:
        # What a picture shows may differ where its numbers agree.
        told = "changed" if kind == "picture" and entry.agrees else entry.kind
        says = _picture_says(failure) if told != entry.kind else ""
        other_weights = entry.key in by_itself
        if not (says or entry.agrees):
            says = say(comparison, entry, other_weights=other_weights)
        why = own_change(entry, other_weights=other_weights)
        yield _map(entry, told, says=says, why=why)


def _picture_says(failure: Failure) -> str:
    seen = (line for line in failure.story if line.startswith("picture: "))
    return next(seen, "").removeprefix("picture: ")


def _lines(failure: Failure, kind: str) -> Sequence[tables.Line]:
    numbers = failure.actual if kind == "table" else rendering.decode(failure.actual)[1].encode()
    return table_files.load(numbers).lines


def _new(line: tables.Line) -> Map:
    return Map(
        key=line.key,
        kind="added",
        says="new",
        actual_key=line.key,
        module=line.module_type,
        after=_numbers(line),
    )


def _map(entry: Entry, kind: str, *, says: str, why: str) -> Map:
    before, after = entry.expected, entry.actual
    known = after or before
    return Map(
        key=entry.key,
        kind=kind,
        says=says,
        expected_key=before.key if before else None,
        actual_key=after.key if after else None,
        partner=entry.partner or None,
        module=known.module_type if known else "",
        tolerance=entry.tolerance,
        before=_numbers(before) if before else {},
        after=_numbers(after) if after else {},
        violations=tuple(
            {
                "quantity": one.quantity,
                "observed": _plain(one.observed),
                "allowed": _plain(one.allowed),
            }
            for one in entry.violations
        ),
        why=why,
    )


def _numbers(line: tables.Line) -> Mapping[str, Any]:
    stats = {name: _plain(value) for name, value in line.stats.items()}
    return {"shape": list(line.shape), "dtype": line.dtype, **stats}


def _plain(value: float | str) -> float | str:
    """Return a number that JSON can hold; one that is not finite as text."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)
