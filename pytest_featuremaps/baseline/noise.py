"""How far each feature map drifts when the same code computes it in another way."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from pytest_featuremaps.baseline.tables import Line, Table
from pytest_featuremaps.baseline.tolerances import estimate, profile_for

CHANCE: Final = 1e-2
"""What moves further between two runs of the same code is no drift, but chance."""


def measured(table: Table, again: Table) -> tuple[Table, list[str]]:
    """Return a table with the noise of its maps, and the keys of those that chance decides.

    Noise is the relative L2 change of a map between two runs of the same code, rounded up to
    one digit. Only where rounding is what differs is it kept: not for integers, which have
    none, nor for narrow floats, whose own tolerance covers it.

    Args:
        table: this run.
        again: the other run of the same comparison.
    """
    others = {line.key: line for line in again.lines}
    noises = {line.key: _noise(line, others.get(line.key)) for line in table.lines}
    chance = [key for key, noise in noises.items() if noise is not None and noise > CHANCE]
    lines = (
        line if line.key in chance else replace(line, noise=noises[line.key])
        for line in table.lines
    )
    return replace(table, lines=tuple(lines)), chance


def _noise(line: Line, other: Line | None) -> float | None:
    if other is None or (line.shape, line.dtype) != (other.shape, other.dtype):
        return None
    if line.sketch is None or other.sketch is None:
        return None
    if profile_for(line.dtype, line.device) != "cpu":
        return None
    return rounded_up(estimate(line.sketch, _rms(line), other.sketch, _rms(other)))


def _rms(line: Line) -> float:
    """The root of the mean square; 0 where there is nothing finite to measure."""
    value = line.stats["rms"]
    return 0.0 if math.isnan(value) else value


def rounded_up(value: float) -> float:
    """Round a number that is not negative up to one digit."""
    if value == 0:
        return 0.0
    # In text, for powers of ten are not exact; 7e-2 would be a little more than seven of them.
    digit, _, exponent = f"{value:.12e}".partition("e")
    return float(f"{math.ceil(float(digit))}e{exponent}")
