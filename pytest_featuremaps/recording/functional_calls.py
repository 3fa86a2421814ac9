"""The functional calls of a recording: which are wanted, intercepted and recorded."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from pytest_featuremaps.layouts.layouts import channel_axis
from pytest_featuremaps.maps.asked_calls import AskedCalls
from pytest_featuremaps.maps.keeping import Kept, Unkept, keep
from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.names.calls import call_path
from pytest_featuremaps.names.keys import Layer, Place, Where
from pytest_featuremaps.names.leaves import Leaf, arguments, tensors
from pytest_featuremaps.names.paths import ROOT, Survey
from pytest_featuremaps.names.targets import Resolved
from pytest_featuremaps.recording.inert import Hook
from pytest_featuremaps.recording.interception import FunctionalCalls
from pytest_featuremaps.recording.models import training_of
from pytest_featuremaps.recording.modes import unseen
from pytest_featuremaps.recording.options import CaptureOptions
from pytest_featuremaps.recording.situation import describe, in_backward, is_traced

# Functions of torch without a signature, and the names of what they take by position.
_PARAMETERS = {
    "scaled_dot_product_attention": (
        "query",
        "key",
        "value",
        "attn_mask",
        "dropout_p",
        "is_causal",
    )
}
_PLAIN = (bool, int, float, str, type(None))
_HEARD = ("keep", "inputs", "channels", "layout")  # of the options; gradients are not recorded
_REPEATED = "only during backward(), where checkpointing repeats a forward"
_TRACED = "only while the model was traced or exported"


@dataclass
class _Wanted:
    """The calls that are wanted of one model.

    Attributes:
        model: the model.
        modules: its modules by identity, which tells who calls as long as they are alive.
        calls: how much is recorded of each call, by the module that makes it, and the op.
        exact: those that were named exactly, and so count within torch.nn's own layers as well.
    """

    model: nn.Module
    modules: dict[int, nn.Module] = field(default_factory=dict)
    calls: dict[tuple[str, str], CaptureOptions] = field(default_factory=dict)
    exact: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True)
class Arguments:
    """What a functional call was made with.

    Attributes:
        inputs: the tensors, by parameter; or why they could not be kept.
        settings: numbers, words and flags, by parameter.
    """

    inputs: Mapping[str, Mapping[Leaf, Kept]] | Unkept
    settings: Mapping[str, object]


class _Forward(Hook):
    """Whether a module is called, and whether its functional calls are seen then."""

    __slots__ = ("_asked", "_handle", "_where")

    def __init__(self, where: Where, module: nn.Module, asked: AskedCalls) -> None:
        super().__init__()
        self._where = where
        self._asked = asked
        self._handle = module.register_forward_pre_hook(self)

    def remove(self) -> None:
        """Take the hook off."""
        self.released = True
        self._handle.remove()

    def __call__(self, *args: object) -> None:
        """Note that the module is called."""
        del args
        if not self.released and not is_traced():
            self._asked.note_run(self._where)


class Calls:
    """Intercepts functional calls while any is wanted, and writes them into the log."""

    def __init__(self, log: Log, names: set[str], *, intercepting: bool) -> None:
        # Weak, so that a recording that is dropped without being closed records no more: what is
        # on torch's stack would keep it.
        self._log = weakref.ref(log)
        self._asked = log.asked_calls
        self._names = names
        self._allowed = intercepting
        self._wanted: dict[str, _Wanted] = {}
        self._places: dict[int, tuple[Where, ...]] = {}
        self._mode: FunctionalCalls | None = None
        self._dropped = weakref.finalize(log, self.close)
        self._dropped.atexit = False
        self._forwards: dict[Where, _Forward] = {}
        self._lock = threading.Lock()

    def check(self, label: str, targets: Sequence[Resolved], options: CaptureOptions) -> None:
        """Refuse options that do not go with those that calls were asked for with before.

        Raises:
            CaptureError: two layouts are declared.
        """
        before = self._wanted[label].calls if label in self._wanted else {}
        for call in [(path, one.op) for one in targets for path in one.paths if before]:
            _joined(options, before.get(call), call)

    def want(self, label: str, known: Survey, target: Resolved, options: CaptureOptions) -> None:
        """Record a functional call of a model from now on; nothing for a target of modules."""
        if not target.op:
            return
        wanted = self._wanted.setdefault(label, _Wanted(known.modules[ROOT]))
        calls = [(path, target.op) for path in target.paths]
        wanted.calls |= {call: _joined(options, wanted.calls.get(call), call) for call in calls}
        wanted.exact |= set(calls) if target.exact else set()
        self._renew(label, wanted, calls)
        for path, module in known.modules.items():
            wanted.modules[id(module)] = module
            places = self._places.get(id(module), ())
            self._places[id(module)] = tuple(dict.fromkeys((*places, (label, path))))
        self._asked.ask(label, target)
        self._watch_forwards(label, known, target)
        self._enter()

    def forget(self, label: str) -> None:
        """Want and know nothing of a model any more."""
        self._asked.forget(label)
        self._release(label)

    def _release(self, label: str) -> None:
        for where in [where for where in self._forwards if where[0] == label]:
            self._forwards.pop(where).remove()
        wanted = self._wanted.pop(label, None)
        for module in wanted.modules if wanted else ():
            # Another model may hold the module as well.
            places = self._places.pop(module, ())
            if others := tuple(place for place in places if place[0] != label):
                self._places[module] = others

    @contextmanager
    def interception(self) -> Iterator[None]:
        """Intercept what is wanted, now or later, until the block ends."""
        self._allowed = True
        self._enter()
        try:
            yield
        finally:
            self._allowed = False
            self._leave()

    def close(self) -> None:
        """Stop, for good."""
        self._dropped.detach()
        self._allowed = False
        self._leave()
        for label in list(self._wanted):
            self._release(label)

    def _enter(self) -> None:
        if self._allowed and self._wanted and self._mode is None:
            self._mode = FunctionalCalls(
                self._places, self._wants, self._record, self._take, self._asked.ops
            )
            self._mode.__enter__()
            self._asked.thread = threading.get_ident()

    def _leave(self) -> None:
        mode, self._mode = self._mode, None
        if mode is not None:
            self._asked.thread = None
            mode.__exit__(None, None, None)

    def _watch_forwards(self, label: str, known: Survey, target: Resolved) -> None:
        """Watch whether the model runs, and the module that is meant, to tell why a call is not."""
        alone = target.paths if len(target.paths) == 1 else ()
        for path in (ROOT, *alone):
            if (label, path) not in self._forwards:
                forward = _Forward((label, path), known.modules[path], self._asked)
                self._forwards[label, path] = forward

    def _renew(self, label: str, wanted: _Wanted, calls: Iterable[tuple[str, str]]) -> None:
        """Let calls that were recorded before be recorded as is asked for now."""
        log = self._log()
        for call in calls:
            layer = log and log.layers.get((label, call_path(*call)))
            if layer:
                for name in _HEARD:
                    setattr(layer, name, getattr(wanted.calls[call], name))

    def _wants(self, place: Where, op: str, inside_torch_nn: bool) -> bool:
        label, path = place
        wanted = self._wanted.get(label)
        if wanted is None or (path, op) not in wanted.calls:
            return False
        return not inside_torch_nn or (path, op) in wanted.exact

    def _take(
        self,
        place: Where,
        op: str,
        func: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> Arguments | None:
        """Keep what a call is made with, before it can change it; None unless that is wanted."""
        label, path = place
        options = self._wanted[label].calls[path, op]
        if not options.inputs or in_backward() or is_traced():
            return None
        given = arguments(func, args, kwargs, _PARAMETERS.get(op, ()))
        try:
            taken = unseen(_kept_inputs, given, options, op)
        except Exception as error:  # noqa: BLE001 - never raised through the user's forward
            return Arguments(Unkept(describe(error)), {})
        plain = {name: value for name, value in given.items() if isinstance(value, _PLAIN)}
        return Arguments(taken, plain)

    def _record(self, place: Where, op: str, output: object, taken: Arguments | None) -> None:
        log = self._log()
        if log is None:
            return
        if in_backward() or is_traced():
            self._asked.left_out[place, op] = _REPEATED if in_backward() else _TRACED
            return
        layer = self._layer(log, *place, op)
        with self._lock:
            call = layer.calls
            layer.calls += 1
        layer.ran = True
        inputs, settings = (taken.inputs, taken.settings) if taken else (None, None)
        try:
            kept = unseen(_kept_output, output, layer, op)
            records = [
                Record(Place(layer, call, leaf, len(kept)), one, inputs, settings)
                for leaf, one in kept
            ]
        except Exception as error:  # noqa: BLE001 - never raised through the user's forward
            layer.problem = describe(error)
        else:
            log.add(records)

    def _layer(self, log: Log, label: str, owner: str, op: str) -> Layer:
        where = (label, call_path(owner, op))
        if where not in log.layers:
            wanted = self._wanted[label]
            heard = {name: getattr(wanted.calls[owner, op], name) for name in _HEARD}
            training = training_of(wanted.model)
            log.layers[where] = Layer(*where, op, self._names, training=training, **heard)
        return log.layers[where]


def _joined(
    options: CaptureOptions, before: CaptureOptions | None, call: tuple[str, str]
) -> CaptureOptions:
    return options.joined(before, call_path(*call)) if before else options


def _kept_inputs(
    given: Mapping[str, object], asked: CaptureOptions, op: str
) -> Mapping[str, Mapping[Leaf, Kept]]:
    return {
        name: {leaf: _kept(one, asked, op) for leaf, one in tensors(value)}
        for name, value in given.items()
    }


def _kept_output(output: object, asked: Layer, op: str) -> list[tuple[Leaf, Kept]]:
    return [(leaf, _kept(one, asked, op)) for leaf, one in tensors(output)]


def _kept(tensor: torch.Tensor, asked: CaptureOptions | Layer, op: str) -> Kept:
    axis = channel_axis(asked.layout, (op,), tensor.dim()) if asked.channels else None
    return keep(tensor, asked.keep, axis=axis, sketched=True)
