"""A run that compares with another revision of the code, on this machine."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from repositories import Repository

from pytest_featuremaps import against, at_revision, orders, recorded, steadiness, with_revision
from pytest_featuremaps.provenance import Border
from pytest_featuremaps.references import Recording, References

# A run inside a run would load them anew otherwise.
PRELOADED = against, at_revision, recorded, steadiness, with_revision

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return self.conv2(self.relu(self.conv1(x)))
"""
CONFTEST = """
import pytest
import torch
from net import Net


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def output(model):
    return model(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1)))
"""
TESTS = """
import pytest


@pytest.mark.capture("**")
def test_table(output, feature_maps, feature_snapshot):
    assert feature_maps == feature_snapshot


@pytest.mark.capture("conv2")
def test_picture(output, feature_maps, feature_snapshot):
    assert feature_maps["conv2"] == feature_snapshot


def test_without_feature_maps(output):
    assert output.shape == (1, 4, 8, 8)
"""
NEW_TESTS = """
import pytest


@pytest.mark.capture("conv1")
def test_new_module(output, feature_maps, feature_snapshot):
    import new
    assert feature_maps == feature_snapshot


@pytest.mark.capture("conv3", required=False)
def test_new_layer(output, feature_maps, feature_snapshot):
    assert feature_maps == feature_snapshot


@pytest.mark.capture("conv1")
def test_new_comparison(model, output, feature_maps, feature_snapshot):
    if hasattr(model, "conv3"):
        assert feature_maps == feature_snapshot
"""
UNSEEDED = CONFTEST.replace("torch.manual_seed(0)", "torch.seed()")


class Project(Repository):
    """A repository with a network, whose tests are run."""

    def __init__(self, pytester, files):
        super().__init__(pytester.path)
        self.pytester = pytester
        self.write(files)
        self.commit("A network")
        self.head = f"HEAD ({self.git('rev-parse', '--short', 'HEAD')})"

    def run(self, *arguments, against="HEAD"):
        return self.pytester.runpytest("-q", f"--featuremaps-against={against}", *arguments)

    def recordings(self):
        folder = self.path / ".featuremaps/against/recordings"
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def make(pytester, monkeypatch, tmp_path_factory):
    """Make a project; what its runs leave in the folder for temporary files is an error."""
    for variable in [one for one in os.environ if one.startswith("PYTEST_XDIST_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("COLUMNS", "160")
    temporary = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield lambda files: Project(pytester, files)
    assert list(temporary.glob("featuremaps-*")) == []


@pytest.fixture
def project(make):
    return make({"net.py": NET, "conftest.py": CONFTEST, "test_it.py": TESTS})


def block(result, project):
    """The lines of the summary."""
    lines = result.outlines
    title = f" feature maps against {project.head} "
    start = next(place for place, line in enumerate(lines) if title in line)
    end = next(place for place in range(start + 1, len(lines)) if re.match("[-=]{5}", lines[place]))
    told = "\n".join(lines[start + 1 : end])
    return re.sub(r"\d+\.\d s", "X s", told).splitlines()


def test_a_change_is_found_and_the_recording_used_again(project):
    project.write({"__snapshots__/test_it/test_table.jsonl": "no table", "test_more.py": NEW_TESTS})
    project.write({"new.py": ""})
    project.change("net.py", "return self.conv2(self", "return self.conv2(2 * self")
    project.change("net.py", "        self.relu", "        self.conv3 = None\n        self.relu")
    result = project.run()
    result.assert_outcomes(failed=3, passed=3)
    result.stdout.fnmatch_lines(
        [
            "E       assert conv2 changed first: relative L2 change *, allowed 0",
            "E         why: same weights: its code or its input changed",
            "E         nothing after it; within tolerance: 2 of 3 maps",
            f"E         test_table.jsonl at {project.head}: the whole story is in the report section",
        ],
        consecutive=True,
    )
    assert block(result, project) == [
        "2 comparisons recorded in X s",
    ]
