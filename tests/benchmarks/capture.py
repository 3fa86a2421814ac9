"""What recording costs: a ResNet-50 beside hand-written hooks, and per module up to 10,000.

Usage: python tests/benchmarks/capture.py [ROUNDS] [--write README.md]

pytest-torch, torchextractor and TorchLens are measured as well where they are installed. With
`--write` the table of the ResNet-50 replaces what stands between two comments in a file.
"""

import argparse
import gc
import resource
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pytest_featuremaps import capture
from pytest_featuremaps.maps import keeping
from pytest_featuremaps.names.paths import survey
from pytest_featuremaps.names.targets import resolve
from pytest_featuremaps.recording.hooks import Hooks
from pytest_featuremaps.recording.interception import FunctionalCalls
from pytest_featuremaps.recording.recorder import Recorder
from pytest_featuremaps.recording.recording import Recording

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's folder out

from pairing import interleaved, machine, median_ms, ratio, table, write_between

BARE = "bare forward"
BARE_AGAIN = "bare forward, once more"
REFERENCE = "hook that keeps a reference (unsafe)"
CLONE = "hook with `detach().clone()`"
AGAIN = "the same hook, once more"
OURS = "pytest-featuremaps"
SHAPES = 'pytest-featuremaps, `keep="shapes"`'
STATS = 'pytest-featuremaps, `keep="stats"`'
SKETCH = 'pytest-featuremaps, `keep="stats"`, with sketches'
CALLS = "pytest-featuremaps, functional calls intercepted"
INTERCEPTED = "interception (with a probe: a hook on the model)"
MODE = "interception (the mode alone)"
IDLE = "a torch function mode that does nothing"
HAND = "hook with hand-written statistics"

SIZES = (10, 100, 1_000, 10_000)


def main(rounds, file):
    torch.manual_seed(0)
    where = machine(f"torch {torch.__version__}", f"{torch.get_num_threads()} threads")
    with torch.no_grad():
        text = resnet(rounds, where)
        print(text)
        if file:
            write_between("costs", text, file)
        print_parts(rounds)
        print_modules()
        print_targets()
    print(where)


def resnet(rounds, where):
    """Measure the ResNet-50, and return what the README shows."""
    model, images = resnet50().eval(), torch.randn(1, 3, 224, 224)
    watching = Recording(Recorder(intercepting=False))
    watching.attach(model, "**.add()", keep="shapes")
    places = {id(module): [path] for path, module in model.named_modules()}
    mode = FunctionalCalls(places, is_add, pass_by)
    ways = {
        BARE: partial(model, images),
        BARE_AGAIN: partial(model, images),
        REFERENCE: partial(by_hand, model, images, keep_reference),
        CLONE: partial(by_hand, model, images, keep_clone),
        AGAIN: partial(by_hand, model, images, keep_clone),
        OURS: partial(ours, model, images),
        HAND: partial(by_hand, model, images, keep_statistics),
        SHAPES: partial(reduced, model, images, keep="shapes"),
        STATS: partial(reduced, model, images, keep="stats"),
        SKETCH: partial(reduced, model, images, keep="stats", sketched=True),
        CALLS: partial(intercepted, model, images),
        INTERCEPTED: partial(watched, watching, model, images),
        MODE: partial(listened, mode, model, images),
        IDLE: partial(listened, Idle(), model, images),
        **rivals(model, images),
    }
    kept = ours(model, images)
    values = sum(one.tensor.numel() for one in kept.values())
    title = (
        f"A ResNet-50 at 224², all its {len(kept)} leaf modules captured "
        f"({values / 1e6:.1f} million values, {4 * values / 1e6:.0f} MB), hooks\non and off "
        f"included. Ratios within each of {rounds} interleaved rounds, median [middle half];\n"
        f"{where}:"
    )
    del kept
    seconds = interleaved(ways, rounds)
    watching.close()
    rows = [
        (name, median_ms(taken), ratio(taken, seconds[BARE]), ratio(taken, seconds[CLONE]))
        for name, taken in seconds.items()
    ]
    memory = (
        f'Peak memory of a process with `keep="stats"` over that of a bare one: '
        f"{peak('stats') / peak('bare'):.3f}×."
    )
    headings = ["capture", "time", "/ bare forward", "/ clone hook"]
    return f"{title}\n\n{table(headings, rows)}\n\n{memory}\n"


def peak(way):
    """Return the peak memory, in bytes or kilobytes, of a fresh process with one forward."""
    run = subprocess.run(
        [sys.executable, __file__, "--peak", way], check=True, capture_output=True, text=True
    )
    return int(run.stdout)


def print_peak(way):
    model, images = resnet50().eval(), torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        for _ in range(2):
            if way == "bare":
                model(images)
            else:
                reduced(model, images, keep=way)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def ours(model, images):
    with capture(model, where=is_leaf) as maps:
        model(images)
    return maps


def reduced(model, images, *, keep, sketched=False):
    with Recording(Recorder(sketched=sketched)) as maps:
        maps.attach(model, where=is_leaf, keep=keep)
        model(images)
    return maps


def intercepted(model, images):
    with capture(model, "**.add()", keep="shapes") as maps:
        model(images)
    return maps


def watched(recording, model, images):
    """Run the model while functional calls are intercepted, as they are during a test's call."""
    recording.clear()
    with recording._recorder.interception():
        return model(images)


def listened(mode, model, images):
    """Run the model in a mode: ours tells of every add, and nothing is recorded of it."""
    with mode:
        return model(images)


class Idle(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def is_add(place, op, inside_torch_nn):
    return op == "add"


def pass_by(place, op, output, taken):
    """Record nothing."""


def by_hand(model, images, keep):
    with hooks(model, keep) as kept:
        model(images)
    return kept


@contextmanager
def hooks(model, keep):
    """Register what a careful test writes by hand: a hook per leaf, and surely off again."""
    kept, handles = {}, []
    try:
        for path, module in model.named_modules():
            if is_leaf(path, module):
                handles.append(module.register_forward_hook(partial(keep, kept, path)))
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def keep_reference(kept, path, module, args, output):
    kept[path] = output


def keep_clone(kept, path, module, args, output):
    kept[path] = output.detach().clone()


def keep_statistics(kept, path, module, args, output):
    """Keep what our statistics hold, by the fewest and fastest calls, whatever the accuracy.

    The extremes show whether a value is not finite; the mean and the norm give the deviation.
    """
    values = output.detach()
    low, high = (extreme.item() for extreme in values.aminmax())
    zeros = np.count_nonzero(values.numpy() == 0)
    kept[path] = low, high, zeros, values.sum().item(), torch.linalg.vector_norm(values).item()


def is_leaf(path, module):
    return not any(True for _ in module.children())


def rivals(model, images):
    """Return the ways of the other packages that are installed."""
    found = {}
    for name, package, way in (  # torchvision and timm need a torchvision made for this torch
        ("pytest-torch (inputs as well)", "pytest_torch.divergence", pytest_torch),
        ("torchextractor (references, unsafe)", "torchextractor", torchextractor),
        ("TorchLens (every operation)", "torchlens", torchlens),
    ):
        try:
            found[name] = partial(way, import_module(package), model, images)
        except ImportError:
            print(f"left out, not installed: {name}")
    return found


def pytest_torch(package, model, images):
    return package._collect(model, (images,), leaf_only=True)


def torchextractor(package, model, images):
    paths = [path for path, module in model.named_modules() if is_leaf(path, module)]
    extractor = package.Extractor(model, paths)
    try:
        return dict(extractor(images)[1])
    finally:
        for handle in extractor.hook_handles:
            handle.remove()


def torchlens(package, model, images):
    options = package.options.CaptureOptions(unwrap_when_done=True)
    return package.trace(model, images, capture=options)


def resnet50():
    """Build a ResNet-50 without its classifier, where each step of a block is a module."""
    blocks, channels = [], 64
    for count, width, stride in ((3, 256, 1), (4, 512, 2), (6, 1024, 2), (3, 2048, 2)):
        for number in range(count):
            blocks.append(Bottleneck(channels, width, 1 if number else stride))
            channels = width
    stem = [*_layer(3, 64, size=7, stride=2), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1))


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        inner = width // 4
        self.shortcut = nn.Identity()
        if channels != width:
            conv = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(width))
        self.layers = nn.Sequential(
            *_layer(channels, inner),
            *_layer(inner, inner, size=3, stride=stride),
            *_layer(inner, width, activation=nn.Identity),
        )
        self.activation = nn.ReLU()

    def forward(self, x):
        return self.activation(self.layers(x) + self.shortcut(x))


def _layer(channels, width, *, size=1, stride=1, activation=nn.ReLU):
    conv = nn.Conv2d(channels, width, size, stride, size // 2, bias=False)
    return conv, nn.BatchNorm2d(width), activation()


def print_parts(rounds):
    """Print what a capture takes besides its copies, where a model runs between its hooks."""
    model, images = resnet50().eval(), torch.randn(1, 3, 224, 224)
    ways = {CLONE: lambda: hooks(model, keep_clone), OURS: lambda: capture(model, where=is_leaf)}
    runs, own = {name: [] for name in ways}, []
    for _ in range(rounds):
        runs[CLONE].append(_phases(ways[CLONE], model, images))
        with stopwatch(Hooks, "__call__") as called, stopwatch(keeping, "independent") as copied:
            runs[OURS].append(_phases(ways[OURS], model, images))
        own.append((sum(called) - sum(copied)) / len(called))
    (on, _, off, _), (ours_on, _, ours_off, _) = (
        [1000 * median(phase) for phase in zip(*taken, strict=True)] for taken in runs.values()
    )
    print(
        f"Of the ResNet-50, medians: hooks go on in {ours_on:.1f} ms ({on:.1f} by hand) and off "
        f"in {ours_off:.1f} ms ({off:.1f});\na call takes {1e6 * median(own):.0f} µs besides its "
        "copy.\n"
    )


@contextmanager
def stopwatch(owner, name):
    """Take the time of every call of a function, in seconds."""
    function, seconds = getattr(owner, name), []

    def run(*args, **kwargs):
        start = time.perf_counter()
        result = function(*args, **kwargs)
        seconds.append(time.perf_counter() - start)
        return result

    setattr(owner, name, run)
    try:
        yield seconds
    finally:
        setattr(owner, name, function)


def print_modules():
    print(
        "A chain of `Identity` modules that pass 16 numbers on, each captured: µs per module, "
        "median. For the hooks, what they add to the forward, then what it costs to put them on "
        "and take them off. Python's garbage collector is off.\n"
    )
    headings = [
        "modules",
        "bare forward",
        "clone hook: forward",
        "on, off",
        "ours: forward",
        "on, off",
        "list keys",
    ]
    rows = [(f"{size:,}", *(f"{1e6 * each:.1f}" for each in per_module(size))) for size in SIZES]
    print(table(headings, rows) + "\n")


def per_module(size):
    """Return the seconds per module that a table row shows."""
    model, values = chain(size), torch.zeros(16)
    ways = {
        BARE: lambda: nullcontext({}),
        CLONE: lambda: hooks(model, keep_clone),
        OURS: lambda: capture(model, where=is_leaf),
    }
    runs = {name: [] for name in ways}
    with no_garbage_collection():
        for _ in range(max(5, 3_000 // size)):
            for name, way in ways.items():
                runs[name].append(_phases(way, model, values))
    typical = {
        name: [median(phase) for phase in zip(*taken, strict=True)] for name, taken in runs.items()
    }
    (_, bare, _, _), (on, clone, off, _), (ours_on, forward, ours_off, keys) = typical.values()
    row = (bare, clone - bare, on + off, forward - bare, ours_on + ours_off, keys)
    return [seconds / size for seconds in row]


def _phases(way, model, values):
    """Return the seconds to put hooks on, run the model, take them off and list the keys."""
    clock = [time.perf_counter()]
    with way() as kept:
        clock.append(time.perf_counter())
        model(values)
        clock.append(time.perf_counter())
    clock.append(time.perf_counter())
    list(kept)
    clock.append(time.perf_counter())
    return [after - before for before, after in pairwise(clock)]


def print_targets():
    headings = ["modules", "look the model over", '`"**"`', '`"*5"`', "every path by name"]
    rows = [(f"{size:,}", *(f"{1000 * each:.2f} ms" for each in lookups(size))) for size in SIZES]
    print("Resolving targets, before the first hook: ms for the whole model, median.\n")
    print(table(headings, rows) + "\n")


def lookups(size):
    """Return the seconds that a table row shows."""
    model = chain(size)
    known = survey(model)
    every = [str(number) for number in range(size)]
    calls = [lambda: survey(model)]
    calls += [partial(resolve, known, targets, None) for targets in (["**"], ["*5"], every)]
    with no_garbage_collection():
        return [median(_seconds(call) for _ in range(1 + 300 // size)) for call in calls]


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextmanager
def no_garbage_collection():
    """Keep Python's full collections, which fall on any phase, out of a microsecond's measure."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def chain(size):
    return nn.Sequential(*(nn.Identity() for _ in range(size)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rounds", nargs="?", type=int, default=20)
    parser.add_argument("--write", metavar="FILE", type=Path)
    parser.add_argument("--peak", metavar="WAY", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        print_peak(given.peak)
    else:
        main(given.rounds, given.write)
