"""What records: which modules of which models are watched, from the first hook to the last."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.maps import uncalled
from pytest_featuremaps.maps.asked_calls import AskedCalls
from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.names.keys import Layer, Where
from pytest_featuremaps.names.paths import Survey, survey
from pytest_featuremaps.names.targets import Resolved, Target, resolve
from pytest_featuremaps.names.targets import Where as Filter
from pytest_featuremaps.recording import silence
from pytest_featuremaps.recording.functional_calls import Calls
from pytest_featuremaps.recording.interception import turns_off_fast_path
from pytest_featuremaps.recording.models import COMPILER, fused_layers, refusal
from pytest_featuremaps.recording.options import CaptureOptions
from pytest_featuremaps.recording.watching import Watch
from pytest_featuremaps.wording import listed

_LATE = (
    "torch.compile was first used after the recording began: what it compiled may run no hooks. "
    "Compile the model before it is captured."
)


@dataclass(frozen=True)
class Moment:
    """What a recording held at one time, to go back to."""

    maps: tuple[Record, ...]
    layers: Mapping[Where, Layer]
    demands: int
    entered: Mapping[str, int]
    asked_calls: AskedCalls


class Recorder:
    """Puts hooks on models, and has them write what they see into one log.

    Attributes:
        log: what is recorded; it stays readable when the hooks are off.
    """

    def __init__(self, *, sketched: bool = True, intercepting: bool = True) -> None:
        """Record nothing yet.

        Args:
            sketched: whether statistics that are taken in a hook come with a sketch, which
                comparisons need.
            intercepting: whether functional calls are intercepted from when they are asked
                for; otherwise within `interception()` only.
        """
        self.log = Log()
        self._closed = False
        self._models: dict[str, weakref.ref[nn.Module]] = {}
        self._labels: set[str] = set()
        self._demands: list[tuple[str, Resolved]] = []
        self._watch = Watch(self.log, self._labels, sketched=sketched)
        self._calls = Calls(self.log, self._labels, intercepting=intercepting)
        self._eager = ExitStack()
        self._compiler_known = True
        self.log.explain = partial(_explain, weakref.ref(self))

    def attach(
        self,
        model: nn.Module,
        targets: Sequence[Target],
        options: CaptureOptions,
        *,
        where: Filter | None = None,
        required: bool = True,
        name: str | None = None,
    ) -> str:
        """Record modules of a model from now on, and return the model's name in keys.

        Arguments and errors are those of `Recording.attach`.
        """
        label = self._label(model, name)
        options.check()
        known = survey(model)
        resolved = resolve(known, targets, where)
        self._calls.check(label, resolved, options)
        self._watch.register(label, known, resolved, options)
        self._note_observer_effects(known, resolved)
        self.log.paths[label] = known.paths
        self._models[label] = weakref.ref(model)
        self._labels.add(label)
        for one in resolved:
            self._calls.want(label, known, one, options)
        self._watch.probe(label, known, resolved if required else ())
        if required:
            self._demands += [(label, one) for one in resolved]
        return label

    def detach(self, name: str) -> None:
        """Take the hooks off one model, and forget its maps; nothing if there is none."""
        self._watch.forget(name)
        self._calls.forget(name)
        self._models.pop(name, None)
        self.log.paths.pop(name, None)
        self._labels.discard(name)
        self._demands = [demand for demand in self._demands if demand[0] != name]

    def clear(self) -> None:
        """Forget what was recorded; calls are counted from 0 again. Hooks stay on."""
        self._watch.clear()
        self.log.replace([], {})
        for entered in self.log.model_inputs.values():
            entered.calls.clear()

    def moment(self) -> Moment:
        """Return what is recorded now, to go back to with `rewind`."""
        layers = self.log.layers
        return Moment(
            tuple(self.log.maps),
            {where: replace(layer) for where, layer in layers.items()},
            len(self._demands),
            {label: len(entered.calls) for label, entered in self.log.model_inputs.items()},
            self.log.asked_calls.copy(),
        )

    def rewind(self, moment: Moment) -> None:
        """Hold again what was recorded at a moment; what was attached since comes off."""
        known = {label for label, _ in [*moment.layers, *moment.asked_calls.targets]}
        for label in self._labels - known:
            self.detach(label)
        self.log.asked_calls.rewind(moment.asked_calls)
        self._watch.remove(set(self.log.layers) - set(moment.layers))
        self._demands = self._demands[: moment.demands]
        for label, entered in self.log.model_inputs.items():
            del entered.calls[moment.entered.get(label, 0) :]
        self.log.replace(moment.maps, {where: one.calls for where, one in moment.layers.items()})
        self.log.join()
        for where, layer in self.log.layers.items():
            before = moment.layers[where]
            layer.ran, layer.recorded = before.ran, before.recorded
            layer.recomputed, layer.problem = before.recomputed, before.problem

    def silence(self) -> str:
        """Say which required targets did not run, why, and what did; empty when all ran."""
        silent = [text for label, one in self._demands if (text := self._silent(label, one))]
        if not silent:
            return ""
        ran = listed(layer.name for layer in self.log.layers.values() if layer.ran)
        last = "If this is meant, capture with required=False."
        return "\n".join([*silent, *self.late(), f"Captured and ran: {ran}.", last])

    @contextmanager
    def interception(self) -> Iterator[None]:
        """Intercept functional calls that are asked for, now or later, until the block ends."""
        with self._calls.interception():
            yield

    def close(self) -> None:
        """Take every hook of this recording off; nothing else is touched. May be repeated."""
        self._closed = True
        models = [model for known in self._models.values() if (model := known()) is not None]
        with ExitStack() as everything:  # goes on past an error
            everything.callback(self._eager.close)
            everything.callback(self._watch.close, models)
            everything.callback(self._calls.close)

    def late(self) -> list[str]:
        """Say that code may have been compiled that this recording could not switch off."""
        if self._compiler_known or not COMPILER.has_compiled():
            return []
        return [_LATE]

    def explain(self, layer: Layer) -> str:
        """Say why a layer has no feature map, as far as that can be known."""
        model = self._models[layer.model]()
        known = survey(model) if model is not None else None
        now = known.modules.get(layer.path) if known else None
        replaced = self._watch.replaced(layer.where, now)
        return silence.why(layer, known, self._watch.ran(layer.model), replaced=replaced)

    def _label(self, model: object, name: object) -> str:
        if self._closed:
            raise CaptureError("attach(): this recording is over; its hooks are off.")
        reason = refusal(model)
        if reason:
            raise CaptureError(f"attach(): {reason}")
        label = "model" if name is None else name
        if not isinstance(label, str) or ":" in label or not label:
            raise CaptureError(f"attach(name={label!r}): a name is a word without a colon.")
        known = self._models.get(label)
        if known is not None and known() is not model:
            raise CaptureError(
                f"attach(): another model is recorded as {label!r}. Give this one a name of its "
                'own, such as name="teacher".'
            )
        return label

    def _silent(self, label: str, target: Resolved) -> str:
        if target.op:
            first, *more = uncalled.reason(self.log, label, target) or [""]
            return "\n".join([f"capture({target.text}): {first}.", *more]) if first else ""
        layers = [self.log.layers[label, path] for path in target.paths]
        if any(layer.recorded and not layer.problem for layer in layers):
            return ""
        reasons = [self.explain(layer) for layer in layers]
        return silence.sentence(target, layers, reasons, self._watch.ran(label))

    def _note_observer_effects(self, known: Survey, resolved: Sequence[Resolved]) -> None:
        """Say what recording changes, and switch torch.compile off, whose code runs no hooks."""
        hooked = {path for one in resolved if not one.op for path in one.paths}
        slow = fused_layers(known, hooked)
        if any(one.op for one in resolved):
            slow += turns_off_fast_path(known.modules)
        if slow:
            self.log.note(f"these run without their fused fast path: {listed(set(slow))}")
        self._compiler_known = self._compiler_known and COMPILER.is_loaded()
        self._eager.enter_context(COMPILER.off())
        if known.compiled:
            self.log.note("torch.compile is off while feature maps are recorded")


def _explain(recorder: weakref.ref[Recorder], layer: Layer) -> str:
    alive = recorder()
    return silence.why(layer, None, ()) if alive is None else alive.explain(layer)
