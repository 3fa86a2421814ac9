"""Shapes without values: what is accepted, what stays as it was, and what is refused."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import LLAMA_70B
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.nn.attention.flex_attention import flex_attention

from pytest_featuremaps import UnsupportedTensor, capture
from pytest_featuremaps.recording import fake
from pytest_featuremaps.recording.fake import shapes_only, suspended

REFUSED = "A value was asked for in shapes_only, where tensors have shapes and no values."
READ = (
    "  by:    aten._local_scalar_dense.default, which is `.item()`, `.tolist()`, `int(x)` or a "
    "condition such as `if x.sum() > 0`"
)
WAY_OUT = "Run this test with real tensors, on a small configuration of the model."


class Gate(nn.Module):
    """A layer that looks at values, in one way or another."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask

    def forward(self, x):
        return self.ask(x)


def router(ask):
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), Gate(ask)))


def refusal(function):
    with shapes_only(), pytest.raises(UnsupportedTensor) as caught:
        function()
    return str(caught.value).splitlines()


def is_real(tensor):
    return not isinstance(tensor, FakeTensor)


def test_a_model_of_any_size_is_built_and_run():
    with shapes_only():
        model = nn.Sequential(nn.Linear(10**6, 10**6), nn.ReLU())  # four terabytes
        with capture(model, "**") as maps:
            output = model(torch.randn(2, 10**6))
    assert output.shape == (2, 10**6)
    assert list(maps) == ["0", "1"]
    assert maps["1"].assert_shape("N 1000000") == {"N": 2}
    assert maps["0"].dtype == torch.float32
    assert maps["0"].device == torch.device("cpu")


def test_captured_shapes_can_be_checked_after_the_block_and_their_values_are_refused():
    with shapes_only():
        model = nn.Conv2d(3, 8, 3)
        with capture(model, ".") as maps:
            model(torch.randn(1, 3, 9, 9))
    one = maps["."]
    with pytest.raises(AssertionError, match=r"expected: 1 8 9 9"):
        one.assert_shape("1 8 9 9")
    for ask in (one.numpy, one.assert_finite, lambda: one.stats, one.image):
        with pytest.raises(UnsupportedTensor) as caught:
            ask()
        assert str(caught.value).endswith(
            ": a fake tensor has a shape and no values: run the model outside `shapes_only`"
        )
    assert "1×8×7×7" in maps.summary()


@given(
    channels=st.integers(1, 5),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    size=st.integers(4, 12),
)
@settings(max_examples=25, deadline=None)
def test_shapes_are_those_of_real_tensors(channels, kernel, stride, padding, size):
    def run():
        model = nn.Sequential(
            nn.Conv2d(3, channels, kernel, stride, padding),
            nn.BatchNorm2d(channels),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Flatten(),
        ).eval()
        with capture(model, "**") as maps:
            model(torch.ones(2, 3, size, size))
        return {key: (one.shape, one.dtype) for key, one in maps.items()}

    with shapes_only():
        without_values = run()
    assert without_values == run()


def test_the_default_dtype_counts():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with shapes_only():
            assert nn.Linear(3, 4)(torch.ones(2, 3)).dtype == torch.bfloat16
    finally:
        torch.set_default_dtype(before)


# --- real models and tensors ---------------------------------------------------------------


class Statistics(nn.Module):
    """A layer that writes its own buffers, in every way that is common."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(3))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.seen += 1
        self.seen.add_(1)
        self.mean *= 0.9
        self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
        torch.add(self.mean, 1, out=self.mean)
        self.mean[0] = 5
        return x - self.mean


def test_a_real_model_keeps_all_it_had():
    model = nn.Sequential(Statistics(), nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 4)).train()
    before = {name: (one, one.clone()) for name, one in model.state_dict(keep_vars=True).items()}
    with shapes_only(), torch.no_grad():
        output = model(torch.randn(8, 3))
        nn.init.zeros_(model[3].weight)
        model[3].bias.fill_(7)
    assert output.shape == (8, 4)
    after = model.state_dict(keep_vars=True)
    assert list(after) == list(before)
    for name, (tensor, values) in before.items():
        assert after[name] is tensor, name
        assert is_real(after[name]), name
        assert torch.equal(tensor, values), name
    assert is_real(model(torch.randn(8, 3)))


def test_real_tensors_are_accepted_and_nothing_is_computed_with_them():
    real = torch.ones(2, 3)
    with shapes_only():
        output = nn.Linear(3, 4)(real)
        doubled = real * 2
        real += 1
    assert not is_real(output)
    assert not is_real(doubled)
    assert is_real(real)
    assert torch.equal(real, torch.ones(2, 3))


def test_a_real_tensor_is_not_given_another_shape_in_place():
    photo = torch.ones(3, 4)
    with shapes_only(), pytest.raises(UnsupportedTensor) as caught:
        photo.unsqueeze_(0)
    assert str(caught.value) == (
        "In shapes_only, aten.unsqueeze_.default would change the shape of a real tensor in "
        "place.\nMake the tensor in the block, or use the operation that returns a new one."
    )
    with shapes_only():
        assert torch.ones(3, 4).unsqueeze_(0).shape == (1, 3, 4)
    assert photo.shape == (3, 4)


def test_training_runs():
    with shapes_only():
        model = nn.Linear(3, 4)
        optimiser = torch.optim.AdamW(model.parameters())
        model(torch.randn(2, 3)).sum().backward()
        optimiser.step()
        assert model.weight.grad.shape == (4, 3)


# --- values that are known -----------------------------------------------------------------


def test_numbers_written_in_code_may_be_read():
    with shapes_only():
        rates = torch.linspace(0, 1, 5)
        assert [rate.item() for rate in rates] == [0, 0.25, 0.5, 0.75, 1]
        assert [part.tolist() for part in rates.split([2, 3])] == [[0, 0.25], [0.5, 0.75, 1]]
        sizes = torch.tensor([2, 3])
        sizes += 1
        sizes[0] = 7
        assert sizes.tolist() == [7, 4]


def test_a_number_that_is_overwritten_with_an_unknown_one_is_unknown():
    def ask():
        numbers = torch.tensor([1.0, 2.0, 3.0])
        view = numbers[1:]
        numbers.copy_(torch.randn(3))
        view.tolist()

    assert refusal(ask)[0] == REFUSED


def test_large_lists_of_numbers_cost_no_memory():
    with shapes_only():
        assert torch.linspace(0, 1, 10**13).shape == (10**13,)


@pytest.mark.parametrize("bounds", [(-2, 2), (0.5, 0.6)])
def test_initialisation_that_redraws_values_ends(bounds):
    with shapes_only():
        weight = nn.init.trunc_normal_(torch.empty(10**6, 10**6), 0.0, 1.0, *bounds)
    assert weight.shape == (10**6, 10**6)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("made", [suspended, shapes_only])
def test_higher_order_operators_find_their_rules(made):
    with shapes_only():
        with made():
            query = torch.ones(1, 2, 16, 8)
        branch = torch.cond(torch.rand(()) > 0.5, torch.sin, torch.cos, (query,))
        assert branch.shape == (1, 2, 16, 8)
        assert flex_attention(query, query, query).shape == (1, 2, 16, 8)


# --- values that are not -------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x[int(x.argmax())],
        lambda x: x.tolist(),
    ],
)
def test_reading_a_value_names_the_layer(ask):
    model = router(ask)
    lines = [REFUSED, READ, "  layer: '1.1' (Gate) of Sequential", WAY_OUT]
    assert refusal(lambda: model(torch.randn(2, 3))) == lines


@pytest.mark.parametrize("ask", [lambda x: x[x > 0], lambda x: x.nonzero()])
def test_a_shape_that_depends_on_values_names_the_layer(ask):
    model = router(ask)
    assert refusal(lambda: model(torch.randn(2, 3))) == [
        REFUSED,
        "  by:    aten.nonzero.default, which is a boolean mask or `nonzero()`, whose length "
        "depends on values",
        "  layer: '1.1' (Gate) of Sequential",
        WAY_OUT,
    ]


def test_other_operations_are_named_as_torch_names_them():
    model = Gate(torch.unique)
    assert refusal(lambda: model(torch.randn(2, 3))) == [
        REFUSED,
        "  by:    aten._unique2.default",
        "  layer: '.' (Gate) of Gate",
        WAY_OUT,
    ]


def test_a_module_that_the_model_does_not_hold_is_named_by_its_type():
    hidden = Gate(lambda x: x.sum().item())
    model = Gate(lambda x: hidden(x) + 1)
    assert refusal(lambda: model(torch.randn(2)))[2] == "  layer: a Gate"


def test_a_value_asked_for_while_a_model_is_built():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.width = int(torch.randint(1, 9, ()))

    assert refusal(lambda: nn.Sequential(Random()))[2] == "  layer: none; a Random is being built"


def test_a_value_asked_for_outside_of_any_module():
    assert refusal(lambda: bool(torch.randn(())))[2] == "  layer: none; no module is running"


def test_the_model_is_not_harmed_by_a_refusal():
    model = router(lambda x: x.sum().item())
    refusal(lambda: model(torch.randn(2, 3)))
    assert isinstance(model(torch.randn(2, 3)), float)


# --- the block -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_the_block_ends_however_it_ends(kind):
    with pytest.raises(kind), shapes_only():
        raise kind
    assert is_real(torch.ones(2))


def test_blocks_nest():
    with shapes_only():
        with shapes_only():
            inner = torch.ones(2)
        outer = torch.ones(2)
        assert not is_real(inner + outer)
    assert is_real(torch.ones(2))


def test_tensors_of_another_fake_mode_are_accepted():
    with FakeTensorMode():
        foreign = torch.ones(2, 3)
        with shapes_only():
            assert nn.Linear(3, 4)(foreign).shape == (2, 4)
        assert not is_real(foreign + torch.ones(2, 3))


def test_what_outlives_a_block_can_be_made_with_values():
    with shapes_only():
        with suspended():
            model = nn.Linear(3, 4)
        assert not is_real(model(torch.ones(2, 3)))
    with suspended():  # outside of a block there is nothing to leave
        assert is_real(model(torch.ones(2, 3)))


def test_a_block_serves_as_a_decorator_and_may_be_entered_again():
    @shapes_only()
    def build():
        return nn.Linear(3, 4)

    first, second = build(), build()
    assert not is_real(first.weight)
    assert not is_real(second(first.weight[:, :3]))
    assert is_real(torch.ones(2))


def test_a_model_built_in_one_block_runs_in_another_and_after_it():
    with shapes_only():
        model = nn.Linear(3, 4)
    with shapes_only():
        assert model(torch.randn(2, 3)).shape == (2, 4)
    assert model(torch.randn(2, 3)).shape == (2, 4)


def test_nothing_outlives_the_tensors(monkeypatch):
    monkeypatch.setattr(fake, "_modes", type(fake._modes)())  # other tests' tensors may still live
    with shapes_only():
        model = nn.Linear(3, 4)
        with capture(model, ".") as maps:
            model(torch.tensor([1.0, 2.0, 3.0]))
    gc.collect()
    assert len(fake._modes) == 1
    del model, maps
    gc.collect()
    assert len(fake._modes) == 0


def test_the_random_state_is_put_back():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with shapes_only():
        torch.manual_seed(1)
        nn.Sequential(nn.Linear(3, 4), nn.Dropout())(torch.randn(2, 3))
        torch.multinomial(torch.ones(6), 2)
    assert torch.equal(torch.rand(3), expected)


# --- models from transformers --------------------------------------------------------------


def test_a_llama_of_70_billion_parameters():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**LLAMA_70B)
    with shapes_only():
        model = transformers.LlamaForCausalLM(config)
        with capture(model, "**") as maps:
            model(torch.randint(0, 128256, (1, 2048)))
    assert sum(one.numel() for one in model.parameters()) == 70_553_706_496
    assert sum(one.module_type == "Linear" for one in maps.values()) == 80 * 7 + 1
    for layer in ("model.layers.0", "model.layers.79"):
        maps[f"{layer}.self_attn.q_proj"].assert_shape("1 2048 8192")
        maps[f"{layer}.self_attn.k_proj"].assert_shape("1 2048 1024")
        maps[f"{layer}.mlp.gate_proj"].assert_shape("1 2048 28672")
    maps["lm_head"].assert_shape("1 2048 128256")


def small_networks(transformers):
    tokens = {"input_ids": torch.arange(8).reshape(2, 4)}
    pixels = {"pixel_values": torch.ones(2, 3, 32, 32)}
    width = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    deep = {"num_hidden_layers": 1, **width}
    return {
        "ViT": (transformers.ViTConfig(image_size=32, patch_size=8, **deep), pixels),
        "BERT": (transformers.BertConfig(vocab_size=8, **deep), tokens),
        "GPT-2": (transformers.GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2), tokens),
        "ResNet": (
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]),
            pixels,
        ),
        "ConvNeXt": (
            transformers.ConvNextConfig(hidden_sizes=[4, 8, 8, 8], depths=[1, 1, 1, 1]),
            pixels,
        ),
        "T5": (
            transformers.T5Config(
                vocab_size=8, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2
            ),
            {**tokens, "decoder_input_ids": tokens["input_ids"]},
        ),
    }


@pytest.mark.parametrize("name", ["ViT", "BERT", "GPT-2", "ResNet", "ConvNeXt", "T5"])
def test_networks_have_the_shapes_they_have_with_values(name):
    transformers = pytest.importorskip("transformers")
    config, inputs = small_networks(transformers)[name]

    def run():
        model = transformers.AutoModel.from_config(config).eval()
        with capture(model, "**") as maps:
            model(**inputs)
        return {key: (one.shape, one.dtype) for key, one in maps.items()}

    with shapes_only():
        without_values = run()
    assert len(without_values) > 10
    assert without_values == run()
