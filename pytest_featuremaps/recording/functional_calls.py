"""The functional calls of a recording: which are wanted, intercepted and recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from pytest_featuremaps.maps.feature_map import FeatureMap
from pytest_featuremaps.maps.keeping import Kept, keep
from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.names.keys import Layer, Place, Where
from pytest_featuremaps.names.leaves import Leaf, arguments, tensors
from pytest_featuremaps.names.paths import ROOT, Survey
from pytest_featuremaps.names.targets import Resolved
from pytest_featuremaps.recording.hooks import describe, in_backward, is_traced
from pytest_featuremaps.recording.interception import FunctionalCalls, near_ops
from pytest_featuremaps.recording.models import training_of
from pytest_featuremaps.recording.options import CaptureOptions
from pytest_featuremaps.wording import listed

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


@dataclass
class _Wanted:
    """The calls that are wanted of one model.

    Attributes:
        modules: its modules, kept alive while their identity tells who calls.
        exact: owner and op of the calls that were named exactly.
        matched: those that a pattern matched, where torch.nn's own layers do not count.
    """

    modules: Mapping[str, nn.Module]
    exact: dict[tuple[str, str], CaptureOptions] = field(default_factory=dict)
    matched: dict[tuple[str, str], CaptureOptions] = field(default_factory=dict)


@dataclass(frozen=True)
class Arguments:
    """What a functional call was made with.

    Attributes:
        inputs: the tensors, by parameter.
        settings: numbers, words and flags, by parameter.
        problem: why the tensors could not be kept; empty when they were.
    """

    inputs: Mapping[str, Mapping[Leaf, Kept]]
    settings: Mapping[str, object]
    problem: str = ""


class Calls:
    """Intercepts functional calls while any is wanted, and writes them into the log."""

    def __init__(self, log: Log, names: set[str], *, intercepting: bool) -> None:
        self._log = log
        self._names = names
        self._allowed = intercepting
        self._wanted: dict[str, _Wanted] = {}
        self._places: dict[int, tuple[Where, ...]] = {}
        # Made when first needed: it and this object hold each other.
        self._mode: FunctionalCalls | None = None
        self._seen: Mapping[Where, set[str]] = {}
        self._entered = False
        self._lock = threading.Lock()

    def want(self, label: str, known: Survey, target: Resolved, options: CaptureOptions) -> None:
        """Record a functional call of a model from now on; nothing for a target of modules."""
        if not target.op:
            return
        wanted = self._wanted.setdefault(label, _Wanted(known.modules))
        calls = wanted.exact if target.exact else wanted.matched
        for call in [(path, target.op) for path in target.paths]:
            before = calls.get(call)
            calls[call] = options.joined(before, _path(*call)) if before else options
        for path, module in known.modules.items():
            places = self._places.get(id(module), ())
            self._places[id(module)] = tuple(dict.fromkeys((*places, (label, path))))
        self._mode = self._mode or FunctionalCalls(
            self._places, self._wants, self._record, self._take
        )
        self._seen = self._mode.seen
        self._enter()

    def forget(self, label: str) -> None:
        """Want nothing of a model any more."""
        wanted = self._wanted.pop(label, None)
        for module in wanted.modules.values() if wanted else ():
            # Another model may hold the module as well.
            places = self._places.pop(id(module), ())
            if others := tuple(place for place in places if place[0] != label):
                self._places[id(module)] = others

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
        self._allowed = False
        self._leave()
        self._mode = None
        for label in list(self._wanted):
            self.forget(label)

    def silent(self, label: str, target: Resolved) -> str:
        """Say why a wanted call was not made; empty when it was."""
        layers = [self._log.layers.get((label, _path(path, target.op))) for path in target.paths]
        made = [layer for layer in layers if layer is not None and layer.ran]
        if any(layer.recorded for layer in made):
            return ""
        asked, op = f"capture({target.text})", target.op
        if made:
            reason = made[0].problem or "it gave no tensor"
            return f"{asked}: {op!r} was called, but its value could not be recorded: {reason}."
        seen = {path: self._seen.get((label, path), set()) for path in target.paths}
        within = [path for path, ops in seen.items() if op in ops]
        if within:
            # Only then can it have been seen and not been recorded.
            return (
                f"{asked}: {op!r} was called by layers of torch.nn only, which count where they "
                f"are named exactly, such as {_path(within[0], op)!r}."
            )
        return "\n".join(_not_called(asked, target, set().union(*seen.values())))

    def _enter(self) -> None:
        if self._allowed and self._mode is not None and not self._entered:
            self._mode.__enter__()
            self._entered = True

    def _leave(self) -> None:
        if self._entered and self._mode is not None:
            self._entered = False
            self._mode.__exit__(None, None, None)

    def _wants(self, place: Where, op: str, inside_torch_nn: bool) -> bool:
        label, path = place
        wanted = self._wanted.get(label)
        return wanted is not None and (
            (path, op) in wanted.exact or ((path, op) in wanted.matched and not inside_torch_nn)
        )

    def _take(
        self,
        place: Where,
        op: str,
        func: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> Arguments | None:
        """Keep what a call is made with, before it can change it; None unless that is wanted."""
        options = self._options(*place, op)
        if not options.inputs or in_backward() or is_traced():
            return None
        try:
            given = arguments(func, args, kwargs, _PARAMETERS.get(op, ()))
            taken = {
                name: {leaf: keep(one, options.keep, sketched=True) for leaf, one in tensors(value)}
                for name, value in given.items()
            }
        except Exception as error:  # noqa: BLE001 - never raised through the user's forward
            return Arguments({}, {}, describe(error))
        plain = {name: value for name, value in given.items() if isinstance(value, _PLAIN)}
        return Arguments(taken, plain)

    def _record(self, place: Where, op: str, output: object, taken: Arguments | None) -> None:
        if in_backward() or is_traced():
            return
        layer = self._layer(*place, op)
        with self._lock:
            call = layer.calls
            layer.calls += 1
        layer.ran = True
        layer.problem = taken.problem if taken else layer.problem
        inputs, settings = (taken.inputs, taken.settings) if taken else (None, {})
        try:
            leaves = tensors(output)
            maps = [
                FeatureMap(
                    Place(layer, call, leaf, siblings=len(leaves)),
                    keep(tensor, layer.keep, sketched=True),
                    inputs,
                    settings,
                )
                for leaf, tensor in leaves
            ]
        except Exception as error:  # noqa: BLE001 - never raised through the user's forward
            layer.problem = describe(error)
        else:
            self._log.add(maps)

    def _options(self, label: str, path: str, op: str) -> CaptureOptions:
        wanted = self._wanted[label]
        asked = [calls[path, op] for calls in (wanted.exact, wanted.matched) if (path, op) in calls]
        first, *others = asked
        return first.joined(others[0], _path(path, op)) if others else first

    def _layer(self, label: str, owner: str, op: str) -> Layer:
        where = (label, _path(owner, op))
        if where not in self._log.layers:
            options = self._options(label, owner, op)
            self._log.layers[where] = Layer(
                *where,
                op,
                self._names,
                keep=options.keep,
                inputs=options.inputs,
                layout=options.layout,
                training=training_of(self._wanted[label].modules[ROOT]),
            )
        return self._log.layers[where]


def _not_called(asked: str, target: Resolved, seen: set[str]) -> list[str]:
    op = target.op
    many = f"any of the {len(target.paths)} modules that match"
    place = (_place(target.paths[0]) + " itself") if target.exact else f"of {many}"
    lines = [f"{asked}: no {op!r} was called in the forward {place}."]
    if not seen:
        lines.append(
            "No function of torch was seen there: it did not run during the test call, or ran "
            "compiled, scripted or in another thread."
        )
        return lines
    lines.append(f"Called there were: {listed(seen)}.")
    written = target.text.strip('"')
    near = [repr(written.replace(f"{op}()", f"{one}()")) for one in near_ops(op, seen)]
    return lines + ([f"Did you mean {' or '.join(near)}?"] if near else [])


def _path(owner: str, op: str) -> str:
    return f"{op}()" if owner == ROOT else f"{owner}.{op}()"


def _place(owner: str) -> str:
    return "of the model" if owner == ROOT else f"of {owner!r}"
