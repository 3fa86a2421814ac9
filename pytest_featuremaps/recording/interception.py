"""Functional calls of an unmodified model: which module's own forward made each of them."""

from __future__ import annotations

import functools
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FrameType, MethodWrapperType, TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pytest_featuremaps.names.keys import Where
from pytest_featuremaps.recording.modes import put_on, taken_off


class FunctionalCalls(TorchFunctionMode):
    """Watches torch functions while it is entered, and tells which module made each call.

    A call belongs to the innermost module whose own `forward` is running when it is made,
    in helper functions and after a caught exception too; the stack of Python frames is
    asked, for every other record of it can be left behind by an exception or passed by
    through `.forward()`. What a hook calls belongs to no module, nor does what is called
    outside a forward. A torch function that calls others counts once, under its own name.

    Modes belong to a thread: calls in other threads are not seen. Neither is what runs
    inside compiled or scripted code.

    Args:
        places: where each module that is watched stands, by the module's `id`: several models
            may hold one module. Who gives them keeps the modules alive. Calls that other
            modules make are let pass.
        wants: `(place, op, inside_torch_nn) -> bool`, whether to record a call; it is asked
            at every call, so it should be quick. `inside_torch_nn` tells that the forward
            is one of torch.nn's own, not the model's.
        record: `(place, op, output, taken) -> None`, told of a call that has just returned, with
            what it returned: whatever that is, and still shared with the model.
        take: `(place, op, func, args, kwargs) -> taken`, asked just before such a call is made
            for what to tell `record`; nothing is taken when None.
        seen: where to note what is seen; a new place when None.

    Attributes:
        seen: the ops that gave tensors, by the place of the module that called them.
    """

    def __init__(
        self,
        places: Mapping[int, Sequence[Where]],
        wants: Callable[[Where, str, bool], bool],
        record: Callable[[Where, str, object, Any], None],
        take: Callable[..., Any] | None = None,
        seen: defaultdict[Where, set[str]] | None = None,
    ) -> None:
        super().__init__()
        self.seen = defaultdict(set) if seen is None else seen
        self._places = places
        self._wants = wants
        self._record = record
        self._take = take or _nothing
        self._watching = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        named = kwargs or {}
        op = op_name(func, named) if self._watching else ""
        module = _running(inspect.currentframe()) if op else None
        places = self._places.get(id(module))
        if module is None or not places:
            return func(*args, **named)
        # torch takes the mode away meanwhile: none of what follows is seen here.
        inside = _is_from_torch_nn(module)
        wanted = [place for place in places if self._wants(place, op, inside)]
        taken = {place: self._take(place, op, func, args, named) for place in wanted}
        output = func(*args, **named)
        if _holds_tensor(output):
            for place in places:
                self.seen[place].add(op)
        for place in wanted:
            self._record(place, op, output, taken[place])
        return output

    def __enter__(self) -> Self:
        _tidy()
        enter: Callable[[], object] = super().__enter__
        enter()
        self._watching = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace
        self._watching = False
        _tidy()

    @property
    def watches(self) -> bool:
        """Whether it is entered; one that is left in another thread stays on the stack of its own.

        It does nothing there, and comes off when calls are watched in that thread again.
        """
        return self._watching


def _tidy() -> None:
    """Take the modes that watch no more off this thread's stack; any other one stays."""
    modes = taken_off()
    put_on([mode for mode in modes if not isinstance(mode, FunctionalCalls) or mode.watches])


def op_name(func: Callable[..., Any], kwargs: Mapping[str, Any] | None = None) -> str:
    """Return the name of the op that a torch function is; empty for access to an attribute.

    Operators have the name of the function they stand for, whichever side the tensor is on.
    A form that works in place ends in `_`: `relu_`, `F.relu(x, inplace=True)`, `x += y`.

    Args:
        func: a function as a torch function mode is given it.
        kwargs: the keyword arguments it is called with.
    """
    if isinstance(func, MethodWrapperType):
        return ""
    given = getattr(func, "__name__", type(func).__name__)
    # An overload of an operator, as in torch.ops.aten.add.Tensor, adds its own name.
    name = _SPELLINGS.get(given, given).partition(".")[0]
    in_place = kwargs is not None and kwargs.get("inplace") is True
    return f"{name}_" if in_place and not name.endswith("_") else name


def turns_off_fast_path(modules: Mapping[str, nn.Module]) -> list[str]:
    """Return the paths of the layers that compute differently while calls are watched.

    In evaluation mode and without gradients, torch.nn's `MultiheadAttention` and
    `TransformerEncoderLayer` run as one fused kernel, except while a torch function mode is
    on: then, their steps run one by one, and the output differs by rounding. A path is
    returned when the layer's own settings allow the fused kernel; whether it would be taken
    depends on each call as well. `scaled_dot_product_attention` takes the same kernel
    either way. Source: the conditions in the `forward` of both classes.

    Args:
        modules: the modules of a model by path.
    """
    if not torch.backends.mha.get_fastpath_enabled():
        return []
    return [path for path, module in modules.items() if _has_fast_path(module)]


def _has_fast_path(module: nn.Module) -> bool:
    if module.training:
        return False
    if isinstance(module, nn.TransformerEncoderLayer):
        one_eps = getattr(module.norm1, "eps", None) == getattr(module.norm2, "eps", None)
        return one_eps and bool(module.activation_relu_or_gelu) and _is_fusible(module.self_attn)
    return _is_fusible(module)


def _is_fusible(module: nn.Module) -> bool:
    if not isinstance(module, nn.MultiheadAttention):
        return False
    # Queries, keys and values of one width share a weight; bias_k and bias_v are not fused.
    names = {name for name, _ in module.named_parameters(recurse=False)}
    plain = names == {"in_proj_weight", "in_proj_bias"} and not module.add_zero_attn
    return plain and module.batch_first and module.num_heads % 2 == 0


_CALL: CodeType = vars(nn.Module)["_call_impl"].__code__
"""Where every module is called: it runs the hooks and the forward, or has them run by..."""

_CALL_WITH_HOOKS = next(
    one for one in _CALL.co_consts if isinstance(one, CodeType) and one.co_name == "inner"
)
"""...this function inside it, where there are hooks."""


def _running(frame: FrameType | None) -> nn.Module | None:
    """Return the innermost module whose own forward a frame is part of."""
    below = frame
    while frame is not None:
        code = frame.f_code
        if code is _CALL:
            return _called(frame, below)
        if code is not _CALL_WITH_HOOKS:
            module = _called_directly(frame) if code.co_name == "forward" else None
            if module is not None:
                return module
            below = frame
        frame = frame.f_back
    return None


def _called(call: FrameType, below: FrameType | None) -> nn.Module | None:
    """Return the module of a call, unless what the call runs now is a hook."""
    known = call.f_locals
    module: nn.Module = known["self"]
    forward = _code(known["forward_call"])
    runs_forward = forward is None or (below is not None and below.f_code is forward)
    return module if runs_forward else None


def _called_directly(forward: FrameType) -> nn.Module | None:
    """Return the module of a forward that was not run by its call: `child.forward(x)`."""
    # Locals are read as rarely as can be: before Python 3.13 a frame then keeps the values
    # it has now until it ends.
    code, caller = forward.f_code, forward.f_back
    by_call = caller is not None and (caller.f_code is _CALL or caller.f_code is _CALL_WITH_HOOKS)
    if by_call or not code.co_argcount:
        return None
    owner = forward.f_locals.get(code.co_varnames[0])
    return owner if isinstance(owner, nn.Module) and _is_own(code, owner) else None


def _is_own(code: CodeType, owner: nn.Module) -> bool:
    """Tell a module's own forward from a function that is called so and is given the module."""
    # What a decorator wraps is in none of its classes, but named after one.
    home = code.co_qualname.rpartition(".")[0]
    return code is _code(owner.forward) or any(
        one.__qualname__ == home or code is _code(vars(one).get("forward"))
        for one in type(owner).__mro__
    )


def _code(function: object) -> CodeType | None:
    """Return the code that calling a function starts with; None where it is not Python's."""
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(type(function), "__call__", None)  # noqa: B004 - its code is asked for
    code = getattr(function, "__code__", None) or getattr(call, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _is_from_torch_nn(module: nn.Module) -> bool:
    # The class that wrote the forward counts: parametrizing a layer gives it a new class,
    # which lies in torch.nn whosever layer it is.
    home = getattr(type(module).forward, "__module__", None)
    return isinstance(home, str) and home.startswith("torch.nn.")


def _nothing(*call: object) -> None:
    """Take nothing."""


def _holds_tensor(output: object) -> bool:
    if isinstance(output, torch.Tensor):
        return True
    return isinstance(output, list | tuple) and any(isinstance(one, torch.Tensor) for one in output)


def _spellings() -> Iterator[tuple[str, str]]:
    """Yield the names torch reports that differ from the op's, and the op."""
    functions = {"truediv": "div", "floordiv": "floor_divide", "mod": "remainder"}
    for word in (*_BINARY, *functions):
        name = functions.get(word, word)
        yield f"__{word}__", name
        yield f"__r{word}__", name
        yield f"__i{word}__", f"{name}_"
    for word in _PLAIN:
        yield f"__{word}__", word
    yield "_threshold", "threshold"  # torch.nn.functional calls it without the underscore


_BINARY = ("add", "sub", "mul", "matmul", "div", "pow", "and", "or", "xor", "lshift", "rshift")
_PLAIN = ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge", "getitem", "setitem")
_SPELLINGS = dict(_spellings())
