"""What torch does with hooks, fact by fact, and what a recording makes of it."""

import contextlib
import copy
import io
import sys
import threading
from collections import OrderedDict

import pytest
import torch
from nets import Net, hook_count
from raised import text
from torch import nn
from torch.utils.checkpoint import checkpoint

from pytest_featuremaps import CaptureError, UnsupportedTensor, capture
from pytest_featuremaps.recording.recorder import Recorder
from pytest_featuremaps.recording.recording import Recording

SCRIPTING = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
QUANTISING = pytest.mark.filterwarnings("ignore:.*quantiz.*", "ignore:.*TypedStorage.*")

NEW_COMPILER = pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"),
    reason="torch before 2.7 does not tell exporting from compiling",
)


class Block(nn.Module):
    """Two modules, called one after the other."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.linear(x))


@pytest.fixture
def block():
    torch.manual_seed(0)
    return Block()


X = torch.tensor([[1.0, -2.0]])


# F1


def test_a_forward_that_is_called_directly_is_told_with_its_way_out():
    """F1: hooks run only from `__call__`."""

    class Direct(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.ReLU()

        def forward(self, x):
            return self.inner.forward(x)

    model = Direct()
    with capture(model, "inner") as maps:
        model(X)
    with pytest.raises(CaptureError) as caught:
        maps["inner"]
    assert text(caught) == [
        "There is no feature map 'inner': the model calls its forward() directly, which runs no "
        "hooks; call the module itself.",
        "Recorded are: none.",
    ]


# F2


def test_the_map_is_what_forward_gave_and_later_hooks_may_replace_it(block):
    """F2: hooks run in order of registration, and one that returns a value replaces the output."""
    block.linear.register_forward_hook(lambda *_: torch.full((1, 2), 3.0))
    with capture(block, "linear", "relu", inputs=True) as maps:
        block.linear.register_forward_hook(lambda *_: torch.full((1, 2), 5.0))
        output = block(X)
    assert maps["linear"].tensor.tolist() == [[3.0, 3.0]], "what earlier hooks made of it"
    assert maps["relu"].inputs[0].tensor.tolist() == [[5.0, 5.0]], "what later hooks made of it"
    assert output.tolist() == [[5.0, 5.0]]


def test_our_hooks_return_nothing(block):
    """F2: a value that a hook returns replaces the arguments or the output."""
    with capture(block, "**", ".", inputs=True, grads=True):
        assert hook_count(block) == 7, "two for each module, and one that sees the model run"
        for module in block.modules():
            for number, hook in module._forward_pre_hooks.items():
                rest = [{}] if number in module._forward_pre_hooks_with_kwargs else []
                assert hook(module, (X,), *rest) is None
            for hook in module._forward_hooks.values():
                assert hook(module, (X,), {}, X) is None


# F3


class Many(nn.Module):
    def forward(self, x, *others, scale=1.0, **named):
        return x.mul_(scale)


def test_inputs_have_the_names_of_the_parameters():
    """F3: keyword arguments reach a hook only when asked for."""
    with capture(model := Many(), ".", inputs=True) as maps:
        model(X.clone(), X + 1, [X + 2, X + 3], scale=torch.tensor(2.0), mask={"a": X > 0})
    inputs = maps["."].inputs
    assert list(inputs) == ["x", "others[0]", "others[1][0]", "others[1][1]", "scale", "mask[a]"]
    assert torch.equal(inputs["others[1][1]"].tensor, X + 3)
    assert inputs["mask[a]"].dtype is torch.bool
    assert inputs[0] is not None
    assert inputs[-1].key == "..inputs[mask[a]]"
    with pytest.raises(KeyError) as caught:
        inputs["y"]
    assert text(caught)[0] == "There is no input 'y'."


def test_inputs_are_recorded_before_the_module_changes_them_in_place():
    """F3: a forward hook sees inputs after the module may have changed them."""
    with capture(model := Many(), ".", inputs=True) as maps:
        model(given := X.clone(), scale=-1.0)
    assert torch.equal(maps["."].inputs["x"].tensor, X)
    assert torch.equal(given, -X)


def test_an_input_by_keyword_has_the_name_it_has_by_position(block):
    """F3: a call by keyword."""
    with capture(block, "linear", inputs=True) as maps:
        block.linear(input=X)
        block.linear(X)
    assert [list(one.inputs) for one in maps.values()] == [["input"], ["input"]]
    with capture(block, "linear") as maps:
        block(X)
    with pytest.raises(CaptureError) as caught:
        _ = maps["linear"].inputs
    assert text(caught) == [
        "linear (Linear) was captured without its inputs.",
        "Capture it with inputs=True.",
    ]


class Recursive(nn.Module):
    """Calls itself, and catches that the inner call raised after its hook had seen its inputs."""

    def forward(self, x, depth=0, fail=False):
        for _ in range(depth):
            with contextlib.suppress(ValueError):
                self(x * 10, depth=depth - 1, fail=True)
        if fail:
            raise ValueError
        return self(x * 2) if depth else x + 1


@pytest.mark.parametrize("by_hook", [False, True], ids=["as called", "replaced by a hook"])
def test_inputs_belong_to_their_own_call_after_calls_that_raised(by_hook):
    """F3: a call that raises leaves without its forward hook; other hooks replace arguments."""
    model = nn.Sequential(OrderedDict(again=Recursive()))
    with capture(model, "again", inputs=True) as maps:
        if by_hook:
            model.again.register_forward_pre_hook(
                lambda _, args, kwargs: (args, dict(kwargs)), with_kwargs=True
            )
        model.again(X, depth=2)
    inner, outer = maps.values()
    assert torch.equal(inner.inputs["x"].tensor, X * 2)
    assert torch.equal(outer.inputs["x"].tensor, X)


def test_inputs_in_two_threads_do_not_mix():
    """F3: a model may be called from several threads at once."""
    barrier = threading.Barrier(2, timeout=300)

    class Waiting(nn.Module):
        def forward(self, x):
            barrier.wait()
            return x + 0

    model = Waiting()
    with capture(model, ".", inputs=True) as maps:
        threads = [
            threading.Thread(target=model, args=(torch.full((1,), float(number)),))
            for number in range(2)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert sorted(one.tensor.item() for one in maps.values()) == [0.0, 1.0]
    assert all(torch.equal(one.inputs["x"].tensor, one.tensor) for one in maps.values())


# F4, F5


def test_a_call_that_raises_is_recorded_as_no_call(block):
    """F4, F5: hooks after a forward that raised do not run, and ours keep what came before."""
    with capture(block, "**", ".", inputs=True) as maps:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            block(torch.ones(1, 3))
        assert list(maps) == []
        block(X)
    assert list(maps) == ["linear", "relu", "."]
    assert torch.equal(maps["linear"].inputs["input"].tensor, X)


def test_an_error_in_our_hook_never_reaches_the_users_forward():
    """F5: an exception in a hook would end the forward."""

    class Hostile(OrderedDict):
        def items(self):
            raise RuntimeError("closed for reading\nmore")

    class Gives(nn.Module):
        def forward(self, x):
            return Hostile(x=x)

    with capture(model := Gives(), ".", inputs=True) as maps:
        assert isinstance(model(X), Hostile)
        model(Hostile(x=X))
    assert maps.summary().splitlines()[1:] == [
        "could not be recorded: '.' (RuntimeError: closed for reading)"
    ]


def test_hooks_that_go_on_during_a_forward_work_from_the_next_call(block):
    """F5: a module's hooks are listed before the first of them runs."""
    with Recording(Recorder()) as recording:

        def attach(*_):
            recording.attach(block, "linear")

        hook = block.linear.register_forward_hook(attach)
        block(X)
        hook.remove()
        assert list(recording) == []
        block(X)
    assert list(recording) == ["linear"]


# F6


def test_no_global_hook_is_registered(block):
    """F6: global hooks run for every module of the process."""
    module = nn.modules.module
    everywhere = [value for name, value in vars(module).items() if name.startswith("_global_")]
    hooks = [one for one in everywhere if isinstance(one, dict)]
    assert len(hooks) >= 6
    with capture(block, "**", ".", "add()", inputs=True, grads=True):
        assert not any(hooks)
        block(X).sum().backward()
        assert not any(hooks)


# F7, F8


def test_both_names_of_a_shared_module_mean_every_call():
    """F7, F8: two aliases have one list of hooks, and a hook is not told which was called."""
    shared = nn.ReLU()
    model = nn.Sequential(OrderedDict(first=shared, between=nn.Tanh(), second=shared))
    with capture(model, "second") as maps:
        model(X)
    assert list(maps) == ["first#0", "first#1"]
    assert maps["second#1"] is maps["first#1"]
    assert len(maps.calls("second")) == 2


def test_a_cycle_of_modules_is_walked_once(block):
    """F7: `named_modules(remove_duplicate=False)` never ends on a cycle."""
    block.relu.parent = block
    try:
        with capture(block, "**") as maps:
            block(X)
    finally:
        del block.relu.parent
    assert list(maps) == ["linear", "relu"]


# F9


WRAPPED = ["linear", "relu", "."]


def test_data_parallel_is_passed_through(block):
    """F9: `DataParallel` puts `module.` before every name."""
    wrapped = nn.DataParallel(block)
    with capture(wrapped, "linear", "module.relu", ".") as maps:
        wrapped(X)
    assert list(maps) == WRAPPED
    assert maps["module.linear"] is maps["linear"]


def test_distributed_data_parallel_is_passed_through(block):
    """F9: `DistributedDataParallel` as well; it calls the module inside."""
    distributed = torch.distributed
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(block)
        with capture(wrapped, "module.linear", "*", ".", grads=True) as maps:
            wrapped(X).sum().backward()
        del wrapped
    finally:
        distributed.destroy_process_group()
    assert list(maps) == WRAPPED
    assert maps["module.linear"].grad.shape == (1, 2)
    assert maps["."].module_type == "Block"


def compiled_and_counted(compile_):
    """Compile something, and count how often the compiler was asked."""
    calls = []

    def backend(graph, _):
        calls.append(graph)
        return graph.forward

    return compile_(backend), calls


OFF = "note: torch.compile is off while feature maps are recorded"


def test_a_compiled_model_is_measured_eagerly_and_the_summary_says_so(block):
    """F9, F14: compiled code runs no hooks that went on after it was compiled."""
    model, calls = compiled_and_counted(lambda one: torch.compile(block, backend=one))
    expected = model(X)
    assert len(calls) == 1
    with capture(model, "linear", "_orig_mod.relu", ".") as maps:
        assert torch.equal(model(X), expected)
    assert list(maps) == WRAPPED
    assert maps["_orig_mod.linear"] is maps["linear"]
    assert maps.summary().splitlines()[-1] == OFF
    model(X)
    assert (len(maps), len(calls)) == (3, 1), "the compiled code is used again as it was"


def test_parts_that_are_compiled_are_measured_eagerly(block):
    """F9, F14: `module.compile()` keeps the names; a part may be wrapped inside the model."""
    block.compile(backend="eager")
    model = nn.Sequential(block, torch.compile(Block(), backend="eager"))
    with torch.no_grad():
        model(X)
        with capture(model, "**", "1._orig_mod.relu") as maps:
            model(X)
    assert list(maps) == ["0.linear", "0.relu", "0", "1.linear", "1.relu", "1"]
    assert maps.summary().splitlines()[-1] == OFF


def test_a_compiled_function_that_calls_the_model_is_measured_eagerly(block):
    """F14: from the model, the compiled function cannot be seen."""

    def double(x):
        return block(x) * 2

    run, calls = compiled_and_counted(lambda one: torch.compile(double, backend=one))
    run(X)
    with capture(block, "linear", ".") as maps:
        run(X)
        run(torch.ones(5, 2))
    assert list(maps) == ["linear#0", ".#0", "linear#1", ".#1"]
    assert len(calls) == 1


def test_a_model_that_is_compiled_during_the_recording_is_measured_eagerly(block):
    """F15: nothing of ours is compiled into the model's code."""
    torch.compile(Block(), backend="eager")  # the compiler is loaded
    with capture(block, "linear", inputs=True) as maps:
        run, calls = compiled_and_counted(
            lambda one: torch.compile(block, backend=one, fullgraph=True)
        )
        run(X)
        assert calls == []
    assert list(maps) == ["linear"]
    run(X)
    assert len(calls) == 1
    assert len(maps) == 1


@NEW_COMPILER
def test_a_model_may_be_compiled_with_the_hooks_on_it(block, monkeypatch):
    """F15: where the compiler was not loaded yet, our hooks stay outside the compiled code."""
    torch._dynamo.reset()
    with monkeypatch.context() as unloaded:
        unloaded.delitem(sys.modules, "torch._dynamo")
        recording = capture(block, "linear", inputs=True)
    with recording as maps, torch.no_grad():
        model = torch.compile(block, backend="eager")
        model(X)
        model(X + 1)
    model(X)
    assert list(maps) == ["linear#0", "linear#1"]
    for number, one in enumerate(maps.values()):
        assert torch.equal(one.inputs["input"].tensor, X + number)
        assert torch.equal(one.tensor, block.linear(X + number))


def stance():
    return torch._dynamo.eval_frame._stance.stance


def test_the_compilers_stance_is_as_before_whatever_ends_the_recordings(block):
    """F14: the stance belongs to the whole process, and recordings end in any order."""
    torch.compile(block, backend="eager")  # the compiler is loaded
    with torch.compiler.set_stance("eager_on_recompile"):
        first, second = capture(block, "linear"), capture(Block(), "linear")
        assert stance() == "force_eager"
        first.close()
        assert stance() == "force_eager"
        second.close()
        assert stance() == "eager_on_recompile"
        with pytest.raises(KeyboardInterrupt):
            interrupted(block)
        assert stance() == "eager_on_recompile"
        with pytest.raises(CaptureError):
            capture(block, "nothing")
        assert stance() == "eager_on_recompile"
    assert stance() == "default"


def interrupted(model):
    with capture(model, "linear") as maps:
        maps.attach(model, "relu")
        raise KeyboardInterrupt


# F10, F11


def test_a_copy_and_a_stored_model_carry_nothing_of_ours(block):
    """F11: hooks travel with copies, out of their handle's reach."""
    with capture(block, "linear", inputs=True) as maps:
        twin = copy.deepcopy(block)
        stored = io.BytesIO()
        torch.save(block, stored)
        stored.seek(0)
        loaded = torch.load(stored, weights_only=False)
        assert torch.equal(twin(X), loaded(X))
        assert hook_count(loaded) == 3, "hooks that do nothing"
        assert list(maps) == []
        with capture(twin, "relu") as others:
            twin(X)
        assert hook_count(twin) == 0, "a recording sweeps what an earlier one left in a copy"
    assert list(others) == ["relu"]
    assert hook_count(block) == 0


@QUANTISING
@pytest.mark.parametrize("inputs", [False, True])
def test_hooks_that_fusing_moved_do_nothing_and_come_off(inputs):
    """F11: fusing moves hooks to another module, and forgets that one takes keywords."""
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 3, 1), relu=nn.ReLU(), end=nn.Tanh()))
    model.eval()
    image = torch.ones(1, 3, 4, 4)
    expected = model(image)
    with capture(model, "**", inputs=inputs) as maps:
        torch.ao.quantization.fuse_modules(model, [["conv", "relu"]], inplace=True)
        assert torch.allclose(model(image), expected)
    assert "end" in maps
    assert hook_count(model) == 0
    with pytest.raises(CaptureError) as caught:
        maps["relu"]
    assert text(caught)[0] == (
        "There is no feature map 'relu': the model has another module in its place now (Identity); "
        "capture after it was changed."
    )


# F12


def test_replicas_are_recorded_as_calls_of_their_module(block):
    """F12: a replica is another object with the same hooks, and runs in a thread of its own."""
    with capture(block, "linear", inputs=True) as maps:
        replicas = [block.linear._replicate_for_data_parallel() for _ in range(2)]
        for one in replicas:
            one.weight, one.bias = block.linear.weight, block.linear.bias
        threads = [threading.Thread(target=one, args=(X,)) for one in replicas]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        copy.copy(block.linear)(X)  # shares the hooks, and is no replica
    assert sorted(maps) == ["linear#0", "linear#1"]
    assert maps["linear#1"].inputs["input"].shape == (1, 2)


# F13


def test_gradients_are_those_of_the_output_as_the_layer_gave_it():
    """F13: full backward hooks break on layers that work in place; these do not."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 1))
    with capture(model, "*", grads=True) as maps:
        model(X).sum().backward()
    before = model[0](X).detach()
    above = model[2].weight.detach()
    assert torch.equal(maps["1"].grad.tensor, above)
    assert torch.equal(maps["0"].grad.tensor, above * (before > 0))
    assert torch.equal(maps["0"].tensor, before)
    assert maps["0"].grad.key == "0.grad"


def test_the_models_own_gradients_are_bit_identical(net, photo):
    """F13: watching a gradient changes none."""
    net(photo).square().sum().backward()
    bare = [one.grad for one in net.parameters()]
    net.zero_grad(set_to_none=True)
    with capture(net, "**", ".", grads=True, inputs=True):
        net(photo).square().sum().backward()
    seen = [one.grad for one in net.parameters()]
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(bare, seen, strict=True))


@pytest.mark.parametrize("kept", ["values", "stats", "shapes"])
def test_backward_passes_add_up_or_say_that_they_do_not(block, kept):
    """F13: statistics of gradients cannot be added."""
    with capture(block, "relu", grads=True, keep=kept) as maps:
        total = block(X).sum()
        total.backward(retain_graph=True)
        once = maps["relu"].grad
        assert once.shape == (1, 2)
        if kept != "shapes":
            assert once.stats.mean == 1.0
        total.backward()
    if kept == "values":
        assert maps["relu"].grad.tensor.tolist() == [[2.0, 2.0]]
    elif kept == "stats":
        with pytest.raises(CaptureError) as caught:
            _ = maps["relu"].grad
        assert text(caught) == [
            "relu (ReLU) has the gradients of 2 backward passes, and their statistics do not add "
            "up.",
            'Capture it with keep="values", or call backward() once.',
        ]
    else:
        assert maps["relu"].grad.shape == (1, 2)


def test_a_gradient_that_did_not_come_is_told(block):
    """F13: no backward pass, none that is on, or none that was asked for."""
    late = [
        "relu (ReLU) has no gradient: no backward pass has reached it.",
        "Call backward() on what depends on it, while it is captured and gradients are on.",
    ]
    with capture(block, "relu", grads=True) as maps:
        total = block(X).sum()
    total.backward()  # too late
    with pytest.raises(CaptureError) as caught:
        _ = maps["relu"].grad
    assert text(caught) == late
    with torch.no_grad(), capture(block, "relu", grads=True) as maps:
        block(X)
    with pytest.raises(CaptureError) as caught:
        _ = maps["relu"].grad
    assert text(caught) == [
        "relu (ReLU) has no gradient: it was made without, under no_grad() or from nothing that "
        "requires one.",
        "Turn gradients on, or capture a layer behind the first parameter that requires them.",
    ]
    with capture(block, "relu") as maps:
        block(X)
    with pytest.raises(CaptureError) as caught:
        _ = maps["relu"].grad
    assert text(caught) == [
        "relu (ReLU) was captured without gradients.",
        "Capture it with grads=True.",
    ]


def test_a_functional_call_has_values_and_no_gradient():
    """F13: what the options of a mark cannot give is told where it is asked for."""

    class Adds(nn.Module):
        def forward(self, x):
            return x + 1

    with capture(model := Adds(), "add()", inputs=True, grads=True) as maps:
        model(X)
    assert torch.equal(maps["add()"].inputs[0].tensor, X)
    with pytest.raises(CaptureError) as caught:
        _ = maps["add()"].grad
    assert text(caught)[1] == (
        "It is a functional call, of which values and inputs are recorded; its gradient is not."
    )


# F16


@SCRIPTING
def test_a_scripted_model_is_refused_with_the_way_out(block):
    """F16: a scripted module takes no hooks."""
    for scripted in (torch.jit.script(block), torch.jit.trace(block, X)):
        with pytest.raises(CaptureError) as caught:
            capture(scripted, "linear")
        assert text(caught) == [
            f"attach(): the model is a scripted module ({type(scripted).__name__}), which takes no "
            "hooks.",
            "Record the model that it was made from, before torch.jit.script or torch.jit.trace.",
        ]


@SCRIPTING
def test_a_scripted_child_is_left_out_of_patterns_and_refused_by_name(block):
    """F16: the rest of the model is recorded as always."""
    model = nn.Sequential(torch.jit.script(block), nn.ReLU())
    with capture(model, "**") as maps:
        model(X)
    assert list(maps) == ["1"]
    for path in ("0", "0.linear"):
        with pytest.raises(CaptureError) as caught:
            capture(model, path)
        assert text(caught) == [
            f"capture(\"{path}\"): '{path}' is a scripted module (RecursiveScriptModule), which "
            "takes no hooks.",
            "Capture the module that it was made from, before torch.jit.script or torch.jit.trace.",
        ]
    assert hook_count(model[1]) == 0


@SCRIPTING
def test_scripting_and_tracing_a_captured_module(block):
    """F16: hooks would be compiled along; tracing runs the module and is no call of the test's."""
    with capture(block, "linear", inputs=True) as maps:
        with pytest.raises(AttributeError) as caught:
            torch.jit.script(block)
        assert text(caught) == [
            "a module cannot be scripted while it is captured: script it before, or after the "
            "recording has ended"
        ]
        graph = torch.jit.trace(block, X, check_trace=False).graph
        assert list(maps) == []
    plain = torch.jit.trace(block, X, check_trace=False).graph
    assert [node.kind() for node in graph.nodes()] == [node.kind() for node in plain.nodes()]
    torch.jit.script(block)


# F17


def test_a_graph_module_is_recorded_and_tracing_is_no_call(block):
    """F17: FX replaces `Module.__call__` while it traces."""
    with capture(block, "linear") as maps:
        graph = torch.fx.symbolic_trace(block)
    assert list(maps) == []
    with capture(graph, "**", ".") as maps:
        graph(X)
    assert list(maps) == WRAPPED


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=NEW_COMPILER)])
def test_exporting_a_captured_model_gives_the_same_program(block, strict):
    """F17: an export runs the forward and the hooks on stand-ins for tensors."""
    plain = torch.export.export(block, (X,), strict=strict)
    with capture(block, "**", ".", inputs=True) as maps:
        captured = torch.export.export(block, (X,), strict=strict)
        assert list(maps) == []
        block(X)
    assert str(captured.graph) == str(plain.graph)
    assert list(maps) == WRAPPED


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of torch, unflattening
def test_an_exported_program_is_refused(block):
    """F17: it has no modules left."""
    program = torch.export.export(block, (X,))
    for model in (program, program.module()):
        with pytest.raises(CaptureError) as caught:
            capture(model, "linear")
        assert text(caught) == [
            "attach(): an exported program has no modules left to put hooks on.",
            "Record the model that it was exported from, or torch.export.unflatten(program).",
        ]
    unflattened = torch.export.unflatten(program)
    with capture(unflattened, "**") as maps:
        unflattened(X)
    assert list(maps) == WRAPPED[:-1]


def test_a_part_that_tracing_took_apart_is_told():
    """F17: a traced graph calls the leaves of the model, and keeps the rest as names."""
    model = torch.fx.symbolic_trace(nn.Sequential(nn.Sequential(nn.Linear(2, 2))))
    with capture(model, "0", "0.0") as maps:
        model(X)
    assert list(maps) == ["0.0"]
    assert maps._recorder.silence().splitlines()[0] == (
        "capture(\"0\"): '0' (Module) did not run: a traced model is a graph, in which what this "
        "module did has been taken apart; capture the model that was traced."
    )


def test_a_class_in_place_of_a_model_is_told():
    with pytest.raises(CaptureError) as caught:
        capture(nn.Linear, ".")
    assert text(caught) == ["attach(): the model is the class Linear: make one, Linear(...)."]


# F18


def test_a_graphed_model_is_refused(block):
    """F18: replayed CUDA graphs run no hooks.

    Without a GPU nothing can be graphed; the name is the one that torch gives the forward.
    """

    def make_graphed_callables():
        def new_fwd(*args):
            return args

        return new_fwd

    block.forward = make_graphed_callables()
    with pytest.raises(CaptureError) as caught:
        capture(block, "linear")
    assert text(caught) == [
        "attach(): the model replays a CUDA graph, in which no hook runs.",
        "Record it before torch.cuda.make_graphed_callables.",
    ]


# F19


def encoder(**options):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, **options).eval()


def test_the_summary_says_which_fast_paths_hooks_turn_off():
    """F19: a hook inside a TransformerEncoderLayer makes torch compute it another way."""
    model = encoder(enable_nested_tensor=False)
    x = torch.rand(2, 4, 8)
    with torch.no_grad():
        with capture(model, "layers.1.linear1") as inside:
            model(x)
        with capture(model, ".") as outside:
            model(x)
    note = "note: these run without their fused fast path: "
    assert inside.summary().splitlines()[-1] == f"{note}layers.1"
    assert note not in outside.summary()
    torch.testing.assert_close(outside["."].tensor, model(x))


def test_attention_projects_by_weight():
    """F19: `MultiheadAttention` never calls its `out_proj`."""
    model = encoder(enable_nested_tensor=False)
    with capture(model, "**.out_proj") as maps:
        model(torch.rand(2, 4, 8))
    assert maps._recorder.silence().splitlines()[0] == (
        'capture("**.out_proj"): none of the 2 modules it matches ran: '
        "layers.0.self_attn.out_proj, layers.1.self_attn.out_proj: MultiheadAttention uses the "
        "weights of its out_proj and never calls it; capture the MultiheadAttention."
    )


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_of_a_padded_batch_are_told_and_break_nothing():
    """F19: with a padding mask the encoder hands its layers nested tensors, which have no shape."""
    model = encoder()
    x = torch.rand(2, 4, 8)
    mask = torch.tensor([[False, False, False, True], [False, False, True, True]])
    with torch.no_grad(), capture(model, "layers.*", ".") as maps:
        model(x, src_key_padding_mask=mask)
    assert list(maps) == ["."]
    reason = (
        "UnsupportedTensor: a nested tensor's samples differ in size, so it has no one shape: pad "
        "it with torch.nested.to_padded_tensor, or build the nn.TransformerEncoder that makes it "
        "with enable_nested_tensor=False"
    )
    assert f"could not be recorded: layers.0, layers.1 ({reason})" in maps.summary().splitlines()
    assert maps._recorder.silence().splitlines()[0] == (
        'capture("layers.*"): none of the 2 modules it matches has a feature map: layers.0, '
        f"layers.1: it ran, but its output could not be recorded: {reason}."
    )


# F20


def test_containers_are_told_from_modules_that_run(block):
    """F20: `ModuleList` and `ModuleDict` are never called; `Sequential` is."""

    class Lists(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([nn.ReLU(), nn.Sequential(nn.Tanh())])
            self.named = nn.ModuleDict({"a": nn.Sigmoid()})

        def forward(self, x):
            for one in self.blocks:
                x = one(x)
            return self.named["a"](x)

    model = Lists()
    with capture(model, "**", "blocks") as maps:
        model(X)
    assert list(maps) == ["blocks.0", "blocks.1.0", "blocks.1", "named.a"]
    assert maps._recorder.silence().splitlines()[0] == (
        "capture(\"blocks\"): 'blocks' (ModuleList) did not run: a ModuleList holds modules and is "
        "never called itself; capture what it holds, such as 'blocks.*'."
    )


# F21


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant):
        super().__init__()
        self.block = Block()
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_what_checkpointing_computes_again_is_left_out(reentrant):
    """F21: checkpointing runs a forward, and so the hooks, again during backward."""
    model = Checkpointed(reentrant=reentrant)
    x = X.clone().requires_grad_()
    with capture(model, "**", inputs=True) as maps:
        for _ in range(2):
            model(x).sum().backward()
    assert list(maps) == [f"block{end}#{n}" for n in (0, 1) for end in (".linear", ".relu", "")]
    assert all(torch.equal(one.inputs["input"].tensor, X) for one in maps.calls("block.linear"))
    # Without reentry, the second forward stops once it has made what backward needs.
    again = "block, block.linear, block.relu" if reentrant else "block.linear"
    assert maps.summary().splitlines()[-1] == f"calls during backward left out: {again}"
    assert maps._recorder.silence() == ""


def test_gradients_inside_a_checkpoint():
    """F21: a reentrant checkpoint runs its forward without gradients the first time."""
    for reentrant in (True, False):
        model = Checkpointed(reentrant=reentrant)
        with capture(model, "block.linear", grads=True) as maps:
            model(X.clone().requires_grad_()).sum().backward()
        if not reentrant:
            assert torch.equal(
                maps["block.linear"].grad.tensor, (maps["block.linear"].tensor > 0).float()
            )
            continue
        with pytest.raises(CaptureError) as caught:
            _ = maps["block.linear"].grad
        assert text(caught) == [
            "block.linear (Linear) has no gradient: checkpointing ran it without gradients, and "
            "again during backward().",
            "Call torch.utils.checkpoint with use_reentrant=False.",
        ]


# F22


def test_maps_share_memory_with_nothing(net, photo):
    """F22: `.detach()` and `.to(...)` give the same memory where nothing changes."""
    seen = []
    for module in net.modules():
        module.register_forward_hook(lambda _, args, output: seen.extend([*args, output]))
    with capture(net, "**", ".", inputs=True) as maps:
        net(photo)
    live = {one.untyped_storage().data_ptr() for one in [*seen, photo, *net.parameters()]}
    kept = [one.tensor for one in maps.values()]
    kept += [one.tensor for fm in maps.values() for one in fm.inputs.values()]
    pointers = [one.untyped_storage().data_ptr() for one in kept]
    assert live.isdisjoint(pointers)
    assert len(set(pointers)) == len(pointers)


# F23


@pytest.mark.parametrize("kept", ["values", "stats"])
def test_meta_and_fake_tensors_have_shapes_and_refuse_values(kept):
    """F23: hooks run on tensors without data."""
    from torch._subclasses import FakeTensorMode

    meta = Block().to("meta")
    with capture(meta, "**", keep=kept, inputs=True) as shapes:
        meta(torch.empty(3, 2, device="meta"))
    with FakeTensorMode():
        fake = Block()
        with capture(fake, "**", keep=kept, inputs=True) as faked:
            fake(torch.empty(3, 2))
    for maps, reason in (
        (shapes, "a meta tensor has a shape and no values: move the model to a device that "),
        (faked, "a fake tensor has a shape and no values: run the model outside `shapes_only`"),
    ):
        one = maps["linear"]
        assert one.assert_shape("N 2") == {"N": 3}
        assert one.inputs["input"].shape == (3, 2)
        for ask in (lambda one=one: one.stats, one.assert_finite):
            with pytest.raises(UnsupportedTensor) as caught:
                ask()
            assert text(caught)[0].startswith(f"linear (Linear): {reason}")
        assert maps.summary().splitlines()[1].split()[-5:] == ["–"] * 5


def test_tensors_inside_transforms_are_unwrapped_or_refused(block):
    """F23: `torch.func` wraps tensors while it runs; the wrappers outlive no transform."""
    with capture(block, "linear", keep="values") as maps:
        torch.func.grad(lambda x: block(x).sum())(X)
    assert not torch._C._functorch.is_functorch_wrapped_tensor(maps["linear"].tensor)
    assert torch.equal(maps["linear"].tensor, block.linear(X))
    with capture(block, "linear") as maps:
        torch.func.vmap(block)(torch.ones(3, 2))
    assert maps._recorder.silence().splitlines()[0] == (
        "capture(\"linear\"): 'linear' (Linear) has no feature map: it ran, but its output could "
        "not be recorded: UnsupportedTensor: inside torch.vmap a tensor stands for one sample of "
        "many and cannot be kept: call the model on the whole batch."
    )


# torch compiles what it needs for forward mode, in a way that it deprecates.
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_statistics_are_taken_inside_transforms(dtype):
    """F23: `torch.func` wraps every result while it runs, so that its memory cannot be read."""

    class Gives(nn.Module):
        def forward(self, x):
            return (x * 3).to(dtype)

    model, values = Gives(), torch.arange(12.0).view(3, 4)
    with capture(model, ".", keep="stats") as plain:
        model(values)
    for transform in (
        lambda call: torch.func.grad(call)(values),
        lambda call: torch.func.jvp(call, (values,), (values,)),
        lambda call: torch.func.vjp(lambda x: torch.func.jvp(call, (x,), (x,))[1], values),
    ):
        with capture(model, ".", keep="stats") as maps:
            transform(lambda x: (x + model(x)).sum())
        assert maps["."].stats == plain["."].stats


# F24


@QUANTISING
def test_quantised_outputs_have_a_shape_and_name_the_way_to_values():
    """F24: quantised tensors hold codes, not values."""

    class Quantises(nn.Module):
        def forward(self, x):
            return torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)

    model = nn.Sequential(Quantises())
    for kept in ("values", "stats"):
        with capture(model, "0", keep=kept) as maps:
            model(X)
        assert maps["0"].shape == (1, 2)
        with pytest.raises(UnsupportedTensor) as caught:
            _ = maps["0"].stats
        assert text(caught) == [
            "0 (Quantises): a quantised tensor (torch.qint8) holds codes, not values: use "
            "`.dequantize()`"
        ]
    with capture(model, "0") as maps:
        model(X)
    assert torch.allclose(maps["0"].tensor.dequantize(), X, atol=0.05)


# F25


def test_lazy_modules_are_recorded_from_their_first_call():
    """F25: a lazy module becomes another one at its first call, and takes its own hook off."""
    model = nn.Sequential(nn.LazyConv2d(4, 1), nn.Flatten(), nn.LazyLinear(3))
    with capture(model, "**", inputs=True, grads=True) as maps:
        model(torch.ones(2, 3, 4, 4)).sum().backward()
    assert {key: one.module_type for key, one in maps.items()} == {
        "0": "Conv2d",
        "1": "Flatten",
        "2": "Linear",
    }
    assert maps["2"].shape == (2, 3)
    assert maps["2"].grad.shape == (2, 3)
    assert maps["0"].layout == "NCHW"
    assert hook_count(model) == 0


# What stays as it was


def test_flags_randomness_and_modes_are_as_before(net, photo):
    """Recording changes nothing of the model, of torch or of the process."""
    net.train()
    net.features.eval()
    net.unused.requires_grad_(requires_grad=False)

    def state():
        return (
            [module.training for module in net.modules()],
            [one.requires_grad for one in net.parameters()],
            torch.get_rng_state().tolist(),
            copy.copy(torch._tensor_str.PRINT_OPTS),
            len(torch.overrides._get_current_function_mode_stack()),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.backends.mha.get_fastpath_enabled(),
        )

    before = state()
    with pytest.raises(RuntimeError, match="mine"):
        recorded_until_an_error(net, photo)
    assert state() == before
    assert hook_count(net) == 0


def recorded_until_an_error(net, photo):
    with capture(net, "**", "add()", "relu") as maps:
        maps.attach(net, "small_model", inputs=True, grads=True, keep="stats")
        net(photo)
        assert maps["features"].stats.count
        raise RuntimeError("mine")


def test_two_models_in_two_threads_do_not_mix(photo):
    """Each thread has a recording of its own, functional calls included."""
    results = {}

    class Adds(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(x) + self.value

    barrier = threading.Barrier(2, timeout=300)

    def run(value):
        model = Adds(value)
        with capture(model, "relu", "add()") as maps:
            barrier.wait()
            for _ in range(20):
                model(torch.full((3,), float(value)))
            barrier.wait()
        results[value] = maps

    threads = [threading.Thread(target=run, args=(value,)) for value in (1, 2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(results) == {1, 2}
    for value, maps in results.items():
        assert len(maps) == 40
        assert {one.tensor[0].item() for one in maps.calls("relu")} == {float(value)}
        assert {one.tensor[0].item() for one in maps.calls("add()")} == {2.0 * value}


class Stubborn(nn.Linear):
    def register_forward_pre_hook(self, *args, **kwargs):
        raise RuntimeError("no hooks here")


def test_a_model_that_refuses_a_late_hook_keeps_none():
    """A recording that cannot begin leaves nothing behind, though hooks were on already."""
    model = Stubborn(2, 2)
    with pytest.raises(RuntimeError, match="no hooks here"):
        capture(model, ".")
    assert hook_count(model) == 0


def test_a_detached_model_has_no_hook_left_and_its_name_is_free():
    """What watches whether a model ran goes with the model."""
    first, second = Block(), Net()
    recorder = Recorder()
    with Recording(recorder) as recording:
        recording.attach(first, "linear", name="model")
        recorder.detach("model")
        assert hook_count(first) == 0
        recording.attach(second, "unused", name="model")
        second(torch.ones(1, 3, 8, 8))
        assert recorder.silence().splitlines()[0] == (
            "capture(\"unused\"): 'unused' (Linear) did not run: the model ran without it; "
            "perhaps a branch was not taken, or an error of it was caught."
        )


LATE = """
import torch
from torch import nn
from pytest_featuremaps import capture

class Net(nn.Module):
    def forward(self, x):
        return nn.functional.relu(x)

model = Net()
with capture(model, "relu()") as maps:
    torch.compile(model, backend="eager")(torch.ones(3))
print(maps.summary().splitlines()[-1])
print(maps._recorder.silence().splitlines()[-3])
"""


def test_a_model_that_is_first_compiled_while_it_is_recorded_is_told(pytester):
    """F14: the compiler is not loaded before, so there is no switch to turn."""
    result = pytester.runpython(pytester.makepyfile(LATE))
    told = (
        "torch.compile was first used after the recording began: what it compiled may run no "
        "hooks. Compile the model before it is captured."
    )
    assert result.outlines == [f"note: {told}", told]
