"""A feature map as a line of numbers, and the environment it was computed in."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import Any

import torch

from pytest_featuremaps.baseline.tables import INPUTS, STATISTICS, Line, Table
from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.maps import given, values
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.maps.views import View
from pytest_featuremaps.numbers.chunks import VALUELESS
from pytest_featuremaps.numbers.sketch import Sketch, digest, digest_text, sketch
from pytest_featuremaps.numbers.stats import Stats, summarise


def table(view: View, *, sample: int | None = None) -> Table:
    """Measure feature maps, in their order.

    Args:
        view: the part of a recording to measure.
        sample: measure this sample of each batch only; all of it when None.

    Raises:
        UnsupportedTensor: a map has no readable values.
        IndexError: a map has no such sample.
    """
    lines = tuple(line(key, one, sample=sample) for key, one in view.index().items())
    facts = environment()
    # One sample is the same in batches that differ.
    inputs = view.inputs_digest() if sample is None else None
    return Table(facts | {INPUTS: inputs} if inputs else facts, lines)


def line(key: str, one: Record, *, sample: int | None = None) -> Line:
    """Measure one feature map; arguments and errors are those of `table`.

    Of a map whose values were not kept, what was kept is measured; of one that never had any,
    such as a fake tensor's, the shape and the dtype.
    """
    chosen = one if sample is None else values.take(one, sample)
    facts = Line(
        key=key,
        module_type=one.module_type,
        shape=chosen.shape,
        dtype=str(one.dtype).removeprefix("torch."),
        device=one.kept.facts.device.type,
        stats={},
        weights=one.place.layer.weights(),
        inputs=_inputs(one) if given.has_inputs(one) and sample is None else None,
    )
    try:
        return replace(facts, **_measured(chosen))
    except UnsupportedTensor as error:
        if str(error) in VALUELESS:
            return facts
        raise UnsupportedTensor(f"{one.title} cannot be measured: {error}") from None


def _inputs(one: Record) -> str | None:
    """Digest what went into a layer; None where its values were not kept or cannot be read."""
    try:
        # Not their names: a parameter that is called otherwise is given the same.
        words = [
            f"{taken.shape} {digest(values.tensor(taken))}" for taken in given.inputs(one).values()
        ]
    except (CaptureError, UnsupportedTensor):
        return None
    return digest_text(" ".join(words))


def _measured(one: Record) -> dict[str, Any]:
    """Return the numbers of a map, or those that were taken in the hook, as fields of a line."""
    kept = one.kept
    if kept.how == "values":
        tensor = values.tensor(one)
        rounded = tensor.is_floating_point() or tensor.is_complex()
        return _fields(summarise(tensor), sketch(tensor) if rounded else None, digest(tensor))
    if kept.obstacle:
        raise UnsupportedTensor(kept.obstacle)
    return _fields(kept.stats, kept.sketch, kept.digest) if kept.stats else {}


def _fields(stats: Stats, drawn: Sketch | None, bytes_: str | None) -> dict[str, Any]:
    return {
        "stats": {name: getattr(stats, name) for name in STATISTICS},
        "sketch": drawn.values if drawn else None,
        "nonfinite": drawn.nonfinite if drawn else None,
        "digest": bytes_,
    }


def environment() -> dict[str, str | int | bool | None]:
    """Return what the numbers of this machine may depend on, as plain values."""
    facts: dict[str, str | int | bool | None] = {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "mkldnn": bool(torch.backends.mkldnn.enabled),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
        facts["tf32"] = torch.backends.cuda.matmul.allow_tf32
    return facts
