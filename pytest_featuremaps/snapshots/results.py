"""The results that failed comparisons leave for review, and when they are removed again."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_featuremaps import rendering
from pytest_featuremaps.baseline import table_files, tables
from pytest_featuremaps.baseline.comparing import Comparison
from pytest_featuremaps.baseline.judging import Entry
from pytest_featuremaps.review import folder
from pytest_featuremaps.review.records import File, Map, Record, digest, identity
from pytest_featuremaps.snapshots.failures import Failure
from pytest_featuremaps.story import story
from pytest_featuremaps.story.phrases import say


def keep(output: Path, root: Path, test: str, failures: Sequence[Failure]) -> list[str]:
    """Keep failed comparisons for review, and return lines that say where they are.

    Args:
        output: the folder for what runs leave.
        root: the root directory, which paths of baselines are relative to.
        test: the test's id.
        failures: why each comparison failed.
    """
    lines = []
    for failure in failures:
        record, files = _result(failure, test, _relative(root, failure.location))
        try:
            place = folder.write(output, record, files)
        except OSError as error:
            # The failure itself must be reported, whatever becomes of its pictures.
            lines.append(f"{failure.title} could not be kept for review: {error}")
        else:
            shown = record.difference or record.update
            lines.append(_relative(root, str(place / shown.file)))
    if any(failure.revision for failure in failures):
        return lines  # there is no baseline to accept them into
    return [*lines, "decide with: pytest-featuremaps review"]


def settle(output: Path, root: Path, test: str, agreements: Iterable[str], *, passed: bool) -> None:
    """Remove the results of earlier runs that no longer wait for a decision.

    Args:
        output: the folder for what runs leave.
        root: the root directory, which paths of baselines are relative to.
        test: the test's id.
        agreements: the baselines that the test agreed with.
        passed: whether the whole test did not fail, so that nothing is to be decided.
    """
    if passed:
        folder.forget_test(output, test)
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
    return record, {file: data for file, data in contents.values() if data is not None}


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
    file = io.BytesIO()
    rendering.side_by_side(expected, actual, levels=_levels(failure)).save(file, "PNG")
    return file.getvalue()


def _maps(failure: Failure, kind: str) -> Iterator[Map]:
    comparison = failure.comparison
    if comparison is None:
        yield from (_new(line) for line in _lines(failure, kind))
        return
    for entry in comparison.entries:
        # What a picture shows may differ where its numbers agree.
        told = "changed" if kind == "picture" and entry.agrees else entry.kind
        yield _map(comparison, entry, told, _picture_says(failure) if told != entry.kind else "")


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


def _map(comparison: Comparison, entry: Entry, kind: str, says: str) -> Map:
    before, after = entry.expected, entry.actual
    known = after or before
    return Map(
        key=entry.key,
        kind=kind,
        says=says or _in_words(comparison, entry),
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
    )


def _in_words(comparison: Comparison, entry: Entry) -> str:
    """Say what became of a map that is not as expected."""
    if entry.agrees:
        return ""
    return say(comparison, entry, other_weights=entry.has_other_weights)


def _numbers(line: tables.Line) -> Mapping[str, Any]:
    stats = {name: _plain(value) for name, value in line.stats.items()}
    return {"shape": list(line.shape), "dtype": line.dtype, **stats}


def _plain(value: float | str) -> float | str:
    """Return a number that JSON can hold; one that is not finite as text."""
    return value if isinstance(value, str) or math.isfinite(value) else str(value)
