"""Models that several test files share."""

from torch import nn

# What `LlamaConfig` of transformers is given for 70,553,706,496 parameters.
LLAMA_70B = {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


class SmallModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.conv2 = nn.Conv2d(4, 8, 3)

    def forward(self, x):
        return self.conv2(self.conv1(x))


class Net(nn.Module):
    """Nested, with an in-place activation, a reused module and one that never runs."""

    def __init__(self):
        super().__init__()
        self.small_model = SmallModel()
        self.relu = nn.ReLU(inplace=True)
        self.features = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1))
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = self.relu(self.small_model(x))
        return self.relu(self.features(x))


def hook_count(model):
    """The number of hooks of any kind on every module of a model."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
