"""What was added, removed, renamed or moved, in blocks rather than map by map."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_featuremaps.baseline.comparing import Comparison
from pytest_featuremaps.baseline.judging import Entry
from pytest_featuremaps.baseline.key_parts import difference, shift, split
from pytest_featuremaps.story.phrases import WIDTH, listing
from pytest_featuremaps.wording import plain


@dataclass(frozen=True)
class Block:
    """Maps that share a fate.

    Attributes:
        name: the key of the one map, or the path that is around all of them.
        keys: the keys of the maps, in order.
    """

    name: str
    keys: tuple[str, ...]


def added(comparison: Comparison) -> list[Block]:
    """Return the maps that the baseline does not hold, by the blocks that they make up."""
    here = [entry.key for entry in comparison.entries if entry.actual]
    return _blocks([one.key for one in comparison.entries if one.kind == "added"], here)


def removed(comparison: Comparison) -> list[Block]:
    """Return the maps that only the baseline holds, by the blocks that they made up."""
    there = [entry.expected.key for entry in comparison.entries if entry.expected]
    return _blocks([one.key for one in comparison.entries if one.kind == "removed"], there)


def _blocks(chosen: Sequence[str], everything: Sequence[str]) -> list[Block]:
    """Group keys by the outermost path below which there is nothing else."""
    all_below = Counter(path for key in everything for path in _around(key))
    chosen_below = Counter(path for key in chosen for path in _around(key))
    blocks: dict[str, list[str]] = defaultdict(list)
    for key in chosen:
        whole = (path for path in _around(key) if chosen_below[path] == all_below[path])
        blocks[next(whole, key)].append(key)
    return [Block(name if len(keys) > 1 else keys[0], tuple(keys)) for name, keys in blocks.items()]


def _around(key: str) -> Iterator[str]:
    """Yield the paths that a layer is below, and its own, from the outermost."""
    path, _ = split(key)
    yield from (".".join(path[:end]) for end in range(1, len(path) + 1))


def renamed(comparison: Comparison) -> list[Block]:
    """Return what was renamed, such as `backbone → encoder`, with the keys of this run."""
    return _renamings(pair for pair in _undeclared(comparison) if not _is_renumbered(*pair))


def renumbered(comparison: Comparison) -> list[Block]:
    """Return what has another number in its container, such as `2 … 4 → 3 … 5`."""
    return _renamings(pair for pair in _undeclared(comparison) if _is_renumbered(*pair))


def moved(comparison: Comparison) -> list[Block]:
    """Return what runs at another place, under another name."""
    there = set(comparison.moved)
    return _renamings(pair for pair in comparison.renamed if pair[1] in there)


def declared(comparison: Comparison) -> list[Block]:
    """Return what the user declared to be renamed, which is no difference."""
    return _renamings(comparison.declared)


def _undeclared(comparison: Comparison) -> Iterator[tuple[str, str]]:
    known = {*comparison.declared}
    moved = set(comparison.moved)
    yield from (pair for pair in comparison.renamed if pair not in known and pair[1] not in moved)


def block_of(comparison: Comparison, entry: Entry) -> Block | None:
    """Return the maps that were added, removed or renamed with this one; None if none were."""
    block = by_place(comparison).get(place(entry))
    return block if block and len(block.keys) > 1 else None


def by_place(comparison: Comparison) -> dict[tuple[bool, str], Block]:
    """Return the block of each map in one, by its `place`."""
    return {
        (word == "removed", key): block
        for word, blocks in changes(comparison)
        for block in blocks
        for key in block.keys
    }


def place(entry: Entry) -> tuple[bool, str]:
    """Return whether a map was removed, and its key, which another one may have now."""
    return entry.kind == "removed", entry.key


def changed_weights(comparison: Comparison) -> list[str]:
    """Return the keys of the maps whose layers have other weights of their own.

    Those of a block are also those of the layers below it, which tell it better.
    """
    changed = [one for one in comparison.entries if one.has_other_weights]
    told = {
        path
        for entry in comparison.entries
        if entry.has_other_weights or entry.partner or entry.kind in {"added", "removed"}
        for path in ["", *list(_around(entry.key))[:-1]]
    }
    return [one.key for one in changed if ".".join(split(one.key)[0]) not in told]


def _is_renumbered(old: str, new: str) -> bool:
    names = difference(old, new)
    return names is not None and shift(names)[2] != 0


def _renamings(pairs: Iterable[tuple[str, str]]) -> list[Block]:
    """Group pairs of keys by what tells them apart; numbers that shift alike go together."""
    groups: dict[object, dict[tuple[str, str], list[str]]] = {}
    for old, new in pairs:
        names = difference(old, new) or (old, new)
        groups.setdefault(shift(names), {}).setdefault(names, []).append(new)
    return [
        Block(_arrow(list(names)), tuple(key for keys in names.values() for key in keys))
        for names in groups.values()
    ]


def _arrow(names: Sequence[tuple[str, str]]) -> str:
    ends = sorted({names[0], names[-1]}, key=names.index)
    old, new = (" … ".join(one[side] or "(the model)" for one in ends) for side in (0, 1))
    return f"{old} → {new}"


# --- in words -----------------------------------------------------------------------------------


def changes(comparison: Comparison) -> Iterator[tuple[str, list[Block]]]:
    """Yield what was added, removed, renamed or moved, each kind under its word."""
    yield "added", added(comparison)
    yield "removed", removed(comparison)
    yield "renamed", renamed(comparison)
    yield "renumbered", renumbered(comparison)
    yield "moved", moved(comparison)


def _structural(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """Yield the names of what differs in structure, each kind under its word."""
    for word, blocks in changes(comparison):
        yield word, [_name(block) for block in blocks]
    yield "renamed as declared", [_name(block) for block in declared(comparison)]
    for kind in ("reshaped", "retyped"):
        yield kind, [plain(entry.key) for entry in comparison.entries if entry.kind == kind]
    replaced = [entry for entry in comparison.entries if entry.has_other_type]
    yield "another module", [_replacement(entry) for entry in replaced]
    later = f"in another order than in the {comparison.against}"
    yield later, [plain(key) for key in comparison.reordered]


def _name(block: Block) -> str:
    maps = f" ({len(block.keys)} maps)" if len(block.keys) > 1 else ""
    return plain(block.name) + maps


def _replacement(entry: Entry) -> str:
    before, after = entry.expected, entry.actual
    types = [plain(line.module_type) for line in (before, after) if line]
    return f"{plain(entry.key)} ({' → '.join(types)})"


def in_short(comparison: Comparison) -> Iterator[str]:
    """Yield one line on what differs in structure, if anything does."""
    found = [(word, names) for word, names in _structural(comparison) if names]
    if not found:
        return
    fully = ", ".join(
        f"{word} {names[0]}" if len(names) == 1 else f"{len(names)} {word}" for word, names in found
    )
    shortly = ", ".join(f"{len(names)} {word}" for word, names in found)
    yield f"structure: {fully if len(fully) <= WIDTH - 11 else shortly}"


def in_full(comparison: Comparison) -> Iterator[str]:
    """Yield the names of all that differs in structure, if anything does."""
    told = [f"  {word}: {listing(names)}" for word, names in _structural(comparison) if names]
    if told:
        yield from ("structure:", *told)
