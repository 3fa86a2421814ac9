"""The gradient of a recorded tensor, or why there is none."""

from __future__ import annotations

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.maps.keeping import Gradients
from pytest_featuremaps.maps.record import Record

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


def gradient(one: Record) -> Record:
    """Return the gradient of what `backward()` was called on, with respect to a tensor.

    Raises:
        CaptureError: it was not recorded, or none has reached the tensor.
    """
    arrived = one.gradients
    if arrived is None or arrived.kept is None or arrived.lost or _is_changed(arrived):
        raise CaptureError(_none(one, arrived))
    if arrived.kept.stats is not None and arrived.passes > 1:
        raise CaptureError(
            f"{one.title} has the gradients of {arrived.passes} backward passes, and "
            "their statistics do not add up.\n"
            'Capture it with keep="values", or call backward() once.'
        )
    return Record(one.place._replace(part="grad"), arrived.kept)


def _is_changed(arrived: Gradients) -> bool:
    return arrived.view is not None and arrived.view.changed


def _none(one: Record, arrived: Gradients | None) -> str:
    """Say why a tensor has no gradient."""
    layer = one.place.layer
    if not layer.grads:
        functional = layer.path.endswith("()")
        way = (
            "It is a functional call, of which values and inputs are recorded; its gradient is not."
        )
        return f"{one.title} was captured without gradients.\n" + (
            way if functional else "Capture it with grads=True."
        )
    if arrived is not None and arrived.lost:
        return f"{one.title}: its gradient could not be recorded: {arrived.lost}."
    if arrived is not None and _is_changed(arrived):
        return (
            f"{one.title} has no gradient: its output is a view that was changed in "
            "place afterwards, and torch then keeps no gradient of what it was before.\n"
            "Linear (on three axes), Flatten, LSTM and pooling give such views. Take "
            "inplace=True away behind this layer, or capture the layer that changes it."
        )
    if layer.recomputed:
        return (
            f"{one.title} has no gradient: checkpointing ran it without gradients, and "
            "again during backward().\nCall torch.utils.checkpoint with use_reentrant=False."
        )
    if arrived is not None and not arrived.has_history:
        return (
            f"{one.title} has no gradient: it was made without, under no_grad() or "
            "from nothing that requires one.\nTurn gradients on, or capture a layer behind "
            "the first parameter that requires them."
        )
    return (
        f"{one.title} has no gradient: no backward pass has reached it.\n"
        "Call backward() on what depends on it, while it is captured and gradients are on."
    )
