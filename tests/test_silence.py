"""Why a target is silent: each reason with its real cause, and when silence fails a test."""

import copy
import threading
from collections import OrderedDict

import pytest
import torch
from nets import hook_count
from torch import nn
from torch.utils.checkpoint import checkpoint

from pytest_featuremaps import CaptureError, capture
from pytest_featuremaps.errors import MissingMap
from pytest_featuremaps.recording.recorder import Recorder
from pytest_featuremaps.recording.recording import Recording

X = torch.tensor([[1.0, -2.0]])
NOT_CALLED = (
    "the model was not called while it was captured; perhaps another model was, or its forward ran "
    "before the hooks went on, in another process, on a copy of the model, or as "
    "model.forward(...), which runs no hooks of it"
)
LAST = "If this is meant, capture with required=False."


class Parent(nn.Module):
    """Has a child, a ReLU unless told, and leaves it to its subclass to call it."""

    def __init__(self, child=None):
        super().__init__()
        self.first = nn.Identity()
        self.child = nn.ReLU() if child is None else child

    def forward(self, x):
        return self.first(x)


class Forwards(Parent):
    def forward(self, x):
        return self.child.forward(self.first(x))


class Weighs(Parent):
    def __init__(self):
        super().__init__(nn.Linear(2, 2))

    def forward(self, x):
        return nn.functional.linear(self.first(x), self.child.weight, self.child.bias)


class Contains(Parent):
    def __init__(self):
        super().__init__(nn.ModuleDict({"a": nn.ReLU()}))

    def forward(self, x):
        return self.child["a"](self.first(x))


class Calls(Parent):
    def forward(self, x):
        return self.child(self.first(x))


class Mentions(Parent):
    """Uses all that would explain another cause, and calls its child in a branch."""

    def __init__(self):
        super().__init__(nn.Linear(2, 2))

    def forward(self, x, branch=False):
        x = self.first(x.to(self.child.weight.dtype))
        return self.child(x) if branch else self.first.forward(x)


class Catches(Parent):
    def __init__(self):
        super().__init__(nn.Linear(3, 3))

    def forward(self, x):
        try:
            return self.child(self.first(x))
        except RuntimeError:
            return x


class Own(nn.ReLU):
    def __call__(self, x):
        return self.forward(x)


class Empty(Parent):
    def __len__(self):
        return 0


class Nothing(nn.Module):
    def forward(self, x):
        return len(x)


class Unreadable(nn.Module):
    class Closed(OrderedDict):
        def items(self):
            raise RuntimeError("it is closed")

    def forward(self, x):
        return self.Closed(x=x)


class Again(Parent):
    """Calls its child only while backward() repeats the forward."""

    def forward(self, x):
        return checkpoint(self.second, self.first(x), use_reentrant=True)

    def second(self, x):
        return self.child(x) if torch.is_grad_enabled() else x.relu()


CAUSES = {
    "a branch that is not taken": (
        Parent,
        "'child' (ReLU) did not run: the model ran without it; "
        "perhaps a branch was not taken, or an error of it was caught.",
    ),
    "a branch beside other uses": (
        Mentions,
        "'child' (Linear) did not run: the model ran without it; perhaps a branch was not taken, "
        "or an error of it was caught.",
    ),
    "an error that the model caught": (
        Catches,
        "'child' (Linear) did not run: the model ran without it; perhaps a branch was not taken, "
        "or an error of it was caught.",
    ),
    "a __call__ of its own": (
        lambda: Calls(Own()),
        "'child' (Own) did not run: Own has a __call__ of its own, which runs no hooks.",
    ),
    "a model that is false": (
        Empty,
        "'child' (ReLU) did not run: the model ran without it; perhaps a branch was not taken, or "
        "an error of it was caught.",
    ),
    "forward called directly": (
        Forwards,
        "'child' (ReLU) did not run: the model calls its forward() directly, which runs no hooks; "
        "call the module itself.",
    ),
    "weights used directly": (
        Weighs,
        "'child' (Linear) did not run: the model uses its weights and never calls it.",
    ),
    "a container": (
        Contains,
        "'child' (ModuleDict) did not run: a ModuleDict holds modules and is never called itself; "
        "capture what it holds, such as 'child.*'.",
    ),
    "only in backward": (
        Again,
        "'child' (ReLU) did not run: it only ran during backward(), where checkpointing repeats a "
        "forward.",
    ),
    "no tensor": (
        lambda: Calls(Nothing()),
        "'child' (Nothing) has no feature map: it ran, but no tensor was found in its output; "
        "tensors are looked for in tuples, lists, mappings and dataclasses.",
    ),
    "an output that cannot be read": (
        lambda: Calls(Unreadable()),
        "'child' (Unreadable) has no feature map: it ran, but its output could not be recorded: "
        "RuntimeError: it is closed.",
    ),
}


@pytest.mark.parametrize(("make", "line"), CAUSES.values(), ids=list(CAUSES))
def test_an_exact_target_is_told_with_its_cause(make, line):
    model = make()
    with capture(model, "child", "first") as maps:
        output = model(X.clone().requires_grad_())
        if isinstance(model, Again):
            output.sum().backward()
    ran = "child, first" if "has no feature map" in line else "first"
    assert maps._recorder.silence().splitlines() == [
        f'capture("child"): {line}',
        f"Captured and ran: {ran}.",
        LAST,
    ]
    with pytest.raises(CaptureError) as caught:
        maps["child"]
    reason = line.partition(": ")[2]
    assert str(caught.value).splitlines() == [
        f"There is no feature map 'child': {reason}",
        "Recorded are: first.",
    ]


def test_a_pattern_is_told_the_cause_that_its_matches_share():
    model = nn.Sequential(OrderedDict(a=Again(), b=Again()))
    with capture(model, "*.child") as maps:
        model(X.clone().requires_grad_()).sum().backward()
    assert maps._recorder.silence().splitlines()[0] == (
        'capture("*.child"): none of the 2 modules it matches ran: a.child, b.child: it only ran '
        "during backward(), where checkpointing repeats a forward."
    )
    assert maps.summary().splitlines()[1:] == [
        "did not run: a.child, b.child",
        "calls during backward left out: a.child, b.child",
    ]


def test_a_pattern_whose_matches_have_several_causes_names_them_only():
    model = nn.Sequential(OrderedDict(a=Parent(), b=Weighs()))
    with capture(model, "*.child") as maps:
        model(X)
    assert maps._recorder.silence().splitlines()[0] == (
        'capture("*.child"): none of the 2 modules it matches ran: a.child, b.child.'
    )


def test_an_owner_that_did_not_run_is_named():
    model = nn.Sequential(OrderedDict(part=Parent(child=Calls())))
    with capture(model, "part.child.child", "part.child") as maps:
        model(X)
    assert maps._recorder.silence().splitlines()[:2] == [
        "capture(\"part.child.child\"): 'part.child.child' (ReLU) did not run: 'part.child', which "
        "calls it, did not run either.",
        "capture(\"part.child\"): 'part.child' (Calls) did not run: 'part' ran without it; "
        "perhaps a branch was not taken, or an error of it was caught.",
    ]


@pytest.mark.parametrize("run", [lambda _: None, lambda model: model.forward(X)])
def test_a_model_that_is_not_called_is_told(run):
    model = Parent()
    with capture(model, "child", ".", "**.child") as maps:
        run(model)
    one = f"did not run: {NOT_CALLED}."
    assert maps._recorder.silence().splitlines()[:3] == [
        f"capture(\"child\"): 'child' (ReLU) {one}",
        f"capture(\".\"): '.' (Parent) {one}",
        f"capture(\"**.child\"): the one module it matches, 'child' (ReLU), {one}",
    ]


def test_an_attention_projects_by_weight():
    attention = nn.MultiheadAttention(2, 1, batch_first=True)
    with capture(attention, "out_proj") as maps:
        attention(X[None], X[None], X[None])
    assert maps._recorder.silence().splitlines()[0] == (
        "capture(\"out_proj\"): 'out_proj' (NonDynamicallyQuantizableLinear) did not run: "
        "MultiheadAttention uses the weights of its out_proj and never calls it; capture the "
        "MultiheadAttention."
    )


def test_a_module_that_was_replaced_after_the_hooks_went_on_is_told():
    model = Calls()
    before = model.child
    with capture(model, "child") as maps:
        model.child = nn.Tanh()
        model(X)
    assert hook_count(before) == 0
    assert maps._recorder.silence().splitlines()[0] == (
        "capture(\"child\"): 'child' (ReLU) did not run: the model has another module in its place "
        "now (Tanh); capture after it was changed."
    )


def test_a_functional_call_that_gave_nothing_to_record_is_told():
    class Counts(nn.Module):
        def forward(self, x):
            return x * x.numel()

    model = Counts()
    with capture(model, "numel()", "mul()") as maps:
        model(X)
    assert maps._recorder.silence().splitlines() == [
        "capture(\"numel()\"): 'numel' was called, but its value could not be recorded: it gave no "
        "tensor.",
        "Captured and ran: mul(), numel().",
        LAST,
    ]


def test_one_match_that_ran_is_enough_for_a_pattern():
    model = Parent()
    with capture(model, "*", where=nn.Module) as maps:
        model(X)
    assert maps._recorder.silence() == ""
    assert maps.summary().splitlines()[-1] == "did not run: child"


def test_a_recorded_call_does_not_hide_one_that_could_not_be_recorded():
    class Sometimes(nn.Module):
        def forward(self, x):
            return Unreadable.Closed(x=x) if x.sum() > 0 else x

    model = Sometimes()
    with capture(model, ".") as maps:
        model(-torch.ones(1))
        assert maps._recorder.silence() == ""
        model(torch.ones(1))
    assert maps._recorder.silence().splitlines()[0] == (
        "capture(\".\"): '.' (Sometimes) has no feature map of one of its 2 calls: it ran, but its "
        "output could not be recorded: RuntimeError: it is closed."
    )


def test_what_was_cleared_did_run():
    model = Calls()
    with capture(model, "child") as maps:
        model(X)
        maps.clear()
    assert maps._recorder.silence() == ""
    with pytest.raises(CaptureError, match="it has not run since the last clear"):
        maps["child"]


def test_nothing_is_required_where_it_is_said():
    model = Parent()
    with capture(model, "child", required=False) as maps:
        maps.attach(model, "*", where=nn.ReLU, required=False)
        model(X)
    assert maps._recorder.silence() == ""


def test_clearing_forgets_what_went_wrong():
    model = Calls(Unreadable())
    with capture(model, "child") as maps:
        model(X)
        maps.clear()
    assert maps.summary().splitlines()[1:] == []
    with pytest.raises(CaptureError, match="it has not run since the last clear"):
        maps["child"]


def test_going_back_keeps_what_went_wrong_before():
    model = Calls(Unreadable())
    recorder = Recorder()
    with Recording(recorder) as recording:
        recording.attach(model, "child")
        model(X)
        before = recorder.silence()
        start = recorder.moment()
        recording.clear()
        recorder.rewind(start)
        assert recorder.silence() == before
    assert "could not be recorded" in before


def test_going_back_counts_calls_from_there_whatever_was_cleared_since():
    model = nn.Sequential(nn.Linear(2, 2))
    recorder = Recorder()
    with Recording(recorder) as recording:
        recording.attach(model, "0")
        model(torch.ones(1, 2))
        start = recorder.moment()
        for _ in range(2):
            model(torch.ones(1, 2))
            recording.clear()
            model(torch.ones(1, 2))
            recorder.rewind(start)
            assert list(recording) == ["0"]
            model(torch.ones(1, 2))
            assert list(recording) == ["0#0", "0#1"]
            recorder.rewind(start)


def test_going_back_to_a_model_that_was_detached_since_keeps_its_maps():
    model = nn.Sequential(nn.Linear(2, 2))
    recorder = Recorder()
    with Recording(recorder) as recording:
        recording.attach(model, "0")
        model(torch.ones(1, 2))
        start = recorder.moment()
        recorder.detach("model")
        assert list(recording) == []
        recorder.rewind(start)
        assert list(recording) == ["0"]


def test_going_back_forgets_what_went_wrong_since():
    model = Calls(Unreadable())
    recorder = Recorder()
    with Recording(recorder) as recording:
        recording.attach(model, "child")
        start = recorder.moment()
        model(X)
        assert "could not be recorded" in recorder.silence()
        recorder.rewind(start)
        assert f"did not run: {NOT_CALLED}" not in recorder.silence()
        assert "could not be recorded" not in recorder.silence()
        assert "could not be recorded" not in recording.summary()


RERUN = """
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    item.runtest()
    item.runtest()
"""


def test_a_body_run_again_may_attach_again(write, pytester):
    write(
        """
        from conftest import hook_count

        runs = []

        def test_again(photo, feature_maps):
            net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
            runs.append(net)
            feature_maps.attach(net, "1", name="built")
            net(photo)
            assert list(feature_maps) == ["1"]
            assert [hook_count(one) for one in runs[:-1]] == [0] * (len(runs) - 1)

        @pytest.mark.capture("relu")
        def test_marked_and_attached(model, photo, feature_maps):
            view = feature_maps.attach(model, "small_model.*", inputs=True)
            model(photo)
            assert list(view) == ["small_model.conv1", "small_model.conv2", "relu"]
            assert feature_maps["small_model.conv1"].inputs["input"].shape == (1, 3, 12, 12)

        @pytest.mark.capture("small_model.conv1")
        def test_silent_the_second_time(model, photo, feature_maps):
            if not hasattr(model, "seen"):
                model.seen = True
                model(photo)
        """,
        conftest=RERUN,
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["capture(\"small_model.conv1\"): 'small_model.conv1' (Conv2d) *"])


def test_silence_never_hides_what_a_test_itself_says(write, pytester):
    write(
        """
        @pytest.mark.capture("relu")
        def test_fails(model, feature_maps):
            assert 1 == 2, "mine"

        @pytest.mark.capture("relu")
        @pytest.mark.xfail(reason="known", strict=True, raises=ZeroDivisionError)
        def test_xfails(model, feature_maps):
            1 / 0

        @pytest.mark.capture("relu")
        def test_reads(model, feature_maps):
            feature_maps["relu"]

        @pytest.mark.capture("relu", required=False)
        def test_allowed(model, feature_maps):
            assert "relu" not in feature_maps

        @pytest.mark.capture("relu")
        def test_silent(model, feature_maps):
            pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, failed=3, xfailed=1)
    told = f"'relu' (ReLU) did not run: {NOT_CALLED}."
    result.stdout.fnmatch_lines(
        [
            "E       AssertionError: mine",
            f"E *MissingMap: There is no feature map 'relu': {NOT_CALLED}.",
            f'capture("relu"): {told}',
            "Captured and ran: none.",
            LAST,
        ]
    )


def test_a_functional_call_that_was_not_made_names_what_was():
    model = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8), Calls())
    with capture(model, "**.add()", "0.softmax()", "*.mul()", "1.relu()") as maps:
        model(torch.ones(3, 4))
    assert maps._recorder.silence().splitlines() == [
        "capture(\"**.add()\"): 'add' was called by layers of torch.nn only, which count where "
        "they are named exactly, such as '0.add()'.",
        "capture(\"0.softmax()\"): no 'softmax' was called in the forward of '0' itself.",
        "Called there were: add, relu.",
        "capture(\"*.mul()\"): no 'mul' was called in the forward of any of the 2 modules that "
        "match.",
        "Called there were: add, relu.",
        "capture(\"1.relu()\"): no 'relu' was called in the forward of '1' itself.",
        "It ran and called no function of torch itself, unless in compiled or scripted code.",
        "'relu' was called in: '0', '1.child'.",
        "Captured and ran: none.",
        LAST,
    ]


# Functional calls


class Rectifies(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, x):
        return nn.functional.relu(x + 1, **self.options)


def asked(maps, key):
    """What asking for a key that is missing says, line by line."""
    with pytest.raises(MissingMap) as caught:
        maps[key]
    return str(caught.value).splitlines()


@pytest.mark.parametrize("key", ["0.relu()", "0.relu()#0", "0.relu()[0]", "model:0.relu()"])
@pytest.mark.parametrize("target", ["0.relu()", "*.relu()", "**.relu()"])
def test_asking_for_a_functional_call_that_was_not_made_says_why(key, target):
    model = nn.Sequential(Rectifies(inplace=True))
    lines = [
        f"There is no feature map {key!r}: no 'relu' was called in the forward of '0' itself.",
        "Called there were: add, relu_.",
        "Did you mean '0.relu_()'?",
        "Recorded are: none.",
    ]
    with capture(model, target) as maps:
        model(X)
        assert asked(maps, key) == lines
        assert asked(maps.of("model"), key) == lines
    assert asked(maps, key) == asked(copy.deepcopy(maps), key) == lines
    assert maps.summary().splitlines()[1:] == [f"did not run: {target}"]


def test_a_functional_call_that_nobody_captured_is_told():
    model = nn.Sequential(Rectifies(), nn.ReLU())
    with capture(model, "0.add()") as maps:
        model(X)
    told = ["Recorded are: 0.add()."]
    assert asked(maps, "0.relu()") == [
        "There is no feature map '0.relu()': this call is not captured.",
        *told,
    ]
    assert asked(maps, "2.relu()") == ["There is no feature map '2.relu()'.", *told]
    assert asked(maps, "1") == [
        "There is no feature map '1': the module exists, but is not captured.",
        *told,
    ]


def test_a_summary_names_the_functional_calls_that_were_not_made():
    models = {"teacher": nn.Sequential(Rectifies()), "student": nn.Sequential(Rectifies())}
    with Recording(Recorder()) as maps:
        for name, model in models.items():
            maps.attach(model, "0.relu()", "**.mul()", "exp()", name=name, required=False)
            model(X)
    names = ["student:**.mul(), student:exp()", "teacher:**.mul(), teacher:exp()"]
    assert maps.summary().splitlines()[-1] == f"did not run: {', '.join(names)}"
    assert maps.of("teacher").summary().splitlines()[-1] == f"did not run: {names[1]}"
    assert "did not run" not in maps.only("0.relu()").summary()
    maps._recorder.detach("teacher")
    assert maps.summary().splitlines()[-1] == "did not run: **.mul(), exp()"


def silent(model, target, run=lambda model: model(X)):
    """What silence says of one functional target, line by line."""
    with capture(model, target) as maps:
        run(model)
    *lines, ran, last = maps._recorder.silence().splitlines()
    assert (ran, last) == ("Captured and ran: none.", LAST)
    return lines


def test_a_module_that_calls_modules_only_is_told_where_the_call_was_made():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.block, self.block10, self.block9 = Rectifies(), Rectifies(), Rectifies()

        def forward(self, x):
            return self.block10(self.block9(self.block(x)))

    assert silent(Outer(), "relu()") == [
        "capture(\"relu()\"): no 'relu' was called in the forward of the model itself.",
        "It ran and called no function of torch itself, unless in compiled or scripted code.",
        "'relu' was called in: 'block', 'block9', 'block10'.",
    ]
    assert silent(nn.Sequential(Outer()), "*.relu()") == [
        "capture(\"*.relu()\"): no 'relu' was called in the forward of '0', the one module that "
        "matches.",
        "It ran and called no function of torch itself, unless in compiled or scripted code.",
        "'relu' was called in: '0.block', '0.block9', '0.block10'.",
    ]
    assert silent(nn.Sequential(Outer(), nn.Sequential()), "*.relu()") == [
        "capture(\"*.relu()\"): no 'relu' was called in the forward of any of the 2 modules that "
        "match.",
        "None of them called a function of torch itself, unless in compiled or scripted code.",
        "'relu' was called in: '0.block', '0.block9', '0.block10'.",
    ]


def test_a_functional_call_elsewhere_is_told_beside_what_was_called():
    class Twice(Rectifies):
        def __init__(self):
            super().__init__()
            self.child = nn.Sequential(nn.Softmax(-1))

        def forward(self, x):
            return super().forward(self.child(x)).softmax(-1).add(1)

    assert silent(Twice(), "child.*.add()") == [
        "capture(\"child.*.add()\"): no 'add' was called in the forward of 'child.0', the one "
        "module that matches.",
        "Called there were: softmax.",
        "'add' was called in: the model itself.",
    ]


def test_a_module_whose_name_was_written_as_a_call_is_told():
    model = Calls()
    assert silent(model, "child()") == [
        "capture(\"child()\"): no 'child' was called in the forward of the model itself.",
        "It ran and called no function of torch itself, unless in compiled or scripted code.",
        "'child' is a module: capture(\"child\") records what it returns.",
    ]
    assert silent(nn.Sequential(model), "*.child()")[2:] == [
        "'0.child' is a module: capture(\"0.child\") records what it returns.",
    ]


def in_a_thread(model):
    thread = threading.Thread(target=model, args=(X,))
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (lambda model: None, "was not called while it was captured."),
        (
            in_a_thread,
            "ran in a fixture or in another thread only, where functional calls are not seen.",
        ),
    ],
)
def test_a_forward_whose_functional_calls_cannot_be_seen_is_told(run, what):
    model = nn.Sequential(Rectifies(), Rectifies())
    assert silent(model, "1.relu()", run)[1:] == [f"It {what}"]
    assert silent(model, "*.relu()", run)[1:] == [f"The model {what}"]


def traced(model):
    torch.jit.trace(model, X, check_trace=False)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_a_functional_call_that_was_traced_only_is_told():
    model = Rectifies()
    assert silent(model, "relu()", traced) == [
        "capture(\"relu()\"): 'relu' was called only while the model was traced or exported.",
    ]


RECTIFIES = """
    class Rectifies(nn.Module):
        def forward(self, x):
            return nn.functional.relu(x, inplace=True)

    @pytest.fixture
    def model():
        return nn.Sequential(Rectifies())
"""


def test_a_test_that_reads_a_functional_call_that_was_not_made_is_told(write, pytester):
    write(
        RECTIFIES
        + """
    @pytest.mark.capture("0.relu()")
    def test_reads(model, photo, feature_maps):
        model(photo)
        feature_maps["0.relu()"]

    @pytest.mark.capture("0.relu_()")
    def test_fixture(model, output, feature_maps):
        pass
    """
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "E *MissingMap: There is no feature map '0.relu()': no 'relu' was called in the "
            "forward of '0' itself.",
            "E *Called there were: relu_.",
            "E *Did you mean '0.relu_()'?",
            "E *Recorded are: none.",
            "capture(\"0.relu_()\"): no 'relu_' was called in the forward of '0' itself.",
            "It ran in a fixture or in another thread only, where functional calls are not seen.",
        ]
    )


def test_a_body_run_again_records_its_functional_calls_again(write, pytester):
    write(
        RECTIFIES
        + """
    runs = []

    @pytest.mark.capture("**.relu_()")
    def test_again(model, photo, feature_maps):
        model(photo)
        runs.append(list(feature_maps))
        assert runs == [["0.relu_()"]] * len(runs)

    @pytest.mark.capture("**.relu_()")
    def test_silent_the_second_time(model, photo, feature_maps):
        if not hasattr(model, "seen"):
            model.seen = True
            model(photo)
    """,
        conftest=RERUN,
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "capture(\"**.relu_()\"): no 'relu_' was called in the forward of any of the 2 modules "
            "that match.",
            "The model was not called while it was captured.",
        ]
    )
