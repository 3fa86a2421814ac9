"""The feature maps of one recording, found by key, and the checks over all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from pytest_featuremaps.errors import AmbiguousKey, CaptureError, MissingMap, UnsupportedTensor
from pytest_featuremaps.feature_map import FeatureMap
from pytest_featuremaps.keys import Layer, Where
from pytest_featuremaps.paths import ROOT, Paths
from pytest_featuremaps.targets import Target
from pytest_featuremaps.wording import listed


def _unexplained(layer: Layer) -> str:
    del layer
    return "it did not run"


@dataclass(eq=False)
class Log:
    """What one recording has recorded so far.

    Attributes:
        layers: the captured modules, in the order of their models.
        paths: the names in each model, to look aliases up.
        maps: the recorded maps, in order of completion.
        version: changes whenever the maps or their keys may have.
        notes: what recording changed in how the models run.
        explain: says why a layer has no map.
    """

    layers: dict[Where, Layer] = field(default_factory=dict)
    paths: dict[str, Paths] = field(default_factory=dict)
    maps: list[FeatureMap] = field(default_factory=list)
    version: int = 0
    notes: list[str] = field(default_factory=list)
    explain: Callable[[Layer], str] = _unexplained

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def add(self, maps: Sequence[FeatureMap]) -> None:
        """Append the maps of one finished call."""
        for one in maps:
            one.place.layer.recorded = True
        self.maps.extend(maps)
        self.version += 1

    def replace(self, maps: Sequence[FeatureMap], calls: Mapping[Where, int]) -> None:
        """Hold these maps and counts of calls instead; a layer not named has no calls."""
        self.maps[:] = maps
        self.version += 1
        for where, layer in self.layers.items():
            layer.calls = calls.get(where, 0)
            layer.problem, layer.recomputed = "", 0


class FeatureMaps(Mapping[str, FeatureMap]):
    """Recorded feature maps by key, in order of completion: a block follows its children.

    A key is `path`, `path#call` or `path#call[place]`; any spelling that means exactly one
    map finds it. A collection is equal to itself only, which leaves `==` to the baseline on
    the other side.
    """

    __array_ufunc__ = None
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(
        self, log: Log, chosen: frozenset[Where] | None = None, *, model: str | None = None
    ) -> None:
        """Look at a log; what is recorded later is seen as well.

        Args:
            log: where the maps are recorded.
            chosen: the layers to look at; all of them when None.
            model: the model to look at, whose name keys then leave out; all when None.
        """
        self._log = log
        self._chosen = chosen
        self._model = model
        self._indexed = -1
        self._by_key: dict[str, FeatureMap] = {}
        self._by_spelling: dict[str, list[FeatureMap]] = {}

    def __getitem__(self, key: str) -> FeatureMap:
        found = self._find(key)
        if len(found) == 1:
            return found[0]
        if found:
            raise AmbiguousKey(
                f"{key!r} means {len(found)} feature maps: {listed(map(self._key, found))}.\n"
                "Name one of them, or go over all with feature_maps.calls(...)."
            )
        raise MissingMap(self._missing(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and len(self._find(key)) == 1

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._index()))

    def __len__(self) -> int:
        return len(self._index())

    def __repr__(self) -> str:
        return f"<FeatureMaps: {', '.join(self) or 'nothing recorded'}>"

    def of(self, model: str) -> FeatureMaps:
        """Return the maps of one model, under keys that leave the model's name out.

        Raises:
            CaptureError: no model of this name is recorded.
        """
        if model not in self._log.paths:
            raise CaptureError(
                f"No model named {model!r} is recorded. Recorded are: {listed(self._log.paths)}."
            )
        return FeatureMaps(self._log, self._chosen, model=model)

    def only(self, *patterns: Target) -> FeatureMaps:
        """Return the maps of some layers: module paths, globs and regular expressions.

        Raises:
            CaptureError: a pattern matches no captured layer.
        """
        chosen: set[Where] = set()
        for pattern in patterns:
            found = self._matching(pattern)
            if not found:
                raise CaptureError(
                    f"only({pattern!r}) matches no captured layer.\n"
                    f"Captured are: {listed(self._names())}."
                )
            chosen |= found
        return FeatureMaps(self._log, frozenset(chosen), model=self._model)

    def calls(self, layer: str) -> list[FeatureMap]:
        """Return the maps of one layer, call by call.

        Raises:
            MissingMap: the layer is not captured.
        """
        found = self._matching(layer)
        if not found:
            raise MissingMap(self._missing(layer))
        return [one for one in self._index().values() if one.place.layer.where in found]

    def assert_finite(self) -> None:
        """Check that no recorded map holds NaN or infinity.

        Raises:
            AssertionError: some do; the text names the first of them and counts the rest.
        """
        __tracebackhide__ = True
        reasons = [reason for one in self._index().values() if (reason := one.not_finite())]
        if reasons:
            more = len(reasons) - 1
            after = [f"{more} later feature maps are not finite either."] if more else []
            raise AssertionError("\n".join([reasons[0], *after]))

    def summary(self) -> str:
        """Return a table of the recorded maps, and of what was captured but did not run."""
        rows = [_HEADINGS, *(_row(key, one) for key, one in self._index().items())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_aligned(row, widths) for row in rows]
        layers = self._layers().values()
        silent = [layer.name for layer in layers if not layer.ran]
        again = [layer.name for layer in layers if layer.recomputed]
        problems = dict.fromkeys(layer.problem for layer in layers if layer.problem)
        lines += [f"did not run: {listed(silent)}"] if silent else []
        lines += [f"calls during backward left out: {listed(again)}"] if again else []
        for problem in problems:
            unread = [layer.name for layer in layers if layer.problem == problem]
            lines.append(f"could not be recorded: {listed(unread)} ({problem})")
        return "\n".join([*lines, *(f"note: {text}" for text in self._log.notes)])

    def _layers(self) -> dict[Where, Layer]:
        return {where: one for where, one in list(self._log.layers.items()) if self._shows(where)}

    def _shows(self, where: Where) -> bool:
        return self._model in {None, where[0]} and (self._chosen is None or where in self._chosen)

    def _names(self) -> list[str]:
        bare = self._model is not None
        return [one.path if bare else one.name for one in self._layers().values()]

    def _matching(self, pattern: Target) -> set[Where]:
        """Return the captured layers that a path, glob or regular expression means."""
        if isinstance(pattern, re.Pattern):
            return {where for where in self._layers() if pattern.fullmatch(where[1])}
        if not isinstance(pattern, str):
            raise CaptureError(
                f"{pattern!r} is no layer: name a module path, a glob or a compiled regular "
                "expression."
            )
        return {where for where in self._layers() if self._means(pattern, where)}

    def _means(self, pattern: str, where: Where) -> bool:
        model, path = where
        bare = pattern.removeprefix(f"{model}:")
        paths = self._log.paths[model]
        if bare.endswith("()"):
            return path == bare or _means_call(bare, path, paths)
        return path in {bare, paths.find(bare)} or path in paths.match(bare)

    def _key(self, one: FeatureMap) -> str:
        return one.place.bare_key if self._model is not None else one.place.key

    def _index(self) -> dict[str, FeatureMap]:
        version = self._log.version  # read first: maps may be added while they are listed
        if self._indexed != version:
            shown = [one for one in self._log.maps if self._shows(one.place.layer.where)]
            by_key = {self._key(one): one for one in shown}
            by_spelling: dict[str, list[FeatureMap]] = {}
            for one in shown:
                for spelling in one.place.spellings():
                    by_spelling.setdefault(spelling, []).append(one)
            self._by_key, self._by_spelling, self._indexed = by_key, by_spelling, version
        return self._by_key

    def _find(self, key: str) -> list[FeatureMap]:
        if not isinstance(key, str):
            return []
        if key in self._index():
            return [self._by_key[key]]
        return self._by_spelling.get(key) or self._find_alias(key)

    def _find_alias(self, key: str) -> list[FeatureMap]:
        """Look up a key whose path is another name of a shared module."""
        found: dict[int, FeatureMap] = {}
        for end in {match.start() for match in re.finditer(r"[#\[]|$", key)}:
            for model, paths in self._log.paths.items():
                path = paths.find(key[:end].removeprefix(f"{model}:"))
                for one in self._by_spelling.get(f"{model}:{path}{key[end:]}", []):
                    found[id(one)] = one
        return list(found.values())

    def _missing(self, key: object) -> str:
        silent = [self._log.layers[where] for where in self._matching(key)] if _is_text(key) else []
        if silent:
            why = f": {self._log.explain(silent[0])}"
        elif _is_text(key) and any(paths.find(key) for paths in self._log.paths.values()):
            why = ": the module exists, but is not captured"
        else:
            why = ""
        return f"There is no feature map {key!r}{why}.\nRecorded are: {listed(self)}."


def _means_call(pattern: str, path: str, paths: Paths) -> bool:
    """Tell whether `**.relu()` means a functional call: the op is the same, the owner matches."""
    owners, _, op = pattern.rpartition(".")
    owner, _, called = path.rpartition(".")
    return op == called and (owner or ROOT) in {paths.find(owners), *paths.match_owners(owners)}


def _is_text(key: object) -> TypeGuard[str]:
    return isinstance(key, str)


_HEADINGS = ("feature map", "module", "shape", "dtype", "mean", "std", "min", "max", "zeros")
_WORDS = 4


def _row(key: str, one: FeatureMap) -> tuple[str, ...]:
    dtype = str(one.dtype).removeprefix("torch.")
    words = (key, one.module_type, "×".join(map(str, one.shape)) or "scalar", dtype)
    try:
        numbers = one.stats
    except (UnsupportedTensor, CaptureError):
        return (*words, "–", "–", "–", "–", "–")
    moments = (numbers.mean, numbers.std, numbers.min, numbers.max)
    zeros = f"{100 * numbers.zero_fraction:.1f}%"
    return (*words, *(f"{value:.3g}" for value in moments), zeros)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    words = [cell.ljust(width) for cell, width in zip(row[:_WORDS], widths, strict=False)]
    figures = [cell.rjust(width) for cell, width in zip(row[_WORDS:], widths[_WORDS:], strict=True)]
    return "  ".join(words + figures)
