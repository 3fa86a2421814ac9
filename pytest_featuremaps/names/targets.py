"""Which modules of a model a target means: names in, module paths out, before any hook."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.names.calls import call_path, calls, parted, without_import
from pytest_featuremaps.names.keys import without_place
from pytest_featuremaps.names.paths import ROOT, Survey
from pytest_featuremaps.wording import listed, plain

Target: TypeAlias = str | re.Pattern[str]
Where: TypeAlias = type[nn.Module] | tuple[type[nn.Module], ...] | Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class Resolved:
    """A target and the paths it means.

    Attributes:
        text: the target as its author wrote it.
        exact: whether it names one module, which then must run.
        paths: the known paths, in the order of `named_modules()`.
        op: the functional call that is meant, made in these modules' own `forward`; empty
            where the modules themselves are.
    """

    text: str
    exact: bool
    paths: tuple[str, ...]
    op: str = ""


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
    _check_where(where)
    if not targets and where is None:
        raise CaptureError(
            "capture() names no target.\n"
            'Name module paths, such as capture("conv1"), or choose by type: '
            "capture(where=nn.Conv2d)."
        )
    names = _Names(known)
    chosen = targets or ("**",)
    return [names.resolve(target, where, implied=not targets) for target in chosen]


def _check_where(where: object) -> None:
    classes = where if isinstance(where, tuple) else (where,)
    if where is None or (callable(where) and not isinstance(where, type)):
        return
    if not classes or not all(isinstance(one, type) for one in classes):
        raise CaptureError(
            f"capture(where={where!r}): where= takes a module class, a tuple of classes or a "
            "predicate (path, module) -> bool."
        )


class _Names:
    """One model's names while targets are looked up in them."""

    def __init__(self, known: Survey) -> None:
        self.title, self.modules, self.paths = known.title, known.modules, known.paths

    def resolve(self, target: Target, where: Where | None, *, implied: bool) -> Resolved:
        if isinstance(target, list | tuple):
            names = ", ".join(f'"{one}"' if isinstance(one, str) else repr(one) for one in target)
            raise CaptureError(
                f"capture({target!r}): a target is one layer, or a pattern.\n"
                f"Name several one after the other: capture({names})."
            )
        if not isinstance(target, str) and not _is_pattern(target):
            raise CaptureError(
                f"capture({target!r}): a target is a module path, a glob or a compiled regular "
                f"expression, not {type(target).__name__}.\n"
                "Choose by class or predicate with where=, such as capture(where=nn.Conv2d)."
            )
        text = _spell(target, where, implied=implied)
        asked = f"capture({text})"
        owner, op = _functional(target, asked)
        found = self._find(owner, asked, op)
        exact = isinstance(owner, str) and self.paths.find(owner) in found
        if exact:
            offered = list(found)
            self._check_exact(offered[0], asked)
        else:
            offered = [
                path for path, one in self.modules.items() if path in found and is_called(one)
            ]
        paths = tuple(path for path in offered if _passes(where, path, self.modules[path]))
        if not paths:
            raise CaptureError(self._nothing(asked, owner, found, offered))
        return Resolved(text, exact, paths, op)

    def _check_exact(self, path: str, asked: str) -> None:
        module = self.modules[path]
        if isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(
                f"{asked}: {path!r} is a scripted module ({type(module).__name__}), which takes no "
                "hooks.\nCapture the module that it was made from, before torch.jit.script or "
                "torch.jit.trace."
            )

    def _find(self, target: Target, asked: str, op: str) -> set[str]:
        if isinstance(target, re.Pattern):
            return {path for path in self.modules if path != ROOT and target.fullmatch(path)}
        known = self.paths.find(target)
        if known is not None:
            return {known}
        if op and (short := without_import(target)) != target and self._owners(short):
            raise CaptureError(
                f"{asked}: a functional call is named by the module that makes it and the "
                f"function, not by where that is imported from.\n"
                f"Did you mean {call_path(short, op)!r}?"
            )
        if "*" not in target:
            raise CaptureError(self._no_such_module(asked, target))
        if any("**" in segment and segment != "**" for segment in target.split(".")):
            raise CaptureError(
                f"{asked}: `**` stands for whole segments of a path, so it stands alone between "
                "dots.\nWrite `*` inside a segment, such as 'layer*.conv1'."
            )
        return self.paths.match_owners(target) if op else self.paths.match(target)

    def _owners(self, target: str) -> set[str]:
        """Return the modules that a path or a pattern means as those that make a call."""
        known = self.paths.find(target)
        return self.paths.match_owners(target) if known is None else {known}

    def _no_such_module(self, asked: str, path: str) -> str:
        dotted = _dotted(path)
        if dotted != path and self.paths.find(dotted) is not None:
            return (
                f"{asked}: the modules in a container are named with dots.\n"
                f"Did you mean {dotted!r}?"
            )
        base = without_place(path) or ROOT
        call = parted(base)
        if base != path and self.paths.find(call[0] if call else base) is not None:
            what = "functional call" if call else "module"
            return (
                f"{asked}: {path!r} is a key of feature_maps, not a target.\n"
                f'Capture the {what}, capture("{base}"), and choose the call or the output where '
                f'you read it: feature_maps["{path}"].'
            )
        parts = [part.strip() for part in path.split(",")]
        if len(parts) > 1 and all(self.paths.find(part) is not None for part in parts if part):
            names = ", ".join(f'"{part}"' for part in parts if part)
            return f"{asked}: each target is a text of its own.\nWrite capture({names})."
        parent, missing = self._deepest(path)
        owner = self.title if parent == ROOT else f"{parent!r} ({self._type(parent)})"
        if missing in dict(self.modules[parent].named_parameters(recurse=False)):
            return (
                f"{asked}: {missing!r} is a parameter of {owner}, not a module.\n"
                "A capture records what a module returns."
            )
        lines = [f"{asked}: {owner} has no module {missing!r}.", self._level(parent)]
        return "\n".join(lines + self._functional_call(path) + self._suggestions(path))

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

    def _functional_call(self, path: str) -> list[str]:
        """Say how a functional call is written, where a path names one as if it were a module."""
        owner, _, op = path.rpartition(".")
        owners = self._owners(owner or ROOT) if op.isidentifier() else ()
        if any(calls(self.modules[one], op) for one in owners):
            return [f'If the functional call is meant, write "{path}()".']
        return []

    def _suggestions(self, path: str) -> list[str]:
        if self._deepest(path)[1].lstrip("-").isdecimal():
            return []  # a number beside another one is no better guess
        return near_matches(path, [known for known in self.modules if known != ROOT])

    def _nothing(self, asked: str, target: Target, found: set[str], offered: list[str]) -> str:
        if offered:
            types = Counter(map(self._type, offered))
            counted = ", ".join(f"{name} ({count})" for name, count in sorted(types.items()))
            return f"{asked}: no module of {self.title} passes where=.\nOffered were: {counted}."
        if found:
            return (
                f"{asked}: only modules whose calls cannot be seen match in {self.title}, such as "
                f"containers: {_short(found)}.\nCapture what they hold, such as '{min(found)}.*'."
            )
        written = target.pattern if isinstance(target, re.Pattern) else target
        lines = [
            f"{asked}: the pattern matches no module of {self.title}.",
            self._level(self._deepest(written)[0]),
        ]
        call = self._functional_call(written) if written is target else []
        return "\n".join(lines + call + self._suggestions(written))

    def _type(self, path: str) -> str:
        return type(self.modules[path]).__name__


def _is_pattern(target: object) -> bool:
    return isinstance(target, re.Pattern) and isinstance(target.pattern, str)


def is_called(module: nn.Module) -> bool:
    """Tell whether calls of a module can be seen.

    `ModuleList` and `ModuleDict` define no `forward`; scripted modules take no hooks.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return False
    return "forward" in vars(module) or type(module).forward is not nn.Module.forward


def _passes(where: Where | None, path: str, module: nn.Module) -> bool:
    if where is None:
        return True
    if isinstance(where, type | tuple):
        return isinstance(module, where)
    return bool(where(path, module))


def _functional(target: Target, asked: str) -> tuple[Target, str]:
    """Split `layer1.0.add()` into the module that makes the call and the call's name."""
    call = parted(target) if isinstance(target, str) else None
    if call is None:
        return target, ""
    owner, op = call
    if not op.isidentifier():
        raise CaptureError(
            f"{asked}: {op!r} is no name of a functional call.\n"
            'Write the module and the name that torch reports, such as "layer1.0.add()".'
        )
    return owner, op


def _spell(target: Target, where: Where | None, *, implied: bool) -> str:
    """Write a target as its author did: `"conv1"`, `re.compile('c.*')`, `where=Conv2d`."""
    written = (
        [] if implied else [f'"{plain(target, None)}"' if isinstance(target, str) else repr(target)]
    )
    if where is not None:
        classes = where if isinstance(where, tuple) else (where,)
        names = ", ".join(getattr(one, "__name__", repr(one)) for one in classes)
        written.append(f"where=({names})" if isinstance(where, tuple) else f"where={names}")
    return ", ".join(written)


def near_matches(path: str, known: Sequence[str]) -> list[str]:
    """Ask whether one of up to three names is meant, those with the same last part first.

    The question is one line; there is none where no name is near.
    """
    last = path.rsplit(".", 1)[-1]
    same_name = [one for one in known if one.rsplit(".", 1)[-1] == last]
    near = sorted(same_name, key=lambda one: -_likeness(path, one))[:3]
    near += difflib.get_close_matches(path, known, n=3, cutoff=0.8)
    unique = list(dict.fromkeys(near))[:3]
    return [f"Did you mean {' or '.join(map(repr, unique))}?"] if unique else []


def _dotted(path: str) -> str:
    """Write `layers[0].conv` and `heads['mask']`, as Python reads them, as module paths."""
    return re.sub(r"""\[(['"]?)([^]'"]+)\1\]""", r".\2", path)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _short(names: Collection[str]) -> str:
    if len(names) > 1 and set(names) == {str(index) for index in range(len(names))}:
        return f"0 to {len(names) - 1}"
    return listed(names, most=12, nothing="no modules")
