"""A feature map as a line of numbers, and the environment it was computed in."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace

import torch

from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.feature_map import FeatureMap
from pytest_featuremaps.maps import FeatureMaps
from pytest_featuremaps.sketch import Sketch, digest, digest_text, sketch
from pytest_featuremaps.stats import Stats, summarise
from pytest_featuremaps.tables import INPUTS, STATISTICS, Line, Table


def table(maps: Mapping[str, FeatureMap], *, sample: int | None = None) -> Table:
    """Measure feature maps, in their order.

    Args:
        maps: the maps by key.
        sample: measure this sample of each batch only; all of it when None.

    Raises:
        UnsupportedTensor: a map has no readable values.
        IndexError: a map has no such sample.
    """
    lines = tuple(line(key, one, sample=sample) for key, one in maps.items())
    facts = environment()
    # One sample is the same in batches that differ.
    inputs = maps.inputs_digest() if sample is None and isinstance(maps, FeatureMaps) else None
    return Table(facts | {INPUTS: inputs} if inputs else facts, lines)


def line(key: str, one: FeatureMap, *, sample: int | None = None) -> Line:
    """Measure one feature map; arguments and errors are those of `table`.

    Of a map whose values were not kept, what was kept is measured.
    """
    chosen = one if sample is None else one.take(sample)
    facts = Line(
        key=key,
        module_type=one.module_type,
        shape=chosen.shape,
        dtype=str(one.dtype).removeprefix("torch."),
        device=one.device.type,
        stats={},
        weights=one.place.layer.weights(),
        inputs=_inputs(one) if one.has_inputs and sample is None else None,
    )
    if one.kept.how == "values":
        return _with_numbers(facts, *_numbers(chosen.tensor), digest(chosen.tensor))
    if one.kept.stats is not None:
        return _with_numbers(facts, one.kept.stats, one.kept.sketch, one.kept.digest)
    return facts


def _inputs(one: FeatureMap) -> str | None:
    """Digest what went into a layer; None where its values were not kept or cannot be read."""
    try:
        words = [f"{key} {given.shape} {digest(given.tensor)}" for key, given in one.inputs.items()]
    except (CaptureError, UnsupportedTensor):
        return None
    return digest_text(" ".join(words))


def _numbers(tensor: torch.Tensor) -> tuple[Stats, Sketch | None]:
    rounded = tensor.is_floating_point() or tensor.is_complex()
    return summarise(tensor), sketch(tensor) if rounded else None


def _with_numbers(facts: Line, stats: Stats, drawn: Sketch | None, bytes_: str | None) -> Line:
    return replace(
        facts,
        stats={name: getattr(stats, name) for name in STATISTICS},
        sketch=drawn.values if drawn else None,
        nonfinite=drawn.nonfinite if drawn else None,
        digest=bytes_,
    )


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
