"""O-Net by its layers: contracts first, then baselines."""

import pytest
from torch import nn


@pytest.mark.capture(where=nn.PReLU, model="onet")
def test_every_activation_is_alive(onet, face_48, feature_maps):
    onet(face_48)
    assert list(feature_maps) == ["prelu1", "prelu2", "prelu3", "prelu4", "prelu5"]
    for prelu in feature_maps.values():
        assert prelu.stats.zero_fraction < 0.01
        assert prelu.stats.min < 0 < prelu.stats.max


@pytest.mark.capture("dense6_3", model="onet")
def test_landmarks_lie_inside_the_crop(onet, face_48, feature_maps):
    onet(face_48)
    landmarks = feature_maps["dense6_3"]
    landmarks.assert_shape("N 10")
    assert 0 < landmarks.stats.min < landmarks.stats.max < 1


@pytest.mark.capture("conv1", model="onet")
def test_conv1(onet, face_48, feature_maps, feature_snapshot):
    onet(face_48)
    feature_maps["conv1"].assert_shape("N 32 46 46")
    assert feature_maps["conv1"] == feature_snapshot


@pytest.mark.capture("**", model="onet")
def test_every_layer(onet, face_48, feature_maps, feature_snapshot):
    probability, _, _ = onet(face_48)
    assert probability.item() > 0.99
    feature_maps.assert_healthy()
    assert feature_maps == feature_snapshot
