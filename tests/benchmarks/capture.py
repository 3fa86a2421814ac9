"""What recording costs: a ResNet-50 beside hand-written hooks, and per module up to 10,000.

Usage: python tests/benchmarks/capture.py [ROUNDS]

pytest-torch and torchextractor are measured as well where they are installed.
"""

import statistics
import sys
import time
from contextlib import contextmanager
from functools import partial
from importlib import import_module

import torch
from pairing import interleaved, machine, median_ms, ratio, table, timed
from torch import nn

from pytest_featuremaps import capture
from pytest_featuremaps.targets import resolve, survey

BARE = "bare forward"
REFERENCE = "hook that keeps a reference (unsafe)"
CLONE = "hook with `detach().clone()`"
OURS = "pytest-featuremaps"

SIZES = (10, 100, 1_000, 10_000)


def main(rounds):
    torch.manual_seed(0)
    with torch.no_grad():
        print(resnet_table(rounds))
        print()
        print(modules_table())
        print()
        print(targets_table())
    print()
    print(machine(f"torch {torch.__version__}", f"{torch.get_num_threads()} threads"))


def resnet_table(rounds):
    model, images = resnet50().eval(), torch.randn(1, 3, 224, 224)
    ways = {
        BARE: partial(model, images),
        REFERENCE: partial(by_hand, model, images, keep_reference),
        CLONE: partial(by_hand, model, images, keep_clone),
        OURS: partial(ours, model, images),
        **rivals(model, images),
    }
    kept = ours(model, images)
    values = sum(one.tensor.numel() for one in kept.values())
    title = (
        f"ResNet-50 at 224², its {len(kept)} leaf modules, {values / 1e6:.1f} M values "
        f"({4 * values / 1e6:.0f} MB): {rounds} rounds, ratios in one round, "
        "median [lowest – highest]."
    )
    del kept
    seconds = interleaved(ways, rounds)
    rows = [
        (name, median_ms(taken), ratio(taken, seconds[BARE]), ratio(taken, seconds[CLONE]))
        for name, taken in seconds.items()
    ]
    return f"{title}\n\n" + table(["capture", "time", "/ bare forward", "/ clone hook"], rows)


def ours(model, images):
    with capture(model, where=is_leaf) as maps:
        model(images)
    return maps


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


def is_leaf(path, module):
    return not any(True for _ in module.children())


def rivals(model, images):
    """Return the ways of the other packages that are installed."""
    found = {}
    for name, package, way in (
        ("pytest-torch (inputs as well)", "pytest_torch.divergence", pytest_torch),
        ("torchextractor (references, unsafe)", "torchextractor", torchextractor),
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


def modules_table():
    """Time each phase of a recording by the number of modules, beside the clone hook's."""
    headings = ["modules", "bare call", "clone hook", "ours", "attach", "detach", "list the keys"]
    rows = [(f"{size:,}", *map(_micro, _phases(size))) for size in SIZES]
    title = (
        "A chain of `Identity` modules that pass 16 numbers on, each captured: µs per module, "
        "median. Hooks: what each adds to the forward."
    )
    return f"{title}\n\n" + table(headings, rows)


def _phases(size):
    model, values = chain(size), torch.zeros(16)
    repeats = max(5, 3_000 // size)
    bare = _median(partial(timed, partial(model, values)), repeats)
    with hooks(model, keep_clone):
        clone = _median(partial(timed, partial(model, values)), repeats)
    runs = [_recorded(model, values) for _ in range(repeats)]
    attach, forward, detach, keys = map(statistics.median, zip(*runs, strict=True))
    each = (bare, clone - bare, forward - bare, attach, detach, keys)
    return [seconds / size for seconds in each]


def _recorded(model, values):
    """Return the seconds that attaching, the forward, detaching and listing the keys take."""
    clock = [time.perf_counter()]
    with capture(model, where=is_leaf) as maps:
        clock.append(time.perf_counter())
        model(values)
        clock.append(time.perf_counter())
    clock.append(time.perf_counter())
    assert len(list(maps)) == len(model)
    clock.append(time.perf_counter())
    return [after - before for before, after in zip(clock, clock[1:], strict=False)]


def targets_table():
    headings = ["modules", "look the model over", '`"**"`', '`"*5"`', "every path by name"]
    rows = []
    for size in SIZES:
        model = chain(size)
        known = survey(model)
        names = [str(number) for number in range(size)]
        calls = [
            partial(survey, model),
            *(partial(resolve, known, targets, None) for targets in (["**"], ["*5"], names)),
        ]
        seconds = [_median(partial(timed, call), 1 + 20 // size) for call in calls]
        rows.append((f"{size:,}", *(f"{1000 * one:.2f} ms" for one in seconds)))
    return "Resolving targets, before the first hook.\n\n" + table(headings, rows)


def chain(size):
    return nn.Sequential(*(nn.Identity() for _ in range(size)))


def _median(measure, repeats):
    return statistics.median(measure() for _ in range(repeats))


def _micro(seconds):
    return f"{1e6 * seconds:.1f}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
