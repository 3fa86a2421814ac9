"""A project whose model has changed, with what a real run of its tests left and reported."""

import os
import subprocess
import sys

MODEL = """
import os

import pytest
import torch
from torch import nn

CHANGED = "CHANGED" in os.environ
EVIL = "<img src=x onerror='alert(1)'>"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blur = nn.AvgPool2d(3, stride=1)
        self.stem = nn.Conv2d(3, 6, 3)
        self.gone = nn.Identity() if CHANGED else nn.Softplus()
        self.relu = nn.ReLU()
        self.head = nn.Conv2d(6, 4, 3)
        if CHANGED:
            self.stem.weight.data[2] *= -1
            self.stem.weight.data[4, 1] += 0.1
            del self.gone
            self.fresh = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.stem(self.blur(x))
        x = self.relu(x if CHANGED else self.gone(x))
        x = self.head(x)
        return self.fresh(x) if CHANGED else x


class Marks(nn.Module):
    def forward(self, x):
        x = x[:, :2].clone()
        if CHANGED:
            x[0, 0, 3, 5], x[0, 1, 0, 0], x[0, 1, 7, 7] = float("nan"), float("inf"), 40.0
        return x


class Wider(nn.Module):
    def forward(self, x):
        return x[..., : 10 if CHANGED else 12]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def photo():
    return torch.rand(1, 3, 16, 40, generator=torch.Generator().manual_seed(1))
"""

TESTS = """
import pytest
from conftest import CHANGED, EVIL, Marks, Net, Wider
from torch import nn

HOSTILE = ["</script><script>alert(1)</script>", EVIL, "@SCRIPT@ 'it'; echo $HOME `id`"]


@pytest.mark.capture("**")
def test_layers(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert feature_maps == feature_snapshot


@pytest.mark.capture("stem")
def test_stem(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert feature_maps["stem"] == feature_snapshot


@pytest.mark.capture("fresh" if CHANGED else "relu")
def test_new(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert not CHANGED or feature_maps["fresh"] == feature_snapshot


@pytest.mark.capture("blur")
def test_same(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert feature_maps["blur"] == feature_snapshot


def test_marks(photo, feature_maps, feature_snapshot):
    marks = Marks()
    feature_maps.attach(marks, ".")
    marks(photo)
    assert feature_maps["."] == feature_snapshot


def test_wider(photo, feature_maps, feature_snapshot):
    wider = Wider()
    feature_maps.attach(wider, ".")
    wider(photo)
    assert feature_maps["."] == feature_snapshot


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile(text, photo, feature_maps, feature_snapshot):
    net = nn.Sequential()
    net.add_module(EVIL, Marks())
    net.add_module("behind", nn.Identity())
    feature_maps.attach(net, "*")
    net(photo)
    assert feature_maps == feature_snapshot("<b>bold</b>")
    assert feature_maps[EVIL] == feature_snapshot
"""


def make(folder):
    """Record the baselines of a project, change its model, and leave the report of the next run."""
    (folder / "conftest.py").write_text(MODEL)
    tests = folder / "tests"
    tests.mkdir(parents=True)
    (tests / "test_net.py").write_text(TESTS)
    run(folder, "--snapshot-update", code=0)
    (tests / "__snapshots__" / "test_net" / "test_gone.jsonl").write_text("{}")
    run(folder, "--featuremaps-report=page.html", code=1, CHANGED="1")
    return folder


def run(folder, *arguments, code, **environment):
    """Run the project's tests, and return what pytest said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder, env={**clean, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def type_line(folder, line):
    """Type a line into a shell in the project; return its exit code and what it said."""
    scripts = folder / "scripts"
    scripts.mkdir(exist_ok=True)
    script = scripts / "pytest-featuremaps"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pytest_featuremaps "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("CI", None)
    done = subprocess.run(
        line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr
