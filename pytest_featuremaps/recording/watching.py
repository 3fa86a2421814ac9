"""The hooks of one recording: on the modules that are meant, and on none if one fails."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from torch import nn

from pytest_featuremaps.maps.log import Log
from pytest_featuremaps.maps.model_inputs import ModelInputs
from pytest_featuremaps.names.keys import Layer, Where, not_known
from pytest_featuremaps.names.paths import ROOT, Survey
from pytest_featuremaps.names.targets import Resolved
from pytest_featuremaps.recording.hooks import Hooks, Probe
from pytest_featuremaps.recording.inert import remove_all, sweep
from pytest_featuremaps.recording.models import training_of
from pytest_featuremaps.recording.options import CaptureOptions
from pytest_featuremaps.recording.silence import owner
from pytest_featuremaps.recording.weights import weights_of

_ASKED = ("keep", "inputs", "grads", "channels", "layout")


class Watch:
    """Hooks by layer, and probes that tell whether a module ran at all."""

    def __init__(self, log: Log, names: set[str], *, sketched: bool) -> None:
        self._log = log
        self._known_log = weakref.ref(log)
        self._names = names
        self._sketched = sketched
        self._hooks: dict[Where, Hooks] = {}
        self._captured: dict[Where, weakref.ref[nn.Module]] = {}
        self._probes: dict[Where, Probe] = {}

    def register(
        self, label: str, known: Survey, resolved: Sequence[Resolved], options: CaptureOptions
    ) -> None:
        """Put hooks on the modules that are meant: on all of them, or on none."""
        wanted = {path for one in resolved if not one.op for path in one.paths}
        added: dict[Where, tuple[Layer, Hooks]] = {}
        families: dict[type[nn.Module], tuple[str, ...]] = {}
        training = training_of(known.modules[ROOT])
        try:
            for path in [path for path in known.modules if path in wanted]:
                module = known.modules[path]
                layer = self._layer(label, path, module, options, families)
                layer.training = training
                hooks = Hooks(module, layer, self._known_log, sketched=self._sketched)
                added[label, path] = layer, hooks
        except BaseException:
            remove_all(hooks for _, hooks in added.values())
            raise
        for where, (layer, hooks) in added.items():
            if where in self._hooks:
                self._hooks[where].remove()
            self._hooks[where] = hooks
            self._captured[where] = weakref.ref(known.modules[layer.path])
            self._log.layers[where] = layer
        self._log.join()  # the maps of a layer that was captured before stay its own

    def _layer(
        self,
        label: str,
        path: str,
        module: nn.Module,
        options: CaptureOptions,
        families: dict[type[nn.Module], tuple[str, ...]],
    ) -> Layer:
        """Return the layer of a module, as rich as these options and those before it ask."""
        before = self._log.layers.get((label, path))
        if before:
            joined = options.joined(before, before.name)
            return replace(before, **{name: getattr(joined, name) for name in _ASKED})
        kind = type(module)
        if kind not in families:
            families[kind] = tuple(one.__name__ for one in kind.__mro__)
        return Layer(
            label,
            path,
            kind.__name__,
            self._names,
            options.keep,
            options.inputs,
            options.grads,
            options.channels,
            options.layout,
            families=families[kind],
            sequence_first=_is_sequence_first(module),
            weights=not_known,
        )

    def remove(self, chosen: set[Where]) -> None:
        """Take the hooks off some layers, and forget them and their maps."""
        for where in chosen:
            hooks = self._hooks.pop(where, None)
            if hooks is not None:
                hooks.remove()
            del self._log.layers[where]
        kept = [one for one in self._log.maps if one.place.layer.where not in chosen]
        self._log.replace(kept, {where: one.calls for where, one in self._log.layers.items()})

    def probe(self, label: str, known: Survey, resolved: Sequence[Resolved]) -> None:
        """Watch the model, and whether the owners of exact targets run, to tell why one did not."""
        owners = {owner(known, one.paths[0]) for one in resolved if one.exact}
        for path in {ROOT, *owners}:
            if (label, path) not in self._probes:
                entered = (
                    self._log.model_inputs.setdefault(label, ModelInputs())
                    if path == ROOT
                    else None
                )
                # Weak, so that no cycle keeps the tensors when the recording is dropped.
                begin = partial(_begin, weakref.ref(self), label) if path == ROOT else None
                self._probes[label, path] = Probe(known.modules[path], entered, begin)

    def begin(self, label: str) -> None:
        """Know the weights of what has not run yet as they are before the model runs.

        They may have been loaded, or trained, since the hooks went on.
        """
        for where, captured in self._captured.items():
            layer = self._log.layers.get(where) if where[0] == label else None
            module = captured() if layer is not None and not layer.calls else None
            if layer is not None and module is not None:
                layer.weights = weights_of(module)

    def clear(self) -> None:
        """Watch for no gradient of what was recorded so far, and leave its layers to it."""
        for where, hooks in self._hooks.items():
            hooks.forget()
            hooks.layer = replace(hooks.layer, weights=not_known)
            self._log.layers[where] = hooks.layer

    def forget(self, label: str) -> None:
        """Take every hook and probe off one model."""
        self.remove({where for where in self._log.layers if where[0] == label})
        for where in [where for where in self._probes if where[0] == label]:
            self._probes.pop(where).remove()
        self._log.model_inputs.pop(label, None)

    def ran(self, label: str) -> set[str]:
        """Return the paths of the probed modules of a model that ran."""
        return {path for (name, path), one in self._probes.items() if name == label and one.ran}

    def replaced(self, where: Where, now: nn.Module | None) -> bool:
        """Tell whether a layer was recorded from another module than the one there now."""
        captured = self._captured.get(where)
        return captured is not None and captured() is not now

    def close(self, models: Iterable[nn.Module]) -> None:
        """Take everything off, going on past an error, and sweep up what was moved elsewhere."""
        with ExitStack() as everything:
            for model in models:
                everything.callback(sweep, model)
            everything.callback(remove_all, [*self._hooks.values(), *self._probes.values()])
        self._hooks.clear()


def _is_sequence_first(module: nn.Module) -> bool:
    # Asked of what is there, not by name: a module takes long to say that it has no such part.
    # A Transformer's layer leaves it to the attention in it.
    asked = vars(module)["_modules"].get("self_attn", module)
    return asked is not None and vars(asked).get("batch_first") is False


def _begin(watch: weakref.ref[Watch], label: str) -> None:
    alive = watch()
    if alive is not None:
        alive.begin(label)
