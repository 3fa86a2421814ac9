"""What the end of a run says of failed baselines: how many, where first, what to type next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
        new: whether there is no baseline of it yet.
    """

    test: str
    changed: int
    first: str
    file: str = ""
    line: int = 1
    new: bool = False


def facts(failures: Sequence[Failure]) -> dict[str, Any]:
    """Return what one report says of a test for the summary, as JSON, which crosses from a worker.

    A table and a picture of one map are one changed map. The comparison of the most maps
    knows best which was the first.
    """
    changed = {key: None for failure in failures for key in _changed(failure)}
    widest = max(failures, key=_width)
    first = widest.headline[0]
    if widest.comparison:  # numbers agree, a picture does not, and its line names no layer
        first = f"{widest.title}: {first}"
    bare = [one for one in failures if one.comparison is None]
    new = not changed and all(one.expected is None for one in bare)
    return {"changed": list(changed), "first": first, "width": _width(widest), "new": new}


def summed_up(
    test: str, reports: Sequence[Mapping[str, Any]], *, file: str, line: int
) -> FailedTest:
    """Sum up the facts of one test's reports: that of its body, and those of its subtests."""
    changed = {key for one in reports for key in one["changed"]}
    first = max(reports, key=lambda one: int(one["width"]))["first"]
    new = all(one["new"] for one in reports)
    return FailedTest(test, len(changed), first, new=new, file=file, line=line)


def _width(failure: Failure) -> int:
    # A comparison that found a difference is false.
    return 0 if failure.comparison is None else len(failure.comparison.entries)


def _changed(failure: Failure) -> list[str]:
    if failure.comparison is None:
        return []
    differing = [one.key for one in failure.comparison.entries if not one.agrees]
    # Of a picture that differs although its numbers agree, the map is the one it shows.
    return differing or [one.key for one in failure.comparison.entries]


def lines(tests: Sequence[FailedTest], accept: str) -> Iterator[str]:
    """Yield the lines for a terminal.

    Args:
        tests: those that failed, at least one.
        accept: the command that accepts the changes; empty where no baseline could take them.
    """
    yield count(tests)
    yield from (f"  {one.test}: {one.first}" for one in tests[:_TOLD])
    if len(tests) > _TOLD:
        yield f"  ... and {len(tests) - _TOLD} more"
    if accept:
        yield f"{_next(tests)}: {accept}"


def _next(tests: Sequence[FailedTest]) -> str:
    if all(one.new for one in tests):
        return "record with"
    if any(one.changed or one.new for one in tests):
        return "next, look at them; accept with"
    return "restore them from version control, or record them anew with"


def count(tests: Sequence[FailedTest]) -> str:
    """Say how many maps changed, in how many tests, and how many had nothing to compare with."""
    changed = [one for one in tests if one.changed]
    new = [one for one in tests if one.new]
    broken = len(tests) - len(changed) - len(new)
    maps = counted(sum(one.changed for one in changed), "feature map")
    told = [f"{maps} changed in {counted(len(changed), 'test')}"] if changed else []
    if new:
        verb = "has" if len(new) == 1 else "have"
        told.append(f"{counted(len(new), 'test')} {verb} no baseline yet")
    if broken:
        theirs = "has a baseline" if broken == 1 else "have baselines"
        told.append(f"{counted(broken, 'test')} {theirs} that cannot be read")
    return "; ".join(told)
