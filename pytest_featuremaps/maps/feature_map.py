"""One feature map: the tensor that one call of a module produced, and its checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import torch

from pytest_featuremaps.checks import bounds, contracts
from pytest_featuremaps.checks.grammar import Spec
from pytest_featuremaps.errors import CaptureError, MissingMap
from pytest_featuremaps.maps.attention import OPS, recomputed
from pytest_featuremaps.maps.drawn_tensor import DrawnTensor
from pytest_featuremaps.maps.keeping import Kept, Unkept, View, keep
from pytest_featuremaps.names.keys import Place
from pytest_featuremaps.names.leaves import Leaf, brackets
from pytest_featuremaps.wording import listed

# What is raised here is told to whoever called a check: pytest ends the traceback there.
__tracebackhide__ = True


class FeatureMap(DrawnTensor):
    """One tensor that one call of a module produced, as an independent copy.

    Attributes:
        place: the layer, the call and the place in the output that it came from.
        kept: what is known of it: its values, or only statistics or its shape.
        view: whether the output, a view, was changed in place; None unless its gradient is
            watched for, and it is one.
        lost_grad: why a gradient that came could not be kept; empty otherwise.
        has_history: whether `backward()` could reach it at all, as far as that is known.
    """

    # Most maps never get a gradient, and have no settings.
    view: View | None = None
    lost_grad = ""
    has_history = True
    _grad: Kept | None = None
    _passes = 0
    _settings: Mapping[str, object] = MappingProxyType({})

    def __init__(
        self,
        place: Place,
        kept: Kept,
        inputs: Mapping[str, Mapping[Leaf, Kept]] | Unkept | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(place, kept)
        self._inputs = inputs
        if settings:
            self._settings = settings

    @property
    def has_inputs(self) -> bool:
        """Whether what went into this call was recorded."""
        return not (self._inputs is None or isinstance(self._inputs, Unkept))

    @property
    def lost_inputs(self) -> str:
        """Why what went into this call could not be recorded; empty where it was, or not asked."""
        return self._inputs.reason if isinstance(self._inputs, Unkept) else ""

    @property
    def inputs(self) -> Inputs:
        """What went into this call, before the module could change it.

        By parameter name, or by position: `fm.inputs["x"]`, `fm.inputs[0]`.

        Raises:
            CaptureError: it was not recorded.
        """
        if isinstance(self._inputs, Unkept):
            raise CaptureError(
                f"{self.place.title}: what went into it could not be recorded: {self.lost_inputs}."
            )
        if self._inputs is None:
            raise CaptureError(
                f"{self.place.title} was captured without its inputs.\nCapture it with inputs=True."
            )
        return Inputs(self.place, self._inputs)

    @property
    def grad(self) -> FeatureMap:
        """The gradient of what `backward()` was called on, with respect to this map.

        Several backward passes add up, as they do in `torch.Tensor.grad`.

        Raises:
            CaptureError: it was not recorded, or none has reached this map.
        """
        if self._grad is None or self.lost_grad or (self.view and self.view.changed):
            raise CaptureError(self._no_gradient())
        if self._grad.stats is not None and self._passes > 1:
            raise CaptureError(
                f"{self.place.title} has the gradients of {self._passes} backward passes, and "
                "their statistics do not add up.\n"
                'Capture it with keep="values", or call backward() once.'
            )
        return FeatureMap(self.place._replace(part="grad"), self._grad)

    def _no_gradient(self) -> str:
        layer = self.place.layer
        if not layer.grads:
            functional = self.layer.endswith("()")
            way = (
                "It is a functional call, of which values and inputs are recorded; its gradient "
                "is not."
            )
            return f"{self.place.title} was captured without gradients.\n" + (
                way if functional else "Capture it with grads=True."
            )
        if self.lost_grad:
            return f"{self.place.title}: its gradient could not be recorded: {self.lost_grad}."
        if self.view and self.view.changed:
            return (
                f"{self.place.title} has no gradient: its output is a view that was changed in "
                "place afterwards, and torch then keeps no gradient of what it was before.\n"
                "Linear (on three axes), Flatten, LSTM and pooling give such views. Take "
                "inplace=True away behind this layer, or capture the layer that changes it."
            )
        if layer.recomputed:
            return (
                f"{self.place.title} has no gradient: checkpointing ran it without gradients, and "
                "again during backward().\nCall torch.utils.checkpoint with use_reentrant=False."
            )
        if not self.has_history:
            return (
                f"{self.place.title} has no gradient: it was made without, under no_grad() or "
                "from nothing that requires one.\nTurn gradients on, or capture a layer behind "
                "the first parameter that requires them."
            )
        return (
            f"{self.place.title} has no gradient: no backward pass has reached it.\n"
            "Call backward() on what depends on it, while it is captured and gradients are on."
        )

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
        if self.is_attention:
            return self
        if self.module_type not in OPS:
            raise CaptureError(
                f"{self.place.title} is no call of attention: it has no weights to show.\n"
                "Capture such a call, with what goes into it: "
                'capture("**.scaled_dot_product_attention()", inputs=True).'
            )
        given = self.inputs
        for one in given.values():
            one.require_values()
        taken = {name: one.tensor for name, one in given.items()}
        weights = recomputed(self.module_type, taken, self._settings)
        place = self.place._replace(leaf=(), siblings=1, part="attention")
        return FeatureMap(place, keep(weights))

    def add_grad(self, gradient: torch.Tensor) -> None:
        """Add a gradient that reached this map."""
        self._passes += 1
        if self._grad is None or self._grad.tensor is None:
            self._grad = keep(gradient, self.place.layer.keep)
        else:
            self._grad = keep(self._grad.tensor + gradient)

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
        clause = contracts.Clause(self.key, self.place.title, spec, self.shape)
        agreement = contracts.hold([clause], dims, given="from an earlier layer")
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
        failure = bounds.violations(self.place.title, self.stats, allowed)
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
        if self.kept.stats is not None and not self.place.layer.channels:
            raise CaptureError(
                f'{self.place.title} was captured with keep="stats" and no numbers per channel.\n'
                "Capture it with channels=True as well."
            )
        axis = f"axis {self.channel_axis} of shape {self.shape}, layout {self.layout or 'unknown'}"
        failure = bounds.dead_channels(self.place.title, self.stats, max_fraction, axis)
        if failure:
            raise AssertionError(failure)

    def assert_finite(self) -> None:
        """Check that the map holds neither NaN nor infinity.

        Raises:
            AssertionError: it does; the text counts them and says where the first one is.
            UnsupportedTensor: the tensor has no readable values.
        """
        reason = self.not_finite()
        if reason:
            raise AssertionError(reason)

    def not_finite(self) -> str:
        """Say how many values are NaN or infinite and where the first is; empty when none is.

        Where only statistics were kept, the place is not known.

        Raises:
            UnsupportedTensor: the tensor has no readable values.
        """
        numbers = self.kept.stats
        if numbers is not None:
            return self._counted(numbers.nan_count, self.kept.infinite, numbers.count)
        self.require_values()
        values = self.widened()
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


class Inputs(Mapping[str, FeatureMap]):
    """What went into one call of a module: feature maps by parameter name, or by position."""

    def __init__(self, place: Place, inputs: Mapping[str, Mapping[Leaf, Kept]]) -> None:
        self._maps = {
            name + brackets(leaf): FeatureMap(
                place._replace(leaf=(), siblings=1, part=f"inputs[{name}{brackets(leaf)}]"), kept
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
