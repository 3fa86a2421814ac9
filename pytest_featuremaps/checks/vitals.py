"""What the health of a network is told from: vital signs, what is allowed, findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_featuremaps.numbers.stats import Stats

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True

_FEWEST_CHANNELS = 8

DROPPING = ("drop", "stochasticdepth")
"""What the names of layers have in common that leave out whole branches while training."""


@dataclass(frozen=True)
class Limits:
    """What is allowed; None switches a check off.

    Attributes:
        nan: the largest share of values that may be NaN, in a map or a gradient.
        inf: likewise infinite.
        dead: the largest share of a rectifier's channels that may be zero throughout.
        constant: the largest share of a layer's channels that may not vary at all.
        saturated: the largest share of values at the ends of a function with bounds.
        scale: the smallest and the largest ratio of a map's RMS to that of what went in.
        vanishing: the smallest gradient of the first layers, as a share of the largest.
        exploding: the largest gradient, as a multiple of the last layer's.
    """

    nan: float | None = 0.0
    inf: float | None = 0.0
    dead: float | None = 0.9
    constant: float | None = 0.9
    saturated: float | None = 0.75
    scale: tuple[float, float] | None = None
    vanishing: float | None = 1e-8
    exploding: float | None = 1e5

    def __post_init__(self) -> None:
        for name in ("nan", "inf", "dead", "constant", "saturated", "vanishing"):
            _check_share(name, getattr(self, name))
        _check_number("exploding", self.exploding)
        if self.exploding is not None and not self.exploding >= 1:
            raise ValueError(f"exploding={self.exploding!r}: it is a multiple, from 1, or None.")
        if self.scale is not None:
            _check_scale(self.scale)


@dataclass(frozen=True)
class Vitals:
    """What is looked at in one feature map.

    Attributes:
        key: its key.
        title: how messages name it.
        families: the names of the module's class and of those it derives from.
        numbers: its statistics.
        width: how many channels it has; None where that is not known.
        samples: how many samples the batch holds.
        infinite: how many of its values are ±Inf.
        saturated: the share of its values at the ends of the function; None where it has none.
        inputs: the statistics of what went in; None where it was not recorded.
        inputs_finite: whether all of that was finite.
        gradient: the statistics of its gradient; None where there is none.
    """

    key: str
    title: str
    families: tuple[str, ...]
    numbers: Stats
    width: int | None = None
    samples: int = 1
    infinite: int = 0
    saturated: float | None = None
    inputs: Sequence[Stats] | None = None
    inputs_finite: bool = True
    gradient: Stats | None = None

    def finding(
        self, kind: str, sentence: str, observed: str, allowed: str, cause: str = ""
    ) -> Finding:
        """Return that something is wrong with this map; the arguments are those of `Finding`."""
        return Finding(self.key, self.title, kind, sentence, observed, allowed, cause)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one map.

    Attributes:
        key: the key of the map.
        title: how messages name it.
        kind: what is wrong, in a word or two.
        sentence: what is wrong, in words that follow the title.
        observed: the number found.
        allowed: the bound that it broke.
        cause: what to look at next.
    """

    key: str
    title: str
    kind: str
    sentence: str
    observed: str
    allowed: str
    cause: str = ""


def not_finite(
    one: Vitals, counts: dict[str, int], size: int, limits: Limits, origin: tuple[str, str]
) -> Iterator[Finding]:
    """Find NaN and Inf beyond what is allowed.

    Args:
        one: the map.
        counts: how many there are, in the map or in its gradient.
        size: how many values there are.
        limits: what is allowed.
        origin: words that follow the count, and what to look at next.
    """
    allowed = {"NaN": limits.nan, "Inf": limits.inf}
    where, cause = origin
    for kind, count in counts.items():
        limit = allowed[kind]
        if limit is not None and count > limit * size:
            sentence = f"holds {count} {kind} of {size} values{where}"
            yield one.finding(kind, sentence, f"{count} of {size}", share(limit), cause)


def is_narrow(one: Vitals) -> bool:
    """Tell whether a map has so few channels that a share of them says little.

    Half of the channels behind a ReLU may well be zero for one input of a healthy network.
    """
    return one.width is not None and one.width < _FEWEST_CHANNELS


def belongs_to(families: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Tell whether one of the words is part of the name of a class, in lower case."""
    return any(word in family.lower() for family in families for word in words)


def share(limit: float) -> str:
    """Write a share in percent."""
    return f"{100 * limit:g} %"


def _check_share(name: str, value: float | None) -> None:
    _check_number(name, value)
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name}={value!r}: it is a share, from 0 to 1, or None.")


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise TypeError(f"{name}={value!r}: it is a number, or None to switch the check off.")


def _check_scale(scale: object) -> None:
    rule = "it is a pair (lo, hi) of ratios from layer to layer, such as (0.1, 10)"
    if not isinstance(scale, tuple) or len(scale) != 2:
        raise TypeError(f"scale={scale!r}: {rule}.")
    low, high = scale
    if not 0 <= low <= high:
        raise ValueError(f"scale={scale!r}: {rule}.")
