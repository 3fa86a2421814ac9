"""The health of a network from the numbers of its layers: vital signs in, findings out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from pytest_featuremaps.checks.gradients import examine_gradients
from pytest_featuremaps.checks.vitals import (
    DROPPING,
    Finding,
    Limits,
    Vitals,
    belongs_to,
    is_narrow,
    not_finite,
    share,
)
from pytest_featuremaps.numbers.stats import Stats
from pytest_featuremaps.wording import counted, in_columns, plain

_MOST_ROWS = 20

# What varies less, as a share of what came out, may be lost to rounding, or to underflow:
# untrained networks whose BatchNorm has seen no batch let an input fade that far.
_LEAST_SPREAD = 1e-5
_FADED = 1e-30

# As parts of lower-case names: "elu" is in ReLU, PReLU, GELU and SELU as well.
_RECTIFIERS = ("elu", "silu", "swish", "mish", "softplus", "threshold")
# A table of one entry gives a constant by design: BERT's types of tokens, for one sentence.
_MAY_BE_CONSTANT = ("embedding", *DROPPING)
_HINTS = {
    "NaN": "its arithmetic: a log or root of what is negative, 0/0, Inf - Inf, its own weights",
    "Inf": "its arithmetic: a log of or a division by zero, an overflow of its dtype, its weights",
    "dead": "the bias and the weights of the layer before it",
    "constant": "its weights, and whether what goes in still reaches what comes out",
    "saturated": "the scale of the weights before it, and of the input of the network",
    "scale": "the initialisation of its weights, or a normalisation that is missing",
    "zero gradient": "what cuts it off after this layer: a dead activation, a weight of zero",
    "vanishing gradient": "the activations after it, a residual connection that is missing, or a "
    "BatchNorm in eval mode that has seen no batch",
    "exploding gradient": "the scale of the weights after it, or a normalisation that is missing",
}


def examine(vitals: Sequence[Vitals], limits: Limits) -> list[Finding]:
    """Return what is wrong, the most telling first.

    Values that are not finite come first, then what is wrong with maps, then what is wrong
    with gradients. What is of one kind stays in order of its origin: of the forward for maps,
    of the backward for gradients.
    """
    findings: list[Finding] = []
    for previous, one in pairwise([None, *vitals]):
        if one is not None:
            findings += _of_map(one, limits, previous)
    findings += examine_gradients(vitals, limits)
    order = list(_HINTS)
    # NaN is what Inf becomes further on, so the two stand in order of the maps.
    ranks = {kind: max(order.index(kind), order.index("Inf")) for kind in order}
    return sorted(findings, key=lambda finding: ranks[finding.kind])


def tell(findings: Sequence[Finding]) -> str:
    """Write findings as one table under a line that says the first; empty without any."""
    if not findings:
        return ""
    first = findings[0]
    more = len(findings) - 1
    others = f"; {counted(more, 'more finding')}" if more else ""
    rows = [("feature map", "finding", "observed", "allowed")]
    rows += [(one.title, one.kind, one.observed, one.allowed) for one in findings[:_MOST_ROWS]]
    table = [f"  {line}" for line in in_columns(rows, words=len(rows[0]))] if more else []
    left_out = [f"  and {len(findings) - _MOST_ROWS} more"] * (len(findings) > _MOST_ROWS)
    look = [f"look next at {plain(first.key)}: {first.cause or _HINTS[first.kind]}"]
    return "\n".join([f"{first.title} {first.sentence}{others}.", *table, *left_out, *look])


# ---------------------------------------------------------------- maps


def _of_map(one: Vitals, limits: Limits, previous: Vitals | None) -> Iterator[Finding]:
    counts = {"NaN": one.numbers.nan_count, "Inf": one.infinite}
    yield from not_finite(one, counts, one.numbers.count, limits, _origin(one))
    before = one.inputs
    if before is None:
        before = (previous.numbers,) if previous else ()
    unknown = one.inputs is None and previous is None
    if unknown or any(numbers.min < numbers.max for numbers in before):
        yield from _dead(one, limits.dead)
    if any(_should_vary(one, numbers) for numbers in before):
        yield from _constant(one, limits.constant)
    yield from _saturated(one, limits.saturated)
    yield from _scaled(one, limits.scale, max((numbers.rms for numbers in before), default=0.0))


def _should_vary(one: Vitals, before: Stats) -> bool:
    """Tell whether what went in varies such that what came out should.

    Where positions are pooled away, only different samples make a difference, and a batch
    may well hold one sample several times.
    """
    own, channels = one.numbers.channels, before.channels
    if own is None or channels is None or not len(own.count) or not len(channels.count):
        return False
    has_positions = own.count[0] > one.samples
    comparable = has_positions or channels.count[0] <= one.samples
    # Halves, for the difference of the largest numbers is none.
    spread = channels.max / 2 - channels.min / 2
    peak = max(abs(one.numbers.min), abs(one.numbers.max)) / 2
    return bool(comparable and (spread > max(_LEAST_SPREAD * peak, _FADED)).any())


def _origin(one: Vitals) -> tuple[str, str]:
    """Say whether what went in was still finite, and what to look at if it was not."""
    if one.inputs is None:
        return "", (
            "what went in, with inputs=True; then its arithmetic (log or division by zero, "
            "overflow) and its weights"
        )
    if not one.inputs:
        return "", ""
    if not one.inputs_finite:
        return ", and its input was not finite either", "what comes before it"
    return ", though its input was finite", ""


def _dead(one: Vitals, limit: float | None) -> Iterator[Finding]:
    channels = one.numbers.channels
    if limit is None or is_narrow(one) or not _rectifies(one.families):
        return
    if channels is None:
        # Of numbers without channels only that all of them are dead can be known.
        if one.width and one.numbers.zero_fraction == 1.0 and limit < 1.0:
            yield one.finding("dead", "is dead: zero throughout", "all of it", share(limit))
        return
    dead, count = len(one.numbers.dead_channels), len(channels.mean)
    if dead > limit * count:
        observed = f"{dead} of {count}"
        sentence = f"has {observed} channels that are dead: zero throughout"
        yield one.finding("dead", sentence, observed, share(limit))


def _constant(one: Vitals, limit: float | None) -> Iterator[Finding]:
    channels = one.numbers.channels
    if limit is None or channels is None or is_narrow(one):
        return
    if belongs_to(one.families, _MAY_BE_CONSTANT):
        return
    constant, count = len(one.numbers.constant_channels), len(channels.mean)
    # Those of an activation that are zero throughout are told as dead.
    constant += 0 if _rectifies(one.families) else len(one.numbers.dead_channels)
    if constant > limit * count:
        observed = f"{constant} of {count}"
        sentence = f"has {observed} channels that are constant, though what came before varies"
        yield one.finding("constant", sentence, observed, share(limit))


def _saturated(one: Vitals, limit: float | None) -> Iterator[Finding]:
    if limit is None or one.saturated is None or one.saturated <= limit:
        return
    observed = f"{100 * one.saturated:.1f} %"
    sentence = f"is saturated: {observed} of its values are at its bounds"
    yield one.finding("saturated", sentence, observed, share(limit))


def _scaled(one: Vitals, limits: tuple[float, float] | None, before: float) -> Iterator[Finding]:
    if limits is None or not before > 0:
        return
    ratio = one.numbers.rms / before
    low, high = limits
    if math.isnan(ratio) or low <= ratio <= high:
        return
    sentence = f"changes the scale by {ratio:.3g}: RMS {one.numbers.rms:.3g} after {before:.3g}"
    yield one.finding("scale", sentence, f"×{ratio:.3g}", f"×{low:.3g} to ×{high:.3g}")


def _rectifies(families: tuple[str, ...]) -> bool:
    return belongs_to(families, _RECTIFIERS)
