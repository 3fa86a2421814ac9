"""The plugin as a user meets it: marks, fixtures, order, messages, and hooks that come off."""

import pytest


def lines_after(result, first):
    """The lines of a run's output from the one that equals `first`."""
    output = result.outlines
    return output[output.index(first) :]


def test_the_first_example(write, pytester):
    write(
        """
        @pytest.mark.capture("small_model.conv2")
        def test_conv2(model, photo, feature_maps):
            model(photo)
            sizes = feature_maps["small_model.conv2"].assert_shape("N 8 H W")
            assert sizes == {"N": 1, "H": 8, "W": 8}
            assert feature_maps["small_model.conv2"].stats.min < 0
        """
    )
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)


def test_marks_of_test_class_and_module_stack(write, pytester):
    write(
        """
        pytestmark = pytest.mark.capture("relu")

        @pytest.mark.capture("small_model")
        class TestBoth:
            @pytest.mark.capture("small_model.conv1")
            @pytest.mark.capture("small_model.conv2")
            def test_all(self, output, feature_maps):
                assert list(feature_maps) == [
                    "small_model.conv1", "small_model.conv2", "small_model", "relu"
                ]

            def test_without(self, output):
                pass
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)


@pytest.mark.parametrize("scope", ["function", "module", "session"])
@pytest.mark.parametrize(
    "arguments",
    [
        "output, feature_maps",
        "feature_maps, output",
        "photo, output, model, feature_maps",
        "feature_maps, model, photo, output",
    ],
)
def test_a_forward_in_a_fixture_is_captured_in_any_order(write, pytester, scope, arguments):
    write(
        f'''
        @pytest.fixture(scope="{scope}")
        def net():
            from conftest import Net
            return Net()

        @pytest.fixture
        def output(net, photo):
            return net(photo)

        @pytest.mark.parametrize("again", [1, 2])
        @pytest.mark.capture("relu", model="net")
        def test_order({arguments.replace("model", "net")}, again):
            assert list(feature_maps) == ["relu"]
        '''
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_a_fixture_before_the_model_stays_before_it(write, pytester):
    write(
        """
        made = []

        @pytest.fixture
        def seed():
            made.append("seed")

        @pytest.fixture
        def model():
            made.append("model")
            return nn.Sequential(nn.ReLU())

        @pytest.mark.capture("0")
        def test_order(seed, model, feature_maps):
            model(torch.ones(1))
            assert made == ["seed", "model"]
        """
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_a_fixture_that_overrides_the_model_is_the_one_recorded(write, pytester):
    write(
        """
        @pytest.fixture
        def model(model):
            return nn.Sequential(model, nn.Tanh())

        @pytest.mark.capture("1")
        def test_wrapped(output, feature_maps):
            assert list(feature_maps) == ["1"]

        @pytest.mark.capture("0.relu")
        def test_inside(output, feature_maps):
            assert list(feature_maps) == ["0.relu"]
        """
    )
    # The model that is overridden is made first, and has neither "1" nor "0.relu".
    pytester.runpytest().assert_outcomes(passed=2)


def test_the_model_fixture_has_a_name_of_its_own(write, pytester):
    write(
        """
        @pytest.fixture
        def net(model):
            return model

        @pytest.mark.capture("relu")
        def test_ini(net, photo, feature_maps):
            net(photo)
            assert list(feature_maps) == ["relu"]

        @pytest.fixture
        def teacher():
            return nn.Sequential(nn.ReLU())

        @pytest.mark.capture("relu")
        @pytest.mark.capture("0", model="teacher")
        def test_two(net, teacher, photo, feature_maps):
            net(teacher(photo))
            assert list(feature_maps) == ["teacher:0", "net:relu"]
            assert list(feature_maps.of("teacher")) == ["0"]
        """
    )
    pytester.makeini("[pytest]\nfeaturemaps_model = net")
    pytester.runpytest().assert_outcomes(passed=2)


def test_a_model_that_the_test_builds_is_attached(write, pytester):
    write(
        """
        def test_attach(photo, feature_maps):
            net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
            feature_maps.attach(net, "1", name="built")
            net(photo)
            assert list(feature_maps) == ["1"]

        def test_attach_silent(feature_maps):
            feature_maps.attach(nn.Sequential(nn.ReLU()), "0")
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["capture(\"0\"): '0' (ReLU) did not run: it was never called *"])


def test_a_body_run_again_starts_clean(write, pytester):
    write(
        """
        @pytest.mark.capture("relu", "small_model")
        def test_again(output, model, photo, feature_maps):
            # The forward in the fixture is there every time, this one once.
            assert list(feature_maps) == ["small_model", "relu"]
            model(photo)
            assert len(feature_maps) == 4
        """,
        conftest="""
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    item.runtest()
    item.runtest()
""",
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_a_rerun_starts_clean(write, pytester):
    pytest.importorskip("pytest_rerunfailures")
    write(
        """
        seen = []

        @pytest.mark.capture("relu")
        def test_flaky(model, photo, feature_maps):
            model(photo)
            seen.append(list(feature_maps))
            assert len(seen) == 3
            assert seen == [["relu"]] * 3
        """
    )
    pytester.runpytest("--reruns", "2").assert_outcomes(passed=1)


ENDINGS = {
    "pass": "model(photo)",
    "fail": "model(photo); assert False",
    "skip": "model(photo); pytest.skip('enough')",
    "error in forward": "model(photo[:, :1])",
    "silence": "pass",
    "interrupt": "model(photo); raise KeyboardInterrupt",
    "exit": "model(photo); pytest.exit('now')",
}


@pytest.mark.parametrize("scope", ["function", "module", "session"])
@pytest.mark.parametrize("body", ENDINGS.values(), ids=list(ENDINGS))
def test_hooks_come_off_before_the_model_is_torn_down(write, pytester, body, scope):
    write(
        f'''
        from conftest import Net, hook_count

        @pytest.fixture(scope="{scope}")
        def model():
            net = Net()
            net.relu.register_forward_hook(lambda *_: None)
            yield net
            print("\\nhooks at the end:", hook_count(net))

        @pytest.mark.capture("**", ".")
        def test_ending(model, photo, feature_maps):
            assert hook_count(model) == 6
            {body}

        def test_after(model):
            print("\\nhooks after:", hook_count(model))
        '''
    )
    result = pytester.runpytest("-s", no_reraise_ctrlc=True)
    result.stdout.fnmatch_lines(["hooks at the end: 1"])
    result.stdout.no_fnmatch_line("hooks at the end: [!1]")
    if "KeyboardInterrupt" not in body and "exit" not in body:
        result.stdout.fnmatch_lines(["hooks after: 1"])


def test_hooks_come_off_after_an_error_in_a_later_fixture(write, pytester):
    write(
        """
        from conftest import Net, hook_count

        @pytest.fixture(scope="module")
        def model():
            return Net()

        @pytest.fixture
        def late(feature_maps):
            raise RuntimeError("late")

        @pytest.fixture
        def after():
            yield
            raise RuntimeError("teardown")

        @pytest.mark.capture("**")
        def test_error(model, feature_maps, late):
            pass

        @pytest.mark.capture("**")
        def test_teardown(model, photo, after, feature_maps):
            model(photo)

        def test_hooks(model):
            assert hook_count(model) == 0
        """
    )
    pytester.runpytest().assert_outcomes(errors=2, passed=2)


def test_no_tensor_and_no_model_outlives_its_test(write, pytester):
    write(
        """
        import gc, weakref
        kept = []

        @pytest.mark.capture("**")
        def test_one(model, photo, feature_maps):
            output = model(photo)
            kept.extend(weakref.ref(one.tensor) for one in feature_maps.values())
            kept.append(weakref.ref(model))

        def test_two():
            gc.collect()
            assert [one() for one in kept] == [None] * 5
        """
    )
    pytester.runpytest().assert_outcomes(passed=2)


SILENCE = [
    "capture(\"relu\"): 'relu' (ReLU) did not run: the model was not called while it was captured; "
    "perhaps another model was, or its forward ran before the hooks went on, in another process, "
    "on a copy of the model, or as model.forward(...), which runs no hooks of it.",
    "Captured and ran: small_model.conv1.",
    "If this is meant, capture with required=False.",
]


def test_silence_fails_the_test_in_the_call_phase(write, pytester):
    write(
        """
        @pytest.mark.capture("small_model.conv1", "relu")
        def test_silent(model, photo, feature_maps):
            model.small_model(photo)

        @pytest.mark.capture("relu", required=False)
        def test_allowed(model, feature_maps):
            pass

        @pytest.mark.capture("**")
        def test_one_of_many(model, photo, feature_maps):
            model.small_model.conv1(photo)

        @pytest.mark.capture("relu")
        def test_own_failure(model, feature_maps):
            raise ValueError("mine")

        @pytest.mark.capture("relu")
        def test_own_skip(model, feature_maps):
            pytest.skip("mine")
        """
    )
    result = pytester.runpytest("-rf")
    result.assert_outcomes(passed=2, failed=2, skipped=1)
    assert lines_after(result, SILENCE[0])[:3] == SILENCE
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_own_failure - ValueError: mine"])


def test_after_a_wrong_name_the_next_test_has_its_fixtures(write, pytester):
    write(
        """
        @pytest.mark.capture("small_model.conv9")
        def test_wrong(output, feature_maps): pass

        def test_next(output): pass
        """
    )
    pytester.runpytest().assert_outcomes(passed=1, errors=1)


MISUSE = {
    "a mark without the fixture": (
        '@pytest.mark.capture("relu")\ndef test_it(model): pass',
        [
            "test_it is marked with capture, but does not request the feature_maps fixture, so "
            "nothing would be captured.",
            "Add feature_maps to its arguments, or take the mark off.",
        ],
    ),
    "no such layer": (
        '@pytest.mark.capture("small_model.conv9")\ndef test_it(output, feature_maps): pass',
        [
            "capture(\"small_model.conv9\"): 'small_model' (SmallModel) has no module 'conv9'.",
            "'small_model' has: conv1, conv2.",
            "Did you mean 'small_model.conv2' or 'small_model.conv1'?",
        ],
    ),
    "where= matches nothing": (
        "@pytest.mark.capture(where=nn.LSTM)\ndef test_it(feature_maps): pass",
        [
            "capture(where=LSTM): no module of Net passes where=.",
            "Offered were: Conv2d (2), ReLU (1), SmallModel (1).",
        ],
    ),
    "no model": (
        '@pytest.mark.capture("a", "b", model="net")\ndef test_it(feature_maps): pass',
        [
            '@pytest.mark.capture("a", "b", model="net") needs the model under test, and there is '
            "no fixture 'net'.",
            "Say which model it is, in one of three ways:",
            "  - a fixture named 'model', or as featuremaps_model in the configuration says",
            '  - the fixture\'s name in the mark: capture(..., model="net")',
            '  - a model that the test builds itself: feature_maps.attach(net, "a", "b")',
        ],
    ),
    "not a model": (
        '@pytest.mark.capture("relu", model="photo")\ndef test_it(feature_maps): pass',
        [
            '@pytest.mark.capture("relu", model="photo") needs the model under test, and the '
            "fixture 'photo' gives a Tensor, not a torch.nn.Module.",
            "Say which model it is, in one of three ways:",
        ],
    ),
    "an unknown option": (
        '@pytest.mark.capture("relu", were=nn.ReLU)\ndef test_it(feature_maps): pass',
        [
            "@pytest.mark.capture(\"relu\", were=ReLU): capture has no option 'were'.",
            "Its options are: where, model, inputs, grads, keep, channels, layout, required.",
        ],
    ),
    "no target": (
        "@pytest.mark.capture\ndef test_it(feature_maps): pass",
        [
            "capture() names no target.",
            'Name module paths, such as capture("conv1"), or choose by type: '
            "capture(where=nn.Conv2d).",
        ],
    ),
}


@pytest.mark.parametrize(("body", "lines"), MISUSE.values(), ids=list(MISUSE))
def test_misuse_is_told_at_setup(write, pytester, body, lines):
    write(body)
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    assert lines_after(result, lines[0])[: len(lines)] == lines
    assert not any("During handling" in line for line in result.outlines)


def test_the_lookup_error_of_the_models_own_fixtures_is_left_alone(write, pytester):
    write(
        """
        @pytest.fixture
        def net(no_such_fixture):
            return nn.ReLU()

        @pytest.mark.capture(".", model="net")
        def test_it(feature_maps):
            pass
        """
    )
    result = pytester.runpytest()
    result.stdout.fnmatch_lines(["*fixture 'no_such_fixture' not found"])


def test_the_mark_and_the_fixtures_are_described(pytester):
    marks = pytester.runpytest("--markers")
    marks.stdout.fnmatch_lines(["@pytest.mark.capture(*targets, where=None, model='model', *"])
    fixtures = pytester.runpytest("--fixtures")
    for lines in (
        ["feature_maps -- *", "    Feature maps of the modules that the test's `capture` marks *"],
        ["feature_snapshot -- *", "    The committed baseline of this test, to compare *"],
    ):
        fixtures.stdout.fnmatch_lines(lines, consecutive=True)


def test_an_async_or_unusual_item_is_left_alone(pytester):
    pytester.makefile(".txt", test_doc=">>> 1 + 1\n2\n")
    pytester.runpytest("--doctest-glob=*.txt").assert_outcomes(passed=1)


def test_with_two_workers(write, pytester):
    pytest.importorskip("xdist")
    write(
        """
        @pytest.mark.parametrize("i", range(4))
        @pytest.mark.capture("relu")
        def test_each(output, feature_maps, i):
            assert list(feature_maps) == ["relu"]

        @pytest.mark.capture("small_model.conv1", "relu")
        def test_silent(model, photo, feature_maps):
            model.small_model(photo)
        """
    )
    result = pytester.runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=4, failed=1)
    assert lines_after(result, SILENCE[0])[:3] == SILENCE


def test_shapes_without_values(write, pytester):
    write(
        """
        from torch._subclasses import FakeTensor

        @pytest.fixture(scope="session")
        def table():
            return torch.ones(3)

        @pytest.fixture
        def model(table):
            return nn.Sequential(nn.Linear(1 << 20, 1 << 20), nn.ReLU())

        @pytest.mark.capture("*")
        def test_a_terabyte(model, table, feature_maps, shapes_only):
            assert isinstance(model[0].weight, FakeTensor)
            assert not isinstance(table, FakeTensor)
            model(torch.ones(2, 1 << 20))
            feature_maps["1"].assert_shape("N 1048576", N=2)

        @pytest.mark.capture("0")
        def test_a_condition(shapes_only, feature_maps):
            net = nn.Sequential(nn.ReLU())
            feature_maps.attach(net, "0", required=False)
            if net(torch.ones(2)).sum() > 0:
                pass

        def test_values_again(table):
            assert table.sum().item() == 3
        """.replace(
            '        @pytest.mark.capture("0")\n        def test_a_cond', "        def test_a_cond"
        )
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["E   *UnsupportedTensor: A value was asked for in shapes_only, where tensors *"]
    )


def test_functional_calls_are_seen_during_the_test_call_only(write, pytester):
    write(
        """
        from torch.overrides import _get_current_function_mode_stack

        class Residual(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 3, 1)

            def forward(self, x):
                y = self.conv(x)
                y += x
                return y + x

        @pytest.fixture
        def model():
            yield nn.Sequential(Residual(), Residual())
            left = [type(mode).__name__ for mode in _get_current_function_mode_stack()]
            assert "FunctionalCalls" not in left

        @pytest.mark.capture("0.add()", "**.add_()")
        def test_calls(model, photo, feature_maps):
            model(photo)
            assert list(feature_maps) == ["0.add_()", "0.add()", "1.add_()"]
            assert (feature_maps["0.add()"].module_type, feature_maps["0.add()"].layer) == (
                "add", "0.add()",
            )

        @pytest.mark.capture("0.mul()")
        def test_silent(model, photo, feature_maps):
            model(photo)

        @pytest.mark.capture("0.iadd()")
        def test_near(model, photo, feature_maps):
            torch.device("cpu").__enter__()  # left on by mistake
            model(photo)
        """
    )
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=2)
    first = "capture(\"0.mul()\"): no 'mul' was called in the forward of '0' itself."
    assert lines_after(result, first)[:2] == [first, "Called there were: add, add_."]
