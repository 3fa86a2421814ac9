"""What every hook of ours has in common: its copies do nothing, and all of them come off."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from types import MethodType
from typing import Any, Protocol, Self

from torch import nn

from pytest_featuremaps.names.paths import every_module


class Hook:
    """A hook as torch holds it, whose copies and pickles do nothing."""

    __slots__ = ("released",)

    def __init__(self) -> None:
        self.released = False

    @property
    def __name__(self) -> str:
        # The first thing that torch.jit.script asks of a hook, which it would compile.
        raise AttributeError(
            "a module cannot be scripted while it is captured: script it before, or after the "
            "recording has ended"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Inert:
        return Inert()

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _nothing_of_python()


class _Removable(Protocol):
    def remove(self) -> None: ...


def remove_all(hooks: Iterable[_Removable]) -> None:
    """Take hooks off, going on past an error, the first of which is raised at the end."""
    errors = []
    for one in hooks:
        try:
            one.remove()
        except Exception as error:  # noqa: BLE001 - raised once every hook was tried
            errors.append(error)
    if errors:
        raise errors[0]


class Inert:
    """What a copy of a hook is: it does nothing, in any way of calling a hook."""

    __slots__ = ()

    @property
    def __name__(self) -> str:
        raise AttributeError(
            "this is a copy of a module that was captured when it was copied, and cannot be "
            "scripted: copy it before the recording, or after"
        )

    def __call__(self, *args: object) -> None:
        """Do nothing."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _nothing_of_python()


def _nothing_of_python() -> tuple[Any, ...]:
    """Return the recipe of a function that takes anything and does nothing.

    It is none of ours: what is pickled while it is captured loads where this package is not.
    `sweep` knows it again.
    """
    return getattr, (nullcontext(), "__exit__")


def sweep(model: nn.Module) -> None:
    """Take off what is left of our hooks where they were moved or copied to."""
    for module in every_module(model):
        if module._forward_hooks or module._forward_pre_hooks:
            for hooks, takes_keywords in (
                (module._forward_hooks, module._forward_hooks_with_kwargs),
                (module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs),
            ):
                for key in [key for key, hook in hooks.items() if _is_left_over(hook)]:
                    del hooks[key]
                    # In another process torch counts anew: a hook to come may be given this key.
                    takes_keywords.pop(key, None)


def _is_left_over(hook: object) -> bool:
    if isinstance(hook, Hook):
        return hook.released
    if isinstance(hook, MethodType):  # what a pickle was loaded as
        return hook.__func__ is nullcontext.__exit__
    return isinstance(hook, Inert)
