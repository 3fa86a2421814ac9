"""P-Net by its layers: contracts first, then baselines."""

import pytest


@pytest.mark.capture("conv1", "pool1", "conv2", "conv3", model="pnet")
def test_no_layer_pads(pnet, photo, feature_maps):
    pnet(photo)
    feature_maps.assert_shapes(
        {
            "conv1": "N 10 H W",
            "pool1": "N 10 H/2 W/2",
            "conv2": "N 16 H/2-2 W/2-2",
            "conv3": "N 32 H/2-4 W/2-4",
        },
        N=1,
        H=160 - 2,
        W=128 - 2,
    )


@pytest.mark.capture("prelu*", "pool1", "softmax4_1", model="pnet")
def test_activations_are_healthy(pnet, photo, feature_maps):
    pnet(photo)
    feature_maps.assert_healthy(dead=0)
    for name in ("prelu1", "prelu2", "prelu3"):
        feature_maps[name].assert_no_dead_channels()
        # PReLU weakens what is negative; a ReLU in its place would cut half of it to zero.
        feature_maps[name].assert_stats(zero_fraction=(0, 0.01), min=(None, 0))
    assert feature_maps["pool1"].stats.max == feature_maps["prelu1"].stats.max
    assert feature_maps["pool1"].stats.mean > feature_maps["prelu1"].stats.mean
    feature_maps["softmax4_1"].assert_stats(mean=pytest.approx(0.5), min=(0, None), max=(None, 1))


@pytest.mark.capture("conv1", "prelu1", "conv3", model="pnet")
def test_early_maps(pnet, photo, feature_maps, feature_snapshot):
    pnet(photo)
    feature_maps["conv1"].assert_shape("N 10 H W")
    assert feature_maps == feature_snapshot
    assert feature_maps["conv1"] == feature_snapshot


@pytest.mark.capture("**", model="pnet")
def test_every_layer(pnet, photo, feature_maps, feature_snapshot):
    pnet(photo)
    assert feature_maps == feature_snapshot


@pytest.mark.capture("pnet.conv1", "rnet.conv1")
def test_pnet_runs_once_per_size_and_rnet_once_in_all(model, astronaut, feature_maps):
    model(astronaut)
    heights = [conv1.shape[2] for conv1 in feature_maps.calls("pnet.conv1")]
    assert heights[0] == 308 - 2
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 10
    feature_maps["rnet.conv1"].assert_shape("crops 28 22 22")
