"""Random models: recording changes nothing, sees the truth, and leaves nothing behind."""

import gc
import weakref

import mazes
import numpy as np
import pytest
import torch
from attacking import TRIED, cases
from hypothesis import example, given
from hypothesis import strategies as st
from mazes import bits, parts
from nets import hook_count
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack as function_modes
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as dispatch_modes

from pytest_featuremaps import CaptureError, capture
from pytest_featuremaps.maps.feature_map import record_of

OPS = ("add", "add_", "mul_", "softmax", "cat")
WISHES = st.fixed_dictionaries(
    {
        "keep": st.sampled_from(["values", "values", "stats", "shapes"]),
        "inputs": st.booleans(),
        "grads": st.booleans(),
        "channels": st.booleans(),
    }
)
GLOBAL_HOOKS = [name for name in vars(torch_module) if name.startswith("_global_")]


def run(model, *, backward, input_grad, before_backward=lambda: None):
    """Return everything that can be seen of a run: its error, or all bits of all tensors."""
    torch.manual_seed(1)
    x = photo(input_grad)
    error, output = None, ()
    try:
        output = model(x)
        before_backward()
        floats = [one for one in parts(output) if one.requires_grad]
        if backward and floats:
            sum(one.float().sum() for one in floats).backward()
    except (ValueError, RuntimeError, TypeError, IndexError, mazes.Stop) as failed:
        error = type(failed), str(failed)
    return {
        "error": error,
        "output": [bits(one) for one in parts(output)],
        "input": bits(x),
        "gradients": [one.grad if one.grad is None else bits(one.grad) for one in weights(model)],
        "buffers": [bits(one) for _, one in model.named_buffers()],
        "random": bits(torch.get_rng_state()),
        "around": around(model),
    }


def weights(model):
    return [one for _, one in model.named_parameters()]


def around(model):
    """Return what a recording may change meanwhile, and never afterwards."""
    return {
        "hooks": hook_count(model),
        "global hooks": [
            len(hooks) for hooks in map(vars(torch_module).get, GLOBAL_HOOKS) if hooks
        ],
        "modes": [len(function_modes()), len(dispatch_modes())],
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "training": [module.training for module in model.modules()],
        "names": [sorted(vars(module)) for module in model.modules()],
    }


@pytest.fixture(scope="module", autouse=True)
def _quick_collections():
    """Leave what was there before out of every collection: torch alone takes 0.2 s."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def photo(requires_grad):
    x = torch.linspace(-2, 2, mazes.ROWS * mazes.COLUMNS).view(mazes.ROWS, mazes.COLUMNS)
    return x.clone().requires_grad_(requires_grad)


@cases(60)
@example(
    plan=("chain", [("batch", (), 0), ("again", [("chain", [("relu_", (), 0)], 0)], 0)], 0),
    how={"training": False, "cyclic": True},
    wish={"keep": "values", "inputs": False, "grads": False, "channels": False},
    calls=[],
    use={"backward": False, "input_grad": False},
)
@given(
    plan=mazes.PLANS,
    how=st.fixed_dictionaries({"training": st.booleans(), "cyclic": st.booleans()}),
    wish=WISHES,
    calls=st.lists(st.sampled_from(OPS), unique=True),
    use=st.fixed_dictionaries({"backward": st.booleans(), "input_grad": st.booleans()}),
)
def test_a_random_model_is_recorded_as_it_is(plan, how, wish, calls, use):
    TRIED["models"] += 1
    alone = mazes.build(plan, **how)
    bare = run(alone, **use)
    watched = mazes.build(plan, **how)
    truth = mazes.Watched(watched)
    run(watched, **use, before_backward=lambda: setattr(truth, "off", True))
    model = mazes.build(plan, **how)
    targets = [f"**.{op}()" for op in calls]
    recording = capture(model, ".", "**", *targets, required=False, **wish)
    try:
        seen = run(model, **use)
    finally:
        recording.close()
    seen["around"] = around(model)
    TRIED["models that failed, or were stopped"] += bare["error"] is not None
    assert seen == bare
    wanted = [one for one in truth.seen if not one[1] or one[1] in calls]
    check(recording, wanted, wish)
    TRIED["feature maps"] += len(recording)
    kept = [one.tensor for one in recording.values() if record_of(one).kept.tensor is not None]
    alive = [weakref.ref(one) for one in (recording, recording._log, *kept)]
    unwatched, model = weakref.ref(alone), weakref.ref(model)
    del alone, recording, kept
    gc.collect()
    assert not any(one() is not None for one in alive)
    # torch itself keeps some for good: a cycle of modules through the graph of a checkpoint.
    assert (model() is None) or (unwatched() is not None)


def check(recording, wanted, wish):
    """Compare what was recorded with what was seen without hooks."""
    expected = [
        (path, place, taken, value, grads[place])
        for path, _, taken, given, grads in wanted
        for place, value in enumerate(given)
    ]
    assert [one.layer for one in recording.values()] == [path for path, *_ in expected]
    calls = {}
    for one, (path, place, taken, value, grads) in zip(recording.values(), expected, strict=True):
        if place == 0:
            calls[path] = calls.get(path, -1) + 1
        assert (one.call, one.shape, one.dtype) == (calls[path], value.shape, value.dtype)
        check_values(one, value, wish["keep"])
        if wish["inputs"] and taken:
            given = list(one.inputs.values())
            assert len(given) == len(taken)
            for each, truth in zip(given, taken, strict=True):
                check_values(each, truth, wish["keep"])
        if wish["grads"] and not path.endswith("()"):
            check_gradient(one, grads, wish["keep"])


def check_values(one, value, keep):
    if keep == "values":
        assert bits(one.tensor) == bits(value)
    elif keep == "stats":
        check_numbers(one.stats, value.to(torch.float64).numpy())
    else:
        with pytest.raises(CaptureError):
            _ = one.stats


def check_numbers(stats, values):
    finite = values[np.isfinite(values)]
    assert stats.count == values.size
    assert stats.nan_count == np.isnan(values).sum()
    assert stats.inf_count == np.isinf(values).sum()
    if finite.size:
        scale = np.sqrt(np.square(finite).mean())
        assert (stats.min, stats.max) == (finite.min(), finite.max())
        assert abs(stats.mean - finite.mean()) <= 1e-6 * scale
        assert abs(stats.rms - scale) <= 1e-6 * scale


def check_gradient(one, grads, keep):
    if not grads:
        with pytest.raises(CaptureError):
            _ = one.grad
    elif len(grads) == 1 or keep == "values":
        check_values(one.grad, sum(grads[1:], grads[0]), keep)
