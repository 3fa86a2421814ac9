"""Gradients of captured maps: the right number, or the reason why there is none."""

import gc
import weakref

import pytest
import torch
from torch import nn

from pytest_featuremaps import CaptureError, capture
from pytest_featuremaps.maps.feature_map import record_of

CHANGED = [
    "l (Linear) has no gradient: its output is a view that was changed in place afterwards, and "
    "torch then keeps no gradient of what it was before.",
    "Linear (on three axes), Flatten, LSTM and pooling give such views. Take inplace=True away "
    "behind this layer, or capture the layer that changes it.",
]


class UsedTwice(nn.Module):
    """Uses what a layer gave, changes it in place, and uses it again."""

    def __init__(self):
        super().__init__()
        self.l = nn.Linear(2, 2)

    def forward(self, x):
        y = self.l(x)
        before = y.sum() * 10
        y += 1
        return before + y.sum()


def told(caught):
    return str(caught.value).splitlines()


def test_the_gradient_of_what_is_changed_in_place_later_is_whole():
    model = UsedTwice()
    with capture(model, "l", grads=True) as maps:
        model(torch.ones(3, 2)).backward()
    assert maps["l"].grad.tensor.unique().tolist() == [11]


def test_where_torch_loses_a_part_of_a_gradient_there_is_none_and_the_reason():
    model = UsedTwice()
    with capture(model, "l", grads=True) as maps:
        model(torch.ones(1, 3, 2)).backward()
        with pytest.raises(CaptureError) as caught:
            _ = maps["l"].grad
        assert told(caught) == CHANGED
    with pytest.raises(CaptureError) as caught:
        _ = maps["l"].grad
    assert told(caught) == CHANGED


@pytest.mark.parametrize("before", [nn.Flatten(), nn.AvgPool1d(1), nn.Linear(4, 4)])
def test_in_place_activations_behind_views(before):
    model = nn.Sequential(nn.GELU(), before, nn.ReLU(inplace=True))
    with capture(model, "1", grads=True) as maps:
        model(torch.rand(2, 3, 4, requires_grad=True)).sum().backward()
    with pytest.raises(CaptureError, match="keeps no gradient of what it was before"):
        _ = maps["1"].grad


def test_a_view_that_nobody_changes_has_its_gradient():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    with capture(model, "0", grads=True) as maps:
        model(torch.rand(2, 3, 4)).sum().backward()
    output = maps["0"].tensor
    assert torch.equal(maps["0"].grad.tensor, (output > 0).float())


def test_a_view_is_not_held_after_the_recording():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    gc.collect()
    gc.disable()
    try:
        with capture(model, "0", grads=True) as maps:
            output = model(torch.rand(2, 3, 4))
            gone = weakref.ref(output.untyped_storage())
        del output
        assert record_of(maps["0"]).gradients.view.changed
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
def test_batched_gradients_are_left_alone_and_told():
    model, x = nn.Sequential(nn.Linear(3, 3), nn.Tanh()), torch.rand(3)
    bare = torch.autograd.functional.jacobian(model, x, vectorize=True)
    with capture(model, "0", grads=True) as maps:
        assert torch.equal(torch.autograd.functional.jacobian(model, x, vectorize=True), bare)
        with pytest.raises(CaptureError) as caught:
            _ = maps["0"].grad
    assert told(caught)[0].startswith("0 (Linear): its gradient could not be recorded: Runtime")
    with capture(model, "0", grads=True) as maps:
        torch.func.hessian(lambda v: model(v).sum())(x)
        with pytest.raises(CaptureError) as caught:
            _ = maps["0"].grad
    assert told(caught) == [
        "0 (Linear): its gradient could not be recorded: UnsupportedTensor: inside torch.vmap a "
        "tensor stands for one sample of many and cannot be kept: call the model on the whole "
        "batch."
    ]


def test_what_is_cleared_waits_for_no_gradient():
    model = nn.Sequential(nn.Linear(3, 3))
    with capture(model, "0", grads=True) as maps:
        output = model(torch.rand(2, 3))
        gone = weakref.ref(maps["0"])
        maps.clear()
        gc.collect()
        assert gone() is None
        output.sum().backward()
        assert len(maps) == 0
