"""Beside other plugins, ways to write and to run tests, and libraries of models."""

import re

import pytest

# Mark, contract, statistics, table and picture: what a test of ours does.
WHOLE = """
@pytest.mark.capture("small_model.conv1", "small_model.conv2", "relu")
def test_whole(model, photo, feature_maps, feature_snapshot):
    model(photo)
    feature_maps["small_model.conv2"].assert_shape("N 8 H W")
    feature_maps.assert_finite()
    results = [feature_maps == feature_snapshot]
    results.append(feature_maps["small_model.conv2"] == feature_snapshot)
    assert all(results)
    assert hook_count(model)
"""
# In each test file: no hook is left when the model is torn down.
HOOKS = """
def hook_count(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)

@pytest.fixture
def model(model):
    yield model
    assert hook_count(model) == 0
"""
CHANGED = """
class Net(Net):
    def forward(self, x):
        return super().forward(x * 1.5)
"""
IMPORT = "\nimport pytorch_lightning\n"
HEADLINE = "small_model.conv1 changed first: relative L2 change *"


@pytest.fixture
def beside(write, pytester):
    """Record, agree, and see a change, with other arguments and another body."""

    def beside(
        *arguments,
        body=WHOLE,
        count=1,
        conftest="",
        changed=CHANGED,
        headline=HEADLINE,
        alone=False,
    ):
        # A process of its own takes seconds to load torch.
        run = pytester.runpytest_subprocess if alone else pytester.runpytest
        options = ("-p", "no:cacheprovider", *arguments)
        for update in ("--snapshot-update", "--snapshot-details"):
            write(HOOKS + body, conftest=conftest)
            result = run(*options, update)
            result.assert_outcomes(passed=count)
        stored = pytester.path / "__snapshots__" / "test_it"
        assert {path.suffix for path in stored.iterdir()} == {".jsonl", ".png"}
        write(HOOKS + body, conftest=conftest + changed)
        result = run(*options)
        result.assert_outcomes(failed=count)
        result.stdout.fnmatch_lines([f"*{headline}"])
        return result

    return beside


def needed(module):
    """Skip where a neighbour is not installed, and say so."""
    return pytest.importorskip(module, reason=f"{module} is not installed here")


# --- plugins --------------------------------------------------------------------------------------


def test_randomly(beside):
    """It shuffles tests, and seeds what is drawn at random before each."""
    needed("pytest_randomly")
    body = WHOLE + WHOLE.replace("test_whole", "test_other")
    beside("-p", "randomly", "-p", "no:xdist", "--randomly-seed=7", body=body, count=2)


def test_what_randomly_seeds_is_the_same_in_the_run_that_measures_noise(write, pytester):
    needed("pytest_randomly")
    write(
        """
@pytest.mark.capture("small_model.conv1")
def test_drawn(model, photo, feature_maps, feature_snapshot):
    import random
    model(photo * random.random())
    assert feature_maps == feature_snapshot
"""
    )
    options = ("-p", "no:cacheprovider", "-W", "error::pytest_featuremaps.FeatureMapsWarning")
    result = pytester.runpytest_subprocess(*options, "--snapshot-update", "--featuremaps-noise")
    result.assert_outcomes(passed=1)


def test_rerunfailures(beside):
    needed("pytest_rerunfailures")
    result = beside("--only-rerun=AssertionError")
    assert not re.search("rerun", result.stdout.str().splitlines()[-1])


@pytest.mark.parametrize("method", ["signal", "thread"])
def test_timeout(beside, write, pytester, method):
    """A test that hangs is ended, by an exception or with its process; no baseline goes."""
    needed("pytest_timeout")
    arguments = ("--timeout=300", f"--timeout-method={method}")
    beside(*arguments)
    stored = pytester.path / "__snapshots__" / "test_it"
    before = {path.name: path.read_bytes() for path in stored.iterdir()}
    hangs = WHOLE.replace("    model(photo)\n", "    import time; time.sleep(30)\n")
    write(HOOKS + hangs)
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "--snapshot-update", "--timeout=5", arguments[1]
    )
    text = result.stdout.str() + result.stderr.str()
    assert "Timeout" in text
    assert {path.name: path.read_bytes() for path in stored.iterdir()} == before
    if method == "signal":
        result.assert_outcomes(failed=1)  # and no error: the hooks are off


def test_cov(beside, pytester):
    needed("pytest_cov")
    result = beside("--cov=conftest", "--cov-report=term", alone=True)
    result.stdout.fnmatch_lines(["conftest.py *%"])


def test_html(beside, pytester):
    needed("pytest_html")
    beside("--html=report.html", "--self-contained-html")
    text = (pytester.path / "report.html").read_text(encoding="utf-8")
    assert "feature baseline test_whole.jsonl" in text
    assert "small_model.conv1 changed first" in text


def test_asyncio(beside):
    needed("pytest_asyncio")
    body = WHOLE.replace("def test_whole", "async def test_whole").replace(
        "    model(photo)\n", "    import asyncio\n    await asyncio.sleep(0)\n    model(photo)\n"
    )
    beside("--asyncio-mode=auto", body=body)


def test_asyncio_with_functional_calls_and_tasks(write, pytester):
    """A forward in another task of the same loop runs in the same thread, and is recorded."""
    needed("pytest_asyncio")
    write(
        """
        import asyncio

        @pytest.fixture
        def model():
            class Net(nn.Module):
                def forward(self, x):
                    return torch.softmax(x, 1)
            return Net()

        async def forward(model, x):
            await asyncio.sleep(0)
            return model(x)

        @pytest.mark.asyncio
        @pytest.mark.capture(".", "softmax()")
        async def test_tasks(model, feature_maps):
            await asyncio.gather(*(forward(model, torch.ones(1, 3)) for _ in range(3)))
            assert len(feature_maps.calls(".")) == 3
            assert len(feature_maps.calls("softmax()")) == 3
        """
    )
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_torch_repeats_the_body_and_copies_the_model(beside):
    needed("pytest_torch")
    body = "\nfrom pytest_torch import assert_frozen\n" + WHOLE.replace(
        "@pytest.mark.capture", "@pytest.mark.torch_memory_leak(iterations=3)\n@pytest.mark.capture"
    ).replace(
        "    model(photo)\n",
        "    for name, one in model.named_parameters():\n"
        "        one.requires_grad_(name.startswith('small_model.conv2'))\n"
        "    assert_frozen(model, photo, lambda out: out.sum(), 'small_model.conv1.*')\n"
        "    assert not feature_maps, 'a copy is not recorded'\n"
        "    model(photo)\n",
    )
    beside(body=body, alone=True)  # training loads parts of torch that a process loads once


def test_benchmark(beside):
    """Every round is a call of the layer: `clear()` before the one that counts."""
    needed("pytest_benchmark")
    body = WHOLE.replace("def test_whole(", "def test_whole(benchmark, ").replace(
        "    model(photo)\n",
        "    benchmark.pedantic(model, (photo,), rounds=3)\n"
        "    assert len(feature_maps.calls('relu')) == 3\n"
        "    feature_maps.clear()\n"
        "    model(photo)\n",
    )
    beside(body=body)


# --- ways to write tests --------------------------------------------------------------------------

UNITTEST = """
import unittest

class TestNet(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def given(self, model, photo, feature_maps, feature_snapshot):
        self.model, self.photo = model, photo
        self.maps, self.snapshot = feature_maps, feature_snapshot

    @pytest.mark.capture("small_model.conv1", "small_model.conv2")
    def test_whole(self):
        self.model(self.photo)
        self.maps["small_model.conv2"].assert_shape("N 8 H W")
        results = [self.maps == self.snapshot, self.maps["small_model.conv2"] == self.snapshot]
        self.assertTrue(all(results))
        self.assertTrue(hook_count(self.model))
"""


def test_unittest_takes_fixtures_by_a_fixture_of_its_class(beside):
    beside(body=UNITTEST)


def test_unittest_without_one_is_told_how(write, pytester):
    write(
        """
        import unittest

        class TestNet(unittest.TestCase):
            @pytest.mark.capture("relu")
            def test_it(self):
                pass
        """
    )
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "test_it is marked with capture, but does not request the feature_maps fixture, so "
            "nothing would be captured.",
            "Methods of unittest take no arguments: give the class a fixture that does, such as",
            "    @pytest.fixture(autouse=True)",
            "    def given(self, model, feature_maps):",
            "        self.model, self.feature_maps = model, feature_maps",
        ],
        consecutive=True,
    )


def test_a_unittest_that_fails_or_is_silent_leaves_no_hook(write, pytester):
    write(
        HOOKS
        + UNITTEST.replace("self.model(self.photo)", "pass").replace(", feature_snapshot", "")
        .replace("self.maps, self.snapshot = feature_maps", "self.maps = feature_maps")
        .replace('        self.maps["small_model.conv2"].assert_shape("N 8 H W")\n', "")
        .replace("        results =", "        return\n        results =")
    )  # fmt: skip
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["capture(\"small_model.conv1\"): 'small_model.conv1' (Conv2d) *"])


def test_parametrised_models(beside, pytester):
    model = """
@pytest.fixture(params=[1, 2], ids=["narrow", "wide"])
def model(request):
    torch.manual_seed(request.param)
    return Net().eval()
"""
    beside(count=2, conftest=model)
    stored = {path.name for path in (pytester.path / "__snapshots__" / "test_it").iterdir()}
    assert {"test_whole[narrow].jsonl", "test_whole[wide].jsonl"} <= stored


def test_indirectly_parametrised_models(beside):
    model = """
@pytest.fixture
def model(request):
    torch.manual_seed(request.param)
    return Net().eval()
"""
    body = WHOLE.replace(
        "@pytest.mark.capture", "@pytest.mark.parametrize('model', [1, 2], indirect=True)\n"
        "@pytest.mark.capture"
    )  # fmt: skip
    beside(body=body, count=2, conftest=model)


# --- ways to run tests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["--import-mode=importlib"], ["--assert=plain"], ["-W", "error"]],
    ids=" ".join,
)
def test_options_of_pytest(beside, arguments):
    beside(*arguments, "-p", "no:asyncio")  # it warns until it is configured


def test_everything_but_snapshots_works_without_syrupy(write, pytester):
    write(
        HOOKS
        + """
@pytest.mark.capture("small_model.conv1", "relu", keep="stats")
def test_it(model, photo, feature_maps, tmp_path):
    model(photo)
    feature_maps["small_model.conv1"].assert_shape("N 4 H W")
    feature_maps.assert_healthy()
    assert hook_count(model)

@pytest.mark.capture("relu")
def test_picture(output, feature_maps, tmp_path):
    assert feature_maps["relu"].save(tmp_path / "relu.png").exists()

@pytest.mark.capture("relu")
def test_snapshot(output, feature_maps, feature_snapshot):
    pass
"""
    )
    result = pytester.runpytest("-p", "no:syrupy", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["feature_snapshot keeps its baselines with syrupy, and no *"])


# --- libraries of models --------------------------------------------------------------------------


def test_a_lightning_module(beside):
    needed("pytorch_lightning")
    model = """
import pytorch_lightning

class Lit(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.small_model, self.relu = SmallModel(), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.small_model(x))

    def training_step(self, batch, number):
        return self(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

@pytest.fixture
def model():
    return Lit()
"""
    body = (
        WHOLE
        + """
@pytest.mark.capture("small_model.conv1", "small_model.conv2", "relu", grads=True)
def test_trained(model, photo, feature_maps, feature_snapshot, tmp_path):
    trainer = pytorch_lightning.Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )
    trainer.fit(model, torch.utils.data.DataLoader([(photo[0],)] * 2))
    assert len(feature_maps.calls("relu")) == 2
    assert feature_maps["relu#1"].grad.shape == (1, 8, 8, 8)
    feature_maps.clear()
    model.eval()
    model(photo)
    assert feature_maps == feature_snapshot
"""
    )
    changed = CHANGED.replace("Net", "SmallModel")
    beside("-W", "ignore", body=IMPORT + body, count=2, conftest=model, changed=changed, alone=True)


def test_a_network_of_monai(beside):
    """Three-dimensional maps, skip connections, and modules that are called by others."""
    needed("monai")
    model = """
@pytest.fixture
def model():
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    return UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=1).eval()

GAIN = 1

@pytest.fixture
def volume():
    return torch.linspace(-1, 1, 16**3).view(1, 1, 16, 16, 16) * GAIN
"""
    body = """
@pytest.mark.capture(".", "**", "**.cat()", required=False)
def test_whole(model, volume, feature_maps, feature_snapshot):
    bare = model(volume)
    assert torch.equal(feature_maps["."].tensor, bare)
    feature_maps["model.0"].assert_shape("1 4 D H W", D=8, H=8, W=8)
    assert feature_maps["model.0"].layout == "NCDHW"
    assert any(key.endswith("cat()") for key in feature_maps)
    feature_maps.assert_finite()
    results = [feature_maps == feature_snapshot, feature_maps["model.0"] == feature_snapshot]
    assert all(results)
"""
    first = "model.0.residual changed first: *"
    beside(
        "-W",
        "ignore",
        body=body,
        conftest=model,
        changed="\nGAIN = 2\n",
        headline=first,
        alone=True,
    )
