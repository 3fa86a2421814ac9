"""A feature map as a line of numbers, and the digest of the weights that made it."""

import pickle

import pytest
import torch
from nets import Net
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.baseline import comparing
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.feature_maps import view_of
from pytest_featuremaps.maps.measuring import environment, line, table
from pytest_featuremaps.recording.weights import weights_of


def digest_after(model, change=lambda model: None):
    """The digest of the weights of a captured model, measured after a change."""
    with capture(model, ".") as maps:
        model(torch.ones(1, 2))
    change(model)
    return line(".", record_of(maps["."])).weights


def linear():
    torch.manual_seed(0)
    return nn.Linear(2, 2)


def test_equal_weights_have_equal_digests_and_others_do_not():
    other = linear()
    other.weight.data[0, 0] += 1e-3
    assert digest_after(linear()) == digest_after(linear())
    assert digest_after(linear()) != digest_after(other)
    assert digest_after(nn.ReLU()) is None


def test_the_weights_of_children_count():
    one, other = nn.Sequential(linear()), nn.Sequential(linear())
    other[0].bias.data += 1
    assert digest_after(one) != digest_after(other)


def test_how_many_batches_a_norm_has_seen_is_none_of_its_weights():
    one, other = (nn.Sequential(nn.BatchNorm2d(3)) for _ in range(2))
    other[0].num_batches_tracked += 5
    for pair in ((one, other), (one[0], other[0])):
        assert len({weights_of(module)() for module in pair}) == 1
    other[0].running_mean += 1
    assert weights_of(one)() != weights_of(other)()


def test_weights_that_changed_since_say_nothing():
    def train(model):
        with torch.no_grad():
            model.weight += 1

    assert digest_after(linear(), train) == ""


def test_weights_that_were_loaded_before_the_model_ran_are_known():
    model, other = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))
    with capture(model, "0") as maps:
        model.load_state_dict(other.state_dict())
        model(torch.ones(2))
    assert line("0", record_of(maps["0"])).weights == weights_of(other[0])()


def test_weights_after_a_step_are_known_once_what_was_made_before_it_is_forgotten():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with capture(model, "*") as maps:
        model(torch.ones(2))
        before = maps["0"]
        with torch.no_grad():
            model[0].weight += 1
        model(torch.ones(2))
        assert line("0#1", record_of(maps["0#1"])).weights == ""  # the two calls had two states
        maps.clear()
        model(torch.ones(2))
    assert line("0", record_of(maps["0"])).weights == weights_of(model[0])()
    assert line("0", record_of(before)).weights == ""


@pytest.mark.parametrize("training", [False, True])
def test_weights_of_a_layer_that_ran_without_its_model(training):
    """A forward in training mode may change them, and nothing was asked before it."""
    model = nn.Sequential(nn.BatchNorm1d(2)).train(training)
    with capture(model, "0", required=False) as maps:
        model[0](torch.ones(3, 2))
    known = line("0", record_of(maps["0"])).weights
    assert known == ("" if training else weights_of(model[0])())


def test_weights_of_a_first_call_in_training_are_not_those_of_a_later_one():
    model = nn.Sequential(nn.BatchNorm1d(2))
    with capture(model, "0", required=False) as maps:
        model[0](torch.randn(3, 2))
        model.eval()
        model[0](torch.randn(3, 2))
    assert line("0#0", record_of(maps["0#0"])).weights == ""


def test_weights_that_cannot_be_read_say_nothing():
    model = linear()
    model.register_buffer("adjacency", torch.eye(2).to_sparse())
    assert digest_after(model) == ""


def test_a_model_that_is_gone_says_nothing():
    model = linear()
    with capture(model, ".") as maps:
        model(torch.ones(1, 2))
    one = maps["."]
    del model
    assert line(".", record_of(one)).weights == ""


def test_a_model_that_is_gone_and_had_no_weights_had_none():
    model = nn.ReLU()
    with capture(model, ".") as maps:
        model(torch.ones(1, 2))
    one = maps["."]
    del model
    assert line(".", record_of(one)).weights is None


@pytest.mark.parametrize("keep", ["values", "stats", "shapes"])
def test_what_was_kept_is_measured_and_compared(net, photo, keep):
    tables = []
    for _ in range(2):
        with capture(net, "**", keep=keep) as maps:
            net(photo)
        tables.append(table(view_of(maps)))
    known = {"values": {"stats", "sketch", "digest"}, "stats": {"stats", "sketch"}, "shapes": set()}
    for one in tables[0].lines:
        found = {name for name in ("stats", "sketch", "digest") if getattr(one, name)}
        assert found == known[keep]
    assert comparing.compare(*tables)
    wider = Net().eval()
    wider.features[2] = nn.Conv2d(8, 3, 1)
    with capture(wider, "**", keep=keep) as maps:
        wider(photo)
    assert comparing.compare(tables[0], table(view_of(maps))).first.kind in {"changed", "reshaped"}


def test_one_sample_is_measured_on_its_own(photo):
    model = nn.Identity()
    with capture(model, ".") as maps:
        model(photo)
        model(photo[:1])
    both, alone = map(record_of, maps.values())
    assert line("key", both, sample=0).digest == line("key", alone).digest
    assert line("key", both).digest != line("key", alone).digest


def test_the_environment_is_plain_values():
    facts = environment()
    assert {"torch", "machine", "cpu", "threads"} <= set(facts)
    assert all(isinstance(one, str | int | bool | None) for one in facts.values())


def test_a_map_survives_pickling_without_its_model(net, photo):
    with capture(net, "small_model.conv1") as maps:
        net(photo)
    one = pickle.loads(pickle.dumps(maps["small_model.conv1"]))  # noqa: S301 - made here
    assert torch.equal(one.tensor, maps["small_model.conv1"].tensor)
    assert (one.key, one.shape) == ("small_model.conv1", (2, 4, 10, 10))
    assert line(one.key, record_of(one)).weights == ""
