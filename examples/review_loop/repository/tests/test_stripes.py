"""The layers of the network: the filters by a picture, and all of them by their numbers."""

import pytest


@pytest.mark.capture("filters")
def test_filters(model, rings, feature_maps, feature_snapshot):
    model(rings)
    assert feature_maps["filters"] == feature_snapshot


@pytest.mark.capture("**")
def test_layers(model, rings, feature_maps, feature_snapshot):
    model(rings)
    assert feature_maps == feature_snapshot
