"""Random models for hostile tests: nested, shared, cyclic, in place, structured, and failing."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

ROWS, COLUMNS = 2, 4


class Pair(NamedTuple):
    first: torch.Tensor
    second: list


@dataclasses.dataclass
class Output:
    value: torch.Tensor
    others: dict


class Stop(KeyboardInterrupt):
    """Ctrl-C, told from a real one."""


LEAVES = {
    "linear": lambda: nn.Linear(COLUMNS, COLUMNS),
    "relu": nn.ReLU,
    "relu_": lambda: nn.ReLU(inplace=True),
    "norm": lambda: nn.LayerNorm(COLUMNS),
    "batch": lambda: nn.BatchNorm1d(COLUMNS),
    "dropout": lambda: nn.Dropout(0.5),
    "identity": nn.Identity,
}
"""Layers of torch that give as many values as they take, by name."""


def parts(value):
    """Return the tensors of a value in order, found another way than the package finds them."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Output):
        value = [value.value, value.others]
    if isinstance(value, Mapping):
        value = list(value.values())
    return [one for each in value for one in parts(each)] if isinstance(value, list | tuple) else []


class Node(nn.Module):
    """A module that passes what it is given through its children, in one of many ways.

    `note` is told of every functional call in its own forward, with the module, the name of the
    call and its value.
    """

    def __init__(self, kind, children, when):
        super().__init__()
        self.kind, self.when, self.ran = kind, when, 0
        self.note = lambda *_: None
        self.inner = []
        for number, child in enumerate(children):
            self.add_module(f"c{number}", child)
            self.inner.append(f"c{number}")

    def forward(self, x):
        self.ran += 1
        return getattr(self, self.kind)(self.joined(x))

    def did(self, op, value):
        self.note(self, op, value)
        return value

    def joined(self, value):
        """Return the sum of the float tensors of the usual shape in a value."""
        usual = [
            one
            for one in parts(value)
            if one.shape == (ROWS, COLUMNS) and one.dtype == torch.float32
        ]
        total = usual[0]
        for one in usual[1:]:
            total = self.did("add", total + one)
        return total

    def children_of(self, x):
        return [getattr(self, name)(x) for name in self.inner]

    # The ways.

    def chain(self, x):
        for name in self.inner:
            x = getattr(self, name)(x)
        return x

    def twice(self, x):
        return self.chain(self.chain(x))

    def residual(self, x):
        return self.did("add", self.joined(self.chain(x)) + x)

    def residual_(self, x):
        y = self.joined(self.chain(x))
        y += x
        return self.did("add_", y)

    def overwrite(self, x):
        y = self.chain(x)
        self.did("mul_", x.mul_(0.5))
        return y

    def softmax(self, x):
        return self.did("softmax", torch.softmax(self.joined(self.chain(x)), 1))

    def halves(self, x):
        left, right = x[:, :2], x[:, 2:]
        return self.did("cat", torch.cat([right, left], 1))

    def view(self, x):
        return x.view(COLUMNS, ROWS).view(ROWS, COLUMNS)

    def kinds(self, x):
        return {"x": x, "index": x.argmax(1), "half": x.half(), "positive": x > 0, "none": x[:0]}

    def broken(self, x):
        return [x, x / 0, float("nan"), None, "text"]

    def nothing(self, x):
        return {"x": x, "nobody": ()}

    def many(self, x):
        return tuple(self.children_of(x))

    def pair(self, x):
        return Pair(x, self.children_of(x))

    def record(self, x):
        return Output(x, dict(enumerate(self.children_of(x))))

    def again(self, x):
        return checkpoint(lambda y: self.joined(self.chain(y)), x, use_reentrant=False)

    def no_grad(self, x):
        with torch.no_grad():
            return self.chain(x)

    def direct(self, x):
        for name in self.inner:
            child = getattr(self, name)
            x = type(child).forward(child, x if isinstance(child, Node) else self.joined(x))
        return x

    def fails(self, x):
        if self.ran == self.when:
            raise ValueError(f"at call {self.ran}")
        return x

    def stops(self, x):
        if self.ran == self.when:
            raise Stop
        return x

    def catches(self, x):
        try:
            return self.chain(x)
        except ValueError:
            return x


ALONE = ("halves", "view", "kinds", "broken", "nothing", "fails", "stops")
AROUND = (
    "chain", "twice", "residual", "residual_", "overwrite", "softmax", "many", "pair", "record",
    "again", "no_grad", "direct", "catches",
)  # fmt: skip

_LAST = st.sampled_from(sorted(LEAVES)).map(lambda kind: (kind, (), 0))
_ALONE = st.tuples(st.sampled_from(ALONE), st.just(()), st.integers(1, 2))
_SHARED = st.tuples(st.just("shared"), st.just(()), st.integers(0, 9))
PLANS = st.recursive(
    _LAST | _ALONE | _SHARED,
    lambda plan: st.tuples(
        st.sampled_from(AROUND), st.lists(plan, min_size=1, max_size=3), st.just(0)
    ),
    max_leaves=8,
)
"""Plans of models: a kind, the plans of the children, and a number that means what it has to."""


def build(plan, *, training=False, cyclic=False):
    """Return the model of a plan: the same one every time."""
    torch.manual_seed(0)
    root = Node("chain", [_built(plan, [])], 0)
    if cyclic:
        list(root.modules())[-1].add_module("up", root)
    # Not `train`, which never ends where modules are in a cycle.
    for module in root.modules():
        module.training = training
    return root


def _built(plan, known):
    kind, children, number = plan
    if kind == "shared" and known:
        return known[number % len(known)]
    if kind in {"shared", *LEAVES}:
        one = Node("chain", [LEAVES.get(kind, nn.Identity)()], 0)
    else:
        one = Node(kind, [_built(child, known) for child in children], number)
    known.append(one)
    return one


class Watched:
    """What every module of a model was called with and gave, seen without any hook.

    Attributes:
        seen: in order of completion, for each: path, kind of call, inputs, outputs, gradients.
        off: whether nothing is noted, as while a checkpoint computes again.
    """

    def __init__(self, model):
        self.seen, self.off = [], False
        self.paths = {id(module): name or "." for name, module in model.named_modules()}
        for module in list(model.modules()):
            module.forward = self._around(module, module.forward)
            if isinstance(module, Node):
                module.note = self._note

    def _around(self, module, forward):
        def wrapped(x):
            taken = [copied(one) for one in parts(x)]
            output = forward(x)
            self._add(self.paths[id(module)], "", taken, output)
            return output

        return wrapped

    def _note(self, module, op, value):
        path = self.paths[id(module)]
        self._add(f"{op}()" if path == "." else f"{path}.{op}()", op, [], value)

    def _add(self, path, op, taken, output):
        if self.off:
            return
        with torch.no_grad():
            given = [copied(one) for one in parts(output)]
        grads = [[] for _ in given]
        for one, into in zip(parts(output), grads, strict=True):
            if one.requires_grad and not op:
                one.register_hook(lambda grad, into=into: into.append(copied(grad)))
        self.seen.append((path, op, taken, given, grads))


def copied(tensor):
    return tensor.detach().clone()


def bits(tensor):
    """Return what tells two tensors apart, NaN included."""
    return tuple(tensor.shape), str(tensor.dtype), tensor.detach().numpy().tobytes()
