"""What is recorded of one tensor: where it came from, and what was kept of it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_featuremaps.maps.keeping import Gradients, Kept, Unkept
from pytest_featuremaps.names.keys import Place
from pytest_featuremaps.names.leaves import Leaf
from pytest_featuremaps.numbers.stats import Stats


class Record:
    """One tensor that a call of a module took, produced or got as a gradient.

    Hooks write it, the log keeps it, and users are shown it as a `FeatureMap`.

    Attributes:
        place: the layer, the call and the place in the output that it came from.
        kept: what is known of it: its values, or only statistics or its shape.
        inputs: what went into the call, by parameter; or why that could not be kept; None unless
            it was asked for.
        settings: the other arguments of a functional call: numbers, words and flags, by
            parameter; None where they are not known.
        gradients: those that reached it; None unless they are watched for.
        stats: its statistics, once they are known.
    """

    # Every call of a captured module makes one: of all classes, one with slots costs it least.
    __slots__ = ("gradients", "inputs", "kept", "place", "settings", "stats")

    def __init__(
        self,
        place: Place,
        kept: Kept,
        inputs: Mapping[str, Mapping[Leaf, Kept]] | Unkept | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self.place = place
        self.kept = kept
        self.inputs = inputs
        self.settings = settings
        self.gradients: Gradients | None = None
        self.stats: Stats | None = kept.stats

    @property
    def title(self) -> str:
        """The key with the module's type, for messages."""
        return self.place.title

    @property
    def module_type(self) -> str:
        """The name of the module's class, or the op of a functional call."""
        return self.place.layer.module_type

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes, in elements."""
        return self.kept.facts.shape

    @property
    def dtype(self) -> torch.dtype:
        """The element type, as the module produced it."""
        return self.kept.facts.dtype
