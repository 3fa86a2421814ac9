"""Shapes without values: models of any size, built and run on tensors that hold no numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from inspect import currentframe
from traceback import walk_stack
from weakref import WeakSet

import torch
from torch import nn
from torch._ops import OpOverload
from torch._subclasses import DynamicOutputShapeException, FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException, unset_fake_temporarily
from torch.random import fork_rng
from torch.utils._pytree import tree_map_only

from pytest_featuremaps.errors import UnsupportedTensor

_LIFT: OpOverload = torch.ops.aten.lift_fresh.default
_LINSPACE: OpOverload = torch.ops.aten.linspace.default
_READ = "aten._local_scalar_dense.default"
_IN_WORDS = {
    _READ: "`.item()`, `.tolist()`, `int(x)` or a condition such as `if x.sum() > 0`",
    "aten.nonzero.default": "a boolean mask or `nonzero()`, whose length depends on values",
}
# torch remembers single numbers; lists of depths, sizes and rates are longer.
_MOST_REMEMBERED = 1024


@contextmanager
def shapes_only() -> Iterator[None]:
    """Build and run models in a `with` block without computing or storing values.

    Tensors made in the block have a shape, a dtype and a device, and no numbers, so that a
    model of any size is initialised and run at once:

        with shapes_only():
            model = Llama(config)
            with capture(model, "**.q_proj") as maps:
                model(input_ids)

    A real model or tensor is accepted as it is and keeps its values, running statistics
    included. What the block *assigns* is fake and stays so: `model.half()`, and gradients
    after `backward()`, leave fake tensors in a real model. Blocks may be nested, and a model
    built in one runs in another. torch cannot make lazy modules (`LazyLinear`) in a block.

    The random state of the CPU is put back at the end; the default dtype and device count
    as always.

    Raises:
        UnsupportedTensor: from within the block, where an operation needs a value, such as
            `.item()`, `if x.sum() > 0` or a boolean mask; the text names the operation and
            the layer. Numbers written in code, as in `torch.tensor([2, 2])` and
            `torch.linspace(0, 0.1, 12)`, are known and may be read.
    """
    with fork_rng(devices=()), _shared_mode():
        yield


def suspended() -> AbstractContextManager[object]:
    """Leave the block around, if any, to make what outlives it, such as a session's fixture."""
    return unset_fake_temporarily()


# The mode of the fake tensors that still live: tensors of two modes do not mix.
_modes: WeakSet[FakeTensorMode] = WeakSet()


def _shared_mode() -> FakeTensorMode:
    mode = next(iter(_modes), None) or _new_mode()
    _modes.add(mode)
    return mode


def _new_mode() -> FakeTensorMode:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    # Not a subclass: torch finds its rules for flex_attention and cond by the exact type.
    vars(mode).update(dispatch=_Dispatch(mode), may_turn_const=_is_remembered)
    return mode


class _Dispatch:
    """How a mode runs one operation on shapes: as torch does, but with our errors.

    Two things differ: real tensors are never computed with, and short lists of numbers that
    were written in code keep their values.
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        self._mode = mode
        self._run = mode.dispatch

    def __call__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        __tracebackhide__ = True
        kwargs = kwargs or {}
        if func is not _LIFT:
            # Lifted is what was written in code. Without this, torch would compute
            # arithmetic between real tensors: BatchNorm would count its batches.
            args, kwargs = tree_map_only(torch.Tensor, partial(self._faked, func), (args, kwargs))
        try:
            result = self._run(func, types, args, kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            if str(func) == _READ and _is_initialising():
                return False  # the question is whether to draw once more
            raise UnsupportedTensor(_refusal(str(func))) from None
        if func is _LINSPACE and isinstance(result, torch.Tensor) and _is_remembered(result):
            # Rates of stochastic depth are read from here, while the model is built.
            return self._run(_LIFT, (), (func(*args, **kwargs),), {})
        return result

    def _faked(self, func: OpOverload, tensor: torch.Tensor) -> torch.Tensor:
        """Return what stands for a real tensor; subclasses are left for torch to judge."""
        __tracebackhide__ = True
        if type(tensor) not in {torch.Tensor, nn.Parameter}:
            return tensor
        if torch.Tag.inplace_view in getattr(func, "tags", ()):  # cond has none
            raise UnsupportedTensor(
                f"In shapes_only, {func} would change the shape of a real tensor in place.\n"
                "Make the tensor in the block, or use the operation that returns a new one."
            )
        return self._mode.from_tensor(tensor)


def _is_remembered(tensor: torch.Tensor) -> bool:
    """Tell whether values that were written in code are kept, and may be read."""
    small = tensor.numel() <= _MOST_REMEMBERED
    return small and tensor.device.type == "cpu" and tensor.layout == torch.strided


def _is_initialising() -> bool:
    """Tell whether `torch.nn.init` is at work: its `trunc_normal_` redraws what lies outside."""
    frames = walk_stack(currentframe())
    return any(frame.f_globals.get("__name__") == nn.init.__name__ for frame, _ in frames)


def _refusal(name: str) -> str:
    words = f", which is {_IN_WORDS[name]}" if name in _IN_WORDS else ""
    return (
        "A value was asked for in shapes_only, where tensors have shapes and no values.\n"
        f"  by:    {name}{words}\n"
        f"  layer: {_running_layer()}\n"
        "Run this test with real tensors, on a small configuration of the model."
    )


def _running_layer() -> str:
    """Name the innermost module at work, by its path in the outermost one."""
    frames = [frame for frame, _ in walk_stack(currentframe())]
    methods = [one for one in frames if isinstance(one.f_locals.get("self"), nn.Module)]
    if not methods:
        return "none; no module is running"
    module = methods[0].f_locals["self"]
    kind = type(module).__name__
    if methods[0].f_code.co_name == "__init__":
        return f"none; a {kind} is being built"
    model = methods[-1].f_locals["self"]
    paths = [path for path, one in model.named_modules() if one is module]
    return f"{paths[0] or '.'!r} ({kind}) of {type(model).__name__}" if paths else f"a {kind}"
