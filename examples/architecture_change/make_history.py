"""Make a repository with a history: a small classifier, and five branches that change it.

    python make_history.py [FOLDER]

Without a folder it makes one, runs `pytest --featuremaps-against=main` on every branch, prints
what is told there, and takes the folder away.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

NETWORK = '''\
"""A small classifier of images."""

import torch
import torch.nn.functional as F
from torch import nn


class Unit(nn.Module):
    """A convolution, its normalisation and an activation."""

    def __init__(self, before, after, border="zeros"):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1, padding_mode=border, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x):
        x = self.conv(x)
        x = self.norm(x)
        x = F.relu(x)
        return x


class Classifier(nn.Module):
    """Ten classes of images with three channels, of any size."""

    def __init__(self):
        super().__init__()
        self.stem = Unit(3, 8)
        self.units = nn.ModuleList([Unit(8, 16), Unit(16, 16), Unit(16, 32)])
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.stem(x)
        for unit in self.units:
            x = unit(x)
        return self.head(x.mean((2, 3)))


def build():
    """Return the classifier with its first weights, ready to be asked."""
    torch.manual_seed(0)
    return Classifier().eval()
'''

TESTS = '''\
"""Every layer, as it is now and as it was: run with --featuremaps-against=main."""

import pytest
import torch
from classifier.network import build


@pytest.fixture
def model():
    return build()


@pytest.fixture
def images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.capture("**", inputs=True)
def test_every_layer(model, images, feature_maps, feature_snapshot):
    model(images)
    assert feature_maps == feature_snapshot


@pytest.mark.capture("units.2")
def test_last_unit(model, images, feature_maps, feature_snapshot):
    model(images)
    assert feature_maps["units.2"] == feature_snapshot
'''

STEPS = """\
        x = self.conv(x)
        x = self.norm(x)
        x = F.relu(x)
        return x
"""

FILES = {
    "classifier/__init__.py": "",
    "classifier/network.py": NETWORK,
    "tests/test_layers.py": TESTS,
    "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\ntestpaths = ["tests"]\n',
    ".gitignore": "__pycache__/\n.featuremaps/\n.pytest_cache/\n",
}

# What each branch does to the network: its message, and what is written in place of what.
BRANCHES = {
    "refactoring": (
        "Say in one line what a unit is",
        {STEPS: "        return self.norm(self.conv(x)).relu()\n"},
    ),
    "padding": (
        "Repeat the border in the unit in the middle, where there were zeros",
        {"Unit(16, 16)": 'Unit(16, 16, border="replicate")'},
    ),
    "renaming": (
        "Call the stem what everybody calls it",
        {"self.stem": "self.entry"},
    ),
    "activation": (
        "A smoother activation",
        {"F.relu(x)": "F.gelu(x)"},
    ),
    "seed": (
        "Another seed",
        {"manual_seed(0)": "manual_seed(1)"},
    ),
}

AUTHOR = ("-c", "user.name=The example", "-c", "user.email=example@example.org")


def make(folder):
    """Make the repository; its branches are `main` and those of `BRANCHES`."""
    folder = Path(folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for name, text in FILES.items():
        write(folder / name, text)
    commit(folder, "A classifier, and tests of its layers")
    for branch, (message, changes) in BRANCHES.items():
        git(folder, "switch", "--quiet", "--create", branch, "main")
        text = NETWORK
        for old, new in changes.items():
            if old not in text:
                raise ValueError(f"{branch}: nothing to replace: {old}")
            text = text.replace(old, new)
        write(folder / "classifier/network.py", text)
        commit(folder, message)


def compare(folder, branch, *arguments):
    """Check a branch out, compare it with `main`, and return pytest's exit status and output."""
    git(folder, "switch", "--quiet", branch)
    command = [sys.executable, "-m", "pytest", "--featuremaps-against=main", *arguments]
    surroundings = os.environ | {"COLUMNS": "100"}
    ended = subprocess.run(
        command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


def commit(folder, message):
    git(folder, "add", "--all")
    git(folder, *AUTHOR, "commit", "--quiet", "--message", message)


def git(folder, *arguments):
    subprocess.run(["git", *arguments], cwd=folder, check=True)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def show(folder):
    make(folder)
    for branch, (message, _) in BRANCHES.items():
        _, output = compare(folder, branch, "--tb=no", "-q")
        print(f"\n=== {branch}: {message}\n")
        print(output)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as made:
            show(made)
