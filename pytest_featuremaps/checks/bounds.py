"""Bounds on the numbers of one feature map: which do not hold, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pytest_featuremaps.numbers.stats import Stats
from pytest_featuremaps.wording import listed

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True

NAMES = tuple(field.name for field in fields(Stats) if field.name != "channels")


def violations(title: str, numbers: Stats, allowed: Mapping[str, Any]) -> str:
    """Say which bounds the numbers of a map break; empty when all hold.

    Args:
        title: how messages name the map.
        numbers: its statistics.
        allowed: by name, a pair (lo, hi) with its ends, None for an open one, or a value.

    Raises:
        TypeError: nothing is bounded, or something that is no statistic.
        ValueError: an interval is empty.
    """
    _check(allowed)
    broken = [
        (name, repr(getattr(numbers, name)), _words(bound))
        for name, bound in allowed.items()
        if not _holds(getattr(numbers, name), bound)
    ]
    if not broken:
        return ""
    (name, observed, words), *others = broken
    count = f"; {len(broken)} of {len(allowed)} bounds do not hold" if others else ""
    lines = [f"{title}: {name} is {observed}, allowed {words}{count}."]
    lines += [f"  {name} is {observed}, allowed {words}" for name, observed, words in others]
    return "\n".join([*lines, f"  all of it: {_all(numbers)}"])


def _check(allowed: Mapping[str, Any]) -> None:
    if not allowed:
        raise TypeError(f"assert_stats() needs a bound on one of: {', '.join(NAMES)}.")
    for name, bound in allowed.items():
        if name not in NAMES:
            raise TypeError(f"There is no statistic {name!r}. There are: {', '.join(NAMES)}.")
        if bound is None or isinstance(bound, str):
            raise TypeError(f"{name}={bound!r}: a bound is a number or a pair (lo, hi).")
        if isinstance(bound, tuple | list):
            _check_interval(name, bound)


def _check_interval(name: str, bound: tuple[Any, ...] | list[Any]) -> None:
    if len(bound) != 2:
        raise TypeError(f"{name}={bound!r}: an interval is a pair (lo, hi), None for an open end.")
    low, high = bound
    if low is not None and high is not None and not low <= high:
        raise ValueError(f"{name}={bound!r}: no number lies in this interval.")


def _holds(value: float, bound: Any) -> bool:  # noqa: ANN401 - anything with `==`
    if not isinstance(bound, tuple | list):
        return bool(value == bound)
    low, high = bound
    above = low is None or value >= low
    below = high is None or value <= high
    return above and below and not math.isnan(value)


def _words(bound: Any) -> str:  # noqa: ANN401 - anything with `==`
    if not isinstance(bound, tuple | list):
        return str(bound)
    low, high = bound
    if low is None or high is None:
        end = f"at most {high}" if low is None else f"at least {low}"
        return "any number" if low is high is None else end
    return f"{low} to {high}"


def _all(numbers: Stats) -> str:
    return ", ".join(f"{name} {getattr(numbers, name):.4g}" for name in NAMES)


def dead_channels(title: str, numbers: Stats, max_fraction: float, axis: str) -> str:
    """Say which channels are zero throughout, if more are than may be; empty otherwise.

    Args:
        title: how messages name the map.
        numbers: its statistics.
        max_fraction: the largest share of the channels that may be dead.
        axis: which axis the channels lie on, in words.

    Raises:
        ValueError: the share does not lie between 0 and 1.
        UnsupportedTensor: there are no numbers per channel.
    """
    if not 0 <= max_fraction <= 1:
        raise ValueError(f"max_fraction={max_fraction!r}: it is a share, from 0 to 1.")
    dead = numbers.dead_channels
    count = len(numbers.channels.mean) if numbers.channels else 0
    if len(dead) <= max_fraction * count:
        return ""
    return "\n".join(
        [
            f"{title}: {len(dead)} of {count} channels are dead: {listed(map(str, dead))}.",
            f"  allowed: {100 * max_fraction:g} %",
            f"  channels: {axis}",
            "  look next at the bias and the weights before it: every value of these is zero",
        ]
    )
