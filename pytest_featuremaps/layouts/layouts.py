"""Which axis of a feature map means what: samples, channels, positions.

A layout is a word with one letter for each axis, in any order ("NCHW", "NLC"): `N` samples,
`C` channels, `H` and `W` rows and columns, `D` depth, `L` positions of a sequence, `E` what a
head of attention gives, `Q` and `K` who looks and who is looked at. A colon and a grid say how
the positions of a sequence lie over an image ("NLC:1+14x14"); "tokens" alone is a sequence over
a square of patches, whatever its axes, and "tokens:12x20" one over this grid.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_featuremaps.layouts import grids
from pytest_featuremaps.layouts.grids import Grid
from pytest_featuremaps.wording import counted

LETTERS = "NCDHWLEQK"
TOKENS = "tokens"

# A functional call has the name of its op: "linear", "conv1d".
_CHANNELS_LAST_MODULES = frozenset(
    {"Linear", "LazyLinear", "LayerNorm", "RMSNorm", "linear", "layer_norm", "rms_norm"}
)
_CHANNELS_FIRST_MODULES = frozenset({"GroupNorm", "group_norm"})
# What these of torch's own layers give is a sequence, too, and nothing else.
_SEQUENCE_MODULES = frozenset(
    {"Embedding", "RNNBase", "TransformerEncoderLayer", "TransformerDecoderLayer"}
)
_ATTENTION = "MultiheadAttention"
# The trailing digits of torch's own layers say how many positional axes their maps have.
_POSITIONAL_MODULES = ("conv", "pool", "batchnorm", "instancenorm", "pad")
_POSITIONS = {0: "", 1: "L", 2: "HW", 3: "DHW"}
_OF_TOKENS = {2: "LC", 3: "NLC", 4: "NCLE"}
_OF_ATTENTION = {2: "QK", 3: "NQK", 4: "NCQK"}


def slip(layout: object) -> str:
    """Say what is wrong with a declared layout as such; empty when nothing is."""
    if not isinstance(layout, str):
        return "a layout is a word, such as 'NCHW'"
    word, colon, text = layout.partition(":")
    if colon and grids.parse(text) is None:
        return f"{text!r} is no grid of patches: write '14x14' or, with a token, '1+14x14'"
    return "" if word == TOKENS else _slip_of_letters(word, needs_sequence=bool(colon))


def _slip_of_letters(word: str, *, needs_sequence: bool) -> str:
    unknown = sorted(set(word) - set(LETTERS))
    if unknown:
        return (
            f"{', '.join(map(repr, unknown))} is none of its letters, which are N (samples), "
            "C (channels), D, H, W (positions), L (sequence), Q and K (attention), E (of a head)"
        )
    if len(set(word)) != len(word):
        return "it names an axis twice"
    if needs_sequence and set(word).isdisjoint("LK"):
        return f"a grid of patches needs an axis L or K, which {word!r} has not"
    return ""


def axes(layout: str, ndim: int, *, sequence_first: bool = False, attention: bool = False) -> str:
    """Return the letters of a declared layout, one for each axis.

    Args:
        layout: a layout without a slip; "tokens" means what the number of axes says.
        ndim: the number of axes of the map.
        sequence_first: whether the module gives positions before samples.
        attention: whether the map is known to hold weights of attention.
    """
    word = layout.partition(":")[0]
    if word != TOKENS:
        return word
    if attention:
        return _OF_ATTENTION.get(ndim, "")
    return "LNC" if sequence_first and ndim == 3 else _OF_TOKENS.get(ndim, "")


def for_attention(layout: str | None) -> str | None:
    """Return what the layout of an attention's output says of its weights: the patch grid."""
    if layout is None or not set("QK").isdisjoint(layout):
        return layout
    word, colon, grid = layout.partition(":")
    return f"{TOKENS}:{grid}" if colon else (TOKENS if word == TOKENS else None)


def describe(layout: str, shape: Sequence[int]) -> str:
    """Write what a map would be in a layout: `768 channels, a sequence of 197`."""
    word = axes(layout, len(shape))
    sizes = dict(zip(word, shape, strict=True))
    found, _ = grid(layout, sizes.get("L", 0))
    if found is not None:
        before = f"{counted(found.before, 'token')} and " if found.before else ""
        where = f"{before}{found.patches} patches"
    elif "L" in sizes:
        where = f"a sequence of {sizes['L']}"
    else:
        where = "x".join(str(sizes[letter]) for letter in "DHW" if letter in sizes)
    return f"{counted(sizes['C'], 'channel')}, {where}"


def misfit(layout: str, ndim: int) -> str:
    """Say why a declared layout does not fit a map of `ndim` axes; empty when it fits."""
    if layout.startswith(TOKENS):
        return (
            ""
            if ndim in _OF_TOKENS
            else f"layout {layout!r} is for 2 to 4 axes, the map has {ndim}"
        )
    word = axes(layout, ndim)
    if len(word) == ndim:
        return ""
    return f"layout {layout!r} names {len(word)} axes, the map has {ndim}"


def guess(
    families: Sequence[str],
    ndim: int,
    *,
    sequence_first: bool = False,
    attention: bool = False,
) -> str | None:
    """Return the layout that a module of this kind gives, or None where nothing is known.

    Channels are axis 1, but the last axis after `Linear` and `LayerNorm` and for maps of
    three axes, unless a 1-D convolution, pooling, padding or BatchNorm, or GroupNorm, made
    them. A map with one axis fewer than its layer gives to a batch has no axis of samples;
    BatchNorm always has one. The state that a recurrent module returns beside its output has
    its layers in front of the samples.

    Args:
        families: the names of the module's class and of those it derives from.
        ndim: the number of axes of its map.
        sequence_first: whether the module gives positions before samples.
        attention: whether the map is known to hold weights of attention.
    """
    if attention:
        return _OF_ATTENTION.get(ndim)
    positional = _positional(families)
    batched = any("batchnorm" in name.lower() for name in families)
    if positional is not None and ndim == positional + 1 and not batched:
        return "C" + _POSITIONS[positional]
    if ndim == 3:
        first = positional == 1 or not _CHANNELS_FIRST_MODULES.isdisjoint(families)
        return "LNC" if sequence_first else ("NCL" if first else "NLC")
    last = not _CHANNELS_LAST_MODULES.isdisjoint(families)
    places = _POSITIONS.get(ndim - 2)
    return None if places is None else (f"N{places}C" if last else f"NC{places}")


def gives_attention(families: Sequence[str], leaf: Sequence[str | int]) -> bool:
    """Tell whether a map is the weights that torch's attention returns beside its output."""
    return _ATTENTION in families and tuple(leaf) == (1,)


def is_state(families: Sequence[str], leaf: Sequence[str | int]) -> bool:
    """Tell whether a map is the last state of a recurrent layer, which has no `batch_first`."""
    return "RNNBase" in families and tuple(leaf)[:1] == (1,)


def others(families: Sequence[str], shape: Sequence[int]) -> tuple[str, ...]:
    """Return the layouts that a map may have besides the guess, which is then no more than one.

    The kind of a module is trusted where it says something. Three axes of any other may be a
    sequence either way round, or an image without samples; with four or five, two equal axes
    before one that differs speak for channels that are last.
    """
    ndim = len(shape)
    if _says_enough(families):
        return ()
    if ndim == 3:
        tokens = (TOKENS,) if grids.square(shape[1]) else ()
        return (*tokens, "NCL", "CHW")
    if ndim in {4, 5} and shape[-3] == shape[-2] != shape[-1]:
        return (f"N{_POSITIONS[ndim - 2]}C",)
    return ()


def _says_enough(families: Sequence[str]) -> bool:
    known = {
        *_CHANNELS_LAST_MODULES,
        *_CHANNELS_FIRST_MODULES,
        *_SEQUENCE_MODULES,
        _ATTENTION,
    }
    return not known.isdisjoint(families) or _positional(families) is not None


def channel_axis(layout: str | None, families: Sequence[str], ndim: int) -> int | None:
    """Return the axis of the channels, by the layout or else by the module's kind.

    None where there is none. A layout that does not fit the map counts as not declared.
    """
    if layout is None or misfit(layout, ndim):
        layout = guess(families, ndim)
    if layout is None:
        return 1 if ndim > 1 else None
    word = axes(layout, ndim)
    return word.index("C") if "C" in word else None


def grid(layout: str, length: int) -> tuple[Grid | None, str]:
    """Return how a declared layout lays a sequence of this length over an image.

    Returns:
        The grid, None where none is declared; and why there is none, where one is needed.
    """
    word, colon, text = layout.partition(":")
    if not colon and word != TOKENS:
        return None, ""
    found = grids.parse(text) if colon else grids.square(length)
    if found is not None and found.length == length:
        return found, ""
    if found is not None:
        return None, f"layout {layout!r} is a grid of {found.length} tokens, the map has {length}"
    proposals = [repr(f"{word}:{one}") for one in grids.oblong(length)]
    choice = f"; declare one, such as {' or '.join(proposals)}" if proposals else ""
    return None, f"{length} tokens make no square of patches with up to five before it{choice}"


def _positional(families: Sequence[str]) -> int | None:
    """Return the number of positional axes that a kind of module names, None for others."""
    return next((places for name in families if (places := _positional_axes(name))), None)


def _positional_axes(module_type: str) -> int | None:
    """Return 2 for `Conv2d`, 1 for `MaxPool1d`, None for a type that does not say."""
    digits, suffix = module_type[-2:-1], module_type[-1:]
    named = any(word in module_type.lower() for word in _POSITIONAL_MODULES)
    return int(digits) if named and suffix == "d" and digits in {"1", "2", "3"} else None
