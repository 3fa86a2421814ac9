"""Hooks on, values in, hooks surely off: recording what the modules of a model return."""

from __future__ import annotations

import dataclasses
import hashlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeGuard

import torch
from torch import nn

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.feature_map import FeatureMap
from pytest_featuremaps.keys import Layer, Leaf, Place, Where
from pytest_featuremaps.maps import FeatureMaps, Log, why_silent
from pytest_featuremaps.sketch import digest
from pytest_featuremaps.targets import Resolved, Target, is_called, resolve, survey
from pytest_featuremaps.targets import Where as Filter
from pytest_featuremaps.wording import listed


@dataclass(frozen=True)
class Moment:
    """What a recording held at one time, to go back to."""

    maps: tuple[FeatureMap, ...]
    calls: Mapping[Where, int]


class Recording(FeatureMaps):
    """Feature maps while they are being recorded: the value of the `feature_maps` fixture.

    A recording is a context manager; its hooks come off when the block ends, however it
    ends, and its maps stay readable.
    """

    def __init__(self) -> None:
        log = Log()
        super().__init__(log)
        self._log = log
        self._hooks: dict[str, ExitStack] = {}
        self._closed = False
        self._models: dict[str, weakref.ref[nn.Module]] = {}
        self._names: set[str] = set()
        self._demands: list[tuple[str, Resolved]] = []

    def attach(
        self,
        model: nn.Module,
        *targets: Target,
        where: Filter | None = None,
        layout: str | None = None,
        required: bool = True,
        name: str | None = None,
    ) -> FeatureMaps:
        """Record modules of a model from now on, and return the maps of that model.

        Everything that can be resolved is resolved before the first hook goes on; where one
        cannot be registered, none stays.

        Args:
            model: the model to record.
            *targets: module paths relative to the model (`"features.3"`, `"features.-1"`),
                globs (`*` within a segment, `**` over any number), compiled regular
                expressions that match a whole path, or `"."` for the model itself.
            where: a module class, several of them, or a predicate `(path, module) -> bool`
                that narrows the targets; without a target it means `"**"`.
            layout: what each axis of the maps means, such as `"NHWC"`.
            required: whether the test fails when an exact target, or every match of a
                pattern, does not run.
            name: the model's name in keys, where several models are recorded.

        Raises:
            CaptureError: a target names or matches nothing, the model is not a module, its
                name is taken, or the recording is over.
        """
        if self._closed:
            raise CaptureError("attach(): this recording is over; its hooks are off.")
        if not is_model(model):
            raise CaptureError(
                f"attach(): the model is a {type(model).__name__}, not a torch.nn.Module."
            )
        label = self._label(model, name)
        known = survey(model)
        resolved = resolve(known, targets, where)
        wanted = {path for one in resolved for path in one.paths}
        for layer in self._register(label, known.modules, wanted):
            self._log.layers[layer.where] = layer
        self._log.paths[label] = known.paths
        self._models[label] = weakref.ref(model)
        self._names.add(label)
        self._declare(label, wanted, layout)
        if required:
            self._demands += [(label, one) for one in resolved]
        return self.of(label)

    def detach(self, name: str) -> None:
        """Take the hooks off one model, and forget its maps; nothing if there is none."""
        self._hooks.pop(name, ExitStack()).close()
        self._models.pop(name, None)
        self._log.paths.pop(name, None)
        self._names.discard(name)
        self._demands = [demand for demand in self._demands if demand[0] != name]
        for where in [where for where in self._log.layers if where[0] == name]:
            del self._log.layers[where]
        kept = [one for one in self._log.maps if one.place.layer.model != name]
        self._log.replace(kept, {where: one.calls for where, one in self._log.layers.items()})

    def clear(self) -> None:
        """Forget what was recorded; calls are counted from 0 again. Hooks stay on."""
        self._log.replace([], {})

    def moment(self) -> Moment:
        """Return what is recorded now, to go back to with `rewind`."""
        calls = {where: layer.calls for where, layer in self._log.layers.items()}
        return Moment(tuple(self._log.maps), calls)

    def rewind(self, moment: Moment) -> None:
        """Hold again what was recorded at a moment."""
        self._log.replace(moment.maps, moment.calls)

    def silence(self) -> str:
        """Say which required targets did not run, why, and what did; empty when all ran."""
        silent = [text for label, one in self._demands if (text := self._silent(label, one))]
        if not silent:
            return ""
        ran = listed(layer.name for layer in self._log.layers.values() if layer.ran)
        return "\n".join(
            [*silent, f"Captured and ran: {ran}.", "If this is meant, capture with required=False."]
        )

    def close(self) -> None:
        """Take every hook of this recording off; nothing else is touched. May be repeated."""
        self._closed = True
        with ExitStack() as everything:  # goes on past an error
            for hooks in self._hooks.values():
                everything.push(hooks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _label(self, model: nn.Module, name: str | None) -> str:
        label = "model" if name is None else name
        if ":" in label or not label:
            raise CaptureError(f"attach(name={label!r}): a name is a word without a colon.")
        known = self._models.get(label)
        if known is not None and known() is not model:
            raise CaptureError(
                f"attach(): another model is recorded as {label!r}. Give this one a name of its "
                'own, such as name="teacher".'
            )
        return label

    def _register(
        self, label: str, modules: Mapping[str, nn.Module], wanted: set[str]
    ) -> list[Layer]:
        """Put hooks on the modules that have none of ours yet: on all of them, or on none."""
        added = []
        with ExitStack() as hooks:
            for path, module in modules.items():
                if path in wanted and (label, path) not in self._log.layers:
                    layer = Layer(
                        label, path, type(module).__name__, self._names, hint=_hint(path, modules)
                    )
                    layer.weights = partial(_weights, weakref.ref(module))
                    hook = _Hook(module, layer, self._log)
                    hooks.callback(hook.release)
                    hooks.callback(module.register_forward_hook(hook).remove)
                    added.append(layer)
            self._hooks.setdefault(label, ExitStack()).push(hooks.pop_all())
        return added

    def _declare(self, label: str, wanted: set[str], layout: str | None) -> None:
        for path in wanted:
            layer = self._log.layers[label, path]
            layer.layout = layout or layer.layout

    def _silent(self, label: str, target: Resolved) -> str:
        layers = [self._log.layers[label, path] for path in target.paths]
        if any(layer.ran for layer in layers):
            return ""
        asked = f"capture({target.text})"
        if target.exact:
            layer = layers[0]
            return (
                f"{asked}: {layer.name!r} ({layer.module_type}) did not run: {why_silent(layer)}."
            )
        names = listed([layer.name for layer in layers], most=6)
        return f"{asked}: none of the {len(layers)} modules it matches ran: {names}."


def capture(
    model: nn.Module,
    *targets: Target,
    where: Filter | None = None,
    layout: str | None = None,
    name: str | None = None,
) -> Recording:
    """Record modules of a model in a `with` block, outside pytest as well.

    The hooks are on from the call, and off when the block ends:

        with capture(model, "layer1.**", "fc") as maps:
            model(images)
        maps["fc"].assert_shape("N 10")

    A module that did not run raises nothing here; asking for its map does, and says why.
    Arguments and errors are those of `Recording.attach`.
    """
    recording = Recording()
    recording.attach(model, *targets, where=where, layout=layout, name=name)
    return recording


def is_model(value: object) -> TypeGuard[nn.Module]:
    """Tell whether a value is a model that can be recorded."""
    return isinstance(value, nn.Module)


class _Hook:
    """A forward hook that records what its own module returns.

    It is inert once released, for any other module that came to hold it (a replica, a
    module that took over another's hooks), and as a copy.
    """

    def __init__(self, module: nn.Module, layer: Layer, log: Log) -> None:
        self._module = weakref.ref(module)
        self._layer = layer
        self._log: Log | None = log

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        del args
        if self._log is not None and module is self._module():
            self._log.add(_record(self._layer, output))

    def release(self) -> None:
        self._log = None

    def __deepcopy__(self, memo: dict[int, Any]) -> object:
        return _inert

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (_Hook, "inert")

    @staticmethod
    def inert(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        """Do nothing: what a copy of a hook is."""


_inert = _Hook.inert


def _record(layer: Layer, output: object) -> list[FeatureMap]:
    """Count one finished call, and return independent copies of the tensors in its output."""
    call = layer.calls
    layer.calls += 1
    layer.ran = True
    leaves = list(_tensors(output, ()))
    return [
        FeatureMap(Place(layer, call, leaf, siblings=len(leaves)), _independent(tensor))
        for leaf, tensor in leaves
    ]


def _tensors(value: object, leaf: Leaf) -> Iterator[tuple[Leaf, torch.Tensor]]:
    """Yield the tensors in a module's output, with the place of each."""
    if isinstance(value, torch.Tensor):
        yield leaf, value
    else:
        for step, part in _parts(value):
            yield from _tensors(part, (*leaf, step))


def _parts(value: object) -> Sequence[tuple[str | int, object]]:
    """Return what a container holds, by the name or number a reader would write."""
    if isinstance(value, Mapping):
        return [(key if isinstance(key, int) else str(key), part) for key, part in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)]
    return []


def _independent(tensor: torch.Tensor) -> torch.Tensor:
    """Return a detached copy that owns its memory, and no more than its own size of it."""
    # Leaving inference mode makes the copy a plain tensor, which autograd and in-place
    # checks can use after the forward.
    with torch.no_grad(), torch.inference_mode(mode=False):
        return tensor.detach().clone()


def _hint(path: str, modules: Mapping[str, nn.Module]) -> str:
    """Say why a module of this kind is never called; empty for one that may be."""
    module = modules[path]
    if not is_called(module):
        return (
            f"a {type(module).__name__} holds modules and is never called itself; "
            f"capture what it holds, such as '{path}.*'"
        )
    parent, _, name = path.rpartition(".")
    if name == "out_proj" and isinstance(modules.get(parent or "."), nn.MultiheadAttention):
        return (
            "MultiheadAttention uses the weights of its out_proj and never calls it; "
            "capture the MultiheadAttention"
        )
    return ""


def _weights(module: weakref.ref[nn.Module]) -> str | None:
    """Return a digest of a module's own parameters and buffers; None where there are none."""
    alive = module()
    if alive is None:
        return None
    own = [*alive.named_parameters(recurse=False), *alive.named_buffers(recurse=False)]
    if not own:
        return None
    text = " ".join(f"{name} {tuple(one.shape)} {digest(one)}" for name, one in own)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
