"""By hand: attention is called hard to visualise, since a hook on it sees a tuple, not a picture.

nn.MultiheadAttention returns its weights when asked, averaged over the heads unless told not to,
and never calls its `out_proj`: a hook there waits in vain. Here the place in the tuple is part of
the key, each head is one tile of a picture, and a layer that did not run is told with the reason.
"""

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, unfold

import pytest_featuremaps


class LooksBack(nn.Module):
    """Each patch looks for patches like it, up to itself; a head compares two rows of pixels."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(64, num_heads=4, bias=False, batch_first=True)
        self.attention.in_proj_weight.data = torch.eye(64).repeat(3, 1)

    def forward(self, patches):
        later = torch.ones(patches.shape[1], patches.shape[1]).triu(1).bool()
        return self.attention(
            patches, patches, patches, attn_mask=later, average_attn_weights=False
        )


@pytest.fixture
def model():
    return LooksBack()


@pytest.fixture
def patches(photo):
    """The photo's green in 20 patches, 8 by 8 pixels each, from -2 to 2."""
    return 4 * unfold(avg_pool2d(photo[:, 1:2], 2), 8, stride=8).mT - 2


@pytest.mark.capture("attention")
def test_a_row_adds_up_to_one_and_never_looks_ahead(model, patches, feature_maps):
    model(patches)
    feature_maps["attention[1]"].assert_shape("N heads L L", N=1, heads=4, L=20)
    weights = feature_maps["attention[1]"].tensor
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 4, 20))
    assert torch.equal(weights > 0, torch.ones(1, 4, 20, 20).tril().bool())


@pytest.mark.capture("attention")
def test_each_head_is_one_tile(model, patches, feature_maps, feature_snapshot):
    model(patches)
    assert feature_maps["attention[1]"] == feature_snapshot


def test_out_proj_never_runs_and_says_so(model, patches):
    with pytest_featuremaps.capture(model, "attention.out_proj") as maps:
        model(patches)
    with pytest.raises(pytest_featuremaps.CaptureError) as error:
        maps["attention.out_proj"]
    assert str(error.value).splitlines() == [
        (
            "There is no feature map 'attention.out_proj': MultiheadAttention uses the weights of "
            "its out_proj and never calls it; capture the MultiheadAttention."
        ),
        "Recorded are: none.",
    ]
