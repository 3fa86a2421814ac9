"""One feature map: the tensor that one call of a module produced, and its checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
import torch

from pytest_featuremaps.checks import bounds, contracts
from pytest_featuremaps.checks.grammar import Spec
from pytest_featuremaps.errors import CaptureError, MissingMap
from pytest_featuremaps.maps import axes, given, gradients, values
from pytest_featuremaps.maps.drawable import Drawable
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.numbers.stats import Stats
from pytest_featuremaps.wording import listed

if TYPE_CHECKING:
    import numpy.typing as npt

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


class FeatureMap(Drawable):
    """One tensor that one call of a module produced, as an independent copy.

    It shows a record, of which the rooms of this package may ask more: see `record_of`.
    """

    # An ndarray on the left of `==` must leave the comparison to the other operand.
    __array_ufunc__ = None

    @property
    def key(self) -> str:
        """The shortest name of this map in its recording: `conv`, `conv#1`, `rnn[1][0]`.

        The call is named once the module has run more than once, the place in the output
        where it holds several tensors, the model where several are recorded.
        """
        return self._record.place.key

    @property
    def layer(self) -> str:
        """The module's path in its model; `"."` is the model itself."""
        return self._record.place.layer.path

    @property
    def call(self) -> int:
        """Which call of the module this was, from 0."""
        return self._record.place.call

    @property
    def module_type(self) -> str:
        """The name of the module's class, such as `"Conv2d"`."""
        return self._record.module_type

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes, in elements."""
        return self._record.shape

    @property
    def dtype(self) -> torch.dtype:
        """The element type, as the module produced it."""
        return self._record.dtype

    @property
    def device(self) -> torch.device:
        """The device that the module produced it on."""
        return self._record.kept.facts.device

    @property
    def layout(self) -> str | None:
        """What each axis means, such as `"NCHW"`: declared, or known from the module's type.

        None where nothing is known.

        Raises:
            CaptureError: the declared layout does not fit the shape.
        """
        return axes.layout(self._record)

    @property
    def tensor(self) -> torch.Tensor:
        """The recorded values, detached, on the device they were made on.

        Raises:
            CaptureError: they were not kept.
        """
        return values.tensor(self._record)

    def numpy(self) -> npt.NDArray[Any]:
        """Return the values as a new array; what NumPy lacks becomes float32 or complex64.

        Raises:
            UnsupportedTensor: the tensor has no readable values (meta, sparse, quantised).
            CaptureError: they were not kept.
        """
        return values.array(self._record)

    @property
    def stats(self) -> Stats:
        """Mean, standard deviation, extremes and counts, of the whole map and per channel.

        Computed in float64 whatever the dtype; non-finite values are counted and left out
        of the moments.

        Raises:
            UnsupportedTensor: the tensor has no readable values (meta, sparse, quantised).
            CaptureError: the declared layout does not fit the shape, or nothing but the shape
                was kept.
        """
        return values.stats(self._record)

    @property
    def infinite_count(self) -> int:
        """How many values are ±Inf.

        `stats.inf_count` counts ±the largest number of a dtype as well: attention masks are
        filled with it.

        Raises:
            UnsupportedTensor, CaptureError: as for `stats`.
        """
        return values.infinite_count(self._record)

    @property
    def inputs(self) -> Inputs:
        """What went into this call, before the module could change it.

        By parameter name, or by position: `fm.inputs["x"]`, `fm.inputs[0]`.

        Raises:
            CaptureError: it was not recorded.
        """
        return Inputs(given.inputs(self._record))

    @property
    def grad(self) -> FeatureMap:
        """The gradient of what `backward()` was called on, with respect to this map.

        Several backward passes add up, as they do in `torch.Tensor.grad`.

        Raises:
            CaptureError: it was not recorded, or none has reached this map.
        """
        return feature_map_of(gradients.gradient(self._record))

    def attention(self) -> FeatureMap:
        """Return the weights with which this call of attention looked, before any dropout.

        They are recomputed from what went into a fused call, and equal to those of the
        unfused computation: mask, scale, `is_causal` and grouped heads are honoured. Of a map
        that holds the weights already, as `attention[1]` of an `nn.MultiheadAttention` that
        returns them, it is the map itself. Draw them with `image()`, one tile for each head:
        a row looks, a column is looked at; `image(query=0, layout="tokens")` lays what the
        first token looks at over the image.

        Returns:
            A map (N, heads, queries, keys), without the axes that the query does not have; in
            float32 where the query was narrower.

        Raises:
            CaptureError: this is no call of attention, or was captured without its inputs.
            UnsupportedTensor: the inputs have no readable values.
        """
        return feature_map_of(given.attention(self._record))

    def assert_shape(self, spec: Spec, /, **dims: int) -> dict[str, int]:
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
        clause = contracts.Clause(self.key, self._record.title, spec, self.shape)
        agreement = contracts.hold([clause], dims)
        if agreement.broken:
            raise AssertionError(contracts.tell_one(agreement, dims))
        return agreement.bound

    def assert_stats(self, **allowed: Any) -> None:  # noqa: ANN401 - anything with `==`
        """Check statistics against bounds, all of them at once.

        `assert_stats(mean=(-0.1, 0.1), std=(None, 2), nan_count=0, max=pytest.approx(6))`.

        Args:
            **allowed: by the name of a statistic (`mean`, `std`, `min`, `max`, `rms`,
                `zero_fraction`, `nan_count`, `inf_count`, `count`), what it may be: a pair is
                an interval with its ends, one of which may be None; anything else is compared
                with `==`. A statistic that is NaN, as those of a map without finite values
                are, lies in no interval.

        Raises:
            AssertionError: some do not hold; the text gives observed and allowed of each.
            TypeError: no bound is given, or one for something that is no statistic.
            ValueError: an interval is empty.
            UnsupportedTensor: the tensor has no readable values.
        """
        failure = bounds.violations(self._record.title, self.stats, allowed)
        if failure:
            raise AssertionError(failure)

    def assert_no_dead_channels(self, max_fraction: float = 0.0) -> None:
        """Check that no channel is zero throughout, in all samples and at all positions.

        Args:
            max_fraction: the largest share of the channels that may be, from 0 to 1.

        Raises:
            AssertionError: more are; the text names them, and the axis they lie on.
            ValueError: the share is none.
            UnsupportedTensor: the tensor has no readable values, or no axis of channels.
            CaptureError: its statistics were kept without those of each channel.
        """
        one = self._record
        if one.kept.stats is not None and not one.place.layer.channels:
            raise CaptureError(
                f'{one.title} was captured with keep="stats" and no numbers per channel.\n'
                "Capture it with channels=True as well."
            )
        axis = (
            f"axis {axes.channel_axis(one)} of shape {one.shape}, layout {self.layout or 'unknown'}"
        )
        failure = bounds.dead_channels(one.title, self.stats, max_fraction, axis)
        if failure:
            raise AssertionError(failure)

    def assert_finite(self) -> None:
        """Check that the map holds neither NaN nor infinity.

        Raises:
            AssertionError: it does; the text counts them and says where the first one is.
            UnsupportedTensor: the tensor has no readable values.
        """
        reason = values.not_finite(self._record)
        if reason:
            raise AssertionError(reason)

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        del copy  # numpy() always copies
        return np.asarray(self.numpy(), dtype=dtype)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"<FeatureMap {self._record.title} {self.shape} {dtype}>"


class Inputs(Mapping[str, FeatureMap]):
    """What went into one call of a module: feature maps by parameter name, or by position."""

    def __init__(self, records: Mapping[str, Record]) -> None:
        self._maps = {name: feature_map_of(one) for name, one in records.items()}

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


_SHOWN: WeakValueDictionary[int, FeatureMap] = WeakValueDictionary()
"""The feature maps that somebody holds, by the identity of their records, which they keep alive."""


def feature_map_of(record: Record) -> FeatureMap:
    """Return the feature map that shows a record: the same one as long as somebody holds it."""
    shown = _SHOWN.get(id(record))
    if shown is None:
        shown = _SHOWN[id(record)] = FeatureMap(record)
    return shown


def record_of(one: FeatureMap) -> Record:
    """Return the record that a feature map shows: all that is known of its tensor."""
    return one._record  # noqa: SLF001 - the door for the rooms of this package
