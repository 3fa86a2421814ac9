"""What recording does how often: counts that are the same on every machine."""

import gc
from collections import Counter

import pytest
import torch
from nets import hook_count
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pytest_featuremaps import capture
from pytest_featuremaps.names.keys import Place
from pytest_featuremaps.numbers import folding
from pytest_featuremaps.recording.recorder import Recorder
from pytest_featuremaps.recording.recording import Recording


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of what is named: `calls(Place, "spellings")` returns a counter."""
    counted = Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counting(*args, **kwargs):
            counted[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)
        return counted

    return count


def chain(size):
    return nn.Sequential(*(nn.Identity() for _ in range(size)))


# Reading


def test_a_map_is_put_under_its_names_once_however_often_maps_are_looked_up(calls):
    counted = calls(Place, "spellings")
    model, values = chain(5), torch.zeros(3)
    with capture(model, "*") as maps:
        for number in range(20):
            model(values)
            assert maps[f"3#{number}"].call == number if number else maps["3"].call == 0
            assert maps.of("model")[f"3#{number}"].call == number
            assert f"4#{number}" in maps
            assert "4" not in maps.only("4") or not number
    assert counted["spellings"] == 5 * 20


def test_what_is_cleared_is_found_no_more_and_what_follows_is():
    model = chain(2)
    with capture(model, "*") as maps:
        model(torch.zeros(3))
        before = maps["0"]
        maps.clear()
        assert "0" not in maps
        model(torch.zeros(3))
    assert maps["0"] is not before


# Hooks


@pytest.mark.parametrize(
    ("options", "each"), [({}, 1), ({"keep": "stats"}, 1), ({"inputs": True}, 2)]
)
def test_hooks_per_module_and_one_more_that_tells_whether_the_model_ran(options, each):
    model = chain(10)
    with capture(model, "*", **options):
        assert hook_count(model) == 10 * each + 1
    assert hook_count(model) == 0


def test_a_hook_is_few_objects_to_python():
    """A garbage collection takes time for each object that it has to look at."""
    small, large = chain(10), chain(1010)
    more = objects_of(large) - objects_of(small)
    assert more < 15 * 1000


def objects_of(model):
    """How many objects that hold others come with the hooks on a model."""
    gc.collect()
    before = len(gc.get_objects())
    with capture(model, "*"):
        return len(gc.get_objects()) - before


def test_a_model_is_walked_over_as_often_whatever_is_captured(calls):
    counted = calls(nn.Module, "named_modules")
    with capture(chain(10), "*", "**", where=nn.Identity):
        pass
    assert counted["named_modules"] == 0


# Values


class Operations(TorchDispatchMode):
    """Counts the operations of torch, and the elements that new tensors have."""

    def __init__(self):
        super().__init__()
        self.names = Counter()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names[func.overloadpacket.__name__] += 1
        known = {one.untyped_storage().data_ptr() for one in tensors((args, kwargs))}
        for one in tensors(result):
            if one.untyped_storage().data_ptr() not in known:
                self.elements += one.numel()
        return result


def tensors(value):
    return [one for one in tree_leaves(value) if isinstance(one, torch.Tensor)]


def recorded(size, **options):
    """The operations of a forward of three modules, each of which gives `size` values."""
    model, values = chain(3), torch.randn(size)
    with Operations() as bare:
        model(values)
    with Recording(Recorder(sketched=options.pop("sketched", True))) as maps:
        maps.attach(model, "*", **options)
        with Operations() as taken:
            model(values)
    taken.names -= bare.names
    taken.elements -= bare.elements
    return taken


def test_values_are_copied_once():
    taken = recorded(500_000)
    assert taken.names["clone"] == 3
    assert taken.elements == 3 * 500_000
    assert set(taken.names) == {"detach", "clone"}


def test_shapes_cost_no_operation():
    assert not recorded(500_000, keep="shapes").names


@pytest.mark.parametrize("sketched", [False, True])
def test_statistics_read_each_value_in_a_fixed_number_of_passes(sketched):
    taken = recorded(700_000, keep="stats", sketched=sketched)
    # Zeros are counted, and the values folded, by NumPy.
    passes = {"dot": 0, "aminmax": 3, "linalg_vector_norm": 3, "sum": 3, "copy_": 0, "mul": 0}
    passes |= {"_to_copy": 0, "clone": 0, "isfinite": 0, "count_nonzero": 0}
    assert {name: taken.names[name] for name in passes} == passes


@pytest.mark.parametrize("sketched", [False, True])
def test_statistics_take_no_memory_that_grows_with_the_map(sketched):
    assert recorded(2_000_000, keep="stats", sketched=sketched).elements < 3 * 50_000


def test_signs_are_made_once(calls):
    counted = calls(folding, "signs")
    folding._chunk_signs.cache_clear()
    recorded(700_000, keep="stats")
    recorded(700_000, keep="stats")
    assert counted["signs"] == 2
