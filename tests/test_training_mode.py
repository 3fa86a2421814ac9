"""A baseline that is recorded from a model in training mode comes with a warning."""

import copy
import gc
import pickle

import pytest
import torch
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.baseline.comparing import compare
from pytest_featuremaps.maps.feature_map import record_of
from pytest_featuremaps.maps.feature_maps import view_of
from pytest_featuremaps.maps.measuring import table
from pytest_featuremaps.recording.models import training_of
from pytest_featuremaps.story.story import headline


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (nn.BatchNorm1d(4), True),
        (nn.BatchNorm2d(4).eval(), False),
        (nn.SyncBatchNorm(4), True),
        (nn.Dropout(0.1), True),
        (nn.Dropout(0.0), False),
        (nn.Dropout(0.1).eval(), False),
        (nn.Dropout2d(0.5), True),
        (nn.AlphaDropout(0.5), True),
        (nn.LSTM(4, 4, num_layers=2, dropout=0.1), True),
        (nn.LSTM(4, 4), False),
        (nn.MultiheadAttention(4, 2, dropout=0.1), True),
        (nn.MultiheadAttention(4, 2), False),
        (nn.Linear(4, 4), False),
        (nn.LayerNorm(4), False),
        (nn.InstanceNorm2d(4), False),
    ],
    ids=str,
)
def test_what_computes_something_else_in_training_mode(module, named):
    model = nn.Sequential(nn.Linear(4, 4), module)
    assert training_of(model)() == ([f"1 ({type(module).__name__})"] if named else [])
    assert training_of(module)() == ([f". ({type(module).__name__})"] if named else [])


def test_a_cause_names_training_mode_where_the_model_was_not_in_it_before():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    tables = []
    for training in (False, True):
        with capture(model.train(training), "**") as maps, torch.no_grad():
            model(torch.arange(12.0).reshape(3, 4))
        tables.append(table(view_of(maps)))
    lines = headline(compare(*tables), "t")
    assert lines[0].startswith("1 changed first: ")
    assert lines[1] == (
        "why: its weights are not known, as in training: they, its code or its input changed"
    )


def test_the_model_is_not_kept_alive():
    model = nn.Sequential(nn.Dropout())
    ask = training_of(model)
    assert ask() == ["0 (Dropout)"]
    del model
    gc.collect()
    assert ask() == []


def test_a_map_knows_its_model_and_a_pickled_one_no_more():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    with capture(model, "0", "add()", required=False) as maps:
        model(torch.ones(1, 4))
    assert record_of(maps["0"]).place.layer.training() == ["1 (Dropout)"]
    again = pickle.loads(pickle.dumps(maps["0"]))  # noqa: S301 - made a moment ago
    assert record_of(again).place.layer.training() == []
    assert record_of(copy.deepcopy(maps)["0"]).place.layer.training() == ["1 (Dropout)"]


BODY = """
@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(1.0)){mode}

@pytest.mark.capture("0", "2.dropout()", model="net", required=False)
def test_table(net, feature_maps, feature_snapshot):
    net(torch.ones(2, 4))
    assert feature_maps == feature_snapshot
"""


def test_recording_warns_and_comparing_does_not(pytester, write):
    write(BODY.format(mode=""))
    warning = [
        "test_it.py::test_table",
        "  *test_it.py:13: FeatureMapsWarning: A baseline is recorded from a model in training "
        "mode: 1 (BatchNorm1d), 2 (Dropout).",
        "  Dropout draws anew in every run, and BatchNorm goes by the batch. Call model.eval() in "
        "the model's fixture; where training mode is what is tested, ignore "
        "pytest_featuremaps.FeatureMapsWarning.",
    ]
    for update in ("--snapshot-update-new-only", "--snapshot-update"):
        result = pytester.runpytest("-W", "default", update)
        result.assert_outcomes(passed=1, warnings=1)
        result.stdout.fnmatch_lines(warning, consecutive=True)
    for rest in ([], ["--snapshot-update-new-only"]):
        pytester.runpytest("-W", "default", *rest).assert_outcomes(passed=1)


def test_nothing_is_recorded_where_warnings_are_errors_until_it_is_ignored(pytester, write):
    write(BODY.format(mode=""))
    result = pytester.runpytest("-W", "error", "--snapshot-update-new-only")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E * A baseline is recorded from a model in training mode: *"])
    assert not (pytester.path / "__snapshots__").exists()
    ignore = ("-W", "error", "-W", "ignore::pytest_featuremaps.FeatureMapsWarning")
    pytester.runpytest(*ignore, "--snapshot-update").assert_outcomes(passed=1)


def test_a_model_in_evaluation_mode_is_recorded_in_silence(pytester, write):
    write(BODY.format(mode=".eval()"))
    pytester.runpytest("-W", "error", "--snapshot-update").assert_outcomes(passed=1)
