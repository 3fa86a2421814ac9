"""The verdict on one feature map: how far each of its numbers moved, and how far it may."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pytest_featuremaps.baseline.tables import STATISTICS, Line
from pytest_featuremaps.baseline.tolerances import ROUNDING, Tolerance, estimate, resolve

Kind: TypeAlias = Literal[
    "equal", "within", "renamed", "changed", "added", "removed", "reshaped", "retyped"
]


@dataclass(frozen=True)
class Violation:
    """One quantity that is beyond its tolerance: how far it moved, how far it may move.

    `shape`, `dtype` and `bytes` hold what is here and what the baseline has, as text.
    """

    quantity: str
    observed: float | str
    allowed: float | str


@dataclass(frozen=True)
class Entry:
    """The verdict on one feature map.

    Attributes:
        key: its key; that in the baseline if it was removed.
        kind: what became of it; `renamed` is within tolerance, under another key than the
            baseline's.
        expected: its line in the baseline, which may have another key; None if it was added.
        actual: its line in this run; None if it was removed.
        violations: what is beyond tolerance, the most telling first.
        tolerance: the name of the tolerance it was held to; empty if none applies.
        allowed: the relative L2 change that this tolerance allows.
        levels: what a pixel of its picture may move under that tolerance.
        skipped: quantities that only one side holds, which are not compared.
    """

    key: str
    kind: Kind
    expected: Line | None
    actual: Line | None
    violations: tuple[Violation, ...] = ()
    tolerance: str = ""
    allowed: float = 0.0
    levels: int = 0
    skipped: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the map is there on both sides, under its key and within tolerance."""
        return self.kind in {"equal", "within"}

    @property
    def partner(self) -> str | None:
        """The key in the baseline of what this map is compared with, where it is another one."""
        if self.expected is None or self.expected.key == self.key:
            return None
        return self.expected.key

    @property
    def outgrows_baseline(self) -> bool:
        """Whether this run holds a quantity that the baseline does not."""
        if self.expected is None or self.actual is None:
            return False
        return any(
            _holds(self.actual, one) and not _holds(self.expected, one) for one in self.skipped
        )

    @property
    def has_other_weights(self) -> bool:
        """Whether both sides know the weights of its layer, and they are not the same."""
        if self.expected is None or self.actual is None:
            return False
        before, after = self.expected.weights, self.actual.weights
        return bool(before and after) and before != after

    @property
    def has_other_type(self) -> bool:
        """Whether another kind of module stands in its place."""
        if self.expected is None or self.actual is None:
            return False
        return self.expected.module_type != self.actual.module_type


def narrowest(entry: Entry) -> str | None:
    """Return the narrowest profile under which this map would pass; None if there is none."""
    if entry.expected is None or entry.actual is None or entry.kind == "renamed":
        return None
    expected, actual = entry.expected, entry.actual
    names = ["exact", "cpu", "gpu", "half", "bfloat16"]
    names.sort(key=lambda name: resolve(name, expected, actual)[1].relative_l2)
    return next((name for name in names if judge(expected, actual, name).agrees), None)


def judge(
    expected: Line, actual: Line, asked: Tolerance | str | None, *, across_dtypes: bool = False
) -> Entry:
    """Hold a map to the tolerance that was asked for, or to the one that suits it.

    Args:
        expected: the map as it was.
        actual: as it is.
        asked: the tolerance; None chooses one.
        across_dtypes: whether floats of one dtype are compared with those of another.
    """
    structure = tuple(_structure(expected, actual, across_dtypes=across_dtypes))
    if structure:
        kind: Kind = "reshaped" if structure[0].quantity == "shape" else "retyped"
        return Entry(actual.key, kind, expected, actual, structure)
    name, tolerance = resolve(asked, expected, actual)
    moves = _moves(expected, actual, tolerance)
    violations = tuple(move for move in moves if _is_beyond(move))
    if violations:
        kind = "changed"
    else:
        kind = "within" if any(move.observed for move in moves) else "equal"
    skipped = tuple(_skipped(expected, actual, tolerance))
    return Entry(
        actual.key,
        kind,
        expected,
        actual,
        violations,
        tolerance=name,
        allowed=tolerance.relative_l2,
        levels=tolerance.levels,
        skipped=skipped,
    )


def _structure(expected: Line, actual: Line, *, across_dtypes: bool) -> Iterator[Violation]:
    if expected.shape != actual.shape:
        yield Violation("shape", shape_text(actual.shape), shape_text(expected.shape))
    comparable = across_dtypes and _family(expected.dtype) == _family(actual.dtype) != ""
    if expected.dtype != actual.dtype and not comparable:
        yield Violation("dtype", actual.dtype, expected.dtype)


def _family(dtype: str) -> str:
    """What numbers a dtype rounds; empty for integers and bool, which it does not."""
    if dtype.startswith("complex"):
        return "complex"
    return "real" if dtype.startswith(("float", "bfloat")) else ""


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as it is read, such as `1×64×7×7`; `scalar` if it has no dimensions."""
    return "×".join(map(str, shape)) or "scalar"


def _is_beyond(move: Violation) -> bool:
    if isinstance(move.observed, str) or isinstance(move.allowed, str):
        return True
    # Not `>`: what is not a number is never within tolerance.
    return not move.observed <= move.allowed


def _moves(expected: Line, actual: Line, tolerance: Tolerance) -> list[Violation]:
    """How far each quantity that both sides hold has moved, whether or not it may."""
    moves: list[Violation] = []
    if expected.stats and not actual.stats:
        moves.append(Violation("numbers", "none", "some"))
    if tolerance.relative_l2 == 0:
        if expected.digest and actual.digest and expected.digest != actual.digest:
            moves.append(Violation("bytes", actual.digest, expected.digest))
        else:
            tolerance = ROUNDING
    before, after = _magnitude(expected, "rms"), _magnitude(actual, "rms")
    if expected.sketch and actual.sketch:
        change = estimate(expected.sketch, before, actual.sketch, after)
        moves.append(Violation("relative_l2", change, tolerance.relative_l2))
    for name, allowed in _limits(expected, actual, tolerance, max(before, after)).items():
        if name in expected.stats and name in actual.stats:
            moved = _distance(expected.stats[name], actual.stats[name])
            moves.append(Violation(name, moved, allowed))
    if expected.nonfinite and actual.nonfinite:
        pairs = zip(expected.nonfinite, actual.nonfinite, strict=True)
        moves.append(Violation("nonfinite", sum(a != b for a, b in pairs), 0))
    moves.sort(key=lambda move: _RANKS.get(move.quantity, 1))
    return moves


# NaN and Inf say more than any number. A digest says that something changed, and no more.
_RANKS: Final = {"nan_count": 0, "inf_count": 0, "bytes": 2}


def _limits(expected: Line, actual: Line, tolerance: Tolerance, rms: float) -> dict[str, float]:
    """How far each statistic may move."""
    t = tolerance.relative_l2
    peak = max(_magnitude(line, end) for line in (expected, actual) for end in ("min", "max"))
    # A single element may move further than the whole, all the more an outlier.
    extreme = 10 * t * rms + t * peak
    # Four values that cross zero are no change, however small the map.
    handful = 4 / max(1, math.prod(actual.shape)) if tolerance.fraction else 0.0
    # The difference of two fractions is rounded; exactly four values are four values.
    fraction = max(tolerance.fraction, handful) * (1 + 1e-9)
    return {
        "mean": t * rms,
        "std": t * rms,
        "min": extreme,
        "max": extreme,
        "zero_fraction": fraction,
        "nan_count": 0,
        "inf_count": 0,
    }


def _skipped(expected: Line, actual: Line, tolerance: Tolerance) -> Iterator[str]:
    if tolerance.relative_l2 == 0 and not (expected.digest and actual.digest):
        # Of two maps without numbers there are no bytes to compare.
        yield from ["bytes"] if expected.stats or actual.stats else []
    if (expected.sketch is None) != (actual.sketch is None):
        yield "relative_l2"
    yield from (name for name in STATISTICS if (name in expected.stats) != (name in actual.stats))


def _holds(line: Line, quantity: str) -> bool:
    if quantity in STATISTICS:
        return quantity in line.stats
    return (line.digest if quantity == "bytes" else line.sketch) is not None


def _magnitude(line: Line, name: str) -> float:
    """The size of a statistic; 0 where there is nothing to measure."""
    value = line.stats.get(name, 0.0)
    return 0.0 if math.isnan(value) else abs(value)


def _distance(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return 0.0 if math.isnan(a) and math.isnan(b) else math.inf
    return abs(a - b)
