"""Baselines that were recorded on one machine (Linux, x86-64, AVX-512) hold on every other."""

import pytest
import torch
import zoo


@pytest.fixture
def mobilenet():
    return zoo.load_or_skip("mobilenet")


@pytest.fixture
def vit():
    return zoo.fill(zoo.load_or_skip("vit"))


@pytest.fixture
def lstm():
    return zoo.fill(zoo.load_or_skip("lstm"))


@pytest.mark.capture("features.*", model="mobilenet")
@torch.no_grad()
def test_trained_mobilenet(mobilenet, feature_maps, feature_snapshot):
    mobilenet(**zoo.sample("mobilenet"))
    assert feature_maps == feature_snapshot


@pytest.mark.capture("embeddings", "layers.*", "layers.*.mlp", "layers.*.attention", model="vit")
@torch.no_grad()
def test_vit(vit, feature_maps, feature_snapshot):
    vit(**zoo.sample("vit"))
    assert feature_maps == feature_snapshot


@pytest.mark.capture("lstm", "head", model="lstm")
@torch.no_grad()
def test_lstm(lstm, feature_maps, feature_snapshot):
    lstm(**zoo.sample("lstm"))
    assert feature_maps == feature_snapshot(sample=0)
