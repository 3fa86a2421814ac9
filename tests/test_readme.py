"""What the README says is done as it stands there: its code, its commands and what they print."""

import os
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)
SECTIONS = {
    text.partition("\n")[0]: BLOCK.findall(text)
    for text in re.split("^## ", README, flags=re.MULTILINE)[1:]
}
MINUTES = SECTIONS["Ten minutes"]
CODE = [text for language, text in BLOCKS if language == "python" and text[:1] != "#"]

IMPORTS = """
import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

import pytest_featuremaps
from pytest_featuremaps import capture, compare
"""
PHOTO = """
photo = images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
"""
FIXTURES = """

@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def photo():
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


"""
NET = MINUTES[0][1] + "torch.manual_seed(0)\nmodel = Net().eval()\n"

# What a reader has of their own, before the block that begins with these words.
BEFORE = {
    "import pytest\nimport torch": "",  # with a module `my_project`
    "def test_built": """
def build(width):
    return nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, width, 3), layer4=nn.Sequential(nn.ReLU())))
"""
    + FIXTURES,
    "from pytest_featuremaps import capture": "model = nn.Sequential(OrderedDict("
    "stem=nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3)))))\n" + PHOTO,
    "@pytest.fixture\ndef model": "from transformers import LlamaConfig, LlamaForCausalLM\n",
    "feature_maps.assert_shapes(": """
model = nn.Sequential(OrderedDict(
    conv1=nn.Conv2d(3, 10, 3, padding=1), pool1=nn.MaxPool2d(2), conv2=nn.Conv2d(10, 16, 3)))
"""
    + PHOTO
    + """
with capture(model, "*") as feature_maps:
    model(photo)
""",
    'feature_maps["conv1"].image()': """
model = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 16, 3), conv2=nn.Conv2d(16, 16, 3)))
"""
    + PHOTO
    + """
with capture(model, "*") as feature_maps:
    model(photo)
""",
    '@pytest.mark.capture("**.scaled_dot_product_attention()"': """
from transformers import ViTConfig, ViTModel


def Net():
    return ViTModel(ViTConfig(num_hidden_layers=4, attn_implementation="sdpa"))

"""
    + FIXTURES.replace("32", "224"),
    "with pytest_featuremaps.capture(model": NET
    + PHOTO
    + "half_model = copy.deepcopy(model).bfloat16()\n",
    '@pytest.mark.capture("**", grads=True)': MINUTES[0][1] + FIXTURES,
    "with capture(original": NET
    + PHOTO
    + """
original = model


class Port(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.entry, self.body, self.classifier = net.stem, net.body, net.head

    def forward(self, x):
        return self.classifier(self.body(self.entry(x)).flip(1).mean((2, 3)))


port = Port(model)
""",
    'with capture(model, "**", keep="stats")': NET
    + PHOTO
    + """
quantised = copy.deepcopy(model)
for weight in quantised.parameters():
    step = weight.detach().abs().max() / 127
    weight.data = (weight / step).round() * step
""",
    'with capture(model, "**", inputs=True)': """
class Log(nn.Module):
    def forward(self, x):
        return x.log()


torch.manual_seed(0)
model = nn.Sequential(OrderedDict(
    stem=nn.Conv2d(3, 8, 3), log=Log(), norm=nn.BatchNorm2d(8), head=nn.Conv2d(8, 2, 1))).eval()
"""
    + PHOTO,
}
MY_PROJECT = """
from collections import OrderedDict

from torch import nn


def Net():
    return nn.Sequential(OrderedDict(small_model=nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(3, 4, 3), conv2=nn.Conv2d(4, 128, 3)))))
"""


@pytest.mark.parametrize("code", CODE, ids=lambda code: code.partition("\n")[0])
def test_code(code, pytester, monkeypatch):
    (before,) = (text for begins, text in BEFORE.items() if code.startswith(begins))
    if "transformers" in before:
        pytest.importorskip("transformers")
    if "def test_" not in code:
        monkeypatch.chdir(pytester.path)
        raised = told(code, IMPORTS + before)
        assert raised == "" if fails_with(code) is None else raised.startswith(fails_with(code))
        return
    pytester.makepyfile(my_project=MY_PROJECT, test_it=IMPORTS + before + code)
    # In a process of its own: transformers does not survive to be loaded twice.
    result = pytester.runpytest_subprocess("--snapshot-update", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)


def fails_with(code):
    """The message of an assertion, where the README shows one right after the code."""
    (after,) = (two for one, two in pairwise(BLOCKS) if one[1] == code)
    assertion, _, message = after[1].partition(": ")
    begun = README[: README.index(after[1])].removesuffix("```\n").endswith("```\n\n")
    return message if assertion == "AssertionError" and begun else None


def told(code, before):
    """Run code, and return what its assertion says; nothing where it holds."""
    names = {}
    exec(before, names)  # noqa: S102 - the README's own
    try:
        exec(code, names)  # noqa: S102 - the README's own
    except AssertionError as error:
        return f"{error}\n"
    return ""


def test_ten_minutes(tmp_path):
    for language, text in MINUTES:
        if language == "python":
            name = text.partition("\n")[0].removeprefix("# ")
            (tmp_path / name).write_text(text, encoding="utf-8")
        elif language == "diff":
            patch(tmp_path / "net.py", text)
        else:
            assert language == "console"
            follow(tmp_path, text)


def test_a_session_that_prints_something_else_is_told(tmp_path):
    follow(tmp_path, "$ python -c 'print(1); print(2); print(3)'\n1\n...\n3\n")
    with pytest.raises(AssertionError):
        follow(tmp_path, "$ python -c 'print(1); print(2); print(3)'\n1\n3\n")


def test_the_workflow_to_copy():
    (text,) = (text for language, text in BLOCKS if language == "yaml")
    assert text == (ROOT / "examples/architecture_change/feature-maps.yml").read_text()


def patch(path, text):
    """Do what a diff of one line says."""
    old, new = (line[1:] for line in text.splitlines())
    before = path.read_text(encoding="utf-8")
    assert before.count(old) == 1
    path.write_text(before.replace(old, new), encoding="utf-8")


def follow(folder, session):
    """Run the commands of a console session; what stands under each must be printed.

    A line of three dots stands for any number of lines.
    """
    commands = re.split(r"^\$ ", session, flags=re.MULTILINE)
    for command, _, expected in (one.partition("\n") for one in commands[1:]):
        printed = re.sub(r"in \d+\.\d+s", "in X s", run(folder, shlex.split(command)))
        pieces = [re.escape(piece) for piece in expected.split("...\n")]
        assert re.search("^" + "(?:.*\n)*?".join(pieces), printed, re.MULTILINE), printed


def run(folder, command):
    start = {"python": [], "pytest-featuremaps": ["-m", "pytest_featuremaps"]}[command[0]]
    ours = ("CI", "GITHUB_", "PYTEST_", "COLUMNS", "COVERAGE_")
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    ended = subprocess.run(  # noqa: S603 - the README's own
        [sys.executable, *start, *command[1:]],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return ended.stdout + ended.stderr
