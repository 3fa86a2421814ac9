"""A recording in lines: the table of its maps, and one line for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from pytest_featuremaps.checks import contracts
from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.maps import axes, values
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.wording import in_columns, plain

_HEADINGS = ("feature map", "module", "shape", "dtype", "mean", "std", "min", "max", "zeros")
_WORDS = 4
_MOST_NOT_FINITE = 6

PROPERTY = "feature map"
"""What the names of all properties begin with."""


def table(maps: Mapping[str, Record], *, most: int | None = None) -> list[str]:
    """Write the facts and numbers of feature maps as the lines of a table.

    Args:
        maps: what is recorded, by key.
        most: how many of them to write; all when None.
    """
    shown = dict(islice(maps.items(), most))
    rows = [_HEADINGS, *(_row(key, one) for key, one in shown.items())]
    more = len(maps) - len(shown)
    lines = [*in_columns(rows, words=_WORDS), *([f"and {more} more"] if more else [])]
    return lines + _not_finite(shown)


def specs(maps: Mapping[str, Record]) -> str:
    """Write the shapes of feature maps as a call of `assert_shapes`."""
    return contracts.propose(
        [contracts.Found(key, one.shape, axes.layout(one)) for key, one in maps.items()]
    )


def properties(maps: Mapping[str, Record], *, most: int, measure: bool) -> list[tuple[str, str]]:
    """Write each map as a property of a test's report.

    Args:
        maps: what is recorded, by key.
        most: how many of them to write.
        measure: whether to take statistics that are not known yet.
    """
    written = [
        (f"{PROPERTY} {plain(key)}", _line(one, measure=measure))
        for key, one in islice(maps.items(), most)
    ]
    more = len(maps) - len(written)
    return [*written, *([(f"{PROPERTY}s left out", str(more))] if more else [])]


def _line(one: Record, *, measure: bool) -> str:
    facts = _facts(one)
    if not measure and one.stats is None:
        return " ".join(facts)
    numbers = zip(_HEADINGS[_WORDS:], _numbers(one), strict=True)
    return " ".join([*facts, *(f"{name}={value}" for name, value in numbers)])


def _not_finite(maps: Mapping[str, Record]) -> list[str]:
    """Say which maps hold values that are left out of their numbers, the first ones first."""
    told = [f"{plain(key)} ({bad})" for key, one in maps.items() if (bad := _bad_values(one))]
    more = len(told) - _MOST_NOT_FINITE
    last = f" and {more} more" if more > 0 else ""
    names = ", ".join(told[:_MOST_NOT_FINITE])
    return [f"not finite, and left out of these numbers: {names}{last}"] if told else []


def _bad_values(one: Record) -> str:
    try:
        counts = {"NaN": values.stats(one).nan_count, "Inf": values.infinite_count(one)}
    except (UnsupportedTensor, CaptureError):
        return ""
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{told} of {values.stats(one).count}" if told else ""


def _row(key: str, one: Record) -> tuple[str, ...]:
    return (plain(key), *_facts(one), *_numbers(one))


def _facts(one: Record) -> tuple[str, str, str]:
    dtype = str(one.dtype).removeprefix("torch.")
    return plain(one.module_type), "×".join(map(str, one.shape)) or "scalar", dtype


def _numbers(one: Record) -> tuple[str, ...]:
    try:
        numbers = values.stats(one)
    except (UnsupportedTensor, CaptureError):
        return ("–",) * (len(_HEADINGS) - _WORDS)
    moments = (numbers.mean, numbers.std, numbers.min, numbers.max)
    return (*(f"{value:.3g}" for value in moments), f"{100 * numbers.zero_fraction:.1f}%")
