"""What is kept of a tensor that a module takes or returns: values, statistics or its shape."""

from __future__ import annotations

from typing import NamedTuple, Self, cast

import torch
from torch._C import DisableTorchFunction

from pytest_featuremaps.errors import UnsupportedTensor
from pytest_featuremaps.names.keys import Keep
from pytest_featuremaps.numbers.chunks import count_infinite
from pytest_featuremaps.numbers.reducing import reduce, reduce_and_sketch
from pytest_featuremaps.numbers.sketch import Sketch, digest, sketch
from pytest_featuremaps.numbers.stats import Stats


class Facts(NamedTuple):
    """What is known of a tensor without its values.

    Attributes:
        shape: its sizes.
        dtype: its element type.
        device: the device it was made on.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        """Ask a tensor for them."""
        return cls(tuple(tensor.shape), tensor.dtype, tensor.device)


class Kept(NamedTuple):
    """What is known of one tensor after the forward.

    Attributes:
        how: how much was kept.
        tensor: its values, as an independent copy; None unless values are kept.
        lasting: its facts, where no copy is there to ask for them: asking costs as much as a
            quarter of copying a small tensor.
        stats: its statistics, where they were taken in the hook.
        sketch: its sketch, likewise; None for integers and bool.
        digest: the digest of integers and bool, likewise: they are compared exactly.
        infinite: how many values are ±Inf, likewise; the statistics count the largest numbers
            of a dtype along.
        obstacle: why statistics could not be taken in the hook; empty otherwise.
    """

    how: Keep
    tensor: torch.Tensor | None
    lasting: Facts | None = None
    stats: Stats | None = None
    sketch: Sketch | None = None
    digest: str | None = None
    infinite: int = 0
    obstacle: str = ""

    @property
    def facts(self) -> Facts:
        """The tensor's shape, dtype and device; no mode of the user's hears that they are asked."""
        if self.lasting:
            return self.lasting
        with DisableTorchFunction():
            return Facts.of(cast("torch.Tensor", self.tensor))


class Unkept(NamedTuple):
    """Why something could not be kept."""

    reason: str


class View:
    """Whether a tensor that is a view was changed in place, by whatever name, since this was made.

    It holds the memory of the view until it is settled, and no gradient history.
    """

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self | None:
        """Watch a tensor from now on; None where it is no view."""
        return cls(tensor) if tensor._is_view() else None

    def __init__(self, tensor: torch.Tensor) -> None:
        self._alias: torch.Tensor | None = tensor.detach()
        self._version = self._alias._version
        self._changed = False

    @property
    def changed(self) -> bool:
        """Whether it was changed so far, or until it was settled."""
        return self._changed if self._alias is None else self._alias._version != self._version

    def settle(self) -> None:
        """Let go of the memory; what is known stays."""
        self._changed, self._alias = self.changed, None


def keep(
    tensor: torch.Tensor, how: Keep = "values", axis: int | None = None, sketched: bool = False
) -> Kept:
    """Keep as much of a tensor as was asked for, so that nothing later can change it.

    Args:
        tensor: what a module takes or returns; neither it nor its gradient is touched.
        how: `"values"` copies it; `"stats"` reduces it and keeps no tensor; `"shapes"`
            keeps neither.
        axis: the axis to take statistics along as well, when they are taken.
        sketched: whether statistics come with a sketch, or a digest of integers and bool.

    Raises:
        UnsupportedTensor: the tensor has no one shape of its own.
    """
    tensor = _own(tensor)
    if how == "values":
        return Kept(how, _unwrapped(independent(tensor)))
    facts = Facts.of(tensor)
    if how == "shapes":
        return Kept(how, None, facts)
    # A transform of `torch.func` that runs would wrap every result on the way to the numbers.
    with torch._C._DisableFuncTorch():
        return _reduced(tensor, facts, axis, sketched)


def _reduced(tensor: torch.Tensor, facts: Facts, axis: int | None, sketched: bool) -> Kept:
    rounded = tensor.is_floating_point() or tensor.is_complex()
    drawn = None
    try:
        if sketched and rounded and axis is None:
            numbers, drawn = reduce_and_sketch(tensor)
        else:
            numbers = reduce(tensor, axis)
            drawn = sketch(tensor) if sketched and rounded else None
    except UnsupportedTensor as error:
        # Asking for the numbers is what says why there are none.
        return Kept("stats", None, facts, obstacle=str(error))
    infinite = count_infinite(tensor) if numbers.inf_count else 0
    hashed = digest(tensor) if sketched and not rounded else None
    return Kept("stats", None, facts, numbers, drawn, hashed, infinite)


class Gradients:
    """The gradients that reached one tensor: several backward passes add up.

    Attributes:
        kept: what is known of their sum; None until one arrives.
        passes: how many arrived.
        lost: why one that arrived could not be kept; empty otherwise.
        view: whether the tensor, a view, was changed in place; None where it is no view.
        has_history: whether `backward()` could reach the tensor at all.
    """

    __slots__ = ("has_history", "kept", "lost", "passes", "view")

    def __init__(self, view: View | None = None, *, has_history: bool = True) -> None:
        self.kept: Kept | None = None
        self.passes = 0
        self.lost = ""
        self.view = view
        self.has_history = has_history

    def add(self, gradient: torch.Tensor, how: Keep) -> None:
        """Add one that arrived, and keep as much of it as was asked for."""
        self.passes += 1
        if self.kept is None or self.kept.tensor is None:
            self.kept = keep(gradient, how)
        else:
            self.kept = keep(self.kept.tensor + gradient)


def _own(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor without what `torch.func` wraps around it while a transform runs.

    Raises:
        UnsupportedTensor: what is left is no tensor with a shape of its own.
    """
    if tensor.is_nested and tensor.layout is torch.strided:
        raise UnsupportedTensor(
            "a nested tensor's samples differ in size, so it has no one shape: pad it with "
            "torch.nested.to_padded_tensor, or build the nn.TransformerEncoder that makes it "
            "with enable_nested_tensor=False"
        )
    return _unwrapped(tensor)


def _unwrapped(tensor: torch.Tensor) -> torch.Tensor:
    if not torch._C._are_functorch_transforms_active():
        return tensor
    wrappers = torch._C._functorch
    while wrappers.is_functorch_wrapped_tensor(tensor):
        if wrappers.is_batchedtensor(tensor):
            raise UnsupportedTensor(
                "inside torch.vmap a tensor stands for one sample of many and cannot be kept: "
                "call the model on the whole batch"
            )
        tensor = wrappers.get_unwrapped(tensor)
    return tensor


def independent(tensor: torch.Tensor) -> torch.Tensor:
    """Return a detached copy that owns its memory, and no more than its own size of it."""
    if tensor.is_inference() or torch.is_inference_mode_enabled():
        # Made outside inference mode, the copy is a plain tensor, which autograd and
        # in-place operations accept after the forward.
        with torch.inference_mode(mode=False):
            return tensor.detach().clone()
    return tensor.detach().clone()
