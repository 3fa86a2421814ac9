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
from pytest_featuremaps.maps.measuring import table
from pytest_featuremaps.story.story import headline, tell

# Without weights. None of these in another order gives the same values, as ReLU and Tanh do.
BARE = {"gelu": nn.GELU, "softplus": nn.Softplus, "pool": partial(nn.AvgPool2d, 3, 1, 1)}
EDITS = ["insert", "delete", "retype"]


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
    return table(maps)


def tells_apart(layers):
    """Whether no two neighbours are the same, of which any could be the one that came."""
    return all(a[0] != b[0] or a[0] not in BARE for a, b in pairwise(layers))


@st.composite
def edited(draw, edits):
    """Layers with their seeds, an edit, its places, and the layers after it."""
    kinds = st.sampled_from([*BARE, "conv", "conv", "norm"])
    before = [
        (kind, seed) for seed, kind in enumerate(draw(st.lists(kinds, min_size=2, max_size=7)))
    ]
    new = draw(kinds), 50
    edit = draw(st.sampled_from(edits))
    place = draw(st.integers(0, len(before) - (edit != "insert")))
    after = list(before)
    if edit == "insert":
        after.insert(place, new)
    elif edit == "delete":
        del after[place]
    else:
        assume(new[0] != before[place][0])
        after[place] = new
    assume(tells_apart(before) and (edit != "insert" or tells_apart(after)))
    return before, edit, place, after


@settings(max_examples=80, deadline=None)
@given(edited(EDITS), st.booleans())
def test_the_story_of_one_edit_names_its_place_and_nothing_else_came_or_went(case, within):
    before, edit, place, after = case
    comparison = compare(recorded(before, within=within), recorded(after, within=within))
    first = headline(comparison, "t")[0]
    key = f"body.{place}" if within else str(place)
    assert first.startswith(f"{key} "), first
    came = [one.key for one in comparison.entries if one.kind == "added"]
    went = [one.key for one in comparison.entries if one.kind == "removed"]
    assert came == ([key] if edit == "insert" else [])
    assert went == ([key] if edit == "delete" else [])
    assert "as is all of" not in first
    if edit == "retype":
        assert any(line.strip().startswith("why: it was a ") for line in tell(comparison, "t"))
