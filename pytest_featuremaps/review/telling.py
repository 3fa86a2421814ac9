"""Pending results as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from pytest_featuremaps.review.deciding import Choice
from pytest_featuremaps.review.folder import Result
from pytest_featuremaps.review.records import Map, Record
from pytest_featuremaps.wording import counted, plain

_MOST = 10  # maps of one table told one by one


def summary(choices: Sequence[Choice]) -> str:
    """Return how much waits for review, in one line."""
    if not choices:
        return "Nothing waits for review."
    maps = sum(len(choice.keys) for choice in choices)
    tests = len({choice.result.record.test for choice in choices})
    verb = "waits" if maps == 1 else "wait"
    return f"{counted(maps, 'feature map')} of {counted(tests, 'test')} {verb} for review."


def listed(choices: Iterable[Choice], most: int = _MOST) -> Iterator[str]:
    """Yield lines that tell what waits for review, test by test."""
    for test, group in groupby(choices, key=lambda choice: choice.result.record.test):
        yield plain(test, None)
        for choice in group:
            record = choice.result.record
            yield f"  {plain(record.id)}  {plain(_compared_with(record), None)}"
            pending = [one for one in record.pending if one.key in choice.keys]
            yield from (f"    {told(choice.result, one)}" for one in pending[:most])
            if len(pending) > most:
                yield f"    … and {len(pending) - most} more"
            yield from (f"    {shown(path)}" for path in pictures(choice.result)[-1:])


def told(result: Result, one: Map) -> str:
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
    """The file of the baseline; with the revision, where the comparison was with that."""
    file = record.baseline.rpartition("/")[2]
    return f"{file} at {record.revision}" if record.revision else file


def shown(path: Path) -> str:
    """Return a path as it can be shown: an artifact may have folders of any name."""
    return plain(str(path), None)
