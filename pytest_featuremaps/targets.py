"""Which modules of a model a target means: names in, module paths out, before any hook."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.wording import listed

ROOT = "."
"""The path of the model itself."""

Target: TypeAlias = str | re.Pattern[str]
Where: TypeAlias = type[nn.Module] | tuple[type[nn.Module], ...] | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class Paths:
    """The names in a model, as plain text: for each module path the children it has.

    Attributes:
        children: for each path, the name of each child and the path it is known by. A
            shared module is known by its first path in `named_modules()`.
        indexed: the paths of containers whose children can be counted from the end.
    """

    children: Mapping[str, Mapping[str, str]]
    indexed: frozenset[str]

    def find(self, path: str) -> str | None:
        """Return the path that `path`, perhaps an alias, is known by; None if there is none."""
        found: str | None = ROOT
        for name in [] if path == ROOT else path.split("."):
            found = None if found is None else self._child(found, name)
        return found

    def match(self, pattern: str) -> set[str]:
        """Return the known paths of the modules below the model that a glob matches.

        The search walks the graph of names, not a list of all paths, so that aliases are
        found and shared or cyclic modules cost nothing extra.
        """
        segments = pattern.split(".")
        seen: set[tuple[str, int]] = set()
        todo = [(ROOT, 0)]
        while todo:
            state = todo.pop()
            if state not in seen:
                seen.add(state)
                todo.extend(self._steps(*state, segments))
        return {path for path, position in seen if position == len(segments)} - {ROOT}

    def _steps(
        self, path: str, position: int, segments: Sequence[str]
    ) -> Iterable[tuple[str, int]]:
        """Yield the states one step further: a place in the model, a place in the pattern."""
        if position == len(segments):
            return
        segment, after, last = segments[position], position + 1, position + 1 == len(segments)
        if segment == "**":
            for child in self.children[path].values():
                yield child, position
                if last:
                    yield child, after
            if not last:
                yield path, after
            return
        for name, child in self.children[path].items():
            if _fits(segment, name):
                yield child, after
        if _is_from_end(segment) and (found := self._child(path, segment)):
            yield found, after

    def _child(self, path: str, name: str) -> str | None:
        children = self.children[path]
        if name in children:
            return children[name]
        if path in self.indexed and _is_from_end(name) and -int(name) <= len(children):
            return list(children.values())[int(name)]
        return None


def _is_from_end(segment: str) -> bool:
    return re.fullmatch(r"-[1-9][0-9]*", segment) is not None


def _fits(segment: str, name: str) -> bool:
    parts = (re.escape(part) for part in segment.split("*"))
    return re.fullmatch(".*".join(parts), name, re.DOTALL) is not None


@dataclass(frozen=True)
class Survey:
    """A model's modules and their names.

    Attributes:
        title: the name of the model's class.
        modules: every module by its first path, in the order of `named_modules()`.
        paths: the names alone.
    """

    title: str
    modules: Mapping[str, nn.Module]
    paths: Paths


def survey(model: nn.Module) -> Survey:
    """Look over a model once; shared and cyclic modules are visited once."""
    modules = {path or ROOT: module for path, module in model.named_modules()}
    known = {id(module): path for path, module in modules.items()}
    children = {
        path: {
            name: known[id(child)] for name, child in module._modules.items() if child is not None
        }
        for path, module in modules.items()
    }
    indexed = frozenset(
        path
        for path, module in modules.items()
        if isinstance(module, nn.Sequential | nn.ModuleList)
    )
    return Survey(type(model).__name__, modules, Paths(children, indexed))


@dataclass(frozen=True)
class Resolved:
    """A target and the paths it means.

    Attributes:
        text: the target as its author wrote it.
        exact: whether it names one module, which then must run.
        paths: the known paths, in the order of `named_modules()`.
    """

    text: str
    exact: bool
    paths: tuple[str, ...]


def resolve(known: Survey, targets: Sequence[Target], where: Where | None) -> list[Resolved]:
    """Return what each target means in a model.

    Args:
        known: the model that the targets are relative to.
        targets: module paths, globs and compiled regular expressions; none means `"**"`
            where `where` is given.
        where: a module class, several of them, or a predicate `(path, module) -> bool`.

    Raises:
        CaptureError: a target is not text or a pattern, names no module, or matches none;
            or there is neither a target nor a `where`.
    """
    if not targets and where is None:
        raise CaptureError(
            "capture() names no target.\n"
            'Name module paths, such as capture("conv1"), or choose by type: '
            "capture(where=nn.Conv2d)."
        )
    names = _Names(known)
    chosen = targets or ("**",)
    return [names.resolve(target, where, implied=not targets) for target in chosen]


class _Names:
    """One model's names while targets are looked up in them."""

    def __init__(self, known: Survey) -> None:
        self.title, self.modules, self.paths = known.title, known.modules, known.paths

    def resolve(self, target: Target, where: Where | None, *, implied: bool) -> Resolved:
        if not isinstance(target, str | re.Pattern):
            raise CaptureError(
                f"capture({target!r}): a target is a module path, a glob or a compiled regular "
                f"expression, not {type(target).__name__}.\n"
                "Choose by class or predicate with where=, such as capture(where=nn.Conv2d)."
            )
        asked = f"capture({_spell(target, where, implied=implied)})"
        exact = isinstance(target, str) and self.paths.find(target) is not None
        found = self._find(target, asked)
        offered = [
            path
            for path, module in self.modules.items()
            if path in found and (exact or is_called(module))
        ]
        paths = tuple(path for path in offered if _passes(where, path, self.modules[path]))
        if not paths:
            raise CaptureError(self._nothing(asked, target, found, offered))
        return Resolved(_spell(target, where, implied=implied), exact, paths)

    def _find(self, target: Target, asked: str) -> set[str]:
        if isinstance(target, re.Pattern):
            return {path for path in self.modules if path != ROOT and target.fullmatch(path)}
        known = self.paths.find(target)
        if known is not None:
            return {known}
        if "*" not in target:
            raise CaptureError(self._no_such_module(asked, target))
        if any("**" in segment and segment != "**" for segment in target.split(".")):
            raise CaptureError(
                f"{asked}: `**` stands for whole segments of a path, so it stands alone between "
                "dots.\nWrite `*` inside a segment, such as 'layer*.conv1'."
            )
        return self.paths.match(target)

    def _no_such_module(self, asked: str, path: str) -> str:
        base = re.split(r"[#\[]", path, maxsplit=1)[0]
        if base != path and self.paths.find(base or ROOT) is not None:
            return (
                f"{asked}: {path!r} is a key of feature_maps, not a target.\n"
                f'Capture the module, capture("{base or ROOT}"), and choose the call or the '
                f'output where you read it: feature_maps["{path}"].'
            )
        parent, missing = self._deepest(path)
        owner = self.title if parent == ROOT else f"{parent!r} ({self._type(parent)})"
        if missing in dict(self.modules[parent].named_parameters(recurse=False)):
            return (
                f"{asked}: {missing!r} is a parameter of {owner}, not a module.\n"
                "A capture records what a module returns."
            )
        lines = [f"{asked}: {owner} has no module {missing!r}.", self._level(parent)]
        return "\n".join(lines + self._suggestions(path))

    def _deepest(self, path: str) -> tuple[str, str]:
        """Return the longest part of a path that exists, and the name it lacks."""
        parent, names = ROOT, path.split(".")
        for end in range(1, len(names) + 1):
            found = self.paths.find(".".join(names[:end]))
            if found is None:
                return parent, names[end - 1]
            parent = found
        return parent, names[-1]

    def _level(self, parent: str) -> str:
        subject = "It" if parent == ROOT else repr(parent)
        return f"{subject} has: {_short(self.paths.children[parent])}."

    def _suggestions(self, path: str) -> list[str]:
        if self._deepest(path)[1].lstrip("-").isdecimal():
            return []  # a number beside another one is no better guess
        everything = [known for known in self.modules if known != ROOT]
        last = path.rsplit(".", 1)[-1]
        same_name = [known for known in everything if known.rsplit(".", 1)[-1] == last]
        near = sorted(same_name, key=lambda known: -_likeness(path, known))[:3]
        near += difflib.get_close_matches(path, everything, n=3, cutoff=0.8)
        unique = list(dict.fromkeys(near))[:3]
        return [f"Did you mean {' or '.join(map(repr, unique))}?"] if unique else []

    def _nothing(self, asked: str, target: Target, found: set[str], offered: list[str]) -> str:
        if offered:
            types = Counter(map(self._type, offered))
            counted = ", ".join(f"{name} ({count})" for name, count in sorted(types.items()))
            return f"{asked}: no module of {self.title} passes where=.\nOffered were: {counted}."
        if found:
            return (
                f"{asked}: only containers that are never called match in {self.title}: "
                f"{_short(found)}.\nCapture what they hold, such as '{min(found)}.*'."
            )
        plain = target.pattern if isinstance(target, re.Pattern) else target
        lines = [
            f"{asked}: the pattern matches no module of {self.title}.",
            self._level(self._deepest(plain)[0]),
        ]
        return "\n".join(lines + self._suggestions(plain))

    def _type(self, path: str) -> str:
        return type(self.modules[path]).__name__


def is_called(module: nn.Module) -> bool:
    """Tell whether a module can be called; `ModuleList` and `ModuleDict` define no `forward`."""
    return type(module).forward is not nn.Module.forward


def _passes(where: Where | None, path: str, module: nn.Module) -> bool:
    if where is None:
        return True
    if isinstance(where, type | tuple):
        return isinstance(module, where)
    return bool(where(path, module))


def _spell(target: Target, where: Where | None, *, implied: bool) -> str:
    """Write a target as its author did: `"conv1"`, `re.compile('c.*')`, `where=Conv2d`."""
    written = [] if implied else [f'"{target}"' if isinstance(target, str) else repr(target)]
    if where is not None:
        classes = where if isinstance(where, tuple) else (where,)
        names = ", ".join(getattr(one, "__name__", repr(one)) for one in classes)
        written.append(f"where=({names})" if isinstance(where, tuple) else f"where={names}")
    return ", ".join(written)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _short(names: Collection[str]) -> str:
    if len(names) > 1 and set(names) == {str(index) for index in range(len(names))}:
        return f"0 to {len(names) - 1}"
    return listed(names, most=12, nothing="no modules")
