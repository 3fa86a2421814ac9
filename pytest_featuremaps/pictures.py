"""The pictures of a recorded tensor: one sample, one tile for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pytest_featuremaps import chunks, layouts, rendering
from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.keeping import keep
from pytest_featuremaps.values import NUMPY_FLOATS, RecordedTensor

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image


class DrawnTensor(RecordedTensor):
    """A recorded tensor that can be drawn."""

    def image(
        self, *, sample: int = 0, channels: Sequence[int] | None = None, scale: int | None = None
    ) -> Image.Image:
        """Draw the channels of one sample as a mosaic, each over its own range of values.

        Args:
            sample: which sample of the batch to draw.
            channels: which channels to draw; all of them when None.
            scale: pixels per value; chosen so that small maps can be seen when None.

        Raises:
            UnsupportedTensor: the map has no axes to draw.
            IndexError: there is no such sample or channel.
        """
        return self.mosaic(sample=sample, channels=channels).image(scale)

    def save(
        self,
        path: str | Path,
        *,
        sample: int = 0,
        channels: Sequence[int] | None = None,
        scale: int | None = None,
    ) -> Path:
        """Write the picture that `image()` draws to a file, and return its path.

        Args:
            path: the file to write; its ending chooses the format, as Pillow knows them.
            sample: which sample of the batch to draw.
            channels: which channels to draw; all of them when None.
            scale: pixels per value; chosen so that small maps can be seen when None.
        """
        path = Path(path)
        self.image(sample=sample, channels=channels, scale=scale).save(path)
        return path

    def save_channels(
        self, folder: str | Path, *, sample: int = 0, scale: int | None = None
    ) -> list[Path]:
        """Write one `channel_<i>.png` for each channel of one sample, and return the paths.

        Args:
            folder: where to write; made if it does not exist.
            sample: which sample of the batch to draw.
            scale: pixels per value; chosen so that small maps can be seen when None.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        whole = self.mosaic(sample=sample)
        paths = [folder / f"channel_{number}.png" for number in whole.channels]
        for number, path in zip(whole.channels, paths, strict=True):
            rendering.pick(whole, [number]).image(scale).save(path)
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
        planes = self._planes(sample)
        try:
            return rendering.render_channels(planes, channels, like)
        except IndexError as error:
            reason = str(error)
        raise IndexError(f"{self.place.title}: {reason}.")

    def _planes(self, sample: int) -> npt.NDArray[Any]:
        """Return one sample as an array (channels, rows, columns)."""
        one = self.take(sample)
        if one.tensor.is_complex():
            kind, planes = "complex values", None
        else:
            kind, planes = f"shape {self.shape}", layouts.planes(_drawable(one), one.layout or "")
        if planes is None:
            raise UnsupportedTensor(
                f"{self.place.title} has {kind}: there is no picture of it.\n"
                "A picture needs an axis of channels and one or two of positions. Declare them "
                'when you capture, such as layout="NHWC", or compare the numbers.'
            )
        return planes

    def take(self, sample: int | None) -> Self:
        """Return this map with one sample of its batch; the whole map for None.

        Raises:
            UnsupportedTensor: the tensor has no readable values.
            IndexError: there is no such sample.
        """
        layout = self.layout
        axis = layout.find("N") if layout is not None else min(len(self.shape), 1) - 1
        if sample is None or (axis < 0 and sample == 0):
            return self
        count = self.shape[axis] if axis >= 0 else 1
        if not 0 <= sample < count:
            raise IndexError(f"{self.place.title} has no sample {sample}: it has {count}, from 0.")
        self.require_values()
        return type(self)(self.place, keep(self.tensor.narrow(axis, sample, 1)))

    def _repr_png_(self) -> bytes | None:
        """Show the picture in a notebook; nothing for a map that has none."""
        try:
            return rendering.encode(self.mosaic())
        except (UnsupportedTensor, CaptureError, IndexError):
            return None


def _drawable(one: RecordedTensor) -> npt.NDArray[Any]:
    """Return the values; the largest of a narrow float, which masks are filled with, as Inf."""
    values = one.numpy()
    if one.tensor.is_floating_point() and one.dtype not in NUMPY_FLOATS:
        values[np.abs(values) >= chunks.infinite_from(one.dtype)] *= np.inf
    return values
