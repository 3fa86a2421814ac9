"""One edit of a small Sequential: the story names its place, and nothing else came or went."""

from collections import OrderedDict
from functools import partial
from itertools import pairwise

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.baseline.comparing import compare
from pytest_featuremaps.maps.feature_maps import view_of
from pytest_featuremaps.maps.measuring import table
from pytest_featuremaps.story.story import headline, tell

# Without weights. None of these in another order gives the same values, as ReLU and Tanh do.
BARE = {"gelu": nn.GELU, "softplus": nn.Softplus, "pool": partial(nn.AvgPool2d, 3, 1, 1)}
KINDS = st.sampled_from([*BARE, "conv", "conv", "norm"])


def built(kind, seed):
    torch.manual_seed(seed)
    if kind in BARE:
        return BARE[kind]()
    if kind == "conv":
        return nn.Conv2d(3, 3, 3, padding=1)
    norm = nn.BatchNorm2d(3)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.running_mean)
    return norm


def recorded(layers, *, within):
    model = nn.Sequential(*(built(*layer) for layer in layers))
    if within:
        model = nn.Sequential(OrderedDict(body=model, head=built("conv", 77)))
    photo = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1)) - 0.5
    with torch.no_grad(), capture(model.eval(), "**") as maps:
        model(photo)
    return table(view_of(maps))


def tells_apart(layers):
    """Whether no two neighbours are the same, of which any could be the one that came."""
    return all(a[0] != b[0] or a[0] not in BARE for a, b in pairwise(layers))


@st.composite
def stacks(draw):
    """Layers, each a kind and a seed of its own."""
    kinds = draw(st.lists(KINDS, min_size=2, max_size=7))
    layers = list(zip(kinds, range(len(kinds)), strict=True))
    assume(tells_apart(layers))
    return layers


@st.composite
def edited(draw):
    """Layers, an edit, its place, and the layers after it."""
    before = draw(stacks())
    edit = draw(st.sampled_from(["insert", "delete", "retype"]))
    place = draw(st.integers(0, len(before) - (edit != "insert")))
    new = [] if edit == "delete" else [(draw(KINDS), 50)]
    after = [*before[:place], *new, *before[place + (edit != "insert") :]]
    assume(tells_apart(after) or edit == "delete")
    assume(edit != "retype" or new[0][0] != before[place][0])
    return before, edit, place, after


def compared(before, after, *, within):
    """The comparison of two stacks, and what the keys of their layers begin with."""
    comparison = compare(recorded(before, within=within), recorded(after, within=within))
    first = headline(comparison, "t")[0]
    assert "as is all of" not in first
    return comparison, first, "body." if within else ""


def of_kind(comparison, kind):
    return [one.key for one in comparison.entries if one.kind == kind]


@settings(max_examples=80, deadline=None)
@given(edited(), st.booleans())
def test_the_story_of_one_edit_names_its_place_and_nothing_else_came_or_went(case, within):
    before, edit, place, after = case
    comparison, first, container = compared(before, after, within=within)

    key = f"{container}{place}"
    assert first.startswith(f"{key} "), first
    assert of_kind(comparison, "added") == ([key] if edit == "insert" else [])
    assert of_kind(comparison, "removed") == ([key] if edit == "delete" else [])
    if edit == "retype":
        assert any(line.strip().startswith("why: it was a ") for line in tell(comparison, "t"))


@settings(max_examples=60, deadline=None)
@given(stacks(), st.data(), st.booleans())
def test_of_two_layers_that_changed_places_nothing_came_or_went(before, data, within):
    indices = st.integers(0, len(before) - 1)
    places = sorted(data.draw(st.lists(indices, min_size=2, max_size=2, unique=True)))
    one, other = (before[place] for place in places)
    assume(one[0] != other[0] or one[0] not in BARE)
    after = list(before)
    after[places[0]], after[places[1]] = other, one
    comparison, first, container = compared(before, after, within=within)

    assert first.startswith(f"{container}{places[0]} "), first
    assert not of_kind(comparison, "added")
    assert not of_kind(comparison, "removed")
    for place in set(range(len(before))).difference(places):
        key = f"{container}{place}"
        assert not any(key in pair for pair in comparison.renamed), comparison.renamed
