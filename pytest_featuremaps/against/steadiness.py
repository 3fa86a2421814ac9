"""Whether two runs of the same code gave the same feature maps, and which was the first not to."""

from __future__ import annotations

from collections.abc import Collection

from pytest_featuremaps import rendering
from pytest_featuremaps.against.references import References
from pytest_featuremaps.baseline import comparing, tables
from pytest_featuremaps.wording import counted


def unsteady(first: References, second: References, tests: Collection[str]) -> dict[str, str]:
    """Return what differs between two recordings of the same code, by test.

    Args:
        first: a recording.
        second: another one.
        tests: the ids of the tests to look at.
    """
    found: dict[str, str] = {}
    for test, name in second.comparisons():
        before, after = first.get(test, name), second.get(test, name)
        if test not in tests or test in found or before is None or after is None:
            continue
        comparison = comparing.compare(_table(name, before), _table(name, after), "exact")
        if comparison.first:
            found[test] = _told(comparison, comparison.first)
    return found


def _table(name: str, data: bytes) -> tables.Table:
    return tables.load(rendering.decode(data)[1].encode() if name.endswith(".png") else data)


def _told(comparison: comparing.Comparison, first: comparing.Entry) -> str:
    others = sum(1 for entry in comparison.entries if not entry.agrees) - 1
    more = f", and {counted(others, 'more map')}" if others else ""
    moves = [one.observed for one in first.violations if one.quantity == "relative_l2"]
    moved = f" moved by {moves[0]:.1e} of its RMS" if moves else f" {first.kind}"
    return f"{first.key}{moved}{more}"
