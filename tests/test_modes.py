"""Recording beside modes of the user's own: they see nothing of it, and change nothing in it."""

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import BaseTorchFunctionMode

from pytest_featuremaps import capture


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x, *, scale=None):
        return nn.functional.relu(self.norm(self.linear(x)).view(-1, 2) + (scale or 1))


class Seeing(BaseTorchFunctionMode):
    def __init__(self):
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls.append(func)
        return func(*args, **(kwargs or {}))


class Changing(BaseTorchFunctionMode):
    """Adds one to what a copy or a reduction gives."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        value = func(*args, **(kwargs or {}))
        names = {"clone", "detach", "sum", "aminmax", "vector_norm", "requires_grad_"}
        return value + 1 if func.__name__ in names and isinstance(value, torch.Tensor) else value


EVERYTHING = ("**", ".", "relu()", "**.add()")
OPTIONS = [
    {},
    {"inputs": True},
    {"grads": True},
    {"keep": "stats", "inputs": True},
    {"keep": "stats", "channels": True, "grads": True},
    {"keep": "shapes", "inputs": True},
]


@pytest.fixture
def x():
    return torch.randn(3, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("keep", ["values", "stats", "shapes"])
def test_a_mode_does_not_hear_what_is_asked_of_a_map(keep, x):
    model = Net()
    with capture(model, "linear", keep=keep) as maps:
        model(x)
    with Seeing() as mode:
        maps.assert_shapes({"linear": "N 2"})
        found = maps["linear"].shape, maps["linear"].dtype, maps["linear"].device
    assert mode.calls == []
    assert found == ((3, 2), torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_mode_sees_the_calls_of_the_model_and_none_of_ours(options, x):
    def seen(*targets):
        model = Net()
        with Seeing() as mode:
            if targets:
                with capture(model, *targets, **options) as maps:
                    model(x, scale=torch.ones(1)).sum().backward()
                    assert len(maps) == len(EVERYTHING) + 1
            else:
                model(x, scale=torch.ones(1)).sum().backward()
        return mode.calls

    assert seen(*EVERYTHING) == seen()


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_mode_changes_no_recorded_value(options, outside, x):
    model = Net().eval()
    with capture(model, *EVERYTHING, **options) as bare:
        model(x)
    if outside:
        with Changing(), capture(model, *EVERYTHING, **options) as maps:
            model(x)
    else:
        with capture(model, *EVERYTHING, **options) as maps, Changing():
            model(x)
    assert list(maps) == list(bare)
    for key, one in maps.items():
        assert one.shape == bare[key].shape
        pairs = [(one, bare[key])]
        if options.get("inputs"):
            pairs += [(value, bare[key].inputs[name]) for name, value in one.inputs.items()]
        for found, expected in pairs:
            if options.get("keep") == "stats":
                assert found.stats.mean == expected.stats.mean
                assert found.stats.max == expected.stats.max
            elif "keep" not in options:
                assert torch.equal(found.tensor, expected.tensor)


def test_the_modes_are_back_where_they_were_after_an_error_of_ours(x):
    class Closed(dict):
        def items(self):
            raise RuntimeError("it is closed")

    class Returns(nn.Module):
        def forward(self, x):
            return Closed(x=x.sin())

    outer, inner = Seeing(), Seeing()
    model = Returns()
    with outer, inner, capture(model, ".") as maps:
        model(x)
        x.cos()
    assert "it is closed" in maps._recorder.silence()
    assert [call.__name__ for call in outer.calls] == ["sin", "cos"]
    assert outer.calls == inner.calls


class Measured(torch.Tensor):
    """Has a unit, which its results keep."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        value = super().__torch_function__(func, types, args, kwargs)
        if isinstance(value, Measured):
            value.unit = "m"
        return value


@pytest.mark.parametrize("mode", [None, Seeing])
def test_a_class_of_tensors_keeps_its_class_in_a_copy(mode, x):
    model = nn.Sequential(nn.ReLU())
    with capture(model, ".", "0.relu()", inputs=True) as maps:
        if mode:
            with mode():
                model(x.as_subclass(Measured))
        else:
            model(x.as_subclass(Measured))
    assert len(maps) == 2
    for one in maps.values():
        for kept in (one.tensor, one.inputs[0].tensor):
            assert type(kept) is Measured
            assert kept.unit == "m"


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("mode", [None, Seeing])
def test_a_masked_tensor_is_kept_with_its_mask(mode):
    mask = torch.tensor([True, False])
    masked = torch.masked.masked_tensor(torch.tensor([1.0, 2.0]), mask)
    model = nn.Sequential(nn.Identity())
    with capture(model, "0", inputs=True) as maps:
        if mode:
            with mode():
                model(masked)
        else:
            model(masked)
    kept = maps["0"].tensor
    assert type(kept) is type(masked)
    assert kept.get_mask().tolist() == [True, False]


TRACINGS = [{}, {"pre_dispatch": True}, {"tracing_mode": "fake"}, {"tracing_mode": "symbolic"}]


@pytest.mark.parametrize("how", TRACINGS, ids=str)
@pytest.mark.parametrize("options", [{}, {"keep": "stats"}, {"inputs": True}], ids=str)
def test_a_graph_that_make_fx_draws_holds_nothing_of_ours(options, how, x):
    model = nn.Sequential(nn.ReLU())

    def drawn():
        return str(make_fx(model, **how)(x).graph)

    bare = drawn()
    with capture(model, ".", "0", "0.relu()", **options) as maps:
        assert drawn() == bare
    assert list(maps) == []
    assert (
        "'relu' was called only while the model was traced or exported." in maps._recorder.silence()
    )
