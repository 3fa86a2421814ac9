"""Pending results as text, safe to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from pytest_featuremaps.review.folder import Result
from pytest_featuremaps.review.records import Map, Record
from pytest_featuremaps.review.selection import Selection
from pytest_featuremaps.wording import counted, plain

_MOST = 10  # maps of one result that are listed one by one


def summary(selections: Sequence[Selection]) -> str:
    """Return how much waits for review, in one line."""
    if not selections:
        return "Nothing waits for review."
    maps = sum(len(selection.keys) for selection in selections)
    tests = len({selection.result.record.test for selection in selections})
    verb = "waits" if maps == 1 else "wait"
    return f"{counted(maps, 'feature map')} of {counted(tests, 'test')} {verb} for review."


def lines(selections: Iterable[Selection]) -> Iterator[str]:
    """Yield lines that tell what waits for review, test by test."""
    for test, group in groupby(selections, key=lambda selection: selection.result.record.test):
        yield plain(test, None)
        for selection in group:
            record = selection.result.record
            yield f"  {plain(record.id)}  {plain(_compared_with(record), None)}"
            pending = [one for one in record.pending if one.key in selection.keys]
            yield from (f"    {describe(selection.result, one)}" for one in pending[:_MOST])
            if len(pending) > _MOST:
                yield f"    … and {len(pending) - _MOST} more"
            yield from (f"    {shown(path)}" for path in pictures(selection.result)[-1:])


def describe(result: Result, one: Map) -> str:
    """Return what became of one feature map, in one line."""
    record = result.record
    changed = plain(f"{one.key}: {one.says}", None)
    if one.key == record.first and record.why and record.why not in one.says:
        return f"{changed} ({plain(record.why, None)})"
    return changed


def pictures(result: Result) -> list[Path]:
    """Return the paths of a result's pictures, the most telling last."""
    record = result.record
    if record.kind == "table":
        return []
    files = (record.expected, record.actual or record.update, record.difference)
    return [result.folder / file.file for file in files if file]


def _compared_with(record: Record) -> str:
    """Return the file of the baseline, and the revision where it is one's and not committed."""
    file = record.baseline.rpartition("/")[2]
    return f"{file} at {record.revision}" if record.revision else file


def shown(path: Path) -> str:
    """Return a path as it can be shown: an artifact may have folders of any name."""
    return plain(str(path), None)
