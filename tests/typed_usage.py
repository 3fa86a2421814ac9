"""Code as a user with strict types writes it; checked by mypy, not run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

from pytest_featuremaps import (
    Comparison,
    FeatureMap,
    FeatureMaps,
    FeatureSnapshot,
    Recording,
    Tolerance,
    capture,
    compare,
)


@pytest.mark.capture("conv1", where=nn.Conv2d)
def test_typed(
    model: nn.Module, feature_maps: Recording, feature_snapshot: FeatureSnapshot
) -> None:
    model(torch.rand(1, 3, 8, 8))
    one: FeatureMap = feature_maps["conv1"]
    sizes: dict[str, int] = one.assert_shape("N C H W", N=1)
    sizes |= feature_maps.assert_shapes({"conv1": "N C H W", "fc": (1, 10)}, N=1)
    one.assert_stats(mean=(-1, None), max=pytest.approx(4.0), nan_count=0)
    one.assert_no_dead_channels(max_fraction=0.1)
    feature_maps.assert_healthy(dead=None, scale=(0.1, 10))
    proposal: str = feature_maps.summary(as_specs=True)
    assert proposal
    picture: Image.Image = one.image(channels=range(sizes["C"]))
    picture = one.image(colours="pca", scale=2, layout="NCHW")
    one.save("conv1.png", channels=[0, 1], ranges="layer", numbers=False)
    one.save_channels("channels", colours="diverging", query=None)
    page: Image.Image = feature_maps.sheet(most=8, colours="ramp")
    weights: FeatureMap = feature_maps["scaled_dot_product_attention()"].attention()
    assert page.size >= weights.image(query=0, layout="tokens:1+14x14").size
    values: npt.NDArray[np.float32] = one.numpy()
    assert picture.size[0] >= values.shape[-1]
    assert one == feature_snapshot
    assert feature_maps.only("conv*") == feature_snapshot(
        "convolutions", tolerance=Tolerance(1e-3), sample=0, rename={"stem": "conv1"}
    )


def maps_of(model: nn.Module) -> FeatureMaps:
    with capture(model, "**", layout="NHWC") as maps:
        view: FeatureMaps = maps.attach(nn.ReLU(), ".", name="other", required=False)
        model(torch.rand(1, 3, 8, 8))
    mean: float = maps["conv1"].stats.mean
    assert mean < 1
    return view


def ported(reference: FeatureMaps, candidate: FeatureMaps) -> float:
    found: Comparison = compare(reference, candidate, rename=(r"^net\.", ""), tolerance="half")
    assert found, found.table()
    renaming: Callable[[str], str] = str.lower
    assert compare(reference, candidate, rename=renaming).first is None
    return min(found.signal_to_noise().values())
