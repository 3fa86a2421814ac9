"""Which of the pending feature maps a command is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from pytest_featuremaps.errors import FeatureMapsError
from pytest_featuremaps.review.folder import Result

_APPROVALS_FORMAT: Final = 1


class UnknownResult(FeatureMapsError, LookupError):
    """A result that is named and not there."""


class BadApprovals(FeatureMapsError, ValueError):
    """A file of decisions that cannot be read."""


@dataclass(frozen=True)
class Selection:
    """Feature maps of one result that a decision is about, by key."""

    result: Result
    keys: AbstractSet[str]


def select(
    results: Iterable[Result],
    named: Sequence[str] = (),
    *,
    test: str | None = None,
    layer: str | None = None,
) -> list[Selection]:
    """Return the feature maps that wait for a decision and are asked for.

    Args:
        results: what there is.
        named: ids of results, `id:key` for one map of a result, ids of tests, or the files or
            folders they are in; all of them when there are none.
        test: a part of the ids of tests, or a pattern with `*` or `?` for the whole.
        layer: likewise of the keys of feature maps.

    Raises:
        UnknownResult: nothing has one of the names.
    """
    selections = [Selection(one, {each.key for each in one.record.pending}) for one in results]
    chosen = _by_name(selections, named) if named else selections
    is_test, is_layer = _asks_for(test), _asks_for(layer)
    narrowed = (
        Selection(one.result, {key for key in one.keys if is_layer(key)})
        for one in chosen
        if is_test(one.result.record.test)
    )
    return [one for one in narrowed if one.keys]


def approved(results: Iterable[Result], approvals: bytes) -> Iterator[tuple[str, Selection]]:
    """Yield the decisions of a page: `accept` or `reject`, and the feature maps it is about.

    Args:
        results: what there is.
        approvals: the file that the page made.

    Raises:
        BadApprovals: it is no such file.
        UnknownResult: a result it is about is not there.
    """
    known = {one.record.id: one for one in results}
    for decision, name, keys in _read(approvals):
        if name not in known:
            raise UnknownResult(
                f"There is no result {name}: it is decided already, or the run has been repeated "
                "since the page was made."
            )
        result = known[name]
        pending = {each.key for each in result.record.pending}
        yield decision, Selection(result, pending if keys is None else pending & set(keys))


def _by_name(selections: list[Selection], named: Sequence[str]) -> list[Selection]:
    keys: dict[int, set[str]] = {}
    for name in named:
        found = False
        for place, selection in enumerate(selections):
            asked = _asked(selection, name)
            if asked:
                keys.setdefault(place, set()).update(asked)
                found = True
        if not found:
            raise UnknownResult(
                f"Nothing that waits for review is called {name}: see pytest-featuremaps list."
            )
    return [Selection(selections[place].result, asked) for place, asked in sorted(keys.items())]


def _asked(selection: Selection, name: str) -> set[str]:
    """Return the maps of a result that a name means."""
    record = selection.result.record
    identity, _, key = name.partition(":")
    if identity == record.id:
        return {one for one in selection.keys if not key or one == key}
    inside = record.test.startswith((f"{name}::", f"{name.rstrip('/')}/", f"{name}["))
    return set(selection.keys) if inside or record.test == name else set()


def _asks_for(pattern: str | None) -> Callable[[str], bool]:
    if pattern is None:
        return lambda _: True
    if any(sign in pattern for sign in "*?"):
        # `[` is no sign of a pattern: ids of tests and keys of maps are full of it.
        whole = pattern.replace("[", "[[]")
        return lambda text: fnmatchcase(text, whole)
    return lambda text: pattern.casefold() in text.casefold()


def _read(approvals: bytes) -> Iterator[tuple[str, str, list[str] | None]]:
    try:
        fields: Any = json.loads(approvals)
        version = fields["featuremaps_approvals"]
        decisions = [(one["decision"], one["id"], one["layers"]) for one in fields["decisions"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadApprovals("it holds no decisions: the page of the report makes it") from None
    if version != _APPROVALS_FORMAT:
        raise BadApprovals(f"it has format {version!r:.20}, this version reads {_APPROVALS_FORMAT}")
    for decision, name, keys in decisions:
        if decision not in ("accept", "reject"):
            raise BadApprovals(f"{decision!r:.20} is not a decision: accept or reject")
        if not _are_keys(keys):
            raise BadApprovals(f"{keys!r:.40} is not a list of keys of feature maps")
        yield decision, str(name), keys


def _are_keys(keys: object) -> bool:
    return keys is None or (isinstance(keys, list) and all(isinstance(one, str) for one in keys))
