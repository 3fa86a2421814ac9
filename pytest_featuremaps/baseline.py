"""Align and compare a run with its baseline, and say what an update writes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pytest_featuremaps.tables import (
    INPUTS,
    STATISTICS,
    BadBaseline,
    Line,
    Table,
    Value,
    dump,
    header,
    read_pieces,
    record,
)
from pytest_featuremaps.tolerances import (
    ROUNDING,
    Tolerance,
    asked_for,
    estimate,
    resolve,
    same_noise,
)

Kind: TypeAlias = Literal["equal", "within", "changed", "added", "removed", "reshaped", "retyped"]


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
        key: its key.
        kind: what became of it.
        expected: its line in the baseline; None if it was added.
        actual: its line in this run; None if it was removed.
        violations: what is beyond tolerance, the most telling first.
        tolerance: the name of the tolerance it was held to; empty if none applies.
        levels: what a pixel of its picture may move under that tolerance.
        skipped: quantities that only one side holds, which are not compared.
    """

    key: str
    kind: Kind
    expected: Line | None
    actual: Line | None
    violations: tuple[Violation, ...] = ()
    tolerance: str = ""
    levels: int = 0
    skipped: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether the map is there on both sides and within tolerance."""
        return self.kind in {"equal", "within"}


@dataclass(frozen=True)
class Comparison:
    """The verdict on a table; true when every feature map is within tolerance.

    Attributes:
        entries: one per map, in order of completion, a removed one where it used to stand.
        environment_changes: name, value in the baseline and value here of what both know and
            is not the same.
        renamed: pairs of a removed and an added key that hold the same map.
        reordered: keys that complete after a map which they used to precede. Order alone is
            no difference: independent branches may run in any order.
    """

    entries: tuple[Entry, ...]
    environment_changes: tuple[tuple[str, Value, Value], ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    reordered: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.first is None

    @property
    def first(self) -> Entry | None:
        """The first feature map that is not as expected."""
        return next((entry for entry in self.entries if not entry.agrees), None)


def compare(expected: Table, actual: Table, tolerance: Tolerance | str | None = None) -> Comparison:
    """Compare a run with a baseline, map by map, aligned by key.

    Args:
        expected: the baseline.
        actual: this run.
        tolerance: a `Tolerance`, the name of a profile or a number in text; None chooses the
            profile of each map from its dtype and device.

    Raises:
        FeatureMapsError: no tolerance has this name.
    """
    asked = asked_for(tolerance)
    before = {line.key: line for line in expected.lines}
    after = {line.key: line for line in actual.lines}
    gone = [line for line in expected.lines if line.key not in after]
    new = [line for line in actual.lines if line.key not in before]
    return Comparison(
        entries=tuple(_entries(expected.lines, actual.lines, asked)),
        environment_changes=tuple(
            (name, value, actual.environment[name])
            for name, value in expected.environment.items()
            if name in actual.environment and actual.environment[name] != value
        ),
        renamed=tuple(_renamed(gone, new, asked)),
        reordered=tuple(_reordered(before, after)),
    )


def narrowest(entry: Entry) -> str | None:
    """Return the narrowest profile under which this map would pass; None if there is none."""
    if entry.expected is None or entry.actual is None:
        return None
    expected, actual = entry.expected, entry.actual
    names = ["exact", "cpu", "gpu", "half", "bfloat16"]
    names.sort(key=lambda name: resolve(name, expected, actual)[1].relative_l2)
    return next((name for name in names if _judge(expected, actual, name).agrees), None)


def _entries(
    expected: Sequence[Line], actual: Sequence[Line], asked: Tolerance | str | None
) -> Iterator[Entry]:
    before = {line.key: line for line in expected}
    after = {line.key for line in actual}
    removed_after: dict[str | None, list[Line]] = defaultdict(list)
    anchor = None
    for line in expected:
        if line.key in after:
            anchor = line.key
        else:
            removed_after[anchor].append(line)
    yield from (Entry(line.key, "removed", line, None) for line in removed_after[None])
    for line in actual:
        if line.key in before:
            yield _judge(before[line.key], line, asked)
        else:
            yield Entry(line.key, "added", None, line)
        yield from (Entry(gone.key, "removed", gone, None) for gone in removed_after[line.key])


def _judge(expected: Line, actual: Line, asked: Tolerance | str | None) -> Entry:
    structure = tuple(_structure(expected, actual))
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
    return Entry(actual.key, kind, expected, actual, violations, name, tolerance.levels, skipped)


def _structure(expected: Line, actual: Line) -> Iterator[Violation]:
    if expected.shape != actual.shape:
        yield Violation("shape", shape_text(actual.shape), shape_text(expected.shape))
    if expected.dtype != actual.dtype:
        yield Violation("dtype", actual.dtype, expected.dtype)


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
    if tolerance.relative_l2 == 0 and expected.digest and actual.digest:
        if expected.digest == actual.digest:
            tolerance = ROUNDING
        else:
            moves.append(Violation("bytes", actual.digest, expected.digest))
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
    return moves


def _limits(expected: Line, actual: Line, tolerance: Tolerance, rms: float) -> dict[str, float]:
    """How far each statistic may move."""
    t = tolerance.relative_l2
    peak = max(_magnitude(line, end) for line in (expected, actual) for end in ("min", "max"))
    # A single element may move further than the whole, all the more an outlier.
    extreme = 10 * t * rms + t * peak
    # Four values that cross zero are no change, however small the map.
    handful = 4 / max(1, math.prod(actual.shape)) if t else 0.0
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
        yield "bytes"
    if (expected.sketch is None) != (actual.sketch is None):
        yield "relative_l2"
    yield from (name for name in STATISTICS if (name in expected.stats) != (name in actual.stats))


def _magnitude(line: Line, name: str) -> float:
    """The size of a statistic; 0 where there is nothing to measure."""
    value = line.stats.get(name, 0.0)
    return 0.0 if math.isnan(value) else abs(value)


def _distance(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return 0.0 if math.isnan(a) and math.isnan(b) else math.inf
    return abs(a - b)


def _renamed(
    gone: Iterable[Line], new: Iterable[Line], asked: Tolerance | str | None
) -> Iterator[tuple[str, str]]:
    candidates: dict[tuple[object, ...], list[Line]] = defaultdict(list)
    for line in new:
        candidates[line.module_type, line.shape, line.dtype].append(line)
    for line in gone:
        rivals = candidates[line.module_type, line.shape, line.dtype]
        # Renaming keeps the order, so the first few will do, and a thousand stay fast. Without
        # a sketch or a digest the maps of one shape are all alike.
        for rival in rivals[:8] if line.sketch or line.digest else ():
            if _judge(line, rival, asked).agrees:
                rivals.remove(rival)
                yield line.key, rival.key
                break


def _reordered(before: Iterable[str], after: Iterable[str]) -> Iterator[str]:
    places = {key: place for place, key in enumerate(before)}
    furthest = -1
    for key in after:
        place = places.get(key, furthest)
        if place < furthest:
            yield key
        furthest = max(furthest, place)


def merge(stored: bytes | None, actual: Table, tolerance: Tolerance | str | None = None) -> bytes:
    """Return what an update writes over `stored`: only what is beyond tolerance changes.

    A stored line that is still within tolerance is kept byte for byte, unless this run measured
    another noise for it. The header stands for the kept lines, and is kept as long as there are
    some and they belong to the same input. Bytes that cannot be read are replaced.

    Raises:
        FeatureMapsError: no tolerance has this name.
    """
    try:
        pieces, table = read_pieces(stored or b"")
    except BadBaseline:
        return dump(actual)
    comparison = compare(table, actual, tolerance)
    standing = {entry.key for entry in comparison.entries if _stands(entry)}
    kept = {
        line.key: piece
        for piece, line in zip(pieces[1:], table.lines, strict=True)
        if line.key in standing
    }
    if stored and comparison and len(kept) == len(table.lines):
        return stored
    same_input = all(name != INPUTS for name, _, _ in comparison.environment_changes)
    # A checkout may have turned the line ends; one file has one kind of them.
    end = b"\r" if pieces[0].endswith(b"\r") else b""
    first = pieces[0] if kept and same_input else header(actual) + end
    lines = (kept.get(line.key) or record(line) + end for line in actual.lines)
    return b"".join(piece + b"\n" for piece in (first, *lines))


def _stands(entry: Entry) -> bool:
    """Whether an update leaves the stored line of this map as it is."""
    if entry.expected is None or entry.actual is None or not entry.agrees:
        return False
    noise = entry.actual.noise
    return noise is None or same_noise(entry.expected.noise, noise)
