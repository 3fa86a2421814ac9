"""Which layer of one run is which layer of another, where names were shifted, changed or moved."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pytest_featuremaps.baseline import likeness
from pytest_featuremaps.baseline.key_parts import (
    Names,
    around,
    difference,
    renamings,
    shift,
    skeleton,
    split,
)
from pytest_featuremaps.baseline.tables import Line

Pair: TypeAlias = tuple[int, int]
Token: TypeAlias = Callable[[Line], Hashable]
Test: TypeAlias = Callable[[Line, Line], bool]


@dataclass(frozen=True)
class Alignment:
    """The partners of two sequences of lines.

    Attributes:
        partners: the key on the other side of each key on the first side that has one.
        moved: those keys of the other side whose partners stood in another order.
    """

    partners: dict[str, str]
    moved: frozenset[str] = frozenset()


def align(expected: Sequence[Line], actual: Sequence[Line]) -> Alignment:
    """Pair the lines of two runs that stand for the same layer.

    Those of the same weights are paired first, wherever they stand, and the lines in their
    blocks with them. Then comes what has the same values, what is as many times on both sides,
    the same key or a name that is alike, each time only between the pairs that were found
    before; at last what is left and stands in another order. So a block that was put into the
    middle of a numbered container has no partner, and what follows it keeps its own.

    Source: the anchors are those of patience diff (B. Cohen): what is unique on both sides, and
    of that the longest chain in the same order (M. Fredman, 1975). Time n log n in lines.
    """
    if _is_unchanged(expected, actual):
        return Alignment({line.key: line.key for line in actual})
    return _Aligning(expected, actual).run()


def _is_unchanged(expected: Sequence[Line], actual: Sequence[Line]) -> bool:
    return len(expected) == len(actual) and all(
        a.key == b.key and (a.weights or None) == (b.weights or None)
        for a, b in zip(expected, actual, strict=True)
    )


class _Aligning:
    """One alignment: a chain of pairs in order, refined step by step."""

    def __init__(self, expected: Sequence[Line], actual: Sequence[Line]) -> None:
        self._expected, self._actual = expected, actual
        self._before = {line.key: place for place, line in enumerate(expected)}
        self._after = {line.key: place for place, line in enumerate(actual)}
        self._blocks = {around(line.key) for line in expected}
        self._chain: list[Pair] = []
        self._loose: list[Pair] = []
        self._proved: set[tuple[str, str, int]] = set()

    def run(self) -> Alignment:
        sure = self._same_weights()
        self._settle(sure)
        self._settle([*sure, *self._followers()])
        self._refine(likeness.same_values, self._may_be, unique=True)
        self._proved = {step for pair in self._pairs() if (step := self._step(pair))}
        self._refine(likeness.same_weights, self._has_new_name)
        # A number alone says little: what a layer came before has its number now.
        self._refine(likeness.same_skeleton_and_type, self._has_new_name)
        self._refine(likeness.same_key_and_type, _always)
        self._refine(likeness.same_key, _always)
        for alike in (
            likeness.same_skeleton,
            likeness.same_two_names,
            likeness.same_name,
        ):
            self._refine(alike, self._has_new_name)
        self._refine(likeness.same_form, self._is_renamed)
        self._drop_unproved()
        self._pair_in_any_order()
        pairs = sorted(self._pairs())
        keys = {self._expected[i].key: self._actual[j].key for i, j in pairs}
        return Alignment(keys, frozenset(self._actual[j].key for _, j in self._moved(pairs)))

    def _same_weights(self) -> list[Pair]:
        """The pairs of weights that there are once on each side."""
        everything = range(len(self._expected)), range(len(self._actual))
        found = self._matches(*everything, likeness.same_weights, unique=True)
        return [pair for pair in found if self._passes(pair, self._may_be)]

    def _settle(self, pairs: Sequence[Pair]) -> None:
        """Take pairs for granted, those as well that stand in another order."""
        self._chain = _longest_chain(pairs)
        self._loose = sorted(set(pairs).difference(self._chain))

    def _pairs(self) -> list[Pair]:
        return [*self._chain, *self._loose]

    def _moved(self, pairs: Sequence[Pair]) -> set[Pair]:
        """The pairs that stand in another order than the others; sooner those of other names."""
        self._chain = _longest_chain(pair for pair in pairs if not self._names(pair))
        column_of = dict(pairs)
        self._between(
            lambda rows, columns: (
                (row, column_of[row]) for row in rows if column_of.get(row, -1) in columns
            )
        )
        return set(pairs).difference(self._chain)

    def _refine(self, token: Token, test: Test, *, unique: bool = False) -> None:
        """Add to the chain, between its pairs, what has the same token."""
        self._between(
            lambda rows, columns: (
                pair
                for pair in self._matches(rows, columns, token, unique=unique)
                if self._passes(pair, test)
            )
        )

    def _between(self, find: Callable[[range, range], Iterable[Pair]]) -> None:
        """Add to the chain what is found in each gap of it, as far as it comes in order."""
        refined: list[Pair] = []
        row, column = 0, 0
        for stop in [*self._chain, (len(self._expected), len(self._actual))]:
            if row < stop[0] and column < stop[1]:
                refined += _longest_chain(find(range(row, stop[0]), range(column, stop[1])))
            refined.append(stop)
            row, column = stop[0] + 1, stop[1] + 1
        self._chain = refined[:-1]

    def _matches(
        self, rows: Iterable[int], columns: Iterable[int], token: Token, *, unique: bool
    ) -> Iterator[Pair]:
        """The pairs of one token; of several lines each, in order, where they are as many."""
        taken, occupied = {i for i, _ in self._loose}, {j for _, j in self._loose}
        before = _by_token(self._expected, (i for i in rows if i not in taken), token)
        after = _by_token(self._actual, (j for j in columns if j not in occupied), token)
        for shared, places in before.items():
            others = after.get(shared, ())
            if len(places) == len(others) and not (unique and len(places) > 1):
                yield from zip(places, others, strict=True)

    def _lines(self, pair: Pair) -> tuple[Line, Line]:
        return self._expected[pair[0]], self._actual[pair[1]]

    def _passes(self, pair: Pair, test: Test) -> bool:
        return test(*self._lines(pair))

    def _may_be(self, expected: Line, actual: Line) -> bool:
        """Whether contents may overrule names: not where both names stand on both sides.

        Numbers of a container shift when a block comes or goes, so they do not count.
        """
        gone, new = expected.key not in self._after, actual.key not in self._before
        return gone or new or skeleton(expected.key) == skeleton(actual.key)

    def _has_new_name(self, expected: Line, actual: Line) -> bool:
        gone, new = expected.key not in self._after, actual.key not in self._before
        return (gone and new) or skeleton(expected.key) == skeleton(actual.key)

    def _is_renamed(self, expected: Line, actual: Line) -> bool:
        return self._has_new_name(expected, actual) and likeness.hold_the_same(expected, actual)

    def _drop_unproved(self) -> None:
        """Undo pairs of other names for which nothing speaks but their place.

        Blocks are renumbered together, so one layer that surely is the same proves the others.
        A renaming may come with new weights; then several layers must bear the same one. A member
        of a container is known by its kind and by what is around it.
        """
        steps = [(pair, self._step(pair)) for pair in self._chain]
        taken = Counter(step for _, step in steps)
        self._chain = [
            pair
            for pair, step in steps
            if step is None
            or step in self._proved
            or self._is_member(pair)
            or (step[-1] == 0 and (taken[step] > 1 or not self._passes(pair, likeness.contradict)))
        ]

    def _is_member(self, pair: Pair) -> bool:
        """Whether both are members of one container, with no weights that contradict."""
        before, after = (split(line.key)[0] for line in self._lines(pair))
        numbers = [path[-1].isdecimal() for path in (before, after) if path]
        siblings = numbers == [True, True] and before[:-1] == after[:-1]
        return siblings and not self._passes(pair, likeness.contradict)

    def _step(self, pair: Pair) -> tuple[str, str, int] | None:
        names = self._names(pair)
        return None if names is None else shift(names)

    def _names(self, pair: Pair) -> tuple[str, str] | None:
        return difference(self._expected[pair[0]].key, self._actual[pair[1]].key)

    def _pair_in_any_order(self) -> None:
        """Pair what is left and stands in another order.

        As its block does, by key, by its kind among the members of a container, or by values.
        """
        self._loose += self._followers()
        rows, columns = self._left()
        free = set(columns)
        for row in rows:
            key = self._expected[row].key
            # In a container, what has the number of a block that went may well be another one.
            if skeleton(key) == key and self._after.get(key, -1) in free:
                self._loose.append((row, self._after[key]))
        self._pair_members(likeness.same_key_and_type)
        self._pair_members(likeness.same_container_and_type)
        alike = list(self._matches(*self._left(), likeness.same_form, unique=False))
        self._loose += [pair for pair in alike if self._passes(pair, self._is_renamed)]

    def _pair_members(self, token: Token) -> None:
        alike = list(self._matches(*self._left(), token, unique=False))
        self._loose += [pair for pair in alike if self._is_member(pair)]

    def _followers(self) -> list[Pair]:
        """What is left in blocks of which other lines are paired, paired as those are."""
        taken: dict[str, list[str]] = defaultdict(list)
        for old, new in dict.fromkeys(filter(None, map(self._block, self._pairs()))):
            taken[old].append(new)
        rows, columns = self._left()
        # The narrowest block knows best where its lines went.
        places = sorted(
            (-depth, row, self._after.get(key, -1))
            for row in rows
            for depth, key in renamings(self._expected[row].key, taken)
        )
        found: dict[int, int] = {}
        free = set(columns)
        for _, row, place in places:
            if row not in found and place in free:
                found[row] = place
                free.remove(place)
        return list(found.items())

    def _block(self, pair: Pair) -> Names | None:
        """The two names of the block that a pair is in; None where that is the whole model."""
        names = self._names(pair)
        if names is not None:
            return names
        key = self._expected[pair[0]].key
        own = ".".join(split(key)[0])
        path = own if own in self._blocks else around(key)
        return (path, path) if path else None

    def _left(self) -> tuple[list[int], list[int]]:
        pairs = self._pairs()
        rows, columns = {i for i, _ in pairs}, {j for _, j in pairs}
        return (
            [i for i in range(len(self._expected)) if i not in rows],
            [j for j in range(len(self._actual)) if j not in columns],
        )


def _by_token(
    lines: Sequence[Line], places: Iterable[int], token: Token
) -> dict[Hashable, list[int]]:
    found: dict[Hashable, list[int]] = defaultdict(list)
    for place in places:
        shared = token(lines[place])
        if shared is not None:
            found[shared].append(place)
    return found


def _longest_chain(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the longest run of pairs that rises on both sides; no place occurs twice."""
    tails: list[Pair] = []  # the lowest end of a chain of each length
    before: dict[Pair, Pair | None] = {}
    columns: list[int] = []
    for pair in sorted(pairs):
        length = bisect_left(columns, pair[1])
        before[pair] = tails[length - 1] if length else None
        tails[length : length + 1] = [pair]
        columns[length : length + 1] = [pair[1]]
    chain: list[Pair] = []
    last = tails[-1] if tails else None
    while last is not None:
        chain.append(last)
        last = before[last]
    return chain[::-1]


def _always(expected: Line, actual: Line) -> bool:
    del expected, actual
    return True
