"""By hand: hooks go on the layers whose names are in a list.

A wrong name is in no model, so it is ignored: nothing is recorded, and a test that goes over what
was recorded passes. Here it is an error before the model runs, which says what exists there and
which names are near.
"""

import pytest

import pytest_featuremaps
from pytest_featuremaps import CaptureError


def test_by_hand_a_wrong_name_is_ignored(alexnet, large_photo):
    recorded = {}
    for name, module in alexnet.named_modules():
        if name == "feature.3":
            module.register_forward_hook(lambda *call: recorded.update(conv=call[2]))
    alexnet(large_photo)
    assert all(conv.min() < 0 for conv in recorded.values())  # passes, and says nothing
    assert recorded == {}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "feature.3",
            [
                "capture(\"feature.3\"): AlexNet has no module 'feature'.",
                "It has: classifier, features.",
                "Did you mean 'features.3' or 'features.9' or 'features.8'?",
            ],
        ),
        (
            "classifier.weight",
            [
                "capture(\"classifier.weight\"): 'weight' is a parameter of 'classifier' (Linear), "
                "not a module.",
                "A capture records what a module returns.",
            ],
        ),
        (
            "**.conv1",
            [
                'capture("**.conv1"): the pattern matches no module of AlexNet.',
                "It has: classifier, features.",
            ],
        ),
    ],
)
def test_a_wrong_name_is_an_error(alexnet, target, message):
    with pytest.raises(CaptureError) as error:
        pytest_featuremaps.capture(alexnet, "classifier", target)
    assert str(error.value).splitlines() == message
