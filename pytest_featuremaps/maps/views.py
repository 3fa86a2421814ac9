"""Which layers of a log are looked at, and which of their maps a key or a pattern means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeGuard

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.maps import uncalled
from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.names.calls import call_path, parted
from pytest_featuremaps.names.keys import Layer, Where, without_place
from pytest_featuremaps.names.paths import Paths
from pytest_featuremaps.names.targets import Target, near_matches
from pytest_featuremaps.wording import listed

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


NOTHING_CAPTURED = (
    "nothing is captured",
    'Mark the test with capture("**"), or attach the model: feature_maps.attach(model, "**").',
)
"""Why a recording without a model is empty: a part of a sentence; and the way out, a whole one."""


@dataclass(frozen=True)
class View:
    """A part of a log; what is recorded later is seen as well.

    Attributes:
        log: where the maps are recorded.
        chosen: the layers to look at; all of them when None.
        model: the model to look at, whose name keys then leave out; all when None.
    """

    log: Log
    chosen: frozenset[Where] | None = None
    model: str | None = None

    def layers(self) -> dict[Where, Layer]:
        """Return the captured layers, those that did not run as well."""
        return {where: one for where, one in list(self.log.layers.items()) if self._shows(where)}

    def names(self) -> list[str]:
        """Return what the captured layers are called."""
        bare = self.model is not None
        return [one.path if bare else one.name for one in self.layers().values()]

    def records(self) -> list[Record]:
        """Return what is recorded, in order of completion."""
        return [one for one in list(self.log.maps) if self._shows(one.place.layer.where)]

    def key(self, one: Record) -> str:
        """Return the key of a map."""
        return one.place.bare_key if self.model is not None else one.place.key

    def index(self) -> dict[str, Record]:
        """Return what is recorded by key."""
        return {self.key(one): one for one in self.records()}

    def find(self, key: str) -> list[Record]:
        """Return the maps that a key means: the one whose own it is, or else all that fit."""
        if not isinstance(key, str):
            return []
        found = self._spelled(key)
        own = [one for one in found if self.key(one) == key]
        return own[:1] or found or self._find_alias(key)

    def matching(self, pattern: Target) -> set[Where]:
        """Return the captured layers that a path, glob or regular expression means."""
        if isinstance(pattern, re.Pattern):
            return {where for where in self.layers() if pattern.fullmatch(where[1])}
        if not isinstance(pattern, str):
            raise CaptureError(
                f"{pattern!r} is no layer: name a module path, a glob or a compiled regular "
                "expression."
            )
        return {where for where in self.layers() if self._means(pattern, where)}

    def inputs_digest(self) -> str | None:
        """Return a digest of what went into the models, in all calls.

        None where it is not known: a tensor is gone or was changed in place since, or only a
        part of a model was called.
        """
        entered = [
            one for label, one in self.log.model_inputs.items() if self.model in {None, label}
        ]
        digests = [one.digest() for one in entered]
        known = [one for one in digests if one is not None]
        return " ".join(known) if known and len(known) == len(digests) else None

    def missing(self, key: object) -> str:
        """Say that there is no map of a key, and why."""
        why, *more = (self._why(key) if _is_text(key) else []) or [""]
        first = f"There is no feature map {key!r}{': ' if why else ''}{why}."
        known = list(map(self.key, self.records()))
        near = near_matches(key, known) if _is_text(key) and not why else []
        return "\n".join([first, *more, *near, f"Recorded are: {listed(known)}."])

    def _why(self, key: str) -> list[str]:
        """Say why a key has no map: a part of a sentence, and whole ones; nothing if unknown."""
        if self.log.captures_nothing:
            return list(NOTHING_CAPTURED)
        meant = self.matching(key) or self.matching(without_place(key))
        keys = [self.key(one) for one in self.records() if one.place.layer.where in meant]
        if keys:
            whole = "what it matches" if "*" in key else "its layer"
            told = f"only {keys[0]} is" if len(keys) == 1 else f"{listed(keys, most=6)} are"
            return [f"of {whole} {told} recorded"]
        silent = [one for where, one in self.layers().items() if where in meant]
        if silent:
            return [self.log.explain(silent[0])]
        if call := uncalled.missing(self.log, key, self.model):
            return call
        exists = any(paths.find(key) for paths in self.log.paths.values())
        return ["the module exists, but is not captured"] if exists else []

    def _shows(self, where: Where) -> bool:
        return self.model in {None, where[0]} and (self.chosen is None or where in self.chosen)

    def _means(self, pattern: str, where: Where) -> bool:
        model, path = where
        bare = pattern.removeprefix(f"{model}:")
        paths = self.log.paths[model]
        if parted(bare):
            return path == bare or _means_call(bare, path, paths)
        return path in {bare, paths.find(bare)} or path in paths.match(bare)

    def _spelled(self, key: str) -> list[Record]:
        return [one for one in self.log.find(key) if self._shows(one.place.layer.where)]

    def _find_alias(self, key: str) -> list[Record]:
        """Look up a key whose path is another name of a shared module."""
        found: dict[int, Record] = {}
        for end in {match.start() for match in re.finditer(r"[#\[]|$", key)}:
            for model, paths in self.log.paths.items():
                path = _known_as(key[:end].removeprefix(f"{model}:"), paths)
                for one in self._spelled(f"{model}:{path}{key[end:]}") if path else ():
                    found[id(one)] = one
        return list(found.values())


def _known_as(name: str, paths: Paths) -> str | None:
    """Return the path that is recorded for another name of a module, or of a call it makes."""
    call = parted(name)
    if call is None:
        return paths.find(name)
    owner = paths.find(call[0])
    return None if owner is None else call_path(owner, call[1])


def _means_call(pattern: str, path: str, paths: Paths) -> bool:
    """Tell whether `**.relu()` means a functional call: the op is the same, the owner matches."""
    asked, made = parted(pattern), parted(path)
    if asked is None or made is None or asked[1] != made[1]:
        return False
    return made[0] in {paths.find(asked[0]), *paths.match_owners(asked[0])}


def _is_text(key: object) -> TypeGuard[str]:
    return isinstance(key, str)
