"""Tell what a comparison found: the first layer that diverged, why, and what followed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pytest_featuremaps.baseline import Comparison, Entry, Violation, narrowest, shape_text
from pytest_featuremaps.tables import INPUTS, Line, Value
from pytest_featuremaps.tolerances import PROFILES

ACCEPT: Final = "pytest --snapshot-update"

_WIDTH: Final = 100
_KEY_WIDTH: Final = 36  # of a key in a line of limited width
_FOLLOWING: Final = 20  # entries told one by one after the first
_NAMES: Final = 8  # keys listed for one kind of structural change
_QUANTITIES: Final[Mapping[str, str]] = {
    "relative_l2": "relative L2 change",
    "zero_fraction": "zero fraction",
    "nan_count": "NaN count",
    "inf_count": "Inf count",
    "nonfinite": "places of NaN and Inf",
}
_STRUCTURE: Final = ("added", "removed", "reshaped", "retyped")


def headline(comparison: Comparison, title: str, *, accept: str = ACCEPT) -> list[str]:
    """Return the story in at most six short lines, the first divergent layer first.

    Args:
        comparison: what was found.
        title: what was compared.
        accept: the command that accepts the changes; empty where there is none.
    """
    first = comparison.first
    if first is None:
        return [_clip(_agreement(comparison, title))]
    lines = [
        _opening(comparison, first, _KEY_WIDTH),
        *_reason(comparison, first, _KEY_WIDTH),
        *_following_in_short(comparison),
        *_structure_in_short(comparison),
        *_environments(comparison),
    ]
    return [*(_clip(line) for line in lines), _closing(title, accept)]


def _closing(title: str, accept: str) -> str:
    where = f"{_safe(title, _KEY_WIDTH)}: the whole story is in the report section"
    if not accept:
        return where
    both = f"{where}; accept with: {accept}"
    # A command is never cut.
    return both if len(both) <= _WIDTH else f"accept with: {accept}"


def tell(comparison: Comparison, title: str, *, accept: str = ACCEPT) -> list[str]:
    """Return the whole story, in the order in which the layers completed.

    Args:
        comparison: what was found.
        title: what was compared.
        accept: the command that accepts the changes; empty where there is none.
    """
    first = comparison.first
    if first is None:
        return [_agreement(comparison, title), *_structure(comparison), *_skipped(comparison)]
    differences = list(_differences(comparison))
    return [
        _disagreement(comparison, title),
        _opening(comparison, first),
        *(f"  {line}" for line in _details(comparison, first)),
        *_following(comparison, differences[1:]),
        *_structure(comparison),
        *_skipped(comparison),
        _profile(differences),
        *(list(_environments(comparison)) or ["environment: no difference from the baseline's"]),
        *([f"accept with: {accept}"] if accept else []),
    ]


def _agreement(comparison: Comparison, title: str) -> str:
    verb = "agrees" if len(comparison.entries) == 1 else "agree"
    return f"{_safe(title)}: {_maps(comparison)} {verb} with the baseline"


def _disagreement(comparison: Comparison, title: str) -> str:
    differing = sum(1 for _ in _differences(comparison))
    verb = "differs" if differing == 1 else "differ"
    return f"{_safe(title)}: {differing} of {_maps(comparison)} {verb} from the baseline"


# --- the first one ------------------------------------------------------------------------------


def _opening(comparison: Comparison, first: Entry, width: int | None = None) -> str:
    key = _safe(first.key, width)
    names = _renaming(comparison, first, width)
    if names:
        return f"{key} {names}"
    if first.kind == "added":
        return f"{key} is new: the baseline does not hold it"
    if first.kind == "removed":
        return f"{key} is gone: the baseline holds it, this run does not"
    return f"{key} {_changed(comparison)}: {_say(first.violations[0])}"


def _changed(comparison: Comparison) -> str:
    return "changed first" if len(comparison.entries) > 1 else "changed"


def _renaming(comparison: Comparison, entry: Entry, width: int | None = None) -> str:
    for old, new in comparison.renamed:
        if entry.key == old:
            return f"is now called {_safe(new, width)}: the same map"
        if entry.key == new:
            return f"was called {_safe(old, width)}: the same map"
    return ""


def _reason(comparison: Comparison, first: Entry, width: int | None = None) -> Iterator[str]:
    """Why the first changed or, if it only came or went, which was the first to change."""
    if first.expected and first.actual:
        yield _why(comparison, first.expected, first.actual)
        return
    changed = next((entry for entry in comparison.entries if entry.violations), None)
    if changed:
        yield f"{_safe(changed.key, width)} changed first: {_say(changed.violations[0])}"


def _why(comparison: Comparison, before: Line, after: Line) -> str:
    if any(name == INPUTS for name, _, _ in comparison.environment_changes):
        return "why: the model's input is not the baseline's"
    if before.module_type != after.module_type:
        return f"why: it was a {_safe(before.module_type)}, now it is a {_safe(after.module_type)}"
    if _has_other_weights(before, after):
        return "why: its weights changed"
    weights = "same weights" if before.weights and after.weights else "no weights to compare"
    if before.inputs is None or after.inputs is None:
        return f"why: {weights}: its code or its input changed"
    if before.inputs == after.inputs:
        return f"why: {weights} and same input: its code changed"
    return f"why: {weights}, other input: the change is before this layer"


def _details(comparison: Comparison, first: Entry) -> Iterator[str]:
    line = first.actual or first.expected
    if line is not None:
        yield f"it is a {_describe(line)}"
    if first.violations:
        held_to = f" (tolerance {first.tolerance})" if first.tolerance else ""
        yield f"beyond what is allowed{held_to}:"
        yield from (f"  {_say_fully(first, violation)}" for violation in first.violations)
    yield from _reason(comparison, first)


def _describe(line: Line) -> str:
    return f"{_safe(line.module_type)} of shape {shape_text(line.shape)}, {_safe(line.dtype)}"


def _has_other_weights(before: Line, after: Line) -> bool:
    return bool(before.weights and after.weights and before.weights != after.weights)


# --- the next ones ------------------------------------------------------------------------------


def _differences(comparison: Comparison) -> Iterator[Entry]:
    """The entries beyond tolerance in order, a renamed map once."""
    other_name = {new: old for old, new in comparison.renamed} | dict(comparison.renamed)
    told = set()
    for entry in comparison.entries:
        if not entry.agrees and other_name.get(entry.key) not in told:
            told.add(entry.key)
            yield entry


def _following_in_short(comparison: Comparison) -> Iterator[str]:
    if len(comparison.entries) == 1:
        return
    more = sum(1 for _ in _differences(comparison)) - 1
    agreeing = sum(entry.agrees for entry in comparison.entries)
    others = f"{more} more after it" if more else "nothing after it"
    yield f"{others}; within tolerance: {agreeing} of {_maps(comparison)}"


def _following(comparison: Comparison, entries: list[Entry]) -> Iterator[str]:
    if not entries:
        return
    yield "then, in order:"
    yield from (f"  {_follow(comparison, entry)}" for entry in entries[:_FOLLOWING])
    if len(entries) > _FOLLOWING:
        yield f"  … and {len(entries) - _FOLLOWING} more"


def _follow(comparison: Comparison, entry: Entry) -> str:
    key = _safe(entry.key)
    if not entry.violations:
        return f"{key}: {_renaming(comparison, entry) or entry.kind}"
    other = entry.expected and entry.actual and _has_other_weights(entry.expected, entry.actual)
    return f"{key}: {_say(entry.violations[0])}{' (its weights changed)' if other else ''}"


def _say(violation: Violation) -> str:
    """Observed against allowed."""
    name = _QUANTITIES.get(violation.quantity, violation.quantity)
    if isinstance(violation.observed, str):
        return (
            f"{name} {_safe(violation.observed)}, the baseline has {_safe(str(violation.allowed))}"
        )
    moved = "" if violation.quantity == "relative_l2" else "moved by "
    return f"{name} {moved}{_number(violation.observed)}, allowed {_number(violation.allowed)}"


def _say_fully(entry: Entry, violation: Violation) -> str:
    """Observed against allowed, and for a statistic its value before and after."""
    name = violation.quantity
    said = _say(violation)
    if entry.expected is None or entry.actual is None or name not in entry.actual.stats:
        return said
    return f"{said} ({entry.expected.stats[name]:.6g} → {entry.actual.stats[name]:.6g})"


def _number(value: float | str) -> str:
    return f"{value:.1e}" if isinstance(value, float) else str(value)


# --- the whole ----------------------------------------------------------------------------------


def _structure_in_short(comparison: Comparison) -> Iterator[str]:
    counts = [f"{len(keys)} {word}" for word, keys in _structural(comparison).items() if keys]
    if counts:
        yield f"structure: {', '.join(counts)}"


def _structure(comparison: Comparison) -> Iterator[str]:
    told = [f"  {word}: {_list(keys)}" for word, keys in _structural(comparison).items() if keys]
    if told:
        yield from ("structure:", *told)


def _structural(comparison: Comparison) -> dict[str, list[str]]:
    """The keys of what came, went, moved or took another form, under the word for it."""
    keys: dict[str, list[str]] = {word: [] for word in _STRUCTURE}
    renamed = {key for names in comparison.renamed for key in names}
    for entry in comparison.entries:
        if entry.kind in keys and entry.key not in renamed:
            keys[entry.kind].append(_safe(entry.key))
    keys["renamed"] = [f"{_safe(old)} → {_safe(new)}" for old, new in comparison.renamed]
    keys["later than in the baseline"] = [_safe(key) for key in comparison.reordered]
    return keys


def _skipped(comparison: Comparison) -> Iterator[str]:
    skipped = Counter(name for entry in comparison.entries for name in entry.skipped)
    for name, maps in skipped.items():
        quantity = _QUANTITIES.get(name, name)
        yield f"not compared, for only one side holds it: {quantity} of {_count(maps, 'map')}"


def _profile(divergent: Iterable[Entry]) -> str:
    profiles = [narrowest(entry) for entry in divergent]
    known = [name for name in profiles if name]
    if len(known) < len(profiles):
        return "no tolerance profile would pass"
    widest = max(known, key=lambda name: PROFILES[name].relative_l2)
    return f"narrowest tolerance profile that would pass: {widest}"


def _environments(comparison: Comparison) -> Iterator[str]:
    changes = [change for change in comparison.environment_changes if change[0] != INPUTS]
    if changes:
        before = ", ".join(_property(name, value) for name, value, _ in changes)
        here = ", ".join(_property(name, value) for name, _, value in changes)
        yield f"baseline: {before}; here: {here}"


def _property(name: str, value: Value) -> str:
    return f"{_safe(name.replace('_', ' '))} {_safe(str(value))}"


# --- words --------------------------------------------------------------------------------------


def _maps(comparison: Comparison) -> str:
    return _count(len(comparison.entries) - len(comparison.renamed), "map")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list(names: list[str]) -> str:
    more = [f"… and {len(names) - _NAMES} more"] if len(names) > _NAMES else []
    return ", ".join(names[:_NAMES] + more)


def _safe(text: str, width: int | None = None) -> str:
    """Return a text from outside without what a terminal would obey; its middle cut out to fit."""
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
    if width is None or len(shown) <= width:
        return shown
    return f"{shown[: width // 2]}…{shown[-(width // 2 - 1) :]}"


def _clip(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
