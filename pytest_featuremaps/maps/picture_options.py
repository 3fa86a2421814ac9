"""What may be asked of a picture, and what is said to what may not."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from PIL import Image

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.layouts import layouts
from pytest_featuremaps.rendering import looks

if TYPE_CHECKING:
    import numpy.typing as npt

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True


class DrawingOptions(TypedDict, total=False):
    """What `image()` takes, but for the channels."""

    sample: int
    scale: int | None
    colours: looks.Colours
    ranges: looks.Ranges
    layout: str | None
    query: int | None


class Options(DrawingOptions, total=False):
    """What `image()` takes."""

    channels: Sequence[int] | None
    numbers: bool
    over: Image.Image | torch.Tensor | npt.NDArray[Any] | None
    words: Sequence[str] | None


def require_channels(channels: object, count: int, title: str) -> None:
    """Refuse numbers of channels that are none, or that a map does not have.

    Args:
        channels: what was asked for; None is all.
        count: how many there are.
        title: whose they are.

    Raises:
        TypeError: these are no whole numbers.
        ValueError: there is none among them.
        IndexError: there is no such channel.
    """
    if channels is None:
        return
    given = f"channels={channels!r}"
    if not isinstance(channels, Collection) or isinstance(channels, str | Mapping):
        raise TypeError(f"{given}: it takes their numbers, such as [3] or range(16)")
    numbers = list(channels)
    if not numbers:
        raise ValueError(f"{given}: name at least one channel, such as [3] or range(16)")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise TypeError(f"{given}: {number!r} is no whole number, as of [3] or range(16)")
        if not 0 <= number < count:
            raise IndexError(f"{title}: there is no channel {number}: it has {count}, from 0.")


def require_layout(layout: str | None, function: str) -> None:
    """Refuse a layout that is none.

    Raises:
        CaptureError: it has a slip, which the text tells.
    """
    reason = "" if layout is None else layouts.slip(layout)
    if reason:
        raise CaptureError(f"{function}(layout={layout!r}): {reason}.")


def backdrop(
    over: Image.Image | torch.Tensor | npt.NDArray[Any] | None, sample: int
) -> Image.Image | None:
    """Return what a model was shown as a picture: of a batch, the sample, or its only one."""
    if over is None or isinstance(over, Image.Image):
        return over
    if isinstance(over, torch.Tensor):
        over = over.detach().cpu().float().numpy()
    if not isinstance(over, np.ndarray):
        raise TypeError(
            f"over= is a picture of Pillow or a tensor, not a {type(over).__name__}; "
            "PIL.Image.open(path) opens a file"
        )
    return looks.backdrop(over, sample)
