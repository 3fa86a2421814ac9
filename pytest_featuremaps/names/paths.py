"""The modules of a model and their names: one walk, then plain text to search in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

ROOT = "."
"""The path of the model itself."""


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
        """Return the known paths of the modules below the model that a glob matches."""
        if pattern == "**":
            return set(self.children) - {ROOT}
        return self._search(pattern.split("."), exclusive=True) - {ROOT}

    def match_owners(self, pattern: str) -> set[str]:
        """Return the modules, the model among them, that a glob matches as owners of a call.

        Where `**` stands last it matches nothing as well: `**.relu()` includes the model's.
        """
        return self._search(pattern.split("."), exclusive=False)

    def _search(self, segments: Sequence[str], *, exclusive: bool) -> set[str]:
        """Walk the graph of names, not a list of all paths.

        So aliases are found, and shared or cyclic modules cost nothing extra.
        """
        seen: set[tuple[str, int]] = set()
        todo = [(ROOT, 0)]
        while todo:
            state = todo.pop()
            if state not in seen:
                seen.add(state)
                todo.extend(self._steps(*state, segments, exclusive=exclusive))
        return {path for path, position in seen if position == len(segments)}

    def _steps(
        self, path: str, position: int, segments: Sequence[str], *, exclusive: bool
    ) -> Iterable[tuple[str, int]]:
        """Yield the states one step further: a place in the model, a place in the pattern."""
        if position == len(segments):
            return
        segment, after = segments[position], position + 1
        if segment == "**":
            below = exclusive and after == len(segments)
            for child in set(self.children[path].values()) - {path}:
                yield child, position
                if below:
                    yield child, after
            if not below:
                yield path, after
            return
        for name, child in self.children[path].items():
            # A wrapper's name is no child, and stands for itself only.
            if name == segment or (child != path and _fits(segment, name)):
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
    """Match a name with a segment in which `*` stands for any text, without backtracking."""
    first, *others = segment.split("*")
    if not others:
        return name == segment
    if not name.startswith(first):
        return False
    at = len(first)
    for part in others[:-1]:
        found = name.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(name) - len(others[-1]) >= at and name.endswith(others[-1])


@dataclass(frozen=True)
class Survey:
    """A model's modules and their names.

    Attributes:
        title: the name of the model's class.
        modules: every module by its first path, in the order of `named_modules()`.
        paths: the names alone.
        compiled: whether torch.compile would run some of them.
    """

    title: str
    modules: Mapping[str, nn.Module]
    paths: Paths
    compiled: bool


def every_module(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a model and the modules below it, wrappers among them, each once, in no set order.

    `model.modules()` is several times slower, by what it does for their names.
    """
    seen: set[int] = set()
    todo = [model]
    while todo:
        module = todo.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            todo.extend(one for one in module._modules.values() if one is not None)


def survey(model: nn.Module) -> Survey:
    """Look over a model once, in the order of `named_modules()`.

    Shared and cyclic modules are visited once. What only wraps a module (DataParallel,
    `torch.compile`) is passed through: its name stays valid in a path, and is not needed.
    """
    modules: dict[str, nn.Module] = {}
    children: dict[str, dict[str, str]] = {}
    known: dict[int, str] = {}
    indexed = set()
    compiled = False
    todo = [(ROOT, model, ROOT, "")]
    while todo:
        path, module, parent, name = todo.pop()
        inner, wrapping = _unwrapped(module)
        compiled = compiled or _is_compiled(module, inner, wrapping)
        first = known.setdefault(id(inner), path)
        if name:
            children[parent][name] = first
        if first != path or path in modules:
            continue
        modules[path] = inner
        children[path] = {}
        if not (inner._modules or wrapping):
            continue
        below = [(one, child) for one, child in inner._modules.items() if child is not None]
        children[path].update(dict.fromkeys((one for one, _ in below), ""))
        children[path].update(dict.fromkeys(wrapping, path))
        if isinstance(inner, (nn.Sequential, nn.ModuleList)):
            indexed.add(path)
        start = "" if path == ROOT else f"{path}."
        todo += [(start + one, child, path, one) for one, child in reversed(below)]
    paths = Paths(children, frozenset(indexed))
    return Survey(type(modules[ROOT]).__name__, modules, paths, compiled)


def _is_compiled(module: nn.Module, inner: nn.Module, wrapping: Sequence[str]) -> bool:
    if "_orig_mod" in wrapping:
        return True
    return module._compiled_call_impl is not None or inner._compiled_call_impl is not None


# The classes of torch that hold one module and stand for it, and the name they hold it under.
_WRAPPERS = {
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
}


def _unwrapped(module: nn.Module) -> tuple[nn.Module, Sequence[str]]:
    """Return the module that wrappers stand for, and the names under which they hold it."""
    names: list[str] = []
    while (name := _WRAPPERS.get(type(module).__name__)) is not None:
        inner = module._modules.get(name)
        if inner is None or not type(module).__module__.startswith("torch."):
            break
        names.append(name)
        module = inner
    return module, names
