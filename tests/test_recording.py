"""Hooks on, values in, hooks surely off, on models without any pytest machinery."""

import copy
import dataclasses
import gc
import io
import pickle
import subprocess
import sys
import weakref
from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch
from nets import Net, hook_count
from torch import nn

import pytest_featuremaps
from pytest_featuremaps import AmbiguousKey, CaptureError, FeatureMaps, capture
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.feature_maps import view_of


def test_the_true_output_survives_an_in_place_activation(net, photo):
    with capture(net, "small_model.conv2") as maps:
        net(photo)
    expected = net.small_model(photo)
    assert torch.equal(maps["small_model.conv2"].tensor, expected)
    assert expected.min() < 0


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_output_is_bit_identical_and_the_copy_plain(net, photo, mode):
    with mode():
        bare = net(photo)
        with capture(net, "**", ".") as maps:
            captured = net(photo)
    assert torch.equal(bare, captured)
    assert not any(one.tensor.requires_grad for one in maps.values())
    maps["small_model"].tensor.add_(1)  # an inference tensor would refuse


def test_nothing_the_caller_does_later_reaches_the_copy(net, photo):
    with capture(net, ".") as maps:
        output = net(photo)
    before = maps["."].tensor.clone()
    output.detach().numpy()[...] = 7
    assert torch.equal(maps["."].tensor, before)


def test_a_view_pins_no_more_memory_than_its_own_size():
    class Slice(nn.Module):
        def forward(self, x):
            return x[:, :1].expand(-1, 3, -1)

    model = nn.Sequential(Slice())
    with capture(model, "0") as maps:
        model(torch.rand(2, 100, 4))
    assert maps["0"].tensor.untyped_storage().nbytes() == 2 * 3 * 4 * 4


def test_gradients_still_flow(net, photo):
    with capture(net, "**"):
        net(photo).sum().backward()
    assert net.small_model.conv1.weight.grad is not None


def test_maps_come_in_order_of_completion(net, photo):
    with capture(net, "**", ".") as maps:
        net(photo)
    assert list(maps) == [
        "small_model.conv1",
        "small_model.conv2",
        "small_model",
        "relu#0",
        "features.0",
        "features.1",
        "features.2",
        "features",
        "relu#1",
        ".",
    ]


def test_a_second_call_changes_the_key_and_not_the_map(net, photo):
    with capture(net, "small_model.conv1") as maps:
        net(photo)
        first = maps["small_model.conv1"]
        assert (first.key, first.layer, first.call) == ("small_model.conv1", "small_model.conv1", 0)
        net(photo)
    assert (first.key, first.layer, first.call) == ("small_model.conv1#0", "small_model.conv1", 0)
    assert list(maps) == ["small_model.conv1#0", "small_model.conv1#1"]
    assert maps.calls("small_model.conv1") == [first, maps["small_model.conv1#1"]]


def test_an_ambiguous_key_lists_the_choices(net, photo):
    with capture(net, "relu") as maps:
        net(photo)
    with pytest.raises(AmbiguousKey) as caught:
        maps["relu"]
    assert str(caught.value).splitlines() == [
        "'relu' means 2 feature maps: relu#0, relu#1.",
        "Name one of them, or go over all with feature_maps.calls(...).",
    ]
    assert "relu" not in maps
    assert "relu#1" in maps


def test_longer_spellings_find_a_map_while_they_are_unambiguous(net, photo):
    with capture(net, "small_model.conv1") as maps:
        net(photo)
    one = maps["small_model.conv1"]
    assert maps["small_model.conv1#0"] is one
    assert maps["model:small_model.conv1"] is one
    assert "small_model.conv1#1" not in maps
    assert 3 not in maps


def test_a_missing_key_says_why(net, photo):
    with capture(net, "small_model.conv1", "unused") as maps:
        net(photo)
        with pytest.raises(CaptureError) as never_ran:
            maps["unused"]
        with pytest.raises(KeyError) as not_captured:
            maps["small_model.conv2"]
        with pytest.raises(KeyError) as no_such:
            maps["conv9"]
        maps.clear()
        with pytest.raises(KeyError) as cleared:
            maps["small_model.conv1"]
    recorded = "Recorded are: small_model.conv1."
    assert str(never_ran.value).splitlines() == [
        "There is no feature map 'unused': the model ran without it; perhaps a branch was "
        "not taken, or an error of it was caught.",
        recorded,
    ]
    assert str(not_captured.value).splitlines() == [
        "There is no feature map 'small_model.conv2': the module exists, but is not captured.",
        recorded,
    ]
    assert str(no_such.value).splitlines() == ["There is no feature map 'conv9'.", recorded]
    assert str(cleared.value).splitlines() == [
        "There is no feature map 'small_model.conv1': it has not run since the last clear().",
        "Recorded are: none.",
    ]
    assert maps.get("conv9") is None


def test_clear_counts_calls_from_zero_again(net, photo):
    with capture(net, "small_model.conv1") as maps:
        net(photo)
        maps.clear()
        assert len(maps) == 0
        net(photo)
    assert list(maps) == ["small_model.conv1"]
    assert maps["small_model.conv1"].call == 0


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@dataclasses.dataclass
class Answer:
    last_hidden_state: torch.Tensor
    note: str = "no tensor"


@pytest.mark.parametrize(
    ("wrap", "keys"),
    [
        (lambda x: (x,), ["."]),
        (lambda x: (x, x), [".[0]", ".[1]"]),
        (lambda x: [x, None, x], [".[0]", ".[2]"]),
        (lambda x: (x, (x, x)), [".[0]", ".[1][0]", ".[1][1]"]),
        (lambda x: {"out": x, "aux": [x]}, [".[out]", ".[aux][0]"]),
        (lambda x: OrderedDict(feat=x, pool=x), [".[feat]", ".[pool]"]),
        (lambda x: Pair(x, x), [".[left]", ".[right]"]),
        (lambda x: (Answer(x), x), [".[0][last_hidden_state]", ".[1]"]),
        (lambda _: None, []),
    ],
    ids=["one", "tuple", "list", "nested", "dict", "ordered", "namedtuple", "dataclass", "none"],
)
def test_structured_outputs_have_readable_keys(wrap, keys):
    class Wrap(nn.Module):
        def forward(self, x):
            return wrap(x)

    model = Wrap()
    with capture(model, ".") as maps:
        model(torch.ones(2))
    assert list(maps) == keys


def test_an_lstm_has_its_states(photo):
    model = nn.Sequential(OrderedDict(rnn=nn.LSTM(3, 5, batch_first=True)))
    with capture(model, "rnn") as maps:
        model(torch.rand(2, 4, 3))
        model(torch.rand(2, 4, 3))
    assert list(maps)[:3] == ["rnn#0[0]", "rnn#0[1][0]", "rnn#0[1][1]"]
    assert maps["rnn#1[1][0]"].shape == (1, 2, 5)
    assert record_of(maps["rnn#1[1][0]"]).place.leaf == (1, 0)
    with pytest.raises(AmbiguousKey, match="means 2 feature maps"):
        maps["rnn#1[1]"]


def test_a_shorter_spelling_reaches_into_an_output():
    class Nested(nn.Module):
        def forward(self, x):
            return x, (x,)

    model = Nested()
    with capture(model, ".") as maps:
        model(torch.ones(2))
    assert maps[".[1]"] is maps[".[1][0]"]


def test_an_alias_finds_the_map_of_a_shared_module(net, photo):
    net.alias = net.small_model
    with capture(net, "alias.conv1") as maps:
        net(photo)
        net(photo)
    assert list(maps) == ["small_model.conv1#0", "small_model.conv1#1"]
    assert maps["alias.conv1#1"] is maps["small_model.conv1#1"]
    assert "alias.conv1" not in maps


def test_names_that_look_like_keys_stay_apart():
    model = nn.Sequential()
    model.add_module("a", nn.ReLU())
    model.add_module("a#1", nn.Tanh())
    with capture(model, "a", "a#1") as maps:
        model(torch.ones(1))
        model.a(torch.ones(1))
    assert list(maps) == ["a#0", "a#1#0", "a#1"]
    assert maps["a#1"].module_type == "ReLU"
    assert maps["a#1#0"].module_type == "Tanh"


def test_two_models_have_names(net, photo):
    teacher = Net().eval()
    with capture(net, "small_model.*", name="student") as maps:
        view = maps.attach(teacher, "small_model.conv1", name="teacher")
        net(photo)
        teacher(photo)
    assert list(maps) == [
        "student:small_model.conv1",
        "student:small_model.conv2",
        "teacher:small_model.conv1",
    ]
    assert list(view) == list(maps.of("teacher")) == ["small_model.conv1"]
    assert list(maps.of("student").only("*.conv2")) == ["small_model.conv2"]
    assert maps["small_model.conv2"] is maps["student:small_model.conv2"]
    with pytest.raises(AmbiguousKey):
        maps["small_model.conv1"]
    with pytest.raises(CaptureError) as caught:
        maps.of("pupil")
    assert str(caught.value) == (
        "No model named 'pupil' is recorded. Recorded are: student, teacher."
    )


def test_a_map_is_one_object_however_it_is_found(net, photo):
    with capture(net, "**", required=False) as maps:
        net(photo)
    one = maps["small_model.conv1"]
    assert maps["small_model.conv1#0"] is one
    assert maps.calls("small_model.conv1") == [one]
    assert maps.only("small_model.*")["small_model.conv1"] is one
    numbers = one.stats
    del one
    assert maps["small_model.conv1"].stats is numbers  # measured once, whoever holds the map


def test_only_chooses_layers(net, photo):
    with capture(net, "**") as maps:
        net(photo)
        net(photo)
    chosen = maps.only("small_model.conv2", "features.*")
    assert isinstance(chosen, FeatureMaps)
    assert set(chosen) == {
        f"{path}#{call}"
        for path in ("small_model.conv2", "features.0", "features.1", "features.2")
        for call in (0, 1)
    }
    with pytest.raises(CaptureError) as caught:
        maps.only("conv9")
    assert str(caught.value).splitlines() == [
        "only('conv9') matches no captured layer.",
        "Captured are: features, features.0, features.1, features.2, relu, small_model, "
        "small_model.conv1, small_model.conv2, unused.",
    ]


def test_overlapping_targets_are_captured_once(net, photo):
    with capture(net, "small_model.conv1", "**.conv1") as maps:
        maps.attach(net, "small_model.*")
        net(photo)
    assert list(maps) == ["small_model.conv1", "small_model.conv2"]


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)

    def forward(self, x):
        self.first(x)
        raise self.error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_hooks_come_off_after_an_exception(error):
    model = Broken()
    model.error = error
    model.first.register_forward_hook(lambda *_: None)
    with pytest.raises(type(error)), capture(model, "**", ".") as maps:
        model(torch.ones(2))
    assert hook_count(model) == 1
    assert list(maps) == ["first"]


def test_registration_is_all_or_nothing(net):
    class Stubborn(nn.Linear):
        def register_forward_hook(self, *args, **kwargs):
            raise RuntimeError("no hooks here")

    net.features.append(Stubborn(2, 2))
    with pytest.raises(RuntimeError, match="no hooks here"):
        capture(net, "**")
    assert hook_count(net) == 0
    with pytest.raises(CaptureError):
        capture(net, "small_model.conv1", "conv9")
    assert hook_count(net) == 0


def test_removal_goes_on_past_an_error(net, photo, monkeypatch):
    remove = torch.utils.hooks.RemovableHandle.remove
    calls = []

    def once_broken(handle):
        calls.append(handle)
        if len(calls) == 2:
            raise RuntimeError("cannot")
        remove(handle)

    monkeypatch.setattr(torch.utils.hooks.RemovableHandle, "remove", once_broken)
    recording = capture(net, "**")
    before = hook_count(net)
    with pytest.raises(RuntimeError, match="cannot"):
        recording.close()
    assert len(calls) == before
    assert hook_count(net) == 0, "what could not be removed is swept up"
    net(photo)
    assert len(recording) == 0


def test_closing_twice_is_safe_and_a_closed_recording_takes_no_model(net):
    recording = capture(net, "**")
    recording.close()
    recording.close()
    with pytest.raises(CaptureError) as caught:
        recording.attach(net, "**")
    assert str(caught.value) == "attach(): this recording is over; its hooks are off."


def test_a_model_must_be_a_module_and_names_must_differ(net):
    with pytest.raises(CaptureError) as caught:
        capture(torch.relu, "conv1")
    assert str(caught.value) == (
        "attach(): the model is a builtin_function_or_method, not a torch.nn.Module."
    )
    with capture(net, "**") as maps, pytest.raises(CaptureError) as caught:
        maps.attach(Net(), "**")
    assert str(caught.value) == (
        "attach(): another model is recorded as 'model'. Give this one a name of its own, such "
        'as name="teacher".'
    )
    with capture(net, "**") as maps, pytest.raises(CaptureError, match="without a colon"):
        maps.attach(Net(), "**", name="a:b")


def test_a_copied_pickled_or_moved_hook_is_inert(net, photo):
    with capture(net, "small_model.conv1") as maps:
        twin = copy.deepcopy(net)
        stored = io.BytesIO()
        torch.save(net, stored)
        other = nn.ReLU()
        other._forward_hooks = net.small_model.conv1._forward_hooks
        twin(photo)
        other(photo)
        stored.seek(0)
        torch.load(stored, weights_only=False)(photo)
        assert len(maps) == 0
        net(photo)
    assert list(maps) == ["small_model.conv1"]
    del maps
    gc.collect()
    twin(photo)


def test_a_pickle_made_while_captured_loads_where_this_package_is_not(net, photo, tmp_path):
    path = tmp_path / "net.pt"
    model = nn.Sequential(nn.Linear(2, 2))
    with capture(model, "0", inputs=True):
        torch.save(model, path)
    code = (
        "import sys; sys.modules['pytest_featuremaps'] = None\n"
        "import torch\n"
        f"model = torch.load({str(path)!r}, weights_only=False)\n"
        "print(tuple(model(torch.ones(1, 2)).shape))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("(1, 2)\n", 0), run.stderr


def test_what_copies_and_pickles_carry_comes_off_with_the_next_recording():
    model = nn.Sequential(nn.Linear(2, 2))
    with capture(model, "0", inputs=True):
        loaded = pickle.loads(pickle.dumps(model))
        twins = [copy.deepcopy(model), loaded, copy.deepcopy(loaded)]
        twins.append(pickle.loads(pickle.dumps(loaded)))
    for twin in twins:
        assert hook_count(twin) == 3
        own = twin[0].register_forward_hook(lambda *_: None)
        with capture(twin, "0") as maps:
            twin(torch.ones(1, 2))
        assert list(maps) == ["0"]
        assert hook_count(twin) == 1, "that of the user stays"
        own.remove()
        for one in (twin, twin[0]):
            assert not one._forward_hooks_with_kwargs
            assert not one._forward_pre_hooks_with_kwargs


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_copy_made_while_captured_says_why_it_cannot_be_scripted():
    model = nn.Sequential(nn.Linear(2, 2))
    with capture(model, "0"):
        twin = copy.deepcopy(model)
    with pytest.raises(AttributeError) as caught:
        torch.jit.script(copy.deepcopy(twin))
    assert str(caught.value) == (
        "this is a copy of a module that was captured when it was copied, and cannot be scripted: "
        "copy it before the recording, or after"
    )


def test_a_symbolic_trace_is_no_call(net):
    model = nn.Sequential(nn.Sequential(nn.ReLU()))
    with capture(model, "0", "0.0", inputs=True) as maps:
        torch.fx.symbolic_trace(model)
        model(torch.ones(2))
    assert list(maps) == ["0.0", "0"]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_inputs_that_cannot_be_kept_are_told_where_they_are_read():
    class Pad(nn.Module):
        def forward(self, x):
            return torch.nested.to_padded_tensor(x, 0.0)

    model = Pad()
    with capture(model, ".", inputs=True) as maps:
        model(torch.nested.as_nested_tensor([torch.ones(2, 3), torch.ones(1, 3)]))
    assert maps._recorder.silence() == ""
    assert maps["."].shape == (2, 2, 3)
    reason = (
        "UnsupportedTensor: a nested tensor's samples differ in size, so it has no one shape: pad "
        "it with torch.nested.to_padded_tensor, or build the nn.TransformerEncoder that makes it "
        "with enable_nested_tensor=False"
    )
    with pytest.raises(CaptureError) as caught:
        _ = maps["."].inputs
    assert str(caught.value) == f". (Pad): what went into it could not be recorded: {reason}."
    assert maps.summary().splitlines()[-1] == f"inputs not recorded: . ({reason})"


def test_keywords_called_like_a_parameter_are_inputs_of_their_own():
    class Rest(nn.Module):
        def forward(self, x, /, *rest, **options):
            return x

    class Many(nn.Module):
        def forward(self, *x, **options):
            return x[0]

    model = Rest()
    with capture(model, ".", inputs=True) as maps:
        model(torch.ones(1), torch.ones(2), x=torch.ones(5), y=torch.ones(6))
    sizes = {name: one.shape[0] for name, one in maps["."].inputs.items()}
    assert sizes == {"x": 1, "rest[0]": 2, "options[x]": 5, "y": 6}
    model = Many()
    with capture(model, ".", inputs=True) as maps:
        model(torch.ones(1), torch.ones(2), x=[torch.ones(3), torch.ones(4)])
    sizes = {name: one.shape[0] for name, one in maps["."].inputs.items()}
    assert sizes == {"x[0]": 1, "x[1]": 2, "options[x][0]": 3, "options[x][1]": 4}


def test_a_long_list_of_numbers_is_passed_over(photo):
    class Long(nn.Module):
        def forward(self, x, lengths):
            return x

    model = Long()
    with capture(model, ".", keep="stats") as maps:
        model(photo, list(range(2000)))
    assert view_of(maps).inputs_digest() is None
    with capture(model, ".", keep="stats") as maps:
        model(photo, list(range(20)))
    assert view_of(maps).inputs_digest()


def test_a_name_that_is_no_word_is_told(net):
    with capture(net, "**") as maps, pytest.raises(CaptureError) as caught:
        maps.attach(Net(), "**", name=3)
    assert str(caught.value) == "attach(name=3): a name is a word without a colon."


def test_a_recording_is_pickled_as_its_maps(net, photo):
    with capture(net, "small_model.conv1", grads=True) as maps:
        net(photo)
        other = pickle.loads(pickle.dumps(maps))
    assert list(other) == ["small_model.conv1"]
    assert torch.equal(other["small_model.conv1"].tensor, maps["small_model.conv1"].tensor)


def test_only_our_own_hooks_come_off(net, photo):
    seen = []
    net.small_model.register_forward_hook(lambda *_: seen.append("before"))
    with capture(net, "small_model"):
        net.small_model.register_forward_hook(lambda *_: seen.append("after"))
    net(photo)
    assert seen == ["before", "after"]
    assert hook_count(net) == 2


def test_neither_model_nor_tensors_outlive_the_recording(photo):
    model = Net()
    recording = capture(model, "**")
    model(photo)
    recording.close()
    kept = [weakref.ref(model), *(weakref.ref(one.tensor) for one in recording.values())]
    gc.collect()
    gc.disable()
    try:
        del model, recording
        assert [one() for one in kept] == [None] * len(kept), "only a reference cycle keeps them"
    finally:
        gc.enable()


def test_silence_names_each_target_and_what_ran(net, photo):
    with capture(net, "small_model.conv1", "unused") as maps:
        maps.attach(net, "*nused", where=nn.Linear)
        net(photo)
    assert maps._recorder.silence().splitlines() == [
        "capture(\"unused\"): 'unused' (Linear) did not run: the model ran without it; "
        "perhaps a branch was not taken, or an error of it was caught.",
        "capture(\"*nused\", where=Linear): the one module it matches, 'unused' (Linear), did not "
        "run: the model ran without it; perhaps a branch was not taken, or an error of it was "
        "caught.",
        "Captured and ran: small_model.conv1.",
        "If this is meant, capture with required=False.",
    ]


def test_silence_knows_modules_that_never_run():
    model = nn.Sequential(nn.MultiheadAttention(4, 2), nn.ModuleList([nn.ReLU()]))
    with capture(model, "0.out_proj", "1") as maps:
        pass
    first, second = maps._recorder.silence().splitlines()[:2]
    assert first == (
        "capture(\"0.out_proj\"): '0.out_proj' (NonDynamicallyQuantizableLinear) did not run: "
        "MultiheadAttention uses the weights of its out_proj and never calls it; capture the "
        "MultiheadAttention."
    )
    assert second == (
        "capture(\"1\"): '1' (ModuleList) did not run: a ModuleList holds modules and is never "
        "called itself; capture what it holds, such as '1.*'."
    )


def test_silence_is_empty_when_one_match_ran_or_nothing_is_required(net, photo):
    with capture(net, "**") as maps:
        maps.attach(net, "unused", required=False)
        net(photo)
        maps.clear()
    assert maps._recorder.silence() == ""


def test_the_public_names_are_what_they_say():
    assert sorted(pytest_featuremaps.__all__) == pytest_featuremaps.__all__
    for name in pytest_featuremaps.__all__:
        assert getattr(pytest_featuremaps, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pytest_featuremaps.nothing


def test_what_a_terminal_would_obey_is_escaped_where_maps_are_shown(photo):
    model = nn.Sequential(OrderedDict([("\x1b[2J", nn.ReLU())]))
    with capture(model, "\x1b[2J") as maps:
        model(photo)
    assert repr(maps) == r"<FeatureMaps: \x1b[2J#0>"
    with pytest.raises(CaptureError) as caught:
        capture(model, "\x1b[3J")
    assert str(caught.value).splitlines()[0] == (
        r"""capture("\x1b[3J"): Sequential has no module '\x1b[3J'."""
    )
