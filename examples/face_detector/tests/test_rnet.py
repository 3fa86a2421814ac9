"""R-Net by its layers: contracts first, then baselines."""

import pytest


@pytest.mark.capture("conv*", "dense*", model="rnet")
def test_shapes_down_to_one_answer(rnet, face_24, feature_maps):
    rnet(face_24)
    feature_maps.assert_shapes(
        {
            "conv1": "N 28 22 22",
            "conv2": "N 48 9 9",
            "conv3": "N 64 3 3",
            "dense4": "N 128",
            "dense5_1": "N 2",
            "dense5_2": "N 4",
        }
    )


@pytest.mark.capture("conv1", model="rnet")
def test_conv1(rnet, face_24, feature_maps, feature_snapshot):
    rnet(face_24)
    assert feature_maps["conv1"] == feature_snapshot


@pytest.mark.capture("**", model="rnet")
def test_every_layer(rnet, face_24, feature_maps, feature_snapshot):
    probability, _ = rnet(face_24)
    assert probability.item() > 0.99
    feature_maps.assert_healthy()
    assert feature_maps == feature_snapshot
