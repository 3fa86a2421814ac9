"""What must pass: the same code and weights, computed in another way.

Thirteen networks are recorded under every CPU capability that this machine can select, on one
thread and on two, with oneDNN and without. With FEATUREMAPS_SLOW=1 there are more of them, and
compiled code.
"""

import os

import drifting
import pytest
import torch
import zoo
from torch import nn

from pytest_featuremaps.baseline.comparing import compare
from pytest_featuremaps.story.story import headline

SLOW = os.environ.get("FEATUREMAPS_SLOW") == "1"
slow = pytest.mark.skipif(not SLOW, reason="takes minutes; FEATUREMAPS_SLOW=1 runs it")

# Every block of a deep ResNet with random weights amplifies rounding: 1e-4 is too narrow for
# them. That is what measured noise is for.
STEADY = [name for name in zoo.NETWORKS if name not in zoo.DEEP_RESNETS]
NAMES = list(zoo.NETWORKS) if SLOW else STEADY

pytestmark = pytest.mark.usefixtures("threads")


def story(comparison):
    return "\n".join(headline(comparison, "drift"))


def test_the_same_code_agrees_with_itself_under_every_capability(tmp_path):
    for name in NAMES:
        zoo.load_or_skip(name)
    recorded = drifting.record(tmp_path, NAMES)
    reference = recorded.pop(drifting.REFERENCE)
    lowest = recorded[drifting.LOWEST, "one"]
    noisy = {name: drifting.with_noise(reference[name], lowest[name]) for name in NAMES}
    failures = [
        f"{name}, {capability}, {way}, {what}: {story(verdict)}"
        for (capability, way), tables in recorded.items()
        for name, table in tables.items()
        for what, before in (("default", reference[name]), ("noise", noisy[name]))
        if not (verdict := compare(before, table))
        if what == "noise" or name in STEADY
    ]
    assert not failures, "\n".join(failures)

    # It would prove nothing if the capability had not been chosen, or made no difference.
    assert lowest["vit"].environment["cpu"] == "DEFAULT"
    moved = [
        name for name in NAMES if any(drifting.changes(reference[name], lowest[name]).values())
    ]
    assert len(moved) >= 10 or reference["vit"].environment["cpu"] == "DEFAULT"


@pytest.mark.parametrize("name", STEADY)
def test_one_sample_agrees_with_itself_in_a_batch_of_four(name):
    model = zoo.load_or_skip(name)
    alone = zoo.record(model, zoo.sample(name), sample=0)
    together = zoo.record(model, zoo.sample(name, 4), sample=0)
    verdict = compare(alone, together)
    assert verdict, story(verdict)


@pytest.mark.parametrize("name", [name for name in STEADY if zoo.NETWORKS[name].takes_images])
def test_memory_order_makes_no_difference(name):
    model, inputs = zoo.load_or_skip(name), zoo.sample(name, 2)
    before = zoo.record(model, inputs)
    last = {"memory_format": torch.channels_last}
    after = zoo.record(model.to(**last), {key: one.to(**last) for key, one in inputs.items()})
    verdict = compare(before, after)
    assert verdict, story(verdict)


class Given(nn.Module):
    """Returns what it is given, so that values from anywhere can be recorded."""

    def forward(self, maps):
        return maps


def steps(layers, x):
    """Run layers one after the other, and give what each produced."""
    made = {}
    for number, layer in enumerate(layers):
        x = layer(x)
        made[str(number)] = x
    return made


def states(model, inputs):
    found = model(**inputs, output_hidden_states=True).hidden_states
    return {str(number): one for number, one in enumerate(found)}


# Hooks force a model to run eagerly, so what compiled code computes has to be returned by it.
COMPILED = {
    "mobilenet": lambda model, inputs: steps(model.features, inputs["x"]),
    "resnet18": lambda model, inputs: steps(model, inputs["input"]),
    "vit": states,
    "convnext": states,
    "bert": states,
    "gpt2": states,
    "llama": states,
}


@slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", COMPILED)
def test_compiled_code_agrees_with_eager_code(name):
    model, inputs, run = zoo.load_or_skip(name), zoo.sample(name), COMPILED[name]
    with torch.no_grad():
        eager = run(model, inputs)
        try:
            compiled = torch.compile(run)(model, inputs)
        except Exception as error:  # noqa: BLE001 - no compiler, or one that torch does not know
            pytest.skip(f"nothing can be compiled here: {error}")
    verdict = compare(
        zoo.record(Given(), {"maps": eager}, "."), zoo.record(Given(), {"maps": compiled}, ".")
    )
    assert verdict, story(verdict)
    assert len(verdict.entries) > 4
