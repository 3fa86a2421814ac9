"""Which feature maps changed for one reason, so that one decision may cover them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_featuremaps.review.records import Map, Record

_FOLLOWING: Final = ("changed", "reshaped", "retyped")
_NOT_FINITE: Final = ("nan_count", "inf_count")
_WORDS: Final = {
    "changed": "new NaN or Inf",
    "reshaped": "another shape",
    "retyped": "another dtype",
    "renamed": "another name",
    "added": "new",
    "removed": "missing",
}


@dataclass(frozen=True)
class Cause:
    """Why feature maps changed, and how.

    Attributes:
        first: the key of the first one that changed for it.
        why: the reason for that, in words.
        module: the class of its layer: models may have layers of the same name.
        kind: what became of the maps, as in `Map.kind`.
        place: the comparison of maps that changed by themselves, or in another way than the
            first; empty for those that the first explains.
    """

    first: str
    why: str
    module: str
    kind: str
    place: str = ""

    @property
    def words(self) -> str:
        """What tells these maps from those that followed the first; empty for the latter."""
        return (self.why or _WORDS.get(self.kind, self.kind)) if self.place else ""


def causes(records: Sequence[Record]) -> dict[tuple[str, str], Cause]:
    """Return the cause of each map that waits, by the id of its result and its key.

    Where a test compares a table as well, that knows best which map was the first.
    """
    tables = {(one.test, one.name): one for one in reversed(records) if one.kind == "table"}
    found = {}
    for record in records:
        source = tables.get((record.test, record.name), record)
        first = next((one for one in source.maps if one.key == source.first), None)
        for one in record.pending:
            found[record.id, one.key] = _cause(one, first, source)
    return found


def _cause(one: Map, first: Map | None, source: Record) -> Cause:
    place = f"{source.test}\n{source.name}"
    if first is None:  # nothing was compared
        return Cause("", "", "", one.kind, place)
    if one.key == first.key or _follows(one, first):
        return Cause(first.key, source.why, first.module, one.kind)
    return Cause("", one.why, "", one.kind, place)


def _follows(one: Map, first: Map) -> bool:
    """Whether what became of the first is a reason for what became of a later one."""
    kind = first.kind if first.kind in _FOLLOWING else "changed"
    return one.kind == kind and not one.why and _gained(one) <= _gained(first)


def _gained(one: Map) -> set[str]:
    """Return which values that are not finite it has more of than before."""
    return {name for name in _NOT_FINITE if _count(one.after, name) > _count(one.before, name)}


def _count(numbers: Mapping[str, Any], name: str) -> float:
    value = numbers.get(name)
    return value if isinstance(value, int | float) else 0
