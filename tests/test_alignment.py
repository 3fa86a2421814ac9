"""Which layer of one run is which of another: blocks that came, went or changed their names."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from pytest_featuremaps import capture, compare
from pytest_featuremaps.baseline.alignment import align
from pytest_featuremaps.baseline.comparing import compare as compare_tables
from pytest_featuremaps.errors import BaselineError
from pytest_featuremaps.maps import measuring
from pytest_featuremaps.maps.feature_maps import view_of
from pytest_featuremaps.story import story


class Block(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + 0.1 * self.conv2(torch.relu(self.conv1(x))))


def stage(*seeds, name="layer"):
    blocks = nn.Sequential(*map(Block, seeds))
    return nn.Sequential(OrderedDict([(name, blocks), ("head", nn.Conv2d(4, 2, 1))])).eval()


def with_same_head(model):
    torch.manual_seed(99)
    nn.init.normal_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    return model


def table(model):
    torch.manual_seed(0)
    with capture(model, "**") as maps, torch.no_grad():
        model(torch.rand(1, 4, 9, 9))
    return measuring.table(view_of(maps))


def told(before, after, **options):
    comparison = compare_tables(before, after, **options)
    return comparison, story.tell(comparison, "table", accept="")


BEFORE = (1, 2, 3, 4)


def test_a_block_in_the_middle_is_one_insertion_and_the_others_keep_their_partners():
    before = table(with_same_head(stage(*BEFORE)))
    after = table(with_same_head(stage(1, 2, 77, 3, 4)))
    comparison, lines = told(before, after)
    partners = align(before.lines, after.lines).partners
    assert partners["layer.2.conv1"] == "layer.3.conv1"
    assert partners["layer.3"] == "layer.4"
    assert partners["head"] == "head"
    assert comparison.first.key.startswith("layer.2")
    assert comparison.first.kind == "added"
    assert "  added: layer.2 (3 maps)" in lines


def test_a_block_taken_out_is_one_removal():
    before = table(with_same_head(stage(*BEFORE)))
    after = table(with_same_head(stage(1, 3, 4)))
    comparison, lines = told(before, after)
    assert align(before.lines, after.lines).partners["layer.3.conv2"] == "layer.2.conv2"
    assert comparison.first.kind == "removed"
    assert "  removed: layer.1 (3 maps)" in lines


def test_a_parent_called_otherwise_is_one_renaming_and_no_change():
    before = table(with_same_head(stage(*BEFORE)))
    after = table(with_same_head(stage(*BEFORE, name="encoder")))
    comparison, lines = told(before, after)
    assert {entry.kind for entry in comparison.entries} <= {"equal", "within", "renamed"}
    assert any(line.startswith("  renamed: layer → encoder") for line in lines), lines


def test_a_change_behind_an_inserted_block_is_not_hidden_by_it():
    before = table(with_same_head(stage(*BEFORE)))
    model = with_same_head(stage(1, 2, 77, 3, 4))
    model.layer[4].conv1.weight.data.mul_(1.5)
    comparison, _ = told(before, table(model))
    (changed,) = [entry for entry in comparison.entries if entry.key == "layer.4.conv1"]
    assert changed.expected.key == "layer.3.conv1"
    assert changed.kind == "changed"


def test_a_table_is_aligned_with_itself():
    one = table(stage(*BEFORE))
    assert align(one.lines, one.lines).partners == {line.key: line.key for line in one.lines}


@pytest.mark.parametrize(
    "rename",
    [
        {"layer": "encoder"},
        (r"layer\.(.*)", r"encoder.\1"),
        lambda key: key.replace("layer", "encoder"),
    ],
    ids=["mapping", "pattern", "function"],
)
def test_names_that_are_declared_are_no_difference(rename):
    before = table(with_same_head(stage(*BEFORE)))
    after = table(with_same_head(stage(*BEFORE, name="encoder")))
    if isinstance(rename, tuple):
        rename = (r"^layer", "encoder")
    assert compare_tables(before, after, rename=rename)


def test_a_name_that_nothing_has_is_an_error():
    one = table(stage(*BEFORE))
    with pytest.raises(BaselineError) as caught:
        compare_tables(one, one, rename={"layers": "encoder"})
    assert "layers" in str(caught.value)
    assert "layer" in str(caught.value).replace("layers", "")


def test_a_run_may_have_a_tolerance_of_its_own(pytester):
    pytester.makeconftest(
        """
        import pytest, torch
        from torch import nn
        FACTOR = 1.0

        @pytest.fixture
        def model():
            torch.manual_seed(0)
            net = nn.Sequential(nn.Linear(8, 8)).eval()
            import os
            net[0].weight.data.mul_(float(os.environ.get("FACTOR", 1)))
            return net
        """
    )
    pytester.makepyfile(
        """
        import pytest, torch

        @pytest.mark.capture("0")
        def test_layer(model, feature_maps, feature_snapshot):
            model(torch.ones(1, 8))
            assert feature_maps == feature_snapshot
        """
    )
    pytester.runpytest_subprocess("--snapshot-update").assert_outcomes(passed=1)
    patch = pytest.MonkeyPatch()
    patch.setenv("FACTOR", "1.002")
    try:
        pytester.runpytest_subprocess().assert_outcomes(failed=1)
        wide = pytester.runpytest_subprocess("--featuremaps-tolerance=0.05")
        wide.assert_outcomes(passed=1)
        pytester.makeini("[pytest]\nfeaturemaps_tolerance = 0.05\n")
        pytester.runpytest_subprocess().assert_outcomes(passed=1)
        pytester.runpytest_subprocess("--featuremaps-tolerance=exact").assert_outcomes(failed=1)
    finally:
        patch.undo()
    wrong = pytester.runpytest_subprocess("--featuremaps-tolerance=loose")
    assert wrong.ret == pytest.ExitCode.USAGE_ERROR
    wrong.stderr.fnmatch_lines(["ERROR: *--featuremaps-tolerance*loose*"])


# ---------------------------------------------------------------- two live models


def recorded(model, photo, **options):
    with capture(model, "**", **options) as maps, torch.no_grad():
        model(photo)
    return maps


@pytest.fixture
def photo():
    torch.manual_seed(1)
    return torch.rand(1, 4, 9, 9)


@pytest.mark.parametrize("options", [{}, {"keep": "stats"}], ids=["values", "stats"])
def test_two_live_models_that_agree_and_that_do_not(photo, options):
    one, other = with_same_head(stage(*BEFORE)), with_same_head(stage(*BEFORE))
    assert compare(recorded(one, photo, **options), recorded(other, photo, **options))
    other.layer[2].conv2.weight.data.mul_(1.1)
    comparison = compare(recorded(one, photo, **options), recorded(other, photo, **options))
    assert not comparison
    assert comparison.first.key == "layer.2.conv2"
    assert str(comparison).splitlines()[1].startswith("layer.2.conv2 changed first: ")
    assert "baseline" not in str(comparison)


def test_a_port_with_other_names_agrees_where_they_are_declared(photo):
    one = with_same_head(stage(*BEFORE))
    other = with_same_head(stage(*BEFORE, name="encoder"))
    maps = recorded(one, photo), recorded(other, photo)
    assert compare(*maps, rename={"layer": "encoder"})


def test_a_twin_in_half_precision_agrees_and_its_noise_is_told_layer_by_layer(photo):
    one = with_same_head(stage(*BEFORE))
    twin = with_same_head(stage(*BEFORE)).bfloat16()
    comparison = compare(recorded(one, photo), recorded(twin, photo.bfloat16()))
    assert comparison, str(comparison)
    ratios = comparison.signal_to_noise()
    assert set(ratios) == {entry.key for entry in comparison._verdict.entries}
    assert all(25 < ratio < 70 for ratio in ratios.values()), ratios
    assert comparison.table().splitlines()[0].split()[:2] == ["feature", "map"]
