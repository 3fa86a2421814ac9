"""The hooks on one module: what goes in, what comes out, what comes back as a gradient."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from pytest_featuremaps.layouts.layouts import channel_axis
from pytest_featuremaps.maps.keeping import Gradients, Kept, Unkept, View, keep
from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.maps.model_inputs import ModelInputs
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.names.keys import Layer, Place, not_known
from pytest_featuremaps.names.leaves import Leaf, arguments, tensors
from pytest_featuremaps.recording.inert import Hook, remove_all
from pytest_featuremaps.recording.modes import unseen
from pytest_featuremaps.recording.situation import describe, in_backward, is_traced, this_call
from pytest_featuremaps.recording.weights import weights_of

Taken: TypeAlias = Mapping[str, Mapping[Leaf, Kept]]


class Hooks(Hook):
    """Our hooks on one module: on when made, off with `remove`, inert for anyone else.

    It is itself the hook that runs after a forward. The hooks record calls of this very module,
    and of its replicas on other devices. A hook that stays behind (in a copy of the module, in
    one that took over another's hooks, past an error on removal) does nothing and holds nothing.

    Attributes:
        layer: what the module is called, and what is counted of it.

    Raises:
        RuntimeError: the module takes no hooks; then none stays.
    """

    # A model has thousands of modules: each object more per module is felt.
    __slots__ = (
        "__weakref__",
        "_before",
        "_gradients",
        "_handles",
        "_log",
        "_module",
        "_sketched",
        "layer",
    )

    def __init__(
        self, module: nn.Module, layer: Layer, log: weakref.ref[Log], *, sketched: bool
    ) -> None:
        self.released = False
        self._module = weakref.ref(module)
        self.layer = layer
        # Weak, so that a recording that is dropped without being closed records no more.
        self._log = log
        self._sketched = sketched
        self._before = _Before(self) if layer.inputs else None
        self._handles: list[RemovableHandle] = []
        self._gradients: list[Gradient] = []
        try:
            if self._before:
                before = module.register_forward_pre_hook(self._before, with_kwargs=True)
                self._handles.append(before)
            after = module.register_forward_hook(self, with_kwargs=layer.inputs)
            self._handles.append(after)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take the hooks off, going on past an error."""
        self.released = True
        if self._before:
            self._before.forget()
        handles, self._handles = self._handles, []
        gradients, self._gradients = self._gradients, []
        remove_all([*handles, *gradients])

    def forget(self) -> None:
        """Watch for no gradient of the calls so far."""
        gradients, self._gradients = self._gradients, []
        remove_all(gradients)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], *rest: Any) -> None:  # noqa: ANN401
        """Record what a call of the module returned, the last of `rest`."""
        del args
        if is_traced() or not self.watches(module):
            return
        log = self._log()
        if log is None:
            return
        layer = self.layer
        if in_backward():
            # Checkpointing runs a forward again to save memory; it was recorded before.
            layer.recomputed += 1
            return
        taken = self._before.taken(this_call()) if self._before else None
        with _COUNTING:
            call = layer.calls
            layer.calls += 1
        layer.ran = True
        layer.module_type = type(module).__name__  # a lazy module has become another
        try:
            log.add(unseen(self._recorded, call, rest[-1], taken))
        except Exception as error:  # noqa: BLE001 - never raised through the user's forward
            layer.problem = describe(error)

    def _recorded(self, call: int, output: object, taken: Taken | Unkept | None) -> list[Record]:
        """Return the maps of one call, and watch for their gradients."""
        if not call and self.layer.weights is not_known:
            self._know_weights()
        leaves = tensors(output)
        records = []
        for leaf, tensor in leaves:
            place = Place(self.layer, call, leaf, len(leaves))
            records.append(Record(place, self._keep(tensor), taken))
            if self.layer.grads:
                self._watch_gradient(tensor, records[-1])
        return records

    def _know_weights(self) -> None:
        """Know the weights of a module that ran without its model; a forward may train them."""
        module = self._module()
        if module is not None and not module.training:
            self.layer.weights = weights_of(module)

    def _watch_gradient(self, tensor: torch.Tensor, one: Record) -> None:
        if tensor.requires_grad:
            self._gradients.append(Gradient(tensor, one))
        else:
            one.gradients = Gradients(has_history=False)

    def watches(self, module: nn.Module) -> bool:
        """Tell whether a call of a module is to be recorded here."""
        return not self.released and (
            module is self._module() or getattr(module, "_is_replica", False) is True
        )

    def kept_arguments(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Taken | Unkept:
        """Keep what a module is called with, by parameter name."""
        try:
            return {
                name: {leaf: self._keep(one) for leaf, one in tensors(value)}
                for name, value in arguments(module.forward, args, kwargs).items()
            }
        except Exception as error:  # noqa: BLE001 - never raised through the user's forward
            return Unkept(describe(error))

    def _keep(self, tensor: torch.Tensor) -> Kept:
        layer = self.layer
        axis = None
        if layer.channels:
            axis = channel_axis(layer.layout, layer.families, tensor.dim())
        return keep(tensor, layer.keep, axis=axis, sketched=self._sketched)


class Gradient:
    """The hook on one output that gives its gradient to its record."""

    __slots__ = ("_arrived", "_handle", "_record")

    def __init__(self, tensor: torch.Tensor, one: Record) -> None:
        self._record = one
        # torch takes a view that is changed in place for another value from then on, and a hook
        # on the first sees a part of its gradient, or none.
        self._arrived = one.gradients = Gradients(View.of(tensor))
        register: Callable[..., RemovableHandle] = tensor.register_hook
        self._handle = register(self._arrive)

    def remove(self) -> None:
        """Take the hook off, and hold no memory of the model's any more."""
        self._handle.remove()
        if self._arrived.view is not None:
            unseen(self._arrived.view.settle)

    def _arrive(self, gradient: torch.Tensor) -> None:
        try:
            unseen(self._arrived.add, gradient, self._record.place.layer.keep)
        except Exception as error:  # noqa: BLE001 - never raised through the user's backward
            self._arrived.lost = describe(error)


# One for all: it is held for an instant, and each layer's own would be an object more.
_COUNTING = threading.Lock()


class _Before(Hook):
    """The hook before a forward, and what went into the calls that run now."""

    __slots__ = ("_entered", "_hooks")

    def __init__(self, hooks: Hooks) -> None:
        super().__init__()
        self._hooks = weakref.ref(hooks)
        self._entered: dict[int, Taken | Unkept] = {}

    def __call__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] = MappingProxyType({}),  # left out where a hook was moved
    ) -> None:
        """Keep what the module is called with, before it can change it."""
        if is_traced() or in_backward():
            return
        hooks = self._hooks()
        if hooks is None or not hooks.watches(module):
            return
        self._entered[this_call()] = unseen(hooks.kept_arguments, module, args, kwargs)

    def taken(self, call: int) -> Taken | Unkept:
        """Give what went into a call that has just returned, once."""
        return self._entered.pop(call, {})

    def forget(self) -> None:
        """Hold nothing, and do nothing any more."""
        self.released = True
        self._entered.clear()


class Probe(Hook):
    """Whether a module ran at all, and what it was called with, without holding any of it."""

    __slots__ = ("_begin", "_entered", "_handle", "ran")

    def __init__(
        self,
        module: nn.Module,
        entered: ModelInputs | None = None,
        begin: Callable[[], None] | None = None,
    ) -> None:
        """Put the hook on.

        Args:
            module: the module to watch.
            entered: takes note of what the module is called with; nothing does when None.
            begin: what else is to be done before it runs.
        """
        super().__init__()
        self.ran = False
        self._entered = entered
        self._begin = begin
        self._handle = module.register_forward_pre_hook(self, with_kwargs=entered is not None)

    def remove(self) -> None:
        """Take the hook off."""
        self.released = True
        self._handle.remove()

    def __call__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] = MappingProxyType({}),  # left out where none are asked for
    ) -> None:
        """Note that the module runs, and with what."""
        del module
        if is_traced() or self.released:
            return
        self.ran = True
        if in_backward():
            return
        if self._entered is not None:
            unseen(self._entered.note, args, kwargs)
        if self._begin is not None:
            unseen(self._begin)
