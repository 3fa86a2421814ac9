"""What the shapes of a Llama with 70 billion parameters cost, beside the same by hand.

Usage: python tests/benchmarks/shapes.py [ROUNDS]
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))  # PYTHONSAFEPATH leaves a script's folder out
sys.path.insert(0, str(Path(__file__).parent))

import torch
from nets import LLAMA_70B
from pairing import machine, ratio, table
from torch._subclasses import FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM

from pytest_featuremaps import capture, shapes_only

HAND = "a mode of fake tensors and a hook on every module, by hand"
OURS = "`shapes_only` and `capture`"


def main(rounds):
    measured = {HAND: [], OURS: []}
    for _ in range(rounds):
        for way, found in measured.items():
            found.append(in_a_process(way))
    by_hand = [seconds for seconds, _, _ in measured[HAND]]
    rows = [
        (
            way,
            str(found[0][2]),
            f"{median(seconds for seconds, _, _ in found):.2f} s",
            ratio([seconds for seconds, _, _ in found], by_hand),
            f"{max(peak for _, peak, _ in found) / 2**20:.2f} GB",
        )
        for way, found in measured.items()
    ]
    print("Llama, 70,553,706,496 parameters, built and run on 2,048 tokens without values:")
    print(f"{rounds} rounds, each way in a process of its own; imports are not counted.\n")
    print(table(["way", "maps", "time", "/ by hand", "peak memory, imports included"], rows))
    print()
    print(machine(f"torch {torch.__version__}"))


def in_a_process(way):
    """Return the seconds, the peak memory in kilobytes and the number of maps of one way."""
    run = subprocess.run(
        [sys.executable, __file__, "--way", way], check=True, capture_output=True, text=True
    )
    seconds, peak, maps = run.stdout.split()
    return float(seconds), int(peak), int(maps)


def print_one(way):
    config = LlamaConfig(**LLAMA_70B)
    start = time.perf_counter()
    shapes = by_hand(config) if way == HAND else ours(config)
    seconds = time.perf_counter() - start
    # In kilobytes on Linux.
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, len(shapes))


def ours(config):
    with shapes_only():
        model = LlamaForCausalLM(config)
        with capture(model, "**", keep="shapes") as maps:
            model(torch.zeros(1, 2048, dtype=torch.long))
    return {key: one.shape for key, one in maps.items()}


def by_hand(config):
    shapes = {}

    def note(path):
        def hook(module, args, output):
            for place, one in enumerate(output if isinstance(output, tuple) else [output]):
                if isinstance(one, torch.Tensor):
                    shapes[path, place] = tuple(one.shape)

        return hook

    with FakeTensorMode():
        model = LlamaForCausalLM(config)
        for path, module in model.named_modules():
            if path:
                module.register_forward_hook(note(path))
        model(torch.zeros(1, 2048, dtype=torch.long))
    return shapes


if __name__ == "__main__":
    if "--way" in sys.argv:
        print_one(sys.argv[-1])
    else:
        main(*map(int, sys.argv[1:2] or ["5"]))
