"""What has pictures: one sample, one tile for each channel, shown, written or in a notebook."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import torch
from PIL import Image

from pytest_featuremaps.errors import FeatureMapsError
from pytest_featuremaps.maps import pictures
from pytest_featuremaps.maps.picture_options import DrawingOptions, Options, backdrop
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.rendering import looks

if TYPE_CHECKING:
    import numpy.typing as npt

# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True


class Drawable:
    """Shows a record as pictures: the half of a `FeatureMap` that is looked at."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def image(
        self,
        *,
        sample: int = 0,
        channels: Sequence[int] | None = None,
        scale: int | None = None,
        colours: looks.Colours = "auto",
        ranges: looks.Ranges = "channel",
        numbers: bool = True,
        layout: str | None = None,
        query: int | None = None,
        over: Image.Image | torch.Tensor | npt.NDArray[Any] | None = None,
        words: Sequence[str] | None = None,
    ) -> Image.Image:
        """Draw the channels of one sample, each as a tile with its number.

        A line below says what the colours mean. NaN and both infinities have colours of their
        own, a dead channel and a flat one, constant to within the noise floor, have lines.
        Tokens that come before a grid of patches are drawn below it, one tile for each; a
        sequence is a heat map with one row for each channel.

        Args:
            sample: which sample of the batch to draw.
            channels: which channels to draw; all of them when None.
            scale: pixels per value, without interpolation; chosen so that small maps can be
                seen when None.
            colours: `"ramp"` from dark purple over teal to yellow, of evenly rising lightness;
                `"diverging"` from blue over white, which is zero, to red; `"grey"`; `"auto"`
                is diverging for values on both sides of zero, and else the ramp. `"pca"`
                draws one picture of all channels: their first three principal components as
                red, green and blue.
            ranges: whether each `"channel"` is drawn over its own range of values, or all
                over that of the `"layer"`.
            numbers: whether tiles are numbered, with their ranges where there is room, and the
                colours explained.
            layout: what each axis means, instead of what was declared or is known.
            query: of weights of attention, whose attention to draw: the number of one query.
            over: what the model was shown, to lay each tile over it: a picture of Pillow, or a
                tensor of one or three channels, (C, H, W) or (N, C, H, W), in any range.
            words: one for each position of a text: at the columns of each tile, and at its
                rows as well where there are as many, as in the attention of a text to itself.

        Raises:
            UnsupportedTensor: the map has no axes to draw, or no values.
            CaptureError: the layout does not fit, or more than one would.
            IndexError: there is no such sample, channel or query.
            PictureTooLarge: the picture has too many pixels.
            TypeError: `over` is no picture and no tensor, or another option is of a wrong type.
            ValueError: an option is none, or does not fit the map or another one.
        """
        planes = pictures.planes(self._record, sample, layout, query)
        shown = backdrop(over, sample)
        look = looks.Look(channels, scale, colours, ranges, numbers, shown, words)
        return pictures.picture(self._record, planes, look)

    def save(self, path: str | Path, **options: Unpack[Options]) -> Path:
        """Write the picture that `image()` draws to a file, and return its path.

        Args:
            path: the file to write; its ending chooses the format, as Pillow knows them.
            **options: those of `image()`.
        """
        path = Path(path)
        self.image(**options).save(path)
        return path

    def save_channels(self, folder: str | Path, **options: Unpack[DrawingOptions]) -> list[Path]:
        """Write one `channel_<i>.png` for each channel of one sample, and return the paths.

        Args:
            folder: where to write; made if it does not exist.
            **options: those of `image()`, without `channels` and `numbers`; in grey unless
                told, which reads back as values.
        """
        return pictures.save_channels(self._record, Path(folder), options)

    def _repr_png_(self) -> bytes | None:
        """Show the picture in a notebook; nothing for a map that has none."""
        file = io.BytesIO()
        try:
            self.image().save(file, "PNG")
        except (FeatureMapsError, IndexError):
            return None
        return file.getvalue()
