"""Which modules a target means, and what a wrong one is told."""

import re
from collections import OrderedDict

import pytest
from torch import nn

from pytest_featuremaps.errors import CaptureError
from pytest_featuremaps.names.paths import survey
from pytest_featuremaps.names.targets import resolve


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 1, 1)
        self.conv2 = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return self.conv2(self.conv1(x))


class Tree(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 1, 1)
        self.layer1 = nn.Sequential(*(Block() for _ in range(12)))
        self.heads = nn.ModuleList([nn.Linear(1, 1), nn.ReLU()])
        self.named = nn.ModuleDict({"a": Block()})

    def forward(self, x):
        return x


@pytest.fixture
def tree():
    return Tree()


def paths(model, *targets, where=None):
    return [path for one in resolve(survey(model), targets, where) for path in one.paths]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("conv1", ["conv1"]),
        ("layer1.3.conv2", ["layer1.3.conv2"]),
        ("layer1.-1", ["layer1.11"]),
        ("layer1.-12.conv1", ["layer1.0.conv1"]),
        ("heads.-1", ["heads.1"]),
        (".", ["."]),
        ("*", ["conv1", "layer1"]),
        ("*.conv1", []),
        ("layer1.*.conv1", [f"layer1.{i}.conv1" for i in range(12)]),
        ("layer1.1*.conv2", ["layer1.1.conv2", "layer1.10.conv2", "layer1.11.conv2"]),
        ("layer1.-1.*", ["layer1.11.conv1", "layer1.11.conv2"]),
        ("*.-1.conv1", ["layer1.11.conv1"]),
        ("heads.**", ["heads.0", "heads.1"]),
        ("named.**", ["named.a", "named.a.conv1", "named.a.conv2"]),
        ("**.a.conv?", []),
        (re.compile(r"layer1\.\d\.conv2"), [f"layer1.{i}.conv2" for i in range(10)]),
        (re.compile(r"conv"), []),
    ],
    ids=str,
)
def test_a_target_means_these_modules(tree, target, expected):
    if expected:
        assert paths(tree, target) == expected
    else:
        with pytest.raises(CaptureError):
            paths(tree, target)


def test_double_star_includes_the_top_level(tree):
    expected = ["conv1", *(f"layer1.{i}.conv1" for i in range(12)), "named.a.conv1"]
    assert paths(tree, "**.conv1") == expected


def test_double_star_is_everything_that_can_be_called_but_the_model(tree):
    callable_paths = [
        path
        for path, module in tree.named_modules()
        if path and not isinstance(module, nn.ModuleList | nn.ModuleDict)
    ]
    assert paths(tree, "**") == callable_paths


def test_below_a_leaves_out_a(tree):
    assert "layer1" not in paths(tree, "layer1.**")
    assert len(paths(tree, "layer1.**")) == 36


def test_where_takes_a_class_several_or_a_predicate(tree):
    assert paths(tree, where=nn.Linear) == ["heads.0"]
    assert paths(tree, where=(nn.Linear, nn.ReLU)) == ["heads.0", "heads.1"]
    assert paths(tree, "layer1.*", where=lambda path, module: path.endswith("7")) == ["layer1.7"]


def test_an_exact_container_resolves_although_it_never_runs(tree):
    assert paths(tree, "heads") == ["heads"]


def test_a_shared_module_is_known_by_its_first_path(tree):
    tree.alias = tree.layer1[0]
    assert paths(tree, "alias") == ["layer1.0"]
    assert paths(tree, "alias.conv2") == ["layer1.0.conv2"]
    assert paths(tree, "alias.*") == ["layer1.0.conv1", "layer1.0.conv2"]


def test_a_cyclic_module_graph_ends(tree):
    tree.layer1[0].up = tree
    assert paths(tree, "layer1.0.up.layer1.0.up.conv1") == ["conv1"]
    assert "layer1.0.conv1" in paths(tree, "**.conv1")
    assert "." not in paths(tree, "**")


def test_sharing_that_doubles_at_every_level_takes_no_time():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    for _ in range(60):
        model = nn.Sequential(model, model)
    assert len(paths(model, "**")) == 62


def test_odd_names_are_exact_before_they_are_patterns():
    model = nn.Sequential()
    model.add_module("a*b", nn.ReLU())
    model.add_module("acb", nn.ReLU())
    model.add_module("c#0", nn.ReLU())
    model.add_module("d[1]", nn.ReLU())
    assert paths(model, "a*b") == ["a*b"]
    assert paths(model, "a*") == ["a*b", "acb"]
    assert paths(model, "c#0", "d[1]") == ["c#0", "d[1]"]


MESSAGES = {
    "no such module": (
        ("layer1.3.conv3",),
        None,
        [
            "capture(\"layer1.3.conv3\"): 'layer1.3' (Block) has no module 'conv3'.",
            "'layer1.3' has: conv1, conv2.",
            "Did you mean 'layer1.3.conv2' or 'layer1.3.conv1' or 'layer1.9.conv2'?",
        ],
    ),
    "the name is elsewhere": (
        ("conv2",),
        None,
        [
            "capture(\"conv2\"): Tree has no module 'conv2'.",
            "It has: conv1, heads, layer1, named.",
            "Did you mean 'named.a.conv2' or 'layer1.0.conv2' or 'layer1.1.conv2'?",
        ],
    ),
    "many children in natural order": (
        ("layer1.12",),
        None,
        [
            "capture(\"layer1.12\"): 'layer1' (Sequential) has no module '12'.",
            "'layer1' has: 0 to 11.",
        ],
    ),
    "a pattern without a match": (
        ("block*",),
        None,
        [
            'capture("block*"): the pattern matches no module of Tree.',
            "It has: conv1, heads, layer1, named.",
        ],
    ),
    "a pattern without a match further down": (
        ("layer1.3.norm*",),
        None,
        [
            'capture("layer1.3.norm*"): the pattern matches no module of Tree.',
            "'layer1.3' has: conv1, conv2.",
        ],
    ),
    "a parameter": (
        ("conv1.weight",),
        None,
        [
            "capture(\"conv1.weight\"): 'weight' is a parameter of 'conv1' (Conv2d), not a module.",
            "A capture records what a module returns.",
        ],
    ),
    "no modules at all": (
        ("conv1.inner",),
        None,
        [
            "capture(\"conv1.inner\"): 'conv1' (Conv2d) has no module 'inner'.",
            "'conv1' has: no modules.",
        ],
    ),
    "a regular expression without a match": (
        (re.compile("conv"),),
        None,
        [
            "capture(re.compile('conv')): the pattern matches no module of Tree.",
            "It has: conv1, heads, layer1, named.",
            "Did you mean 'conv1'?",
        ],
    ),
    "only containers": (
        ("hea*",),
        None,
        [
            'capture("hea*"): only modules whose calls cannot be seen match in Tree, such as '
            "containers: heads.",
            "Capture what they hold, such as 'heads.*'.",
        ],
    ),
    "where= matches nothing": (
        (),
        nn.LSTM,
        [
            "capture(where=LSTM): no module of Tree passes where=.",
            "Offered were: Block (13), Conv2d (27), Linear (1), ReLU (1), Sequential (1).",
        ],
    ),
    "where= refuses an exact target": (
        ("conv1",),
        (nn.Linear, nn.ReLU),
        [
            'capture("conv1", where=(Linear, ReLU)): no module of Tree passes where=.',
            "Offered were: Conv2d (1).",
        ],
    ),
    "nothing asked": (
        (),
        None,
        [
            "capture() names no target.",
            'Name module paths, such as capture("conv1"), or choose by type: '
            "capture(where=nn.Conv2d).",
        ],
    ),
    "several targets in a list": (
        (["conv1", "layer1"],),
        None,
        [
            "capture(['conv1', 'layer1']): a target is one layer, or a pattern.",
            'Name several one after the other: capture("conv1", "layer1").',
        ],
    ),
    "several targets in one text": (
        ("conv1, layer1.0",),
        None,
        [
            'capture("conv1, layer1.0"): each target is a text of its own.',
            'Write capture("conv1", "layer1.0").',
        ],
    ),
    "a pattern of bytes": (
        (re.compile(rb"conv1"),),
        None,
        [
            "capture(re.compile(b'conv1')): a target is a module path, a glob or a compiled "
            "regular expression, not Pattern.",
            "Choose by class or predicate with where=, such as capture(where=nn.Conv2d).",
        ],
    ),
    "not a target": (
        (nn.Conv2d,),
        None,
        [
            "capture(<class 'torch.nn.modules.conv.Conv2d'>): a target is a module path, a glob "
            "or a compiled regular expression, not type.",
            "Choose by class or predicate with where=, such as capture(where=nn.Conv2d).",
        ],
    ),
    "a key": (
        ("layer1.3.conv1#0",),
        None,
        [
            "capture(\"layer1.3.conv1#0\"): 'layer1.3.conv1#0' is a key of feature_maps, not a "
            "target.",
            'Capture the module, capture("layer1.3.conv1"), and choose the call or the output '
            'where you read it: feature_maps["layer1.3.conv1#0"].',
        ],
    ),
    "an index, as Python writes it": (
        ("layer1[3].conv1",),
        None,
        [
            'capture("layer1[3].conv1"): the modules in a container are named with dots.',
            "Did you mean 'layer1.3.conv1'?",
        ],
    ),
    "a double star within a segment": (
        ("layer**.conv1",),
        None,
        [
            'capture("layer**.conv1"): `**` stands for whole segments of a path, so it stands '
            "alone between dots.",
            "Write `*` inside a segment, such as 'layer*.conv1'.",
        ],
    ),
}


@pytest.mark.parametrize(("targets", "where", "lines"), MESSAGES.values(), ids=list(MESSAGES))
def test_a_wrong_target_is_told(tree, targets, where, lines):
    with pytest.raises(CaptureError) as caught:
        resolve(survey(tree), targets, where)
    assert str(caught.value).splitlines() == lines


class Rectifies(nn.Module):
    def forward(self, x):
        return self.helped([nn.functional.relu(one, inplace=True) for one in x])

    def helped(self, x):
        return sum(x) * 2


@pytest.fixture
def functional():
    return nn.Sequential(OrderedDict(block=Rectifies(), linear=nn.Linear(1, 1)))


BY_IMPORT = (
    "a functional call is named by the module that makes it and the function, not by where that "
    "is imported from."
)
NEAR_CALLS = {
    "block.relu": [
        "capture(\"block.relu\"): 'block' (Rectifies) has no module 'relu'.",
        "'block' has: no modules.",
        'If the functional call is meant, write "block.relu()".',
    ],
    "block.relu_": [
        "capture(\"block.relu_\"): 'block' (Rectifies) has no module 'relu_'.",
        "'block' has: no modules.",
        'If the functional call is meant, write "block.relu_()".',
    ],
    "block.mul": [
        "capture(\"block.mul\"): 'block' (Rectifies) has no module 'mul'.",
        "'block' has: no modules.",
        'If the functional call is meant, write "block.mul()".',
    ],
    "block.softmax": [
        "capture(\"block.softmax\"): 'block' (Rectifies) has no module 'softmax'.",
        "'block' has: no modules.",
    ],
    "block.helped": [
        "capture(\"block.helped\"): 'block' (Rectifies) has no module 'helped'.",
        "'block' has: no modules.",
    ],
    "**.relu": [
        'capture("**.relu"): the pattern matches no module of Sequential.',
        "It has: block, linear.",
        'If the functional call is meant, write "**.relu()".',
    ],
    "add": [
        "capture(\"add\"): Sequential has no module 'add'.",
        "It has: block, linear.",
        'If the functional call is meant, write "add()".',
    ],
    "block.F.relu()": [
        f'capture("block.F.relu()"): {BY_IMPORT}',
        "Did you mean 'block.relu()'?",
    ],
    "block.torch.nn.functional.relu_()": [
        f'capture("block.torch.nn.functional.relu_()"): {BY_IMPORT}',
        "Did you mean 'block.relu_()'?",
    ],
    "F.relu()": [f'capture("F.relu()"): {BY_IMPORT}', "Did you mean 'relu()'?"],
    "**.F.relu()": [f'capture("**.F.relu()"): {BY_IMPORT}', "Did you mean '**.relu()'?"],
    "blok.F.relu()": [
        "capture(\"blok.F.relu()\"): Sequential has no module 'blok'.",
        "It has: block, linear.",
    ],
    "block.relu()#0": [
        "capture(\"block.relu()#0\"): 'block.relu()#0' is a key of feature_maps, not a target.",
        'Capture the functional call, capture("block.relu()"), and choose the call or the output '
        'where you read it: feature_maps["block.relu()#0"].',
    ],
    "relu()[0]": [
        "capture(\"relu()[0]\"): 'relu()[0]' is a key of feature_maps, not a target.",
        'Capture the functional call, capture("relu()"), and choose the call or the output where '
        'you read it: feature_maps["relu()[0]"].',
    ],
}


@pytest.mark.parametrize(("target", "lines"), NEAR_CALLS.items())
def test_a_target_that_is_nearly_a_functional_call_is_told_its_spelling(functional, target, lines):
    with pytest.raises(CaptureError) as caught:
        resolve(survey(functional), [target], None)
    assert str(caught.value).splitlines() == lines


def test_a_module_may_have_the_name_of_what_functions_are_imported_from():
    model = nn.Sequential(OrderedDict(F=Rectifies(), torch=nn.Sequential(Rectifies())))
    assert paths(model, "F.relu()", "torch.*.relu()") == ["F", "torch.0"]
