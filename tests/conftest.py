"""Fixtures of the suite.

torch and numpy are loaded here, before any run inside a run: an in-process pytester run
drops the modules it was the first to load, and neither survives being loaded twice.
hypothesis does, at a second each, and its plugin loads it at the end of every run. The rooms of
the package do not either: the package itself would keep those of the run before.
"""

import importlib
import os
import pkgutil
import sys
import textwrap

import hypothesis
import numpy as np
import pytest
import torch
import torch._dynamo  # fake tensors load it, and it cannot be loaded twice
from nets import Net
from syrupy.extensions.base import SnapshotCollectionStorage

import pytest_featuremaps

pytest_plugins = ["pytester"]

# How long a case takes depends on the machine, and on what else it does.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

PRELOADED = (hypothesis, np, torch)
for found in pkgutil.walk_packages(pytest_featuremaps.__path__, "pytest_featuremaps."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
# Its first comparison loads torch.distributed, which does not survive it either.
torch.testing.assert_close(torch.ones(1), torch.ones(1))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def photo():
    return torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def threads():
    """One thread, unless the test sets more: a second one only waits where workers share cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch):
    """Write no bytecode, which is told from what is out of date by size and second alone."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch):
    """Let runs inside keep what failed last in a folder of their own; under tox all share one."""
    monkeypatch.delenv("TOX_ENV_DIR", raising=False)


@pytest.fixture(autouse=True)
def _own_baselines(monkeypatch):
    """Keep the folder of baselines, which syrupy sets for all that follow, also in a run inside."""
    folder = SnapshotCollectionStorage.snapshot_dirname
    monkeypatch.setattr(SnapshotCollectionStorage, "snapshot_dirname", folder)


@pytest.fixture
def write(pytester, monkeypatch):
    """Write a test file whose model and input are ready, and return its path."""
    # A run inside a worker is no worker.
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        monkeypatch.delenv(name)

    def write(body, **files):
        pytester.makeconftest(NETS + files.pop("conftest", ""))
        return pytester.makepyfile(test_it=IMPORTS + textwrap.dedent(body), **files)

    return write


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; without one the test is skipped."""
    from browsing import chromium, programs

    if programs() is None:
        pytest.skip("Chromium or chromedriver is not on the PATH")
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """The folder of a project whose last run has failed, and left its report."""
    from reported import make

    return make(tmp_path_factory.mktemp("reported"))


IMPORTS = """
import pytest
import torch
from torch import nn
"""

NETS = """
import pytest
import torch
from torch import nn


class SmallModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 8, 3)

    def forward(self, x):
        return self.conv2(self.conv1(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.small_model = SmallModel()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.small_model(x))


def hook_count(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def photo():
    return torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def output(model, photo):
    return model(photo)
"""
