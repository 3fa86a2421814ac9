"""What goes on while a hook runs: a backward pass, a trace, which call, which error."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch.fx._symbolic_trace import is_fx_symbolic_tracing


def describe(error: Exception) -> str:
    """Write an error in one line, with its type."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__


def in_backward() -> bool:
    """Tell whether this thread is inside a backward pass."""
    return _graph_task() != -1


def is_traced() -> bool:
    """Tell whether the forward is being traced or exported, where a copy would be recorded too."""
    return _is_exporting() or _tracing_state() is not None or is_fx_symbolic_tracing()


def this_call() -> int:
    """Return a number that the hooks before and after one call share, and no other running call.

    It is the identity of the frame that runs both, the caller's caller. So calls that raised, or
    whose arguments another hook replaced, are told from one another. What a call that raised
    leaves behind is overwritten by the next one that has its number. Code that is compiled with
    the hooks in it knows no frames.
    """
    return 0 if torch.compiler.is_compiling() else id(sys._getframe(2))


_graph_task: Callable[[], int] = torch._C._current_graph_task_id
_tracing_state: Callable[[], object] = torch._C._get_tracing_state

# `is_exporting` is new in torch 2.7.
_is_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)
