"""One recorded tensor: where it came from, what is known of it, and its values as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pytest_featuremaps.errors import CaptureError, UnsupportedTensor
from pytest_featuremaps.layouts import layouts
from pytest_featuremaps.maps.keeping import Kept
from pytest_featuremaps.names.keys import Place
from pytest_featuremaps.numbers import chunks, stats

if TYPE_CHECKING:
    import numpy.typing as npt

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True

NUMPY_FLOATS = frozenset({torch.float16, torch.float32, torch.float64})


class RecordedTensor:
    """One tensor that a call of a module took, produced or got as a gradient.

    Attributes:
        place: the layer, the call and the place in the output that it came from.
        kept: what is known of it: its values, or only statistics or its shape.
    """

    # An ndarray on the left of `==` must leave the comparison to the other operand.
    __array_ufunc__ = None

    def __init__(self, place: Place, kept: Kept) -> None:
        self.place = place
        self.kept = kept
        self._stats = kept.stats

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
    def layout(self) -> str | None:
        """What each axis means, such as `"NCHW"`: declared, or known from the module's type.

        None where nothing is known.

        Raises:
            CaptureError: the declared layout does not fit the shape.
        """
        declared = self.declared
        return self.guess if declared is None else self.axes(declared)

    @property
    def declared(self) -> str | None:
        """The layout as it was declared, with its grid of patches; None where none was."""
        layout = self.place.layer.layout
        return layouts.for_attention(layout) if self.is_attention else layout

    @property
    def guess(self) -> str | None:
        """What the module's type says of the axes; None where nothing is known."""
        return layouts.guess(self.families, len(self.shape), **self._known())

    def axes(self, layout: str) -> str:
        """Return the letters of a layout that was declared for this map, one for each axis.

        Raises:
            CaptureError: it does not fit the shape.
        """
        reason = layouts.misfit(layout, len(self.shape))
        if reason:
            raise CaptureError(f"{self.place.title} has shape {self.shape}: {reason}.")
        return layouts.axes(layout, len(self.shape), **self._known())

    def _known(self) -> dict[str, bool]:
        state = layouts.is_state(self.families, self.place.leaf)
        return {
            "sequence_first": self.place.layer.sequence_first or state,
            "attention": self.is_attention,
        }

    @property
    def is_attention(self) -> bool:
        """Whether these are known to be weights of attention: who looks at whom."""
        given = layouts.gives_attention(self.families, self.place.leaf)
        return given or self.place.part == "attention"

    @property
    def families(self) -> tuple[str, ...]:
        """The names of the module's class and of those it derives from."""
        return self.place.layer.families or (self.module_type,)

    @property
    def stats(self) -> stats.Stats:
        """Mean, standard deviation, extremes and counts, of the whole map and per channel.

        Computed in float64 whatever the dtype; non-finite values are counted and left out
        of the moments.

        Raises:
            UnsupportedTensor: the tensor has no readable values (meta, sparse, quantised).
            CaptureError: the declared layout does not fit the shape, or nothing but the shape
                was kept.
        """
        if self._stats is None:
            self.require_values()
            self._stats = stats.summarise(self.tensor, self.channel_axis)
        return self._stats

    @property
    def infinite_count(self) -> int:
        """How many values are ±Inf.

        `stats.inf_count` counts ±the largest number of a dtype as well: attention masks are
        filled with it.

        Raises:
            UnsupportedTensor, CaptureError: as for `stats`.
        """
        if not self.stats.inf_count or self.kept.tensor is None:
            return self.kept.infinite
        return chunks.count_infinite(self.kept.tensor)

    @property
    def channel_axis(self) -> int | None:
        """Which axis is that of the channels: by the layout, or else by the module's type.

        Raises:
            CaptureError: the declared layout does not fit the shape.
        """
        return layouts.channel_axis(self.layout, self.families, len(self.shape))

    @property
    def measured(self) -> bool:
        """Whether statistics are known already, so that asking for them costs nothing."""
        return self._stats is not None

    def numpy(self) -> npt.NDArray[Any]:
        """Return the values as a new array; what NumPy lacks becomes float32 or complex64.

        Raises:
            UnsupportedTensor: the tensor has no readable values (meta, sparse, quantised).
        """
        self.require_values()
        return np.array(self.widened().cpu().resolve_conj().resolve_neg().numpy())

    def require_values(self) -> None:
        """Refuse a tensor without plain values.

        Raises:
            UnsupportedTensor: it has none; the text says why, and the way out.
            CaptureError: they were not kept.
        """
        if self.kept.obstacle:
            raise UnsupportedTensor(f"{self.place.title}: {self.kept.obstacle}")
        try:
            chunks.infinite_from(chunks.readable(self.tensor).dtype)
        except UnsupportedTensor as error:
            reason = str(error)
        else:
            return
        raise UnsupportedTensor(f"{self.place.title}: {reason}")

    def widened(self) -> torch.Tensor:
        """Return the values, in float32 or complex64 where their dtype is one that numpy lacks."""
        tensor = self.tensor
        if tensor.dtype == torch.complex32:
            return tensor.to(torch.complex64)
        narrow = tensor.is_floating_point() and tensor.dtype not in NUMPY_FLOATS
        return tensor.float() if narrow else tensor

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        del copy  # numpy() always copies
        return np.asarray(self.numpy(), dtype=dtype)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"<FeatureMap {self.place.title} {self.shape} {dtype}>"
