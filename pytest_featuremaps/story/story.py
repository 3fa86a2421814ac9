"""The story of a comparison: the first layer that diverged, why, and what followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

from pytest_featuremaps.baseline.comparing import Comparison
from pytest_featuremaps.baseline.judging import Entry, narrowest
from pytest_featuremaps.baseline.key_parts import any_call
from pytest_featuremaps.baseline.tolerances import PROFILES
from pytest_featuremaps.story import causes, structure
from pytest_featuremaps.story.phrases import (
    KEY_WIDTH,
    WIDTH,
    called,
    clip,
    describe,
    listing,
    name,
    quantity,
    say,
    say_fully,
    say_most,
)
from pytest_featuremaps.wording import as_layer, counted, plain

_FOLLOWING: Final = 20  # entries told one by one after the first


def headline(comparison: Comparison, title: str, *, accept: str = "") -> list[str]:
    """Return the story in at most six short lines, the first divergent layer first.

    Args:
        comparison: what was found.
        title: what was compared.
        accept: the command that accepts the changes; empty where there is none.
    """
    first = comparison.first
    if first is None:
        return [clip(_agreement(comparison, title))]
    lines = [
        _opening(comparison, first, KEY_WIDTH),
        *_reason(comparison, first, KEY_WIDTH),
        *_following_in_short(comparison),
        *structure.in_short(comparison),
        *causes.environments(comparison),
    ]
    return [*(clip(line) for line in lines), _closing(title, accept)]


def _closing(title: str, accept: str) -> str:
    where = f"{plain(title, KEY_WIDTH)}: the whole story is in the report section"
    if not accept:
        return where
    both = f"{where}; accept with: {accept}"
    # A command is never cut.
    return both if len(both) <= WIDTH else f"accept with: {accept}"


def tell(comparison: Comparison, title: str, *, accept: str = "", held_to: str = "") -> list[str]:
    """Return the whole story, in the order in which the layers completed.

    Args:
        comparison: what was found.
        title: what was compared.
        accept: the command that accepts the changes; empty where there is none.
        held_to: the tolerance that was asked for, and by what; empty where none was.
    """
    first = comparison.first
    if first is None:
        return [
            _agreement(comparison, title),
            *structure.in_full(comparison),
            *_skipped(comparison),
        ]
    differences = [entry for entry in comparison.entries if not entry.agrees]
    return [
        _disagreement(comparison, title, len(differences)),
        _opening(comparison, first),
        *(f"  {line}" for line in _details(comparison, first)),
        *_following(comparison, first),
        *_other_weights(comparison, first),
        *structure.in_full(comparison),
        *_skipped(comparison),
        *([f"tolerance asked for: {held_to}"] if held_to else []),
        _profile(differences),
        *(list(causes.environments(comparison)) or _no_environment(comparison)),
        *([f"accept with: {accept}"] if accept else []),
    ]


def why(comparison: Comparison) -> str:
    """Return the reason for the first difference; empty where it is not known."""
    first = comparison.first
    return next(_reason(comparison, first), "").removeprefix("why: ") if first else ""


def _agreement(comparison: Comparison, title: str) -> str:
    verb = "agrees" if len(comparison.entries) == 1 else "agree"
    return f"{plain(title)}: {_maps(comparison)} {verb} with the {comparison.against}"


def _disagreement(comparison: Comparison, title: str, differing: int) -> str:
    verb = "differs" if differing == 1 else "differ"
    of_all = f"{differing} of {_maps(comparison)}"
    return f"{plain(title)}: {of_all} {verb} from the {comparison.against}"


# --- the first one ------------------------------------------------------------------------------


def _opening(comparison: Comparison, first: Entry, width: int | None = None) -> str:
    if first.violations:
        told = say_most(comparison, first)
        return f"{name(comparison, first, width)} {_changed(comparison)}: {told}"
    key, block = as_layer(first.key, width), structure.block_of(comparison, first)
    if calls := _calls(comparison, first, width):
        return calls
    if first.partner:
        same = "the same map" if first.actual and first.actual.stats else "of the same shape"
        others = f"{plain(block.name, width)}, {len(block.keys)} maps" if block else same
        return f"{key} {called(first, width)}: {others}"
    state, rest = (
        ("new", f"the {comparison.against} does not hold")
        if first.kind == "added"
        else ("gone", f"the {comparison.against} holds it, this run does not")
    )
    if block is None:
        return f"{key} is {state}: {rest}{' it' if state == 'new' else ''}"
    return f"{key} is {state}, as is all of {plain(block.name, width)}: {len(block.keys)} maps"


def _calls(comparison: Comparison, entry: Entry, width: int | None) -> str:
    """How often its layer runs on each side, where that is what changed."""
    one = any_call(entry.key)
    if any_call(entry.partner or entry.key) != one:
        return ""
    here = [other.actual for other in comparison.entries]
    there = [other.expected for other in comparison.entries]
    now, before = (
        sum(bool(line and any_call(line.key) == one) for line in side) for side in (here, there)
    )
    if now == before or not (now and before):
        return ""
    return f"{plain(one, width)} runs {counted(now, 'time')}, {before} in the {comparison.against}"


def _changed(comparison: Comparison) -> str:
    return "changed first" if len(comparison.entries) > 1 else "changed"


def _reason(comparison: Comparison, first: Entry, width: int | None = None) -> Iterator[str]:
    """Why the first changed or, if it only came or went, which was the first to change."""
    if first.violations and first.expected and first.actual:
        yield f"why: {causes.likeliest(comparison, first, first.expected, first.actual)}"
        return
    changed = next((entry for entry in comparison.entries if entry.violations), None)
    if changed is None:
        return
    key, said = name(comparison, changed, width), say_most(comparison, changed)
    if changed.key in structure.changed_weights(comparison):
        yield f"{key} changed first: {said} (its weights changed)"
    elif first.kind in {"added", "removed"}:
        yield f"{key} follows it: {said}"
    else:
        yield f"{key} changed first: {said}"


def _details(comparison: Comparison, first: Entry) -> Iterator[str]:
    line = first.actual or first.expected
    if line is not None:
        yield f"it is a {describe(line)}"
    if first.violations:
        held_to = f" (tolerance {first.tolerance})" if first.tolerance else ""
        yield f"beyond what is allowed{held_to}:"
        yield from (f"  {say_fully(comparison, first, one)}" for one in first.violations)
    yield from _reason(comparison, first)


# --- the next ones ------------------------------------------------------------------------------


def _following_in_short(comparison: Comparison) -> Iterator[str]:
    if len(comparison.entries) == 1:
        return
    differing = [entry for entry in comparison.entries if not entry.agrees]
    agreeing = len(comparison.entries) - len(differing)
    others = f"{len(differing) - 1} more after it" if differing[1:] else "nothing after it"
    later = {entry.key for entry in differing[1:]}.intersection(
        structure.changed_weights(comparison)
    )
    if later:
        others += f", {len(later)} with other weights"
    yield f"{others}; within tolerance: {agreeing} of {_maps(comparison)}"


def _following(comparison: Comparison, first: Entry) -> Iterator[str]:
    """What comes after the first; a block that came, went or was renamed takes one line."""
    names = structure.by_place(comparison)
    told = {id(names.get(structure.place(first)))} if not first.violations else set()
    others = set(structure.changed_weights(comparison))
    lines = []
    for entry in comparison.entries:
        block = None if entry.violations else names.get(structure.place(entry))
        if entry.agrees or entry is first or (block and id(block) in told):
            continue
        if block and len(block.keys) > 1:
            lines.append(f"{plain(block.name)}: {entry.kind}, {counted(len(block.keys), 'map')}")
        else:
            lines.append(_follow(comparison, entry, other_weights=entry.key in others))
        told.add(id(block))
    if lines:
        yield "then, in order:"
        yield from (f"  {line}" for line in lines[:_FOLLOWING])
    if len(lines) > _FOLLOWING:
        yield f"  … and {len(lines) - _FOLLOWING} more"


def _follow(comparison: Comparison, entry: Entry, *, other_weights: bool) -> str:
    key = name(comparison, entry) if entry.violations else as_layer(entry.key)
    return f"{key}: {say(comparison, entry, other_weights=other_weights)}"


def _other_weights(comparison: Comparison, first: Entry) -> Iterator[str]:
    """Which layers changed by themselves, however long the list of those that follow."""
    of_themselves = set(structure.changed_weights(comparison)) - {first.key}
    keys = [
        plain(one.key) for one in comparison.entries if one.violations and one.key in of_themselves
    ]
    if keys:
        yield f"weights changed as well: {listing(keys)}"


# --- the whole ----------------------------------------------------------------------------------


def _skipped(comparison: Comparison) -> Iterator[str]:
    skipped = Counter(name for entry in comparison.entries for name in entry.skipped)
    for one, maps in skipped.items():
        held = f"{quantity(one)} of {counted(maps, 'map')}"
        yield f"not compared, for only one side holds it: {held}"


def _profile(divergent: Iterable[Entry]) -> str:
    widest = "exact"
    for entry in divergent:
        profile = narrowest(entry)
        if profile is None:
            return "no tolerance profile would pass"
        widest = max(widest, profile, key=lambda one: PROFILES[one].relative_l2)
    return f"narrowest tolerance profile that would pass: {widest}"


def _no_environment(comparison: Comparison) -> Iterator[str]:
    # Two live models share one.
    if comparison.against == "baseline":
        yield "environment: no difference from the baseline's"


def _maps(comparison: Comparison) -> str:
    return counted(len(comparison.entries), "map")
