"""One feature map: the tensor that one call of a module produced, and its checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pytest_featuremaps import chunks, layouts, rendering, shapes, stats
from pytest_featuremaps.errors import CaptureError, MissingMap, UnsupportedTensor
from pytest_featuremaps.keeping import Kept, keep
from pytest_featuremaps.keys import Place
from pytest_featuremaps.leaves import Leaf, brackets
from pytest_featuremaps.wording import listed

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image


class FeatureMap:
    """One tensor that one call of a module produced, as an independent copy.

    Attributes:
        place: the layer, the call and the place in the output that it came from.
        kept: what is known of it: its values, or only statistics or its shape.
    """

    # An ndarray on the left of `==` must leave the comparison to the other operand.
    __array_ufunc__ = None

    def __init__(
        self, place: Place, kept: Kept, inputs: Mapping[str, Mapping[Leaf, Kept]] | None = None
    ) -> None:
        self.place = place
        self.kept = kept
        self._inputs = inputs
        self._grad: Kept | None = None
        self._passes = 0

    @property
    def key(self) -> str:
        """The shortest name of this map in its recording: `conv`, `conv#1`, `rnn[1][0]`.

        The call is named once the module has run more than once, the place in the output
        where it holds several tensors, the model where several are recorded.
        """
        return self.place.key

    @property
    def layer(self) -> str:
        """The module's path in its model; `"."` is the model itself."""
        return self.place.layer.path

    @property
    def call(self) -> int:
        """Which call of the module this was, from 0."""
        return self.place.call

    @property
    def module_type(self) -> str:
        """The name of the module's class, such as `"Conv2d"`."""
        return self.place.layer.module_type

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes, in elements."""
        return self.kept.shape

    @property
    def dtype(self) -> torch.dtype:
        """The element type, as the module produced it."""
        return self.kept.dtype

    @property
    def device(self) -> torch.device:
        """The device that the module produced it on."""
        return self.kept.device

    @property
    def tensor(self) -> torch.Tensor:
        """The recorded values, detached, on the device they were made on.

        Raises:
            CaptureError: they were not kept.
        """
        if self.kept.tensor is None:
            raise CaptureError(
                f'{self.place.title} was captured with keep="{self.kept.how}", so its values are '
                'gone.\nCapture it with keep="values", which is the default.'
            )
        return self.kept.tensor

    @property
    def inputs(self) -> Inputs:
        """What went into this call, before the module could change it.

        By parameter name, or by position: `fm.inputs["x"]`, `fm.inputs[0]`.

        Raises:
            CaptureError: it was not recorded.
        """
        if self._inputs is None:
            raise CaptureError(
                f"{self.place.title} was captured without its inputs.\n"
                + self._way_to("inputs", "its inputs are")
            )
        return Inputs(self.place, self._inputs)

    @property
    def grad(self) -> FeatureMap:
        """The gradient of what `backward()` was called on, with respect to this map.

        Several backward passes add up, as they do in `torch.Tensor.grad`.

        Raises:
            CaptureError: it was not recorded, or none has reached this map.
        """
        if self._grad is None:
            raise CaptureError(self._no_gradient())
        if self._grad.stats is not None and self._passes > 1:
            raise CaptureError(
                f"{self.place.title} has the gradients of {self._passes} backward passes, and "
                "their statistics do not add up.\n"
                'Capture it with keep="values", or call backward() once.'
            )
        return FeatureMap(replace(self.place, part="grad"), self._grad)

    def _no_gradient(self) -> str:
        layer = self.place.layer
        if not layer.grads:
            return f"{self.place.title} was captured without gradients.\n" + self._way_to(
                "grads", "its gradient is"
            )
        if layer.recomputed:
            return (
                f"{self.place.title} has no gradient: checkpointing ran it without gradients, and "
                "again during backward().\nCall torch.utils.checkpoint with use_reentrant=False."
            )
        return (
            f"{self.place.title} has no gradient: no backward pass has reached it.\n"
            "Call backward() on what depends on it, while it is captured and gradients are on."
        )

    def _way_to(self, option: str, what: str) -> str:
        if not self.layer.endswith("()"):
            return f"Capture it with {option}=True."
        return f"It is a functional call, of which only the value is recorded; {what} not."

    def add_grad(self, gradient: torch.Tensor) -> None:
        """Add a gradient that reached this map."""
        self._passes += 1
        if self._grad is None or self._grad.tensor is None:
            self._grad = keep(gradient, self.place.layer.keep)
        else:
            self._grad = keep(self._grad.tensor + gradient)

    @property
    def layout(self) -> str | None:
        """What each axis means, such as `"NCHW"`: declared, or known from the module's type.

        None where nothing is known.

        Raises:
            CaptureError: the declared layout does not fit the shape.
        """
        declared = self.place.layer.layout
        if declared is None:
            return layouts.guess(self._families, len(self.shape))
        reason = layouts.misfit(declared, len(self.shape))
        if reason:
            raise CaptureError(f"{self.place.title} has shape {self.shape}: {reason}.")
        return declared

    @property
    def _families(self) -> tuple[str, ...]:
        return self.place.layer.families or (self.module_type,)

    @cached_property
    def stats(self) -> stats.Stats:
        """Mean, standard deviation, extremes and counts, of the whole map and per channel.

        Computed in float64 whatever the dtype; non-finite values are counted and left out
        of the moments.

        Raises:
            UnsupportedTensor: the tensor has no readable values (meta, sparse, quantised).
            CaptureError: the declared layout does not fit the shape.
        """
        if self.kept.stats is not None:
            return self.kept.stats
        self._require_values()
        axis = layouts.channel_axis(self.layout, self._families, len(self.shape))
        return stats.summarise(self.tensor, axis)

    def numpy(self) -> npt.NDArray[Any]:
        """Return the values as a new array; bfloat16 and float8 become float32.

        Raises:
            UnsupportedTensor: the tensor has no readable values (meta, sparse, quantised).
        """
        self._require_values()
        return np.array(self._widened().cpu().resolve_conj().resolve_neg().numpy())

    def assert_shape(self, spec: str | tuple[int, ...], **dims: int) -> dict[str, int]:
        """Check the shape, and return the sizes that the specification's names stand for.

        Args:
            spec: sizes separated by spaces, such as `"N 128 H W"`: an integer, a name, `_`
                for any size, one `...` for any number of axes, arithmetic on names bound
                before (`"N C H W H/2"`). `""` is a scalar. A tuple of integers also works.
            **dims: sizes already known for names.

        Raises:
            AssertionError: the shape is another one.
            ShapeSpecError: the specification cannot be read.
        """
        __tracebackhide__ = True
        match = shapes.check(spec, self.shape, dims)
        if not match.reason:
            return match.bound
        lines = [
            f"{self.place.title}: {match.reason}.",
            f"  expected: {_spaced(spec)}",
            f"  found:    {_spaced(self.shape)}",
        ]
        if dims:
            lines.append(f"  with:     {', '.join(f'{name} = {dims[name]}' for name in dims)}")
        raise AssertionError("\n".join(lines))

    def assert_finite(self) -> None:
        """Check that the map holds neither NaN nor infinity.

        Raises:
            AssertionError: it does; the text counts them and says where the first one is.
            UnsupportedTensor: the tensor has no readable values.
        """
        __tracebackhide__ = True
        reason = self.not_finite()
        if reason:
            raise AssertionError(reason)

    def not_finite(self) -> str:
        """Say how many values are NaN or infinite and where the first is; empty when none is.

        Where only statistics were kept, the place is not known, and the largest number of
        the dtype counts as infinite, as it does there.

        Raises:
            UnsupportedTensor: the tensor has no readable values.
        """
        numbers = self.kept.stats
        if numbers is not None:
            return self._counted(numbers.nan_count, numbers.inf_count, numbers.count)
        self._require_values()
        values = self._widened()
        bad = ~torch.isfinite(values)
        count = int(bad.sum())
        if not count:
            return ""
        nans = int(torch.isnan(values).sum())
        place = tuple(bad.nonzero()[0].tolist())
        return (
            self._counted(nans, count - nans, self.tensor.numel())
            + f"\n  the first at index {place} of shape {self.shape}"
        )

    def _counted(self, nans: int, infinite: int, count: int) -> str:
        if not nans + infinite:
            return ""
        return (
            f"{self.place.title} is not finite: {nans} NaN and {infinite} infinite of "
            f"{count} values."
        )

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

    def take(self, sample: int | None) -> FeatureMap:
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
        self._require_values()
        return FeatureMap(self.place, keep(self.tensor.narrow(axis, sample, 1)))

    def _require_values(self) -> None:
        if self.kept.obstacle:
            raise UnsupportedTensor(f"{self.place.title}: {self.kept.obstacle}")
        try:
            chunks.readable(self.tensor)
        except UnsupportedTensor as error:
            reason = str(error)
        else:
            return
        raise UnsupportedTensor(f"{self.place.title}: {reason}")

    def _widened(self) -> torch.Tensor:
        """Return the values, in float32 where their dtype is one that numpy lacks."""
        narrow = self.tensor.is_floating_point() and self.tensor.dtype not in _NUMPY_FLOATS
        return self.tensor.float() if narrow else self.tensor

    def _repr_png_(self) -> bytes | None:
        """Show the picture in a notebook; nothing for a map that has none."""
        try:
            return rendering.encode(self.mosaic())
        except (UnsupportedTensor, CaptureError, IndexError):
            return None

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        del copy  # numpy() always copies
        return np.asarray(self.numpy(), dtype=dtype)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"<FeatureMap {self.place.title} {self.shape} {dtype}>"


class Inputs(Mapping[str, FeatureMap]):
    """What went into one call of a module: feature maps by parameter name, or by position."""

    def __init__(self, place: Place, inputs: Mapping[str, Mapping[Leaf, Kept]]) -> None:
        self._maps = {
            name + brackets(leaf): FeatureMap(
                replace(place, leaf=(), siblings=1, part=f"inputs[{name}{brackets(leaf)}]"), kept
            )
            for name, leaves in inputs.items()
            for leaf, kept in leaves.items()
        }

    def __getitem__(self, key: str | int) -> FeatureMap:
        if isinstance(key, int) and -len(self._maps) <= key < len(self._maps):
            return list(self._maps.values())[key]
        if isinstance(key, str) and key in self._maps:
            return self._maps[key]
        raise MissingMap(f"There is no input {key!r}.\nRecorded are: {listed(self._maps)}.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    def __repr__(self) -> str:
        return f"<Inputs: {', '.join(self._maps) or 'no tensors'}>"


_NUMPY_FLOATS = frozenset({torch.float16, torch.float32, torch.float64})


def _drawable(one: FeatureMap) -> npt.NDArray[Any]:
    """Return the values; the largest of a narrow float, which masks are filled with, as Inf."""
    values = one.numpy()
    if one.tensor.is_floating_point() and one.dtype not in _NUMPY_FLOATS:
        values[np.abs(values) >= chunks.infinite_from(one.dtype)] *= np.inf
    return values


def _spaced(sizes: str | tuple[int, ...]) -> str:
    return (sizes if isinstance(sizes, str) else " ".join(map(str, sizes))) or "a scalar"
