"""Where a feature map came from, and every way to name it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Leaf: TypeAlias = tuple[str | int, ...]
"""Where in a module's output a tensor stood: `()` is the output itself, `(1, 0)` its `[1][0]`."""

Where: TypeAlias = tuple[str, str]
"""A model's name and a module's path in it."""


def _no_digest() -> str | None:
    return None


@dataclass(eq=False)
class Layer:
    """One captured module, and what its hook has counted.

    Attributes:
        model: the name of the model that the module belongs to.
        path: the module's first path in `named_modules()`, `"."` for the model itself.
        module_type: the name of the module's class.
        models: the names of all models of the recording, shared by its layers.
        layout: the layout that was declared for its maps, if any.
        hint: why this module will not run, where its kind already says so.
        calls: its calls since the last `clear()`.
        ran: whether it ever ran.
        weights: gives a short digest of the module's own parameters and buffers, or None
            when it has none or is gone.
    """

    model: str
    path: str
    module_type: str
    models: set[str]
    layout: str | None = None
    hint: str = ""
    calls: int = 0
    ran: bool = False
    weights: Callable[[], str | None] = _no_digest

    @property
    def where(self) -> Where:
        """The model's name and the module's path."""
        return self.model, self.path

    @property
    def name(self) -> str:
        """The path, after the model's name where several models are recorded."""
        return f"{self.model}:{self.path}" if len(self.models) > 1 else self.path


@dataclass(frozen=True, eq=False)
class Place:
    """The layer, the call and the place in its output that one tensor came from.

    Attributes:
        layer: the captured module.
        call: which of the module's calls, from 0.
        leaf: where in the output.
        siblings: how many tensors that output held.
    """

    layer: Layer
    call: int
    leaf: Leaf = ()
    siblings: int = 1

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
        """The key with the module's type, and the number of calls where there were several."""
        calls = self.layer.calls
        call = f", call {self.call} of {calls}" if calls > 1 else ""
        return f"{self.key} ({self.layer.module_type}{call})"

    def spellings(self) -> Iterator[str]:
        """Yield every key, shorter and longer, that may mean this map."""
        for prefix in ("", f"{self.layer.model}:"):
            for call in ("", f"#{self.call}"):
                for end in range(len(self.leaf) + 1):
                    yield prefix + self.layer.path + call + _brackets(self.leaf[:end])

    def _suffix(self) -> str:
        # A module's name may itself look like the end of a key; naming the call as well
        # keeps the two apart.
        many = self.layer.calls > 1 or any(sign in self.layer.path for sign in "#[(")
        call = f"#{self.call}" if many else ""
        return call + (_brackets(self.leaf) if self.siblings > 1 else "")


def _brackets(leaf: Leaf) -> str:
    return "".join(f"[{step}]" for step in leaf)
