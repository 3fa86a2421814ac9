"""What went into a call, and the weights of attention that follow from it."""

from __future__ import annotations

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.maps import axes, values
from pytest_featuremaps.maps.attention import OPS, recomputed
from pytest_featuremaps.maps.keeping import Unkept, keep
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.names.leaves import brackets

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


def has_inputs(one: Record) -> bool:
    """Tell whether what went into the call was recorded."""
    return not (one.inputs is None or isinstance(one.inputs, Unkept))


def lost_inputs(one: Record) -> str:
    """Say why what went in could not be recorded; empty where it was, or was not asked for."""
    return one.inputs.reason if isinstance(one.inputs, Unkept) else ""


def inputs(one: Record) -> dict[str, Record]:
    """Return what went into the call, before the module could change it, by parameter.

    Raises:
        CaptureError: it was not recorded.
    """
    if isinstance(one.inputs, Unkept):
        raise CaptureError(
            f"{one.title}: what went into it could not be recorded: {one.inputs.reason}."
        )
    if one.inputs is None:
        raise CaptureError(
            f"{one.title} was captured without its inputs.\nCapture it with inputs=True."
        )
    named = {
        name + brackets(leaf): kept
        for name, leaves in one.inputs.items()
        for leaf, kept in leaves.items()
    }
    place = one.place._replace(leaf=(), siblings=1)
    return {
        name: Record(place._replace(part=f"inputs[{name}]"), kept) for name, kept in named.items()
    }


def attention(one: Record) -> Record:
    """Return the weights with which a call of attention looked; see `FeatureMap.attention`."""
    if axes.is_attention(one):
        return one
    if one.module_type not in OPS:
        raise CaptureError(
            f"{one.title} is no call of attention: it has no weights to show.\n"
            "Capture such a call, with what goes into it: "
            'capture("**.scaled_dot_product_attention()", inputs=True).'
        )
    taken = inputs(one)
    for given in taken.values():
        values.require(given)
    tensors = {name: values.tensor(given) for name, given in taken.items()}
    weights = recomputed(one.module_type, tensors, one.settings or {})
    place = one.place._replace(leaf=(), siblings=1, part="attention")
    return Record(place, keep(weights))
