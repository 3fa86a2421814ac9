"""The health of gradients: not finite, zero, vanishing, exploding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from pytest_featuremaps.checks.vitals import (
    DROPPING,
    Finding,
    Limits,
    Vitals,
    belongs_to,
    is_narrow,
    not_finite,
)
from pytest_featuremaps.numbers.stats import Stats
from pytest_featuremaps.wording import plain


def examine_gradients(vitals: Sequence[Vitals], limits: Limits) -> Iterator[Finding]:
    """Find what is wrong with the gradients of maps, where they have any.

    The last layer is the first that a backward pass reaches, and told first.
    """
    seen = [(one, one.gradient) for one in vitals if one.gradient is not None]
    for one, numbers in reversed(seen):
        counts = {"NaN": numbers.nan_count, "Inf": numbers.inf_count}
        where = (" in its gradient", "the loss, and what comes after it")
        yield from not_finite(one, counts, numbers.count, limits, where)
    norms = [(one, _norm(numbers)) for one, numbers in seen if _is_finite(numbers)]
    alive = [(one, norm) for one, norm in norms if norm > 0]
    if limits.vanishing is not None:
        # A branch that stochastic depth left out gets no gradient, as it should.
        dropped = any(map(_is_left_out, vitals))
        yield from () if dropped else _zero(norms)
        yield from _vanishing(alive, limits.vanishing)
    if limits.exploding is not None:
        yield from _exploding(alive, limits.exploding)


def _zero(norms: Sequence[tuple[Vitals, float]]) -> Iterator[Finding]:
    """Find gradients of zero.

    Where channels are few, all of an activation's may be off for one input, and nothing comes
    back through them.
    """
    for one, norm in reversed(norms):
        if norm == 0 and not is_narrow(one):
            sentence = "has a gradient of zero throughout"
            yield one.finding("zero gradient", sentence, "0", "not zero")


def _is_left_out(one: Vitals) -> bool:
    return belongs_to(one.families, DROPPING) and one.numbers.zero_fraction == 1


def _vanishing(alive: Sequence[tuple[Vitals, float]], limit: float) -> Iterator[Finding]:
    """Find the layer before which nothing gets a gradient to speak of.

    Branches that start with a small gradient are usual (queries and keys of attention). So
    a gradient counts as vanished only where those of all earlier layers have as well.
    """
    largest = max((norm for _, norm in alive), default=0.0)
    vanished = list(_while_below(alive, limit * largest))
    if vanished:
        one, norm = vanished[-1]
        more = f", as do {len(vanished) - 1} layers before it" if len(vanished) > 1 else ""
        sentence = f"gets a gradient of {norm / largest:.1e} of the largest{more}"
        allowed = f"at least {limit:.1e}"
        observed = f"{norm / largest:.1e}"
        yield one.finding("vanishing gradient", sentence, observed, allowed)


def _while_below(
    norms: Iterable[tuple[Vitals, float]], bound: float
) -> Iterator[tuple[Vitals, float]]:
    for one, norm in norms:
        if norm >= bound:
            return
        yield one, norm


def _exploding(alive: Sequence[tuple[Vitals, float]], limit: float) -> Iterator[Finding]:
    """Find gradients that are many times that of the last layer."""
    if not alive:
        return
    last, reference = alive[-1]
    # Backward, it explodes first in the latest layer that is beyond the bound.
    beyond = [(one, norm) for one, norm in alive if norm > limit * reference]
    if beyond:
        one, norm = beyond[-1]
        more = f", and {len(beyond) - 1} layers before it as well" if len(beyond) > 1 else ""
        times = f"{norm / reference:.1e}"
        sentence = f"gets a gradient {times} times that of {plain(last.key)}{more}"
        allowed = f"at most ×{limit:.1e}"
        yield one.finding("exploding gradient", sentence, f"×{times}", allowed)


def _is_finite(numbers: Stats) -> bool:
    return numbers.count > 0 and not numbers.nan_count + numbers.inf_count


def _norm(numbers: Stats) -> float:
    return numbers.rms * math.sqrt(numbers.count)
