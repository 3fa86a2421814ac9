"""How much a feature map may change, by name, by dtype and by measured noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from types import MappingProxyType
from typing import Final

from pytest_featuremaps.baseline.tables import Line
from pytest_featuremaps.errors import FeatureMapsError

_QUANTUM: Final = 1e-7  # what one step of a stored sketch is worth, as a share of the RMS
_LEAST_NOISE: Final = 6e-7  # the most that networks without noise of their own drift (measured)


@dataclass(frozen=True)
class Tolerance:
    """How much a feature map may change.

    Attributes:
        relative_l2: the relative L2 change, and the unit of what the moments may move; 0 asks
            for the same bytes.
        fraction: what a fraction, such as the share of zeros, may move.
        levels: what a pixel of a picture may move, in grey levels.

    Raises:
        FeatureMapsError: one of them is no number from 0 up, or `levels` no whole one.
    """

    relative_l2: float
    fraction: float = 1e-3
    levels: int = 1

    def __post_init__(self) -> None:
        amounts = {"relative_l2": Real, "fraction": Real, "levels": Integral}
        for name, kind in amounts.items():
            found = getattr(self, name)
            if not (isinstance(found, kind) and _is_amount(found)):
                number = "a number" if kind is Real else "a whole number"
                raise FeatureMapsError(
                    f"Tolerance: {name} must be {number} from 0 up, found {found!r}"
                )


def _is_amount(value: object) -> bool:
    """Tell whether this is a number that something may move by; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return 0 <= float(value) < math.inf


def _crossing(relative_l2: float) -> float:
    """Return the share of values that a change of this size may carry across zero.

    Of a trained MobileNetV2 in bfloat16, 8 % of the relative change at most.
    """
    return max(1e-3, relative_l2 / 4)


# Levels: noise of 1e-3 moves a pixel by one level at most (measured); wider ones by about ten
# times their share of the 31 levels that one RMS takes in a usual map.
PROFILES: Final[Mapping[str, Tolerance]] = MappingProxyType(
    {
        "exact": Tolerance(0.0, fraction=0.0, levels=0),
        "cpu": Tolerance(1e-4),
        "gpu": Tolerance(1e-3, levels=2),
        "half": Tolerance(5e-3, _crossing(5e-3), levels=4),
        "float16": Tolerance(5e-3, _crossing(5e-3), levels=4),
        "bfloat16": Tolerance(4e-2, _crossing(4e-2), levels=16),
    }
)


# What the numbers of the very same bytes may differ by, for machines round their sums differently.
ROUNDING: Final = Tolerance(1e-6, fraction=0.0)


def profile_for(dtype: str, device: str) -> str:
    """Return the name of the tolerance profile for a map of this dtype on this device.

    Integers and bool have no rounding, hence `exact`; the narrow floats of eight bits and less
    share the widest profile.
    """
    if dtype in {"float32", "float64", "complex64", "complex128"}:
        return "cpu" if device.partition(":")[0] == "cpu" else "gpu"
    if dtype in {"float16", "complex32"}:
        return "float16"
    if dtype.startswith(("bfloat16", "float8", "float4")):
        return "bfloat16"
    return "exact"


def asked_for(tolerance: Tolerance | str | float | None) -> Tolerance | str | None:
    """Return the tolerance asked for; a number, perhaps in text, becomes a `Tolerance`.

    Raises:
        FeatureMapsError: it is neither a number from 0 up nor the name of a profile.
    """
    if tolerance is None or isinstance(tolerance, Tolerance):
        return tolerance
    if isinstance(tolerance, str) and tolerance in PROFILES:
        return tolerance
    try:
        relative_l2 = math.nan if isinstance(tolerance, bool) else float(tolerance)
    except (TypeError, ValueError):
        relative_l2 = math.nan
    if _is_amount(relative_l2):
        return Tolerance(relative_l2, _crossing(relative_l2))
    raise FeatureMapsError(
        f"no tolerance is called {tolerance!r}\n"
        f"the profiles: {', '.join(PROFILES)}\n"
        "a number, the relative L2 change, or Tolerance(relative_l2, fraction, levels) do as well"
    )


def name_of(tolerance: Tolerance | str) -> str:
    """Return a tolerance as it is told."""
    if isinstance(tolerance, str):
        return tolerance
    return f"relative_l2={tolerance.relative_l2:g}"


def resolve(asked: Tolerance | str | None, expected: Line, actual: Line) -> tuple[str, Tolerance]:
    """The tolerance of two maps of one dtype, and its name."""
    profiles = [profile_for(line.dtype, line.device) for line in (expected, actual)]
    usual = max(profiles, key=lambda name: PROFILES[name].relative_l2)
    if usual == "exact":
        return usual, PROFILES[usual]
    if isinstance(asked, Tolerance):
        return name_of(asked), asked
    name = asked or usual
    if name == "half":
        name = "bfloat16" if usual == "bfloat16" else "float16"
    tolerance = PROFILES[name]
    if name == "cpu" and expected.noise is not None:
        tolerance = replace(tolerance, relative_l2=8 * max(expected.noise, _LEAST_NOISE))
    return name, tolerance


def same_noise(stored: float | None, measured: float) -> bool:
    """Tell whether a stored noise may stand for one that was measured anew.

    Two measurements of one map differ by a factor of two at times, and a stored one that
    follows each of them would be a difference in version control every time.
    """
    if stored is None:
        return False
    low, high = sorted(max(noise, _LEAST_NOISE) for noise in (stored, measured))
    return high <= 3 * low


def estimate(
    expected: Sequence[int], expected_rms: float, actual: Sequence[int], actual_rms: float
) -> float:
    """Return the relative L2 change between two maps, ‖a − b‖ / max(RMS a, RMS b), by sketch.

    An unbiased estimate with a spread of 9 %; exact up to 61 elements. Source: the second
    moment of Alon, Matias and Szegedy, over the buckets of the count sketch of Charikar, Chen
    and Farach-Colton.
    """
    rms = max(expected_rms, actual_rms)
    if rms == 0:
        return 0.0
    before = [value * (expected_rms / rms) for value in expected]
    after = [value * (actual_rms / rms) for value in actual]
    return _QUANTUM * math.dist(before, after)
