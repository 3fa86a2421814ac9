"""One finding of a comparison in words, safe to print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from pytest_featuremaps.baseline.comparing import Comparison
from pytest_featuremaps.baseline.judging import Entry, Violation, shape_text
from pytest_featuremaps.baseline.tables import COUNTS, Line, Value
from pytest_featuremaps.wording import as_layer, counted, plain

WIDTH: Final = 100
KEY_WIDTH: Final = 36  # of a key in a line of limited width

_NAMES: Final = 8  # names in one list
_QUANTITIES: Final[Mapping[str, str]] = {
    "relative_l2": "relative L2 change",
    "zero_fraction": "zero fraction",
    "nan_count": "NaN count",
    "inf_count": "Inf count",
    "nonfinite": "places of NaN and Inf",
}
_NOT_FINITE: Final[Mapping[str, str]] = {"nan_count": "NaN", "inf_count": "Inf"}


def say(comparison: Comparison, entry: Entry, *, other_weights: bool = False) -> str:
    """Return what became of a map that is not as expected.

    Args:
        comparison: what was found.
        entry: the map.
        other_weights: whether its layer has other weights of its own.
    """
    if not entry.violations:
        return entry.kind if entry.partner is None else called(entry)
    own = own_change(entry, other_weights=other_weights)
    return say_most(comparison, entry) + (f" ({own})" if own else "")


def say_most(comparison: Comparison, entry: Entry) -> str:
    """Return what is most telling of a map beyond tolerance: NaN and Inf, then what moved."""
    told = list(filter(None, (_gained_or_lost(entry, one) for one in entry.violations)))
    others = [one for one in entry.violations if not _gained_or_lost(entry, one)]
    moved = [one for one in others if not told or one.quantity == "relative_l2"]
    return "; ".join([*told, *(say_violation(comparison, one) for one in moved[:1])])


def _gained_or_lost(entry: Entry, violation: Violation) -> str:
    """Say how many values became NaN or Inf, or are no longer; empty of other quantities."""
    name = _NOT_FINITE.get(violation.quantity)
    if name is None or entry.expected is None or entry.actual is None:
        return ""
    more = entry.actual.stats[violation.quantity] - entry.expected.stats[violation.quantity]
    if not math.isfinite(more):
        return ""
    values = counted(round(abs(more)), "value")
    if more > 0:
        return f"{values} became {name}"
    return f"{values} {'is' if abs(more) == 1 else 'are'} no longer {name}"


def own_change(entry: Entry, *, other_weights: bool) -> str:
    """Return what changed in the layer of a map itself; empty where nothing is known to.

    Args:
        entry: the map.
        other_weights: whether its layer has other weights of its own.
    """
    remarks = ["its weights changed"] if other_weights else []
    if entry.has_other_type and entry.expected:
        remarks.append(f"it was a {plain(entry.expected.module_type)}")
    return ", ".join(remarks)


def name(comparison: Comparison, entry: Entry, width: int | None = None) -> str:
    """Return the key of a map, and the one on the other side where that is another."""
    key = as_layer(entry.key, width)
    if entry.partner is None:
        return key
    return f"{key} ({comparison.against}: {plain(entry.partner, width)})"


def called(entry: Entry, width: int | None = None) -> str:
    """Return the other name of a map."""
    return f"was called {plain(entry.partner or '', width)}"


def say_violation(comparison: Comparison, violation: Violation) -> str:
    """Return observed against allowed."""
    name = quantity(violation.quantity)
    if isinstance(violation.observed, str):
        before = plain(str(violation.allowed))
        return f"{name} {plain(violation.observed)}, the {comparison.against} has {before}"
    moved = "" if violation.quantity == "relative_l2" else "moved by "
    return f"{name} {moved}{_number(violation.observed)}, allowed {_number(violation.allowed)}"


def say_fully(comparison: Comparison, entry: Entry, violation: Violation) -> str:
    """Return observed against allowed, and for a statistic its value before and after."""
    name = violation.quantity
    said = say_violation(comparison, violation)
    if entry.expected is None or entry.actual is None or name not in entry.actual.stats:
        return said
    digits = "" if name in COUNTS else ".6g"
    before, after = (format(one.stats[name], digits) for one in (entry.expected, entry.actual))
    return f"{said} ({before} → {after})"


def gaps(comparison: Comparison) -> str:
    """Return what was not compared, for not both sides hold it; empty where that is nothing."""
    skipped = {name: None for entry in comparison.entries for name in entry.skipped}
    if not skipped:
        return ""
    maps = sum(bool(entry.skipped) for entry in comparison.entries)
    names = listing([quantity(one) for one in skipped])
    return f"{maps} of {counted(len(comparison.entries), 'map')}: {names}"


def quantity(name: str) -> str:
    """Return what a quantity is called."""
    return _QUANTITIES.get(name, name)


def describe(line: Line) -> str:
    """Return what a map is."""
    return f"{plain(line.module_type)} of shape {shape_text(line.shape)}, {plain(line.dtype)}"


def property_of(name: str, value: Value) -> str:
    """Return a fact of an environment."""
    return f"{plain(name.replace('_', ' '))} {plain(str(value))}"


def listing(names: Sequence[str]) -> str:
    """Return names in their order, and how many were left out."""
    more = [f"… and {len(names) - _NAMES} more"] if len(names) > _NAMES else []
    return ", ".join([*names[:_NAMES], *more])


def clip(line: str) -> str:
    """Return a line that is no longer than `WIDTH`."""
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _number(value: float | str) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if value else "0"
    return str(value)
