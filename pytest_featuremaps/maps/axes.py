"""What the axes of a recorded tensor mean: as declared, or as the module's type says."""

from __future__ import annotations

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.layouts import layouts
from pytest_featuremaps.maps.record import Record

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


def layout(one: Record) -> str | None:
    """Return a letter for each axis, such as `"NCHW"`; None where nothing is known.

    Raises:
        CaptureError: the declared layout does not fit the shape.
    """
    known = declared(one)
    return guess(one) if known is None else letters(one, known)


def declared(one: Record) -> str | None:
    """Return the layout as it was declared, with its grid of patches; None where none was."""
    known = one.place.layer.layout
    return layouts.for_attention(known) if is_attention(one) else known


def guess(one: Record) -> str | None:
    """Return what the module's type says of the axes; None where nothing is known."""
    return layouts.guess(families(one), len(one.shape), **_known(one))


def letters(one: Record, layout: str) -> str:
    """Return the letters of a layout that is declared for a tensor, one for each axis.

    Raises:
        CaptureError: it does not fit the shape.
    """
    reason = layouts.misfit(layout, len(one.shape))
    if reason:
        raise CaptureError(f"{one.title} has shape {one.shape}: {reason}.")
    return layouts.axes(layout, len(one.shape), **_known(one))


def channel_axis(one: Record) -> int | None:
    """Return the axis of the channels: by the layout, or else by the module's type.

    Raises:
        CaptureError: the declared layout does not fit the shape.
    """
    return layouts.channel_axis(layout(one), families(one), len(one.shape))


def families(one: Record) -> tuple[str, ...]:
    """Return the names of the module's class and of those it derives from."""
    return one.place.layer.families or (one.module_type,)


def is_attention(one: Record) -> bool:
    """Tell whether these are known to be weights of attention: who looks at whom."""
    given = layouts.gives_attention(families(one), one.place.leaf)
    return given or one.place.part == "attention"


def readings(one: Record) -> tuple[str, ...]:
    """Return the layouts that a tensor may have, where more than one would fit it."""
    others = layouts.others(families(one), one.shape)
    known = declared(one) is not None or is_attention(one) or one.place.layer.sequence_first
    return () if known or not others else (guess(one) or "", *others)


def refined(one: Record, layout: str | None) -> str | None:
    """Return a layout for several maps where it says more of this one than is known.

    It chooses among several readings, or lays a sequence over an image.
    """
    if layout is None or layouts.misfit(layout, len(one.shape)):
        return None
    word = letters(one, layout)
    if readings(one):
        return layout
    known = declared(one) or guess(one) or ""
    length = one.shape[word.index("L")] if "L" in word else 0
    found, _ = layouts.grid(layout, length)
    same = word == known.partition(":")[0] and ":" not in known
    return layout if same and found is not None else None


def _known(one: Record) -> dict[str, bool]:
    state = layouts.is_state(families(one), one.place.leaf)
    return {
        "sequence_first": one.place.layer.sequence_first or state,
        "attention": is_attention(one),
    }
