"""Where a feature map came from, and every way to name it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, TypeAlias

from pytest_featuremaps.names.leaves import Leaf, brackets
from pytest_featuremaps.wording import plain

Keep: TypeAlias = Literal["values", "stats", "shapes"]
"""What is kept of a tensor, from the most to the least."""

KEEPS: tuple[Keep, ...] = ("values", "stats", "shapes")

Where: TypeAlias = tuple[str, str]
"""A model's name and a module's path in it."""


def without_place(key: str) -> str:
    """Return a key without what tells the call, and the place in its output: `#1`, `[0]`."""
    return re.split(r"[#\[]", key, maxsplit=1)[0]


def not_known() -> str:
    """Give the digest of weights that are not known."""
    return ""


def _no_digest() -> str | None:
    return None


def _none() -> list[str]:
    return []


@dataclass(eq=False, slots=True)
class Layer:
    """One captured module, and what its hook has counted.

    Attributes:
        model: the name of the model that the module belongs to.
        path: the module's first path in `named_modules()`, `"."` for the model itself.
        module_type: the name of the module's class.
        models: the names of all models of the recording, shared by its layers.
        keep: what is kept of its tensors.
        inputs: whether what it takes is recorded as well.
        grads: whether the gradients of what it returns are recorded as well.
        channels: whether statistics reduced in the hook are per channel as well.
        layout: the layout that was declared for its maps, if any.
        calls: its calls since the last `clear()`.
        ran: whether it ever ran.
        recorded: whether it ever gave a feature map.
        recomputed: its calls during backward, which repeat earlier ones and are left out.
        problem: why an output of it could not be recorded; empty when all were.
        families: the names of the module's class and of those it derives from.
        sequence_first: whether the module gives positions before samples, as torch's layers of
            sequences do unless told `batch_first`.
        weights: gives a short digest of the module's own parameters and buffers; None when it
            has none, empty when they are not known any more.
        training: names the modules of the whole model that are in training mode now, and
            compute something else there.
    """

    model: str
    path: str
    module_type: str
    models: set[str]
    keep: Keep = "values"
    inputs: bool = False
    grads: bool = False
    channels: bool = False
    layout: str | None = None
    calls: int = 0
    ran: bool = False
    recorded: bool = False
    recomputed: int = 0
    problem: str = ""
    families: tuple[str, ...] = ()
    sequence_first: bool = False
    weights: Callable[[], str | None] = _no_digest
    training: Callable[[], list[str]] = _none

    def __getstate__(self) -> tuple[None, dict[str, object]]:
        """Return the state to pickle: everything but the ways to the module."""
        state = {one.name: getattr(self, one.name) for one in fields(self)}
        return None, state | {"weights": not_known, "training": _none}

    @property
    def where(self) -> Where:
        """The model's name and the module's path."""
        return self.model, self.path

    @property
    def name(self) -> str:
        """The path, after the model's name where several models are recorded."""
        return f"{self.model}:{self.path}" if len(self.models) > 1 else self.path


class Place(NamedTuple):
    """The layer, the call and the place in its output that one tensor came from.

    Attributes:
        layer: the captured module.
        call: which of the module's calls, from 0.
        leaf: where in the output.
        siblings: how many tensors that output held.
        part: which part of the call, where it is not the output: `inputs[x]`, `grad`.
    """

    layer: Layer
    call: int
    leaf: Leaf = ()
    siblings: int = 1
    part: str = ""

    @property
    def key(self) -> str:
        """The shortest name that is this map's alone: `conv`, `conv#1`, `rnn[1][0]`."""
        return self.layer.name + self._suffix()

    @property
    def bare_key(self) -> str:
        """The key without the model's name."""
        return self.layer.path + self._suffix()

    @property
    def title(self) -> str:
        """The key with the module's type, and the calls where there were several, on one line."""
        calls = self.layer.calls
        call = f", call {self.call} of {calls}" if calls > 1 else ""
        return f"{plain(self.key)} ({plain(self.layer.module_type)}{call})"

    def spellings(self) -> Iterator[str]:
        """Yield every key, shorter and longer, that may mean this map."""
        for prefix in ("", f"{self.layer.model}:"):
            for call in ("", f"#{self.call}"):
                for end in range(len(self.leaf) + 1):
                    yield prefix + self.layer.path + call + brackets(self.leaf[:end])

    def _suffix(self) -> str:
        # A module's name may itself look like the end of a key; naming the call as well
        # keeps the two apart.
        many = self.layer.calls > 1 or any(sign in self.layer.path for sign in "#[")
        call = f"#{self.call}" if many else ""
        leaf = brackets(self.leaf) if self.siblings > 1 else ""
        return call + leaf + (f".{self.part}" if self.part else "")
