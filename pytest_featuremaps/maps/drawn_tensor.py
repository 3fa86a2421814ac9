"""The pictures of a recorded tensor: one sample, one tile for each channel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

import numpy as np
import torch
from PIL import Image

from pytest_featuremaps import rendering
from pytest_featuremaps.errors import CaptureError, FeatureMapsError, UnsupportedTensor
from pytest_featuremaps.layouts import layouts
from pytest_featuremaps.layouts.grids import Grid
from pytest_featuremaps.layouts.planes import Planes, lay_out
from pytest_featuremaps.maps.keeping import keep
from pytest_featuremaps.maps.picture_options import (
    DrawingOptions,
    Options,
    backdrop,
    require_channels,
    require_layout,
)
from pytest_featuremaps.maps.recorded_tensor import NUMPY_FLOATS, RecordedTensor
from pytest_featuremaps.numbers import chunks
from pytest_featuremaps.rendering import looks

if TYPE_CHECKING:
    import numpy.typing as npt


# What is raised here is told to whoever asked for a picture: pytest ends the traceback there.
__tracebackhide__ = True


class DrawnTensor(RecordedTensor):
    """A recorded tensor that can be drawn."""

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
        planes = self.planes(sample, layout, query)
        shown = backdrop(over, sample)
        look = looks.Look(channels, scale, colours, ranges, numbers, shown, words)
        if not planes.pictures.size:
            raise self._no_picture("no values")
        require_channels(channels, len(planes.pictures), self.place.title)
        return looks.picture(planes, look)

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
        folder = Path(folder)
        scale, colours = options.get("scale"), options.get("colours", "grey")
        look = looks.Look(None, scale, colours, options.get("ranges", "channel"))
        if colours == "pca":
            raise ValueError("colours='pca' is one picture of all channels: save() writes it")
        planes = self.planes(options.get("sample", 0), options.get("layout"), options.get("query"))
        drawing = looks.drawn(planes, look)
        whole, palette = drawing.mosaic, drawing.palette
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"channel_{number}.png" for number in whole.channels]
        for number, path in zip(whole.channels, paths, strict=True):
            rendering.pick(whole, [number]).image(scale, palette).save(path)
        return paths

    def mosaic(
        self,
        *,
        sample: int = 0,
        channels: Sequence[int] | None = None,
        like: rendering.Mosaic | None = None,
    ) -> rendering.Mosaic:
        """Draw one sample, one tile for each channel.

        Args:
            sample: which sample of the batch to draw.
            channels: which channels to draw; all of them when None.
            like: a mosaic of the same channels, whose ranges of values are used, so that a
                change of scale shows.

        Raises:
            UnsupportedTensor: the map has no axes to draw.
            IndexError: there is no such sample or channel.
        """
        planes = self.planes(sample)
        require_channels(channels, len(planes.pictures), self.place.title)
        return rendering.render_channels(planes.pictures, channels, like)

    def planes(
        self, sample: int = 0, layout: str | None = None, query: int | None = None
    ) -> Planes:
        """Return what is drawn of one sample; arguments and errors are those of `image()`."""
        self.require_values()
        if self.tensor.is_complex():
            raise self._no_picture("complex values")
        axes, declared = self._reading(layout)
        grid = self._grid(axes, declared, query)
        self._require_query(axes, query)
        found = lay_out(_drawable(self._one(sample, axes)), axes, grid, query)
        if found is None:
            raise self._no_picture(f"shape {self.shape}")
        return found

    def _no_picture(self, kind: str) -> UnsupportedTensor:
        return UnsupportedTensor(
            f"{self.place.title} has {kind}: there is no picture of it.\n"
            "A picture needs an axis of channels, or one to three of positions. Declare them "
            'when you capture, such as layout="NHWC", or compare the numbers.'
        )

    def _reading(self, layout: str | None) -> tuple[str, str]:
        """Return the letters of the axes, and the layout that they come from."""
        declared = self.declared if layout is None else layout
        if declared is None:
            guess = self.guess or ""
            self._require_one_reading()
            return guess, guess
        require_layout(declared, "image")
        return self.axes(declared), declared

    def readings(self) -> tuple[str, ...]:
        """Return the layouts that this map may have, where more than one would fit it."""
        others = layouts.others(self.families, self.shape)
        known = self.declared is not None or self.is_attention or self.place.layer.sequence_first
        return () if known or not others else (self.guess or "", *others)

    def refined(self, layout: str | None) -> str | None:
        """Return a layout for several maps where it says more of this one than is known.

        It chooses among several readings, or lays a sequence over an image.
        """
        if layout is None or layouts.misfit(layout, len(self.shape)):
            return None
        word = self.axes(layout)
        if self.readings():
            return layout
        known = self.declared or self.guess or ""
        length = self.shape[word.index("L")] if "L" in word else 0
        found, _ = layouts.grid(layout, length)
        same = word == known.partition(":")[0] and ":" not in known
        return layout if same and found is not None else None

    def _require_one_reading(self) -> None:
        readings = self.readings()
        if not readings:
            return
        spelled = {f'layout="{one}"': one for one in readings}
        choices = [
            f"  {spelling:<15}  {layouts.describe(one, self.shape)}"
            for spelling, one in spelled.items()
        ]
        raise CaptureError(
            f"{self.place.title} has shape {self.shape}, which can be read in several ways:\n"
            + "\n".join(choices)
            + "\nSay which one is meant when you capture, or in image(layout=...)."
        )

    def _grid(self, axes: str, declared: str, query: int | None) -> Grid | None:
        letter = "L" if query is None else "K"
        if letter not in axes:
            return None
        grid, reason = layouts.grid(declared, self.shape[axes.index(letter)])
        if reason:
            raise CaptureError(f"{self.place.title} has shape {self.shape}: {reason}.")
        return grid

    def _require_query(self, axes: str, query: int | None) -> None:
        if query is None:
            return
        if "Q" not in axes:
            raise CaptureError(
                f"{self.place.title} has layout {axes!r}, which has no queries.\n"
                'query= is for weights of attention, with a layout such as "NCQK".'
            )
        count = self.shape[axes.index("Q")]
        if not 0 <= query < count:
            raise IndexError(f"{self.place.title} has no query {query}: it has {count}, from 0.")

    def take(self, sample: int | None) -> Self:
        """Return this map with one sample of its batch; the whole map for None.

        Raises:
            UnsupportedTensor: the tensor has no readable values.
            IndexError: there is no such sample.
        """
        layout = self.layout
        if layout is None:
            layout = "N" if self.shape else ""
        return self if sample is None else self._one(sample, layout)

    def _one(self, sample: int, axes: str) -> Self:
        axis = axes.find("N")
        if axis < 0 and sample == 0:
            return self
        count = self.shape[axis] if axis >= 0 else 1
        if not 0 <= sample < count:
            raise IndexError(f"{self.place.title} has no sample {sample}: it has {count}, from 0.")
        self.require_values()
        return type(self)(self.place, keep(self.tensor.narrow(axis, sample, 1)))

    def _repr_png_(self) -> bytes | None:
        """Show the picture in a notebook; nothing for a map that has none."""
        file = io.BytesIO()
        try:
            self.image().save(file, "PNG")
        except (FeatureMapsError, IndexError):
            return None
        return file.getvalue()


def _drawable(one: RecordedTensor) -> npt.NDArray[Any]:
    """Return the values; the largest of a narrow float, which masks are filled with, as Inf."""
    values = one.numpy()
    if one.tensor.is_floating_point() and one.dtype not in NUMPY_FLOATS:
        values[np.abs(values) >= chunks.infinite_from(one.dtype)] *= np.inf
    return values
