"""The hooks on one module: what goes in, what comes out, what comes back as a gradient."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from pytest_featuremaps.feature_map import FeatureMap
from pytest_featuremaps.keeping import Kept, keep
from pytest_featuremaps.keys import Layer, Place
from pytest_featuremaps.layouts import channel_axis
from pytest_featuremaps.leaves import Leaf, arguments, tensors
from pytest_featuremaps.log import Log

Taken: TypeAlias = Mapping[str, Mapping[Leaf, Kept]]


class Hooks:
    """Our hooks on one module: on when made, off with `remove`, inert for anyone else.

    They record calls of this very module, and of its replicas on other devices. A hook that
    stays behind (in a copy of the module, in one that took over another's hooks, past an
    error on removal) does nothing and holds nothing.

    Raises:
        RuntimeError: the module takes no hooks; then none stays.
    """

    def __init__(self, module: nn.Module, layer: Layer, log: Log, *, sketched: bool) -> None:
        self._module = weakref.ref(module)
        self._layer = layer
        # Weak, so that a recording that is dropped without being closed records no more.
        self._log = weakref.ref(log)
        self._sketched = sketched
        self.released = False
        self._lock = threading.Lock()
        self._entered: dict[int, Taken] = {}
        self._handles: list[RemovableHandle] = []
        try:
            if layer.inputs:
                before = module.register_forward_pre_hook(_Hook(self._before), with_kwargs=True)
                self._handles.append(before)
            after = module.register_forward_hook(_Hook(self._after), with_kwargs=layer.inputs)
            self._handles.append(after)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take the hooks off, going on past an error."""
        self.released = True
        self._entered.clear()
        errors = []
        while self._handles:
            try:
                self._handles.pop().remove()
            except Exception as error:  # noqa: BLE001 - raised once every hook was tried
                errors.append(error)
        if errors:
            raise errors[0]

    def _before(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] = MappingProxyType({}),  # left out where a hook was moved
    ) -> None:
        if not self._watches(module) or in_backward():
            return
        self._entered.pop(_this_call(), None)
        try:
            taken = {
                name: {leaf: self._keep(one) for leaf, one in tensors(value)}
                for name, value in arguments(module, args, kwargs).items()
            }
        except Exception as error:  # noqa: BLE001 - never raised through the user's forward
            self._layer.problem = describe(error)
        else:
            self._entered[_this_call()] = taken

    def _after(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:  # noqa: ANN401
        del args
        log = self._log()
        if log is None or not self._watches(module):
            return
        layer = self._layer
        if in_backward():
            # Checkpointing runs a forward again to save memory; it was recorded before.
            layer.recomputed += 1
            return
        taken = self._entered.pop(_this_call(), {}) if layer.inputs else None
        with self._lock:
            call = layer.calls
            layer.calls += 1
        layer.ran = True
        layer.module_type = type(module).__name__  # a lazy module has become another
        try:
            log.add(self._recorded(call, rest[-1], taken))
        except Exception as error:  # noqa: BLE001 - never raised through the user's forward
            layer.problem = describe(error)

    def _recorded(self, call: int, output: object, taken: Taken | None) -> list[FeatureMap]:
        """Return the maps of one call, and watch for their gradients."""
        leaves = tensors(output)
        maps = []
        for leaf, tensor in leaves:
            place = Place(self._layer, call, leaf, siblings=len(leaves))
            maps.append(FeatureMap(place, self._keep(tensor), taken))
            if self._layer.grads and tensor.requires_grad:
                self._handles.append(_on_gradient(tensor, maps[-1].add_grad))
        return maps

    def _watches(self, module: nn.Module) -> bool:
        return not self.released and (
            module is self._module() or getattr(module, "_is_replica", False) is True
        )

    def _keep(self, tensor: torch.Tensor) -> Kept:
        layer = self._layer
        axis = None
        if layer.channels:
            axis = channel_axis(layer.layout, layer.families, tensor.dim())
        return keep(tensor, layer.keep, axis=axis, sketched=self._sketched)


class Probe:
    """Whether a module ran at all, without recording anything of it."""

    def __init__(self, module: nn.Module) -> None:
        self.ran = False
        self.released = False
        self._handle = module.register_forward_pre_hook(_Hook(self._before))

    def remove(self) -> None:
        """Take the hook off."""
        self.released = True
        self._handle.remove()

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        del module, args
        self.ran = self.ran or not self.released


class _Hook:
    """A hook as torch holds it, whose copies and pickles do nothing."""

    def __init__(self, call: Callable[..., None]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> None:  # noqa: ANN401 - what torch passes
        if not is_traced():
            self._call(*args)

    @property
    def __name__(self) -> str:
        # The first thing that torch.jit.script asks of a hook, which it would compile.
        raise AttributeError(
            "a module cannot be scripted while it is captured: script it before, or after the "
            "recording has ended"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return inert

    def __reduce__(self) -> str | tuple[Any, ...]:
        return _the_inert, ()


def inert(*args: object) -> None:
    """Do nothing: what a copy of a hook does."""


def _the_inert() -> Callable[..., None]:
    return inert


def sweep(model: nn.Module) -> None:
    """Take off what is left of our hooks where they were moved or copied to."""
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if _is_left_over(hook)]:
                del hooks[key]


def _is_left_over(hook: object) -> bool:
    if hook is inert:
        return True
    owner = getattr(hook._call, "__self__", None) if isinstance(hook, _Hook) else None
    return isinstance(owner, Hooks | Probe) and owner.released


def in_backward() -> bool:
    """Tell whether this thread is inside a backward pass."""
    return torch._C._current_graph_task_id() != -1


def is_traced() -> bool:
    """Tell whether the forward is being traced or exported, where a copy would be recorded too."""
    return _is_exporting() or torch._C._get_tracing_state() is not None


def _this_call() -> int:
    """Return a number that the hooks before and after one call share, and no other running call.

    It is the identity of the frame that runs both. So calls that raised, or whose arguments
    another hook replaced, are told from one another. What a call that raised leaves behind is
    overwritten by the next one that has its number. Code that is compiled with the hooks in it
    knows no frames.
    """
    return 0 if torch.compiler.is_compiling() else id(sys._getframe(3))


# `is_exporting` is new in torch 2.7.
_is_exporting: Callable[[], bool] = getattr(
    torch.compiler, "is_exporting", torch.compiler.is_compiling
)


def describe(error: Exception) -> str:
    """Write an error in one line, with its type."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _on_gradient(tensor: torch.Tensor, call: Callable[[torch.Tensor], None]) -> RemovableHandle:
    register: Callable[..., RemovableHandle] = tensor.register_hook
    return register(call)
