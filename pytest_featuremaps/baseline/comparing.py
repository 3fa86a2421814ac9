"""Align and compare a run with its baseline, and say what an update writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_featuremaps.baseline.alignment import align
from pytest_featuremaps.baseline.judging import Entry, judge
from pytest_featuremaps.baseline.renaming import Rename, renamed
from pytest_featuremaps.baseline.table_files import BadBaseline, dump, header, read_pieces, record
from pytest_featuremaps.baseline.tables import INPUTS, Line, Table, Value
from pytest_featuremaps.baseline.tolerances import Tolerance, asked_for, same_noise


@dataclass(frozen=True)
class Comparison:
    """The verdict on a table; true when every feature map is within tolerance.

    Attributes:
        entries: one per map, in order of completion, a removed one where it used to stand.
        environment_changes: name, value in the baseline and value here of what both know and
            is not the same.
        renamed: pairs of keys, in the baseline and here, that stand for the same layer.
        declared: those of them that were declared, which are no difference.
        moved: keys here of renamed maps that complete in another order than their partners.
        reordered: keys that complete in another order. Order alone is no difference:
            independent branches may run in any order.
        same_input: whether both sides know the model's inputs, and they are the same.
        against: what the run is compared with.
    """

    entries: tuple[Entry, ...]
    environment_changes: tuple[tuple[str, Value, Value], ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    declared: tuple[tuple[str, str], ...] = ()
    moved: tuple[str, ...] = ()
    reordered: tuple[str, ...] = ()
    same_input: bool = False
    against: str = "baseline"

    def __bool__(self) -> bool:
        return self.first is None

    @property
    def first(self) -> Entry | None:
        """The first feature map that is not as expected."""
        return next((entry for entry in self.entries if not entry.agrees), None)


def compare(
    expected: Table,
    actual: Table,
    tolerance: Tolerance | str | None = None,
    rename: Rename | None = None,
    *,
    across_dtypes: bool = False,
    against: str = "baseline",
) -> Comparison:
    """Compare a run with a baseline, map by map, each with the one that it stands for.

    Args:
        expected: the baseline.
        actual: this run.
        tolerance: a `Tolerance`, the name of a profile or a number in text; None chooses the
            profile of each map from its dtype and device.
        rename: how keys of the baseline are called here; see `renaming.renamed`.
        across_dtypes: whether floats of one dtype are compared with those of another.
        against: what the baseline is called.

    Raises:
        FeatureMapsError: no tolerance has this name.
        BaselineError: `rename` fits no keys of these.
    """
    asked = asked_for(tolerance)
    keys = [line.key for line in expected.lines]
    names = renamed(rename, keys, [line.key for line in actual.lines], of=f"the {against}")
    here = {new: old for old, new in names.items()}
    called = [replace(line, key=names.get(line.key, line.key)) for line in expected.lines]
    aligned = align(called if names else expected.lines, actual.lines)
    pairs = {new: here.get(old, old) for old, new in aligned.partners.items()}
    other_names = tuple((old, new) for new, old in pairs.items() if old != new)
    before = {line.key: line for line in expected.lines}
    judged = {
        line.key: judge(before[pairs[line.key]], line, asked, across_dtypes=across_dtypes)
        for line in actual.lines
        if line.key in pairs
    }
    return Comparison(
        entries=tuple(_entries(expected.lines, actual.lines, judged, names)),
        environment_changes=tuple(
            (name, value, actual.environment[name])
            for name, value in expected.environment.items()
            if name in actual.environment and actual.environment[name] != value
        ),
        renamed=other_names,
        declared=tuple((old, new) for old, new in other_names if names.get(old) == new),
        moved=tuple(new for _, new in other_names if new in aligned.moved),
        reordered=tuple(
            one.key
            for one in actual.lines
            if one.key in aligned.moved and pairs[one.key] == one.key
        ),
        against=against,
        same_input=None is not expected.environment.get(INPUTS) == actual.environment.get(INPUTS),
    )


def _entries(
    expected: Sequence[Line],
    actual: Sequence[Line],
    judged: Mapping[str, Entry],
    declared: Mapping[str, str],
) -> Iterator[Entry]:
    """Put the verdicts in order, with what was added and removed."""
    partners = {one.expected.key: key for key, one in judged.items() if one.expected}
    removed_after: dict[str | None, list[Line]] = defaultdict(list)
    anchor = None
    for line in expected:
        if line.key in partners:
            anchor = partners[line.key]
        else:
            removed_after[anchor].append(line)
    yield from (Entry(line.key, "removed", line, None) for line in removed_after[None])
    for line in actual:
        entry = judged.get(line.key) or Entry(line.key, "added", None, line)
        other_name = entry.partner and declared.get(entry.partner) != line.key
        yield replace(entry, kind="renamed") if other_name and entry.agrees else entry
        yield from (Entry(gone.key, "removed", gone, None) for gone in removed_after[line.key])


def merge(
    stored: bytes | None,
    actual: Table,
    tolerance: Tolerance | str | None = None,
    rename: Rename | None = None,
) -> bytes:
    """Return what an update writes over `stored`: only what is beyond tolerance changes.

    A stored line that is still within tolerance is kept byte for byte, unless it lacks numbers
    that this run has, or this run measured another noise for it; under another key it keeps its
    numbers. The header stands for the kept lines, and is kept as long as there are some and they
    belong to the same input. Bytes that cannot be read are replaced.

    Raises:
        FeatureMapsError: no tolerance has this name.
        BaselineError: `rename` fits no keys of these.
    """
    try:
        pieces, table = read_pieces(stored or b"")
    except BadBaseline:
        return dump(actual)
    comparison = compare(table, actual, tolerance, rename)
    # A checkout may have turned the line ends; one file has one kind of them.
    end = b"\r" if pieces[0].endswith(b"\r") else b""
    as_stored = {line.key: piece for piece, line in zip(pieces[1:], table.lines, strict=True)}
    kept = {
        entry.key: as_stored[entry.expected.key]
        if entry.partner is None
        else record(replace(entry.expected, key=entry.key)) + end
        for entry in comparison.entries
        if entry.expected is not None and _stands(entry)
    }
    if stored and comparison and not comparison.declared and len(kept) == len(table.lines):
        return stored
    same_input = all(name != INPUTS for name, _, _ in comparison.environment_changes)
    first = pieces[0] if kept and same_input else header(actual) + end
    lines = (kept.get(line.key) or record(line) + end for line in actual.lines)
    return b"".join(piece + b"\n" for piece in (first, *lines))


def _stands(entry: Entry) -> bool:
    """Whether an update leaves the stored numbers of this map as they are."""
    if entry.expected is None or entry.actual is None:
        return False
    if not (entry.agrees or entry.kind == "renamed") or entry.outgrows_baseline:
        return False
    noise = entry.actual.noise
    return noise is None or same_noise(entry.expected.noise, noise)
