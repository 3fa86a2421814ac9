"""Functional calls: what they are called, and which module's own forward made them."""

import functools
import gc
import operator
import threading
import types
import weakref
from contextlib import nullcontext
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import hook_count
from torch import nn
from torch.nn import functional
from torch.overrides import BaseTorchFunctionMode, _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from pytest_featuremaps import AmbiguousKey, capture
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.given import has_inputs
from pytest_featuremaps.maps.record import Record
from pytest_featuremaps.names.calls import near_ops
from pytest_featuremaps.recording.interception import (
    FunctionalCalls,
    op_name,
    turns_off_fast_path,
)
from pytest_featuremaps.recording.recorder import Recorder
from pytest_featuremaps.recording.recording import Recording

YES, NO = True, False
MASK = torch.ones(2, dtype=torch.bool)
META, CPU = torch.device("meta"), torch.device("cpu")


def watch(model, wants=lambda path, op, inside: not inside):
    """The calls of a model as a mode, whose `made` lists them as `path.op()`."""
    places = {id(module): [path or "."] for path, module in model.named_modules()}
    made, values = [], []

    def record(path, op, output, taken):
        made.append(f"{path.removeprefix('.')}.{op}()")
        values.append(output)

    calls = FunctionalCalls(places, wants, record)
    calls.made, calls.values = made, values
    return calls


def calls_of(model, *args, **options):
    with watch(model, **options) as calls:
        model(*args)
    return calls.made


def module(forward, **children):
    """A module with this forward and these children."""

    class Made(nn.Module):
        def __init__(self):
            super().__init__()
            for name, child in children.items():
                setattr(self, name, child)

    Made.forward = forward
    return Made()


@pytest.fixture
def x():
    return torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))


# What an op is called


def reported(call):
    """The name of every op that a call without a module makes."""
    names = []

    class Names(BaseTorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            names.append(op_name(func, kwargs))
            return func(*args, **(kwargs or {}))

    with Names():
        call()
    return names


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("relu", lambda x, y: torch.relu(x)),
        ("relu", lambda x, y: functional.relu(x)),
        ("relu", lambda x, y: x.relu()),
        ("relu", lambda x, y: functional.relu(x, NO)),
        ("relu", lambda x, y: torch.ops.aten.relu(x)),
        ("relu_", lambda x, y: functional.relu(x, inplace=True)),
        ("relu_", lambda x, y: functional.relu(x, YES)),
        ("relu_", lambda x, y: functional.relu_(x)),
        ("relu_", lambda x, y: torch.relu_(x)),
        ("relu_", lambda x, y: x.relu_()),
        ("leaky_relu_", lambda x, y: functional.leaky_relu(x, 0.1, inplace=True)),
        ("threshold", lambda x, y: functional.threshold(x, 0, 0)),
        ("threshold_", lambda x, y: functional.threshold(x, 0, 0, inplace=True)),
        ("dropout_", lambda x, y: functional.dropout(x, 0.5, YES, YES)),
        ("softmax", lambda x, y: functional.softmax(x, -1)),
        ("softmax", lambda x, y: x.softmax(-1)),
        ("cat", lambda x, y: torch.cat([x, y])),
        ("einsum", lambda x, y: torch.einsum("bij,bjk->bik", x, y)),
        ("matmul", lambda x, y: x @ y),
        ("max_pool2d", lambda x, y: functional.max_pool2d(x, 2)),
        ("interpolate", lambda x, y: functional.interpolate(x, scale_factor=2.0)),
        (
            "scaled_dot_product_attention",
            lambda x, y: functional.scaled_dot_product_attention(x, x, x),
        ),
        ("add", lambda x, y: x + y),
        ("add", lambda x, y: 1 + x),
        ("add", torch.add),
        ("add", torch.ops.aten.add.Tensor),
        ("sub", lambda x, y: 1 - x),
        ("mul", lambda x, y: 2 * x),
        ("div", lambda x, y: x / y),
        ("div", lambda x, y: 1 / x),
        ("pow", lambda x, y: x**2),
        ("pow", lambda x, y: 2**x),
        ("floor_divide", lambda x, y: x // y),
        ("remainder", lambda x, y: x % y),
        ("remainder", lambda x, y: 5 % x),
        ("neg", lambda x, y: -x),
        ("abs", lambda x, y: abs(x)),
        ("eq", lambda x, y: x == y),
        ("gt", lambda x, y: x > y),
        ("getitem", lambda x, y: x[0]),
        ("setitem", lambda x, y: x.__setitem__(0, 1)),
        ("invert", lambda x, y: ~MASK),
        ("add_", operator.iadd),
        ("sub_", operator.isub),
        ("mul_", operator.imul),
        ("div_", operator.itruediv),
        ("floor_divide_", operator.ifloordiv),
        ("remainder_", operator.imod),
        ("pow_", operator.ipow),
    ],
)
def test_an_op_has_one_name_however_it_is_called(op, call, x):
    y = torch.ones_like(x)
    assert reported(lambda: call(x, y)) == [op]


@pytest.mark.parametrize("word", ["and", "or", "xor", "lshift", "rshift"])
def test_operators_of_integers_have_the_same_names_on_every_side(word):
    for form, op in ((f"__{word}__", word), (f"__r{word}__", word), (f"__i{word}__", f"{word}_")):
        method = getattr(torch.Tensor, form)
        assert op_name(method) == op


def test_access_to_attributes_is_no_op(x):
    def read():
        return x.shape, x.dtype, x.device, x.mT, x.grad, x.requires_grad, x.is_cuda

    def write():
        x.requires_grad = True
        del x.grad

    assert set(reported(read)) == {""}
    assert set(reported(write)) == {""}


def test_conversions_keep_their_own_name(x):
    assert reported(lambda: bool(x.sum() > 0)) == ["sum", "gt", "__bool__"]


@given(st.sampled_from(sorted(name for name in dir(torch.Tensor) if name[-1] != "_")))
@settings(deadline=None)
def test_a_public_method_is_an_op_of_its_own_name(name):
    method = getattr(torch.Tensor, name)
    if name[0] != "_" and isinstance(method, types.MethodDescriptorType):
        assert op_name(method) == name
        assert op_name(method, {"inplace": True}) == f"{name}_"


# Which module made the call


class Residual(nn.Module):
    def __init__(self, *, in_place):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.in_place = in_place

    def forward(self, x):
        y = self.linear(x)
        if self.in_place:
            y += x
        else:
            y = y + x
        return functional.relu(y, inplace=self.in_place)


@pytest.mark.parametrize(("in_place", "end"), [(False, ""), (True, "_")])
def test_a_residual_block_adds_and_activates_in_its_own_forward(in_place, end, x):
    model = nn.Sequential(Residual(in_place=in_place), Residual(in_place=in_place))
    expected = [f"{block}.{op}{end}()" for block in "01" for op in ("add", "relu")]
    with torch.no_grad():
        assert calls_of(model, x) == expected


def test_the_value_is_what_the_call_produced(x):
    def forward(self, x):
        return (x + 1).mul_(3)

    model = module(forward)
    kept = []
    places = {id(model): ["."]}
    with FunctionalCalls(places, lambda *_: True, lambda *call: kept.append(call[2].clone())):
        output = model(x)
    assert torch.equal(kept[0], x + 1)
    assert torch.equal(kept[1], output)


def test_a_call_may_return_several_tensors_or_none(x):
    def forward(self, x):
        x[0] = 0
        x.max(-1)
        return x.chunk(2), x.size()

    model = module(forward)
    with watch(model) as calls:
        model(x)
    assert calls.made == [".setitem()", ".max()", ".chunk()", ".size()"]
    assert calls.values[0] is None
    assert [len(value) for value in calls.values[1:3]] == [2, 2]
    assert calls.seen == {".": {"max", "chunk"}}


def double(x):
    return x * 2


def test_helpers_lambdas_and_generators_belong_to_the_forward_that_uses_them(x):
    class Model(nn.Module):
        def helper(self, x):
            return torch.sigmoid(x)

        def rows(self, x):
            for row in x:
                yield row.exp()

        def forward(self, x):
            x = self.helper(double(x))
            return torch.stack(sorted(self.rows(x), key=lambda row: row.sum().item()))

    found = calls_of(module(lambda self, x: self.inner(x).abs(), inner=Model()), x)
    assert [call for call in found if "dim" not in call and "unbind" not in call] == [
        "inner.mul()",
        "inner.sigmoid()",
        *["inner.exp()"] * 2,
        *["inner.sum()", "inner.item()"] * 2,
        "inner.stack()",
        ".abs()",
    ]


def test_an_exception_that_a_model_catches_leaves_nothing_behind(x):
    def fails(self, x):
        x.exp() @ torch.ones(9, 9)

    def deeper(self, x):
        self.child(x.log())

    def forward(self, x):
        try:
            self.child(x)
        except RuntimeError:
            x = x + 1
        return self.after(x).cos()

    after = module(lambda self, x: x.sin())
    model = module(forward, child=module(deeper, child=module(fails)), after=after)
    assert calls_of(model, x) == [
        "child.log()",
        "child.child.exp()",
        "child.child.ones()",
        ".add()",
        "after.sin()",
        ".cos()",
    ]


def test_a_forward_that_is_called_directly_is_its_own_module(x):
    def forward(self, x):
        y = self.child.forward(x + 1)
        return self.child(y).tanh()

    class Child(nn.Module):
        def forward(self, x):
            return x * 2

    class Grandchild(Child):
        def forward(self, x):
            return super().forward(x).exp()

    model = module(forward, child=Grandchild())
    assert calls_of(model, x) == [
        ".add()",
        *["child.mul()", "child.exp()"] * 2,
        ".tanh()",
    ]
    with watch(model) as calls:
        model.forward(x)
    assert calls.made == calls_of(model, x)


def test_a_recursive_module_is_asked_at_every_depth(x):
    def forward(self, x, depth=2):
        x = x + 1
        return self(x, depth - 1).exp() if depth else self.leaf(x)

    model = module(forward, leaf=module(lambda self, x: x.sin()))
    assert calls_of(model, x) == [*[".add()"] * 3, "leaf.sin()", *[".exp()"] * 2]


def test_a_shared_module_is_called_by_its_first_path(x):
    shared = module(lambda self, x: x.sin())
    model = module(lambda self, x: self.b(self.a(x)), a=shared, b=shared)
    assert calls_of(model, x) == ["a.sin()", "a.sin()"]


def sine(self, x):
    return x.sin()


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (module(lambda self, x: self.b(x), **dict.fromkeys("ab", module(sine))), ["b.sin()"]),
        (
            nn.DataParallel(module(lambda self, x: self.a(x), a=module(sine))),
            ["a.sin()", "module.a.sin()"],
        ),
        (nn.DataParallel(module(sine)), ["sin()", "module.sin()"]),
        (nn.Sequential(nn.Identity(), module(sine)), ["-1.sin()"]),
    ],
)
def test_a_call_is_read_under_every_name_of_its_module(model, names, x):
    for name in names:
        with capture(model, name) as maps:
            model(x)
        (one,) = maps.values()
        assert all(maps[f"{key}{end}"] is one for key in names for end in ("", "#0"))
        assert maps[f"model:{name}"] is one
        assert name in maps
        assert f"{name}#1" not in maps
        assert maps.calls(name) == [one]
        assert list(maps.only(name)) == [one.key]


def test_the_calls_of_a_shared_module_are_told_apart_under_every_name(x):
    shared = module(lambda self, x: x.chunk(2, -1))
    model = module(lambda self, x: self.b(self.a(x)[0]), a=shared, b=shared)
    with capture(model, "b.chunk()") as maps:
        model(x)
    assert maps["b.chunk()#1[0]"] is maps["a.chunk()#1[0]"]
    with pytest.raises(AmbiguousKey, match=r"^'b.chunk\(\)#1' means 2 feature maps"):
        maps["b.chunk()#1"]


class Head(nn.Module):
    def forward(self, x):
        return functional.relu(x)


class Body(nn.Module):
    def __init__(self, head=None):
        super().__init__()
        self.head = Head() if head is None else head

    def forward(self, x):
        return self.head(x)


@pytest.mark.parametrize("inputs", [False, True])
def test_two_models_that_share_a_module_both_get_its_calls(inputs, x):
    teacher, student = Body(), Body()
    student.head = teacher.head
    with capture(teacher, "head.relu()", name="teacher", inputs=inputs) as maps:
        maps.attach(student, "head.relu()", name="student", keep="shapes")
        teacher(x)
    assert list(maps) == ["teacher:head.relu()", "student:head.relu()"]
    assert [has_inputs(record_of(one)) for one in maps.values()] == [inputs, False]
    assert maps._recorder.silence() == ""


@pytest.mark.parametrize("gone", ["teacher", "student"])
def test_a_model_that_is_detached_takes_no_calls_of_the_other_with_it(gone, x):
    model = Body()
    with capture(model, "head.relu()", name="teacher") as maps:
        maps.attach(model, "**.relu()", name="student")
        maps._recorder.detach(gone)
        model(x)
    assert [(record_of(one).place.layer.model, one.layer) for one in maps.values()] == [
        ({"teacher": "student", "student": "teacher"}[gone], "head.relu()")
    ]
    assert maps._recorder.silence() == ""


def test_a_part_that_was_put_in_before_a_second_attach_is_watched_and_let_go(x):
    model = Body()
    with capture(model, "head.relu()") as maps:
        first = weakref.ref(model.head)
        model.head = Head()
        maps.attach(model, "**.relu()")
        model(x)
        assert first() is not None  # nothing else may get its identity meanwhile
        assert list(maps) == ["head.relu()"]
        second = weakref.ref(model.head)
        del model
        maps._recorder.detach("model")
        gc.collect()
        assert first() is second() is None


@pytest.mark.parametrize(
    ("layout", "op", "axis"), [(None, "relu", 2), ("NCL", "relu", 1), (None, "conv1d", 1)]
)
@pytest.mark.parametrize("kept", ["values", "stats"])
def test_statistics_of_each_channel_are_taken_where_they_are_asked_for(kept, layout, op, axis, x):
    def forward(self, x):
        return x.relu() if op == "relu" else functional.conv1d(x, torch.zeros(4, 4, 1))

    options = {"keep": kept, "channels": True, "layout": layout, "inputs": True}
    model = module(forward)
    with capture(model, f"{op}()", **options) as maps:
        output = model(x)
    one = maps[f"{op}()"]
    others = [other for other in range(3) if other != axis]
    assert one.stats.channels.max.tolist() == output.amax(others).tolist()
    assert one.inputs[0].stats.channels.max.tolist() == x.amax(others).tolist()


def test_a_module_of_another_model_is_let_pass(x):
    other = module(lambda self, x: self.known(x.exp()), known=(known := module(double_forward)))
    model = module(lambda self, x: other(x).sin(), known=known)
    assert calls_of(model, x) == ["known.mul()", ".sin()"]


def double_forward(self, x):
    return x * 2


def test_what_is_called_outside_a_forward_belongs_to_nobody(x):
    model = module(double_forward)
    with watch(model) as calls:
        x.exp()
        model.other = x.sin
        model.other()
    assert calls.made == []
    assert calls.seen == {}


def forward_hook(module, args, output):
    return output.cos()


@pytest.mark.parametrize("hooked", ["own", "child"])
def test_what_a_hook_calls_belongs_to_nobody(hooked, x):
    def forward(self, x):
        return self.child(x).exp()

    model = module(forward, child=module(double_forward))
    target = model if hooked == "own" else model.child

    def pre_hook(module, args):
        return (args[0].sin(),)

    def failing_hook(module, args, output):
        output.log()

    target.register_forward_pre_hook(pre_hook)
    target.register_forward_hook(forward_hook)
    target.register_forward_hook(failing_hook, always_call=True)
    target.register_full_backward_hook(lambda *_: None)
    y = x.requires_grad_()
    assert calls_of(model, y) == ["child.mul()", ".exp()"]
    expected = x.sin().mul(2).cos().exp() if hooked == "child" else x.sin().mul(2).exp().cos()
    assert torch.equal(model(y), expected)


def test_a_hook_may_call_a_module_and_a_forward_may_be_a_hook(x):
    def forward(self, *args):
        return args[-1].cos()

    other = module(forward)
    model = module(double_forward, other=other)
    model.register_forward_hook(lambda *args: other(args[-1]))
    model.register_forward_hook(other.forward)
    assert calls_of(model, x) == [".mul()", "other.cos()"]


def decorated(forward):
    @functools.wraps(forward)
    def wrapper(self, *args):
        return forward(self, *args).neg()

    return wrapper


def patched(model):
    model.forward = types.MethodType(lambda self, x: (x * 2).neg(), model)


def partially(model):
    def new_forward(model, old, x):
        return old(x).neg()

    model.forward = functools.partial(new_forward, model, model.forward)


def as_object(model):
    class Forward:
        def __call__(self, x):
            return (x * 2).neg()

    model.forward = Forward()


def by_class(model):
    type(model).forward = decorated(type(model).forward)


@pytest.mark.parametrize("change", [patched, partially, as_object, by_class])
@pytest.mark.parametrize("hooked", [False, True])
def test_a_forward_may_be_replaced_or_wrapped(change, hooked, x):
    model = module(double_forward)
    change(model)
    if hooked:
        model.register_forward_hook(forward_hook)
    assert calls_of(model, x) == [".mul()", ".neg()"]


@pytest.mark.parametrize("hooked", [False, True])
@pytest.mark.parametrize(
    "forward",
    [torch.relu, functional.relu, functools.partial(torch.relu), functools.lru_cache(torch.relu)],
)
def test_a_forward_may_be_a_torch_function(forward, hooked, x):
    model = module(double_forward)
    model.forward = forward
    if hooked:
        model.register_forward_pre_hook(lambda *_: None)
    assert calls_of(model, x) == [".relu()"]


def test_a_function_called_forward_is_no_module(x):
    def forward(x):
        return x.sin()

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.cos()

        @staticmethod
        def backward(ctx, grad):
            raise NotImplementedError

    def keywords(self, x):
        def forward(*, x):
            return x.exp()

        return Own.apply(forward(x=x))

    def constant(self, x):
        def forward():
            return torch.zeros(4)

        return forward()

    model = module(lambda self, x: self.child(forward(x)), child=module(keywords))
    assert calls_of(model, x) == [".sin()", "child.exp()", "child.cos()"]
    assert calls_of(module(constant), x) == [".zeros()"]


def test_a_function_called_forward_that_is_given_a_module_is_no_forward(x):
    def forward(model, x):
        return model(x) + 1

    model = module(double_forward)
    with watch(model) as calls:
        forward(model, x)
    assert calls.made == [".mul()"]


class Helper:
    @staticmethod
    def forward(module, x):
        return x.sin()


class Other(nn.Module):
    def forward(self, x):
        return x.sin()


@pytest.mark.parametrize("helper", [Helper, Other])
def test_the_forward_of_another_class_that_is_given_a_module_is_no_forward_of_it(helper, x):
    child = module(double_forward)
    model = module(lambda self, x: helper.forward(self.child, x), child=child)
    assert calls_of(model, x) == [".sin()"]
    type(child).forward = helper.forward  # now it is its own
    assert calls_of(model, x) == ["child.sin()"]


def unnamed(forward):
    def wrapper(self, *args):
        return forward(self, *args)

    return wrapper


def test_a_forward_that_a_class_inherits_and_decorates_is_its_own(x):
    class Parent(nn.Module):
        @unnamed
        def forward(self, x):
            return x.sin()

    class Child(Parent):
        def forward(self, x):
            return super().forward(x).cos()

    model = module(lambda self, x: self.child.forward(x).exp(), child=Child())
    assert calls_of(model, x) == ["child.sin()", "child.cos()", ".exp()"]


def test_a_function_that_became_a_forward_may_be_called_directly(x):
    def forward(self, x):
        return x.sin()

    child, patched = module(forward), module(double_forward)
    patched.forward = types.MethodType(forward, patched)
    model = module(lambda self, x: child.forward(patched.forward(x)), child=child, patched=patched)
    assert calls_of(model, x) == ["patched.sin()", "child.sin()"]


def test_a_graph_module_is_a_model_like_any_other(x):
    model = torch.fx.symbolic_trace(module(lambda self, x: torch.sin(x) + 1))
    assert calls_of(model, x) == [".sin()", ".add()"]
    with watch(model) as calls:
        model.forward(x)
    assert calls.made == [".sin()", ".add()"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_tracing_runs_the_forward_another_way(x):
    model = module(double_forward)
    with watch(model) as calls:
        torch.jit.trace(model, x, check_trace=False)
    assert calls.made == [".mul()"]


# What counts as a call


def test_a_torch_function_that_calls_others_counts_once(x):
    def forward(self, x):
        weights = torch.eye(4), torch.eye(4).repeat(3, 1), torch.zeros(12)
        y, _ = functional.multi_head_attention_forward(
            x, x, x, 4, 2, weights[1], weights[2], None, None, NO, 0.0, weights[0], None
        )
        return (
            functional.normalize(functional.gelu(y))
            + functional.cosine_similarity(x, y, dim=-1)[..., None]
        )

    assert calls_of(module(forward), x)[-6:] == [
        ".multi_head_attention_forward()",
        ".gelu()",
        ".normalize()",
        ".cosine_similarity()",
        ".getitem()",
        ".add()",
    ]


def test_the_layers_of_torch_nn_count_where_they_are_asked_for(x):
    class Quiet(nn.ReLU):
        pass

    class Loud(nn.ReLU):
        def forward(self, x):
            return functional.relu(x)

    model = nn.Sequential(nn.ReLU(), Quiet(), Loud())
    seen = []
    calls_of(model, x, wants=lambda path, op, inside: seen.append((path, op, inside)))
    assert seen == [("0", "relu", True), ("1", "relu", True), ("2", "relu", False)]


def test_a_parametrized_module_of_the_model_stays_the_models(x):
    def forward(self, x):
        return x @ self.weight

    model = module(forward)
    model.weight = nn.Parameter(torch.eye(4))
    doubling = module(double_forward)
    nn.utils.parametrize.register_parametrization(model, "weight", doubling)
    assert type(model).__module__.startswith("torch.nn.")
    assert calls_of(model, x)[-2:] == ["parametrizations.weight.0.mul()", ".matmul()"]


def test_what_the_recorder_computes_is_never_a_call(x):
    model = module(lambda self, x: self.child(x).exp(), child=module(double_forward))
    places = {id(one): [path or "."] for path, one in model.named_modules()}
    made = []

    def record(path, op, output, taken):
        made.append(op)
        output.clone().mean().sin()

    with FunctionalCalls(places, lambda *_: True, record) as calls:
        model(x)
    assert made == ["mul", "exp"]
    assert calls.seen == {"child": {"mul"}, ".": {"exp"}}


def test_an_op_that_fails_is_no_call(x):
    def forward(self, x):
        try:
            return x @ x[0, 0, :3]
        except RuntimeError:
            return x.exp()

    model = module(forward)
    with watch(model) as calls:
        model(x)
    assert calls.made == [".getitem()", ".exp()"]
    assert calls.seen == {".": {"getitem", "exp"}}


# Beside other modes, classes of tensors, threads; and the end


class Counting(BaseTorchFunctionMode):
    def __init__(self):
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def test_modes_inside_and_outside_keep_working(x):
    outside, inside = Counting(), Counting()

    def forward(self, x):
        with inside, CPU:
            return functional.relu(x) + torch.ones(4)

    model = module(forward)
    with outside, watch(model) as calls:
        model(x)
    made = [call for call in calls.made if call != ".device()"]  # a device enters as a mode
    assert made == [".relu()", ".ones()", ".add()"]
    assert inside.names[-3:] == outside.names[-3:] == ["relu", "ones", "add"]


def test_a_default_device_set_meanwhile_keeps_working(x):
    def forward(self, x):
        torch.set_default_device(META)
        try:
            return torch.ones(4)
        finally:
            torch.set_default_device(None)

    model = module(forward)
    with watch(model) as calls:
        assert model(x).is_meta
        model(x)
    assert [call for call in calls.made if call != ".device()"] == [".ones()", ".ones()"]
    assert torch.ones(1).device.type == "cpu"


class Tagged(torch.Tensor):
    names: ClassVar = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.names.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs)


def test_a_class_of_tensors_keeps_its_own_handling(x):
    model = module(lambda self, x: functional.relu(x) + 1)
    Tagged.names.clear()
    with watch(model) as calls:
        output = model(x.as_subclass(Tagged))
    assert calls.made == [".relu()", ".add()"]
    assert isinstance(output, Tagged)
    assert [name for name in Tagged.names if name in {"relu", "add"}] == ["relu", "add"]


def test_the_output_and_its_gradients_are_bit_identical(x):
    model = nn.Sequential(Residual(in_place=True), Residual(in_place=False))

    def run():
        model.zero_grad()
        output = model(x)
        output.sum().backward()
        return [output, *(one.grad.clone() for one in model.parameters())]

    bare = run()
    with watch(model):
        watched = run()
    assert all(torch.equal(one, other) for one, other in zip(bare, watched, strict=True))


def test_other_kernels_stay_the_same(x):
    lstm, conv = nn.LSTM(4, 4), nn.Conv1d(4, 4, 3, padding=1)
    attend = functional.scaled_dot_product_attention

    def forward(self, x):
        y = conv(lstm(x)[0])
        return functional.layer_norm(attend(y, y, y, is_causal=True), (4,))

    model = module(forward)
    bare = model(x)
    with watch(model):
        assert torch.equal(model(x), bare)


def test_what_a_checkpoint_computes_again_is_no_second_call(x):
    block = module(lambda self, x: x.sin().exp().cos())
    model = module(lambda self, x: checkpoint(self.block, x, use_reentrant=False), block=block)
    with watch(model) as calls:
        model(x.requires_grad_()).sum().backward()
    made = [call for call in calls.made if call.startswith("block")]
    assert made == ["block.sin()", "block.exp()", "block.cos()"]
    assert x.grad is not None


def test_calls_in_another_thread_are_out_of_reach(x):
    model = module(double_forward)
    with watch(model) as calls:
        thread = threading.Thread(target=model, args=(x,))
        thread.start()
        thread.join()
        assert calls.made == []
        model(x)
    assert calls.made == [".mul()"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_calls_in_scripted_code_are_out_of_reach(x):
    scripted = torch.jit.script(double)
    model = module(lambda self, x: scripted(x).exp())
    assert calls_of(model, x) == [".exp()"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_watching_ends_with_the_block_whatever_ends_it(error, x):
    def forward(self, x):
        x.sin()
        raise error

    model = module(forward)
    calls = watch(model)
    with pytest.raises(error), calls:
        model(x)
    with pytest.raises(error):
        model(x)
    assert calls.made == [".sin()"]


def test_watching_ends_even_where_another_mode_was_left_on(x):
    model = module(double_forward)
    left = Counting()
    calls = watch(model)
    with calls:
        left.__enter__()  # and not left in time: leaving `calls` takes off none but `calls`
        model(x)
    model(x)
    left.__exit__(None, None, None)
    model(x)
    assert calls.made == [".mul()"]
    assert left.names == ["mul", "mul"]


def test_watching_can_begin_again(x):
    model = module(double_forward)
    calls = watch(model)
    for _ in range(2):
        with calls:
            model(x)
        model(x)
    assert calls.made == [".mul()", ".mul()"]


def modes():
    """The kinds of the modes that are on torch's stack in this thread."""
    return [type(mode).__name__ for mode in _get_current_function_mode_stack()]


def records_in_memory():
    return sum(type(one) is Record for one in gc.get_objects())


def in_a_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


@pytest.mark.parametrize("left", [None, Counting])
def test_a_recording_that_is_dropped_watches_and_keeps_nothing(left, x):
    model = Body()
    gc.collect()
    before = records_in_memory()
    maps = capture(model, "head.relu()")
    other = left and left()
    with other or nullcontext():
        model(x)
        del maps
        gc.collect()
        for _ in range(10):
            model(x)
        assert modes() == ([] if left is None else ["Counting"])
    assert records_in_memory() == before
    assert hook_count(model) == 1  # the probe of the recording itself
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_recording_that_is_dropped_inside_a_call_is_over_and_inert(x):
    class Drops(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            recordings.clear()
            gc.collect()
            return super().__torch_function__(func, types, args, kwargs)

    model = Body()
    recordings = [capture(model, "**.relu()")]
    model(x.as_subclass(Drops))
    assert recordings == []
    (left,) = _get_current_function_mode_stack()
    assert not left.watches
    model(x)
    with capture(model, "head.relu()") as maps:
        assert modes() == ["FunctionalCalls"]
        model(x)
    assert len(maps) == 1
    assert modes() == []


def test_a_view_of_a_recording_keeps_it_going(x):
    model = Body()
    maps = Recording(Recorder()).attach(model, "head.relu()", "**.sin()")
    gc.collect()
    model(x)
    assert list(maps) == ["head.relu()"]
    assert maps.summary().splitlines()[-1] == "did not run: **.sin()"
    del maps
    gc.collect()
    assert modes() == []


@pytest.mark.parametrize("end", ["close", "drop"])
def test_a_recording_that_ends_in_another_thread_is_inert(end, x):
    model = Body()
    recordings = [capture(model, "head.relu()")]
    maps = recordings[0].of("model") if end == "close" else {}
    in_a_thread(recordings[0].close if end == "close" else recordings.clear)
    gc.collect()
    assert modes() == ["FunctionalCalls"]
    assert not _get_current_function_mode_stack()[0].watches
    model(x)
    assert list(maps) == []
    with capture(model, "head.relu()") as after:
        model(x)
    assert list(after) == ["head.relu()"]
    assert modes() == []


def test_a_recording_that_was_left_in_another_thread_intercepts_each_call_once(x):
    model = Body()
    with Recording(Recorder(intercepting=False)) as maps:
        maps.attach(model, "head.relu()")
        with maps._recorder.interception():
            in_a_thread(maps._recorder._calls._leave)
            with maps._recorder.interception():
                model(x)
    assert list(maps) == ["head.relu()"]


@pytest.mark.parametrize("hooked", [False, True])
def test_nothing_of_a_forward_is_kept_alive(hooked, x):
    gone = []

    def forward(self, x):
        y = x + 1
        gone.append(weakref.ref(y))
        y = y * 2
        return gone[0]()

    model = module(forward)
    if hooked:
        model.register_forward_pre_hook(lambda *_: None)
    with watch(model, wants=lambda *_: False):
        assert model(x) is None
    assert gone[0]() is None


# Near matches


@pytest.mark.parametrize(
    ("op", "seen", "near"),
    [
        ("relu", ["relu_", "cat"], ["relu_"]),
        ("relu_", ["relu6", "leaky_relu_", "relu"], ["relu", "relu6", "leaky_relu_"]),
        ("add", {"add_", "addmm", "sub"}, ["add_", "addmm"]),
        ("soft_max", ["softmax", "mul"], ["softmax"]),
        ("attention", ["add", "scaled_dot_product_attention"], ["scaled_dot_product_attention"]),
        ("log_softmax", ["softmax", "log"], ["softmax", "log"]),
        ("conv", ["conv2d", "linear"], ["conv2d"]),
        ("cat", ["add", "mul"], []),
        ("relu_", ["relu6_", "relu"], ["relu", "relu6_"]),
        ("t", ["tan", "transpose", "t_"], ["t_"]),
        ("relu", ["relu"], []),
        ("relu", [], []),
        (
            "conv",
            ["conv1d", "conv2d", "conv3d", "conv_transpose2d"],
            ["conv1d", "conv2d", "conv3d"],
        ),
    ],
)
def test_near_ops_begin_with_the_other_form(op, seen, near):
    assert near_ops(op, iter(seen)) == near


OPS = st.text("abcdefrelu_", min_size=1, max_size=8)


@given(OPS, st.lists(OPS))
def test_near_ops_are_some_of_the_seen_in_an_order_of_their_own(op, seen):
    near = near_ops(op, seen)
    assert near == near_ops(op, reversed(seen))
    assert set(near) <= set(seen) - {op}
    assert len(near) == len(set(near)) <= 3
    other = op[:-1] if op.endswith("_") else op + "_"
    assert (near[:1] == [other]) == (other in seen)


# Fused attention


@pytest.fixture
def fused(monkeypatch):
    """The fused kernels of torch.nn that were taken."""
    taken = []
    for name in ("_native_multi_head_attention", "_transformer_encoder_layer_fwd"):
        kernel = getattr(torch, name)

        def spy(*args, kernel=kernel, name=name):
            taken.append(name)
            return kernel(*args)

        monkeypatch.setattr(torch, name, spy)
    return taken


class Slanted(nn.MultiheadAttention):
    def forward(self, query, key, value):
        return super().forward(query, query, query)


def encoder(**options):
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, 2, 16, 0.0, **{"batch_first": True, **options}).eval()


def unequal_norms():
    layer = encoder()
    layer.norm1.eps = 1e-3
    return layer


def attention(**options):
    torch.manual_seed(0)
    return nn.MultiheadAttention(8, 2, **{"batch_first": True, **options}).eval()


@pytest.mark.parametrize(
    ("model", "slower"),
    [
        (attention(), [""]),
        (attention(batch_first=False), []),
        (attention(bias=False), []),
        (attention(add_bias_kv=True), []),
        (attention(add_zero_attn=True), []),
        (attention(kdim=4, vdim=4), []),
        (attention().train(), []),
        (nn.MultiheadAttention(9, 3, batch_first=True).eval(), []),
        (Slanted(8, 2, batch_first=True).eval(), [""]),
        (encoder(), ["", "self_attn"]),
        (unequal_norms(), ["self_attn"]),
        (encoder(activation="gelu", norm_first=True), ["", "self_attn"]),
        (encoder(activation=torch.tanh), ["self_attn"]),
        (encoder(batch_first=False), []),
        (encoder(bias=False), []),
        (encoder().train(), []),
        (nn.Sequential(encoder()), ["0", "0.self_attn"]),
        (nn.Linear(8, 8).eval(), []),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_watching_turns_the_fused_kernels_off_where_it_is_said(model, slower, fused):
    query = torch.randn(2, 3, getattr(model, "embed_dim", 8))
    values = [query]
    if isinstance(model, nn.MultiheadAttention):
        key = query[..., : model.kdim]
        values += [query, query] if model.kdim == model.embed_dim else [key, key]
    with torch.no_grad():
        bare = model(*values)
        assert bool(fused) is bool(slower)
        fused.clear()
        with watch(model):
            watched = model(*values)
    assert fused == []
    assert turns_off_fast_path(dict(model.named_modules())) == slower
    torch.testing.assert_close(bare, watched)


def test_a_switched_off_fast_path_cannot_be_turned_off_again(monkeypatch):
    layers = {"layer": encoder(), "layer.self_attn": attention()}
    assert turns_off_fast_path(layers) == ["layer", "layer.self_attn"]
    monkeypatch.setattr(torch.backends.mha, "get_fastpath_enabled", lambda: False)
    assert turns_off_fast_path(layers) == []


# Models as they are


def tiny(kind, **options):
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = getattr(transformers, f"{kind}Config")(**sizes, **options)
    return getattr(transformers, f"{kind}Model")(config).eval()


@pytest.mark.parametrize(
    ("kernel", "ops"),
    [
        ("sdpa", {"scaled_dot_product_attention", "transpose", "view", "reshape"}),
        ("eager", {"softmax", "matmul", "dropout"}),
    ],
)
def test_attention_in_transformers_is_found_in_its_layer(kernel, ops):
    model = tiny("Bert", vocab_size=11, attn_implementation=kernel)
    with torch.no_grad(), watch(model) as calls:
        model(torch.tensor([[1, 2, 3]]))
    for layer in range(2):
        assert ops <= calls.seen[f"encoder.layer.{layer}.attention.self"]
        assert calls.seen[f"encoder.layer.{layer}.output"] == {"add"}


def test_a_vision_transformer_attends_once_a_layer():
    model = tiny("ViT", image_size=8, patch_size=4, attn_implementation="sdpa")
    with torch.no_grad(), watch(model) as calls:
        model(torch.rand(1, 3, 8, 8))
    attended = [call for call in calls.made if call.endswith("scaled_dot_product_attention()")]
    assert attended == [f"layers.{n}.attention.scaled_dot_product_attention()" for n in (0, 1)]
    assert {"cat", "add"} <= calls.seen["embeddings"]
