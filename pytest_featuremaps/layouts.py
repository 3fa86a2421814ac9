"""Which axis of a feature map means what: samples, channels, positions.

A layout is a word with one letter for each axis: `N` samples, `C` channels, `H` and `W`
rows and columns, `D` depth, `L` positions of a sequence, in any order ("NCHW", "NLC").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

LETTERS = "NCDHWL"

# A functional call has the name of its op: "linear", "conv1d".
_CHANNELS_LAST_MODULES = frozenset(
    {"Linear", "LazyLinear", "LayerNorm", "RMSNorm", "linear", "layer_norm", "rms_norm"}
)
_CHANNELS_FIRST_MODULES = frozenset({"GroupNorm", "group_norm"})
# The trailing digits of torch's own layers say how many positional axes their maps have.
_POSITIONAL_MODULES = ("conv", "pool", "batchnorm", "instancenorm", "pad")
_POSITIONS = {0: "", 1: "L", 2: "HW", 3: "DHW"}
_RECURRENT_MODULES = frozenset({"RNN", "LSTM", "GRU"})


def slip(layout: object) -> str:
    """Say what is wrong with a declared layout as such; empty when nothing is."""
    if not isinstance(layout, str):
        return "a layout is a word, such as 'NCHW'"
    unknown = sorted(set(layout) - set(LETTERS))
    if unknown:
        return (
            f"{', '.join(map(repr, unknown))} is none of its letters, which are N (samples), "
            "C (channels), D, H, W (positions) and L (sequence)"
        )
    return "it names an axis twice" if len(set(layout)) != len(layout) else ""


def misfit(layout: str, ndim: int) -> str:
    """Say why a declared layout does not fit a map of `ndim` axes; empty when it fits."""
    if len(layout) == ndim:
        return ""
    return f"layout {layout!r} names {len(layout)} axes, the map has {ndim}"


def guess(families: Sequence[str], ndim: int, leaf: Sequence[int | str] = ()) -> str | None:
    """Return the layout that a module of this kind gives, or None where nothing is known.

    Channels are axis 1, but the last axis after `Linear` and `LayerNorm` and for maps of
    three axes, unless a 1-D convolution, pooling, padding or BatchNorm, or GroupNorm, made
    them. A map with one axis fewer than its layer gives to a batch has no axis of samples;
    BatchNorm always has one. The state that a recurrent module returns beside its output has
    its layers in front of the samples.

    Args:
        families: the names of the module's class and of those it derives from.
        ndim: the number of axes of its map.
        leaf: where in the module's output the map stands.
    """
    if ndim == 3 and leaf[:1] == (1,) and not _RECURRENT_MODULES.isdisjoint(families):
        return "DNC"
    positional = next((axes for name in families if (axes := _positional_axes(name))), None)
    batched = any("batchnorm" in name.lower() for name in families)
    if positional is not None and ndim == positional + 1 and not batched:
        return "C" + _POSITIONS[positional]
    if ndim == 2:
        return "NC"
    if ndim == 3:
        first = positional == 1 or not _CHANNELS_FIRST_MODULES.isdisjoint(families)
        return "NCL" if first else "NLC"
    if ndim in {4, 5}:
        places = _POSITIONS[ndim - 2]
        last = not _CHANNELS_LAST_MODULES.isdisjoint(families)
        return f"N{places}C" if last else f"NC{places}"
    return None


def channel_axis(layout: str | None, families: Sequence[str], ndim: int) -> int | None:
    """Return the axis of the channels, by the layout or else by the module's kind.

    None where there is none. A layout that does not fit the map counts as not declared.
    """
    if layout is None or misfit(layout, ndim):
        layout = guess(families, ndim)
    if layout is None:
        return 1 if ndim > 1 else None
    return layout.index("C") if "C" in layout else None


def _positional_axes(module_type: str) -> int | None:
    """Return 2 for `Conv2d`, 1 for `MaxPool1d`, None for a type that does not say."""
    digits, suffix = module_type[-2:-1], module_type[-1:]
    named = any(word in module_type.lower() for word in _POSITIONAL_MODULES)
    return int(digits) if named and suffix == "d" and digits in {"1", "2", "3"} else None


def planes(values: npt.NDArray[Any], layout: str) -> npt.NDArray[Any] | None:
    """Return the first sample as channel pictures (channels, rows, columns).

    Positions of a sequence make one row. None where the layout has no channels, or not one
    or two axes of positions.
    """
    positions = [letter for letter in layout if letter not in "NC"]
    if "C" not in layout or not 1 <= len(positions) <= 2:
        return None
    if "N" in layout:
        values, layout = values.take(0, layout.index("N")), layout.replace("N", "")
    pictures = values.transpose([layout.index(letter) for letter in ["C", *positions]])
    return pictures if len(positions) == 2 else pictures[:, None, :]
