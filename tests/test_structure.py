"""Structure in words, on a residual network: what came, went, moved and is called otherwise."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.baseline.alignment import align
from pytest_featuremaps.baseline.comparing import compare, merge
from pytest_featuremaps.baseline.table_files import dump, load
from pytest_featuremaps.baseline.tables import Line, Table
from pytest_featuremaps.maps.feature_maps import view_of
from pytest_featuremaps.maps.measuring import table
from pytest_featuremaps.story.story import headline, tell


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(x + y)


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.layer1 = nn.Sequential(*(Block(8) for _ in range(4)))
        self.layer2 = nn.Sequential(nn.MaxPool2d(2), Block(8))
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(self.conv1(x))).mean((2, 3)))


class Wrapper(nn.Module):
    def __init__(self, **named):
        super().__init__()
        for name, module in named.items():
            setattr(self, name, module)

    def forward(self, x):
        for module in self.children():
            x = module(x)
        return x


def recorded(model):
    photo = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad(), capture(model, "**", ".") as maps:
        model(photo)
    return table(view_of(maps))


@pytest.fixture(scope="module")
def seeded():
    torch.manual_seed(0)
    return ResNet().eval()


@pytest.fixture(scope="module")
def before(seeded):
    return recorded(seeded)


@pytest.fixture
def net(seeded):
    torch.manual_seed(7)
    return copy.deepcopy(seeded)


def structure(comparison):
    """The lines of the story's part on structure."""
    told = tell(comparison, "t", accept="")
    start = told.index("structure:") + 1
    return [line.strip() for line in told[start:] if line.startswith("  ")]


def test_an_inserted_block_is_one_insertion(net, before):
    net.layer1.insert(2, Block(8).eval())
    comparison = compare(before, recorded(net))

    lines = headline(comparison, "t")
    assert lines[0] == "layer1.2.conv1 is new, as is all of layer1.2: 7 maps"
    assert lines[1].startswith("layer1.3.conv1 (baseline: layer1.2.conv1) follows it: relative L2 ")
    assert lines[3] == (
        "structure: added layer1.2 (7 maps), "
        "renumbered layer1.2 … layer1.3 → layer1.3 … layer1.4 (14 maps)"
    )
    assert structure(comparison) == [
        "added: layer1.2 (7 maps)",
        "renumbered: layer1.2 … layer1.3 → layer1.3 … layer1.4 (14 maps)",
    ]
    partners = {entry.key: entry.partner for entry in comparison.entries if entry.partner}
    assert len(partners) == 14
    assert all(
        new.replace("layer1.3", "layer1.2").replace("layer1.4", "layer1.3") == old
        for new, old in partners.items()
    )
    assert not any(line.startswith("weights changed") for line in tell(comparison, "t"))


def test_what_changed_behind_an_inserted_block_is_told_although_all_that_follows_changed(
    net, before
):
    net.layer1.insert(2, Block(8).eval())
    net.layer1[4].relu = nn.GELU()
    net.layer2[1].conv2.weight.data *= 1.5
    comparison = compare(before, recorded(net))

    assert structure(comparison) == [
        "added: layer1.2 (7 maps)",
        "renumbered: layer1.2 … layer1.3 → layer1.3 … layer1.4 (14 maps)",
        "another module: layer1.4.relu#0 (ReLU → GELU), layer1.4.relu#1 (ReLU → GELU)",
    ]
    assert "weights changed as well: layer2.1.conv2" in tell(comparison, "t")
    assert ", 1 with other weights; " in headline(comparison, "t")[2]


def test_a_block_through_which_values_pass_hides_no_change_either(net, before):
    net.layer1.insert(2, nn.Identity())
    comparison = compare(before, recorded(net))
    assert {entry.kind for entry in comparison.entries} == {"equal", "added", "renamed"}

    net.fc.weight.data *= 1.01
    comparison = compare(before, recorded(net))
    assert [entry.key for entry in comparison.entries if entry.violations] == ["fc", "."]
    assert headline(comparison, "t")[1].startswith("fc changed first: relative L2 change ")
    assert headline(comparison, "t")[1].endswith("(its weights changed)")


def test_a_block_that_went_is_one_removal(net, before):
    del net.layer1[1]
    comparison = compare(before, recorded(net))

    assert headline(comparison, "t")[0] == ("layer1.1.conv1 is gone, as is all of layer1.1: 7 maps")
    assert structure(comparison) == [
        "removed: layer1.1 (7 maps)",
        "renumbered: layer1.2 … layer1.3 → layer1.1 … layer1.2 (14 maps)",
    ]


def test_what_went_is_not_told_as_what_has_its_number_now():
    torch.manual_seed(3)
    first, second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
    old = recorded(nn.Sequential(nn.Softplus(), first, nn.GELU(), second))
    comparison = compare(old, recorded(nn.Sequential(first, nn.GELU(), second)))

    told = tell(comparison, "t")
    assert told[1] == "0 is gone: the baseline holds it, this run does not"
    assert told[1] == headline(comparison, "t")[0]
    start = told.index("then, in order:") + 1
    assert [line.partition(": ")[0] for line in told[start : start + 3]] == [
        "  0 (baseline",
        "  1 (baseline",
        "  2 (baseline",
    ]


def test_what_only_has_another_number_is_told_beside_what_went():
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)]
    old = recorded(nn.Sequential(nn.Identity(), *layers))
    told = tell(compare(old, recorded(nn.Sequential(*layers))), "t")

    assert told[1] == "0 is gone: the baseline holds it, this run does not"
    assert "  1 … 3 → 0 … 2: renamed, 3 maps" in told


def test_blocks_that_changed_places_have_moved(net, before):
    net.layer1[1], net.layer1[3] = net.layer1[3], net.layer1[1]
    comparison = compare(before, recorded(net))

    assert structure(comparison) == [
        "moved: layer1.1 → layer1.3 (7 maps), layer1.3 → layer1.1 (7 maps)"
    ]
    assert "  why: layers changed places" in tell(comparison, "t")


def test_a_block_that_was_replaced_is_compared_with_its_successor(net, before):
    net.layer1[1] = Block(8).eval()
    comparison = compare(before, recorded(net))

    assert comparison.renamed == ()
    assert {entry.kind for entry in comparison.entries} == {"equal", "changed"}
    assert headline(comparison, "t")[1] == "why: its weights changed"


def test_a_wrapper_that_came_and_one_that_went_are_one_renaming(net, before):
    wrapped = recorded(Wrapper(module=net))
    came, went = compare(before, wrapped), compare(wrapped, before)
    maps = len(before.lines)

    assert structure(came) == ["added: .", f"renamed: (the model) → module ({maps} maps)"]
    assert structure(went) == ["removed: .", f"renamed: module → (the model) ({maps} maps)"]


def test_a_parent_of_another_name_is_one_renaming_even_with_a_change_in_it(net):
    head = nn.Linear(10, 2)
    old = recorded(Wrapper(backbone=net, head=head))
    net.layer1[2].conv2.weight.data *= 1.1
    comparison = compare(old, recorded(Wrapper(encoder=net, head=head)))

    first = next(entry for entry in comparison.entries if entry.violations)
    assert (first.key, first.partner) == ("encoder.layer1.2.conv2", "backbone.layer1.2.conv2")
    assert structure(comparison) == [f"renamed: backbone → encoder ({len(old.lines) - 2} maps)"]


def test_new_weights_everywhere_are_compared_name_by_name(before):
    torch.manual_seed(5)
    comparison = compare(before, recorded(ResNet().eval()))

    assert comparison.renamed == ()
    assert {entry.kind for entry in comparison.entries} == {"changed"}


def test_a_renaming_with_new_weights_is_one_where_several_layers_bear_it(before):
    torch.manual_seed(5)
    old = recorded(Wrapper(backbone=ResNet().eval()))
    new = recorded(Wrapper(encoder=ResNet().eval()))

    assert {entry.kind for entry in compare(old, new).entries if entry.key != "."} == {"changed"}
    assert len(compare(old, new).renamed) == len(old.lines) - 1


def test_a_module_that_runs_once_more_has_one_call_more(seeded, before):
    class Twice(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.conv, self.net = net.conv1, net

        def forward(self, x):
            self.conv(x)
            return self.net(x)

    once = Table({}, tuple(line for line in before.lines if line.key == "conv1"))
    lines = recorded(Twice(seeded)).lines[:2]
    twice = Table({}, tuple(replace(one, key=one.key.replace("conv", "conv1")) for one in lines))
    comparison = compare(once, twice)

    assert [(one.key, one.kind) for one in comparison.entries] == [
        ("conv1#0", "renamed"),
        ("conv1#1", "added"),
    ]
    assert headline(comparison, "t")[0] == "conv1 runs 2 times, 1 in the baseline"
    assert headline(compare(twice, once), "t")[0] == "conv1 runs 1 time, 2 in the baseline"


def test_a_module_that_ran_several_times_already_is_told_by_its_calls(before):
    def running(times):
        calls = (replace(before.lines[0], key=f"cell#{call}") for call in range(times))
        return Table({}, tuple(calls))

    more, fewer = compare(running(2), running(3)), compare(running(3), running(2))
    assert headline(more, "t")[0] == "cell runs 3 times, 2 in the baseline"
    assert headline(fewer, "t")[0] == "cell runs 2 times, 3 in the baseline"


def test_an_accepted_insertion_keeps_the_numbers_of_what_was_only_renumbered(net, before):
    net.layer1.insert(2, nn.Identity())
    net.conv1.weight.data *= 1 + 1e-6
    after = recorded(net)
    merged = load(merge(dump(before), after))

    assert [line.key for line in merged.lines] == [line.key for line in after.lines]
    assert compare(merged, after)
    old = {line.key: line for line in before.lines}
    (moved,) = (line for line in merged.lines if line.key == "layer1.4.conv2")
    assert moved == replace(old["layer1.3.conv2"], key="layer1.4.conv2")


def lines(**weights):
    return [replace(layer("x", 0, 1)[0], key=key, weights=one) for key, one in weights.items()]


def numbered(*digests, container="acts"):
    one = layer("x", 0, 1)[2]
    return [
        replace(one, key=f"{container}.{number}", digest=digest)
        for number, digest in enumerate(digests)
    ]


def test_layers_without_weights_are_known_by_their_values():
    partners = align(numbered(*"abc"), numbered(*"axbc")).partners
    assert partners == {"acts.0": "acts.0", "acts.1": "acts.2", "acts.2": "acts.3"}


def test_nothing_but_its_place_makes_no_partner_of_a_layer_with_other_weights():
    before = lines(**{"0": "aa", "1": "bb", "3": "dd"})
    after = lines(**{"0": "aa", "2": "cc", "3": "dd"})
    assert align(before, after).partners == {"0": "0", "3": "3"}
    # Unless what is around it took the same step.
    shifted = lines(**{"1": "aa", "2": "cc", "4": "dd"})
    assert align(before, shifted).partners == {"0": "1", "1": "2", "3": "4"}


# --- any edit of any stack ----------------------------------------------------------------------


def layer(container, number, seed):
    """A convolution with weights of its own, and a ReLU and a norm that have none."""
    path = f"{container}.{number}"
    digest = f"{seed:016x}"
    same = {"shape": (1, 4), "dtype": "float32", "device": "cpu", "stats": {}}
    return [
        Line(f"{path}.conv", "Conv2d", weights=digest, **same),
        Line(f"{path}.norm", "BatchNorm2d", weights="00", **same),
        Line(f"{path}.relu", "ReLU", **same),
        Line(path, "Block", weights=f"b{digest}", **same),
    ]


def stack(seeds, container="layers"):
    return [one for number, seed in enumerate(seeds) for one in layer(container, number, seed)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 30), unique=True, max_size=12), st.data())
def test_every_block_that_stays_keeps_its_partner_whatever_comes_and_goes(seeds, data):
    kept = data.draw(st.sets(st.sampled_from(seeds)) if seeds else st.just(set()))
    new = data.draw(st.lists(st.integers(31, 60), unique=True, max_size=4))
    after = [seed for seed in seeds if seed in kept]
    for seed in new:
        after.insert(data.draw(st.integers(0, len(after))), seed)
    container = data.draw(st.sampled_from(["layers", "encoder"]))

    aligned = align(stack(seeds), stack(after, container))

    for seed in kept:
        for old, here in zip(
            layer("layers", seeds.index(seed), seed),
            layer(container, after.index(seed), seed),
            strict=True,
        ):
            assert aligned.partners.get(old.key) == here.key
    assert aligned.moved == frozenset()


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(1, 9)))
def test_every_block_is_found_again_in_any_order(order):
    aligned = align(stack(range(1, 9)), stack(order))

    for place, seed in enumerate(order):
        for end in ("", ".conv", ".norm", ".relu"):
            assert aligned.partners[f"layers.{seed - 1}{end}"] == f"layers.{place}{end}"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from("abcdef.[]#012"), min_size=1, max_size=4).map("".join),
    st.lists(st.sampled_from("abcdef.[]#012"), min_size=1, max_size=4).map("".join),
)
def test_strange_keys_are_aligned_too(one, other):
    line = layer("x", 0, 1)[0]
    before = [replace(line, key=key) for key in dict.fromkeys([one, "a.b", "."])]
    after = [replace(line, key=key, weights=None) for key in dict.fromkeys([other, "a.b", "."])]

    partners = align(before, after).partners

    assert partners["a.b"] == "a.b"
    assert partners["."] == "."
    comparison = compare(Table({}, tuple(before)), Table({}, tuple(after)))
    assert all(text.isprintable() for text in tell(comparison, "t"))
