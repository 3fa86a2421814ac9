"""The modes of torch functions that are on in this thread, and work that none of them sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from torch._C import _len_torch_function_stack
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode

Given = ParamSpec("Given")
Result = TypeVar("Result")

_POP: Callable[[], TorchFunctionMode] = _pop_mode
_PUSH: Callable[[TorchFunctionMode], None] = _push_mode


def unseen(work: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs) -> Result:
    """Do work that no mode is to see or to change: recording is none of the model's.

    The modes are taken off meanwhile. `DisableTorchFunction` would switch off what classes of
    tensors do of themselves as well, and copies of them would lose their class.
    """
    if not _len_torch_function_stack():
        return work(*args, **kwargs)
    modes = taken_off()
    try:
        return work(*args, **kwargs)
    finally:
        put_on(modes)


def taken_off() -> list[TorchFunctionMode]:
    """Take all modes off, and return them, the innermost first."""
    return [_POP() for _ in range(_len_torch_function_stack())]


def put_on(modes: list[TorchFunctionMode]) -> None:
    """Put modes on that were taken off."""
    for mode in reversed(modes):
        _PUSH(mode)
