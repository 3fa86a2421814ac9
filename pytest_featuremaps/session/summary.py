"""What the end of a run says of failed baselines: how many, where first, what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pytest_featuremaps.wording import counted

if TYPE_CHECKING:
    from pytest_featuremaps.snapshots.failures import Failure

_TOLD: Final = 10  # tests told one by one


@dataclass(frozen=True)
class FailedTest:
    """A test that failed a comparison with its baseline.

    Attributes:
        test: its id.
        changed: how many feature maps are beyond tolerance.
        first: its first divergent layer, or why there was nothing to compare with, in words.
        file: the file it is in, relative to pytest's root directory.
        line: its line there, from 1.
    """

    test: str
    changed: int
    first: str
    file: str = ""
    line: int = 1


def facts(failures: Sequence[Failure]) -> dict[str, Any]:
    """Return `changed` and `first` of a `FailedTest` as plain JSON, which crosses from a worker.

    A table and a picture of one map are one changed map. The comparison of the most maps
    knows best which was the first.
    """
    changed = {key for failure in failures for key in _changed(failure)}
    widest = max(failures, key=_width)
    first = widest.headline[0]
    if widest.comparison:  # numbers agree, a picture does not, and its line names no layer
        first = f"{widest.title}: {first}"
    return {"changed": len(changed), "first": first}


def _width(failure: Failure) -> int:
    # A comparison that found a difference is false.
    return 0 if failure.comparison is None else len(failure.comparison.entries)


def _changed(failure: Failure) -> list[str]:
    if failure.comparison is None:
        return []
    differing = [one.key for one in failure.comparison.entries if not one.agrees]
    # Of a picture that differs although its numbers agree, the map is the one it shows.
    return differing or [one.key for one in failure.comparison.entries]


def lines(tests: Sequence[FailedTest], *, last_failed: bool, accepts: bool = True) -> Iterator[str]:
    """Yield the lines for a terminal.

    Args:
        tests: those that failed, at least one.
        last_failed: whether this pytest knows `--last-failed`.
        accepts: whether there are baselines to accept the changes into.
    """
    yield count(tests)
    yield from (f"  {one.test}: {one.first}" for one in tests[:_TOLD])
    if len(tests) > _TOLD:
        yield f"  ... and {len(tests) - _TOLD} more"
    if accepts:
        yield f"next, look at them; accept with: {command(tests, last_failed=last_failed)}"


def count(tests: Sequence[FailedTest]) -> str:
    """Say how many maps changed, in how many tests, and how many had nothing to compare with."""
    changed = [one for one in tests if one.changed]
    bare = len(tests) - len(changed)
    maps = counted(sum(one.changed for one in changed), "feature map")
    told = [f"{maps} changed in {counted(len(changed), 'test')}"] if changed else []
    if bare:
        told.append(f"{counted(bare, 'test')} without a baseline that can be read")
    return "; ".join(told)


def command(tests: Sequence[FailedTest], *, last_failed: bool) -> str:
    """Return what accepts the changes of these tests, and runs nothing else."""
    if len(tests) > 1 and last_failed:
        return "pytest --snapshot-update --last-failed"
    return f"pytest --snapshot-update {shlex.join(one.test for one in tests)}"
