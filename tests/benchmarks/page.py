"""What the page of a thousand feature maps costs: to write, to open in a browser, to scroll.

Usage: python tests/benchmarks/page.py [ROUNDS]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's folder out
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
from browsing import Page, chromium, programs
from pairing import machine, table
from waiting import Project

from pytest_featuremaps import rendering
from pytest_featuremaps.review import folder, page
from pytest_featuremaps.review.records import File, Map, digest

COUNT = 1_000
NUMBERS = {
    "shape": [1, 64, 28, 28], "dtype": "float32", "mean": 0.1, "std": 1.0, "min": -3.0,
    "max": 3.0, "rms": 1.0, "zero_fraction": 0.0, "nan_count": 0, "inf_count": 0, "count": 50_176,
}  # fmt: skip
BEYOND = {"quantity": "relative_l2", "observed": 0.2, "allowed": 1e-4}


def main(rounds):
    if programs() is None:
        print("The page is not measured: Chromium or chromedriver is not on the PATH.")
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary, chromium() as driver:
        for name, leave in {"numbers alone": numbers, "with pictures": pictures}.items():
            project = Project(Path(temporary, name.split()[0]))
            leave(project)
            rows.append((name, *measured(driver, project, rounds)))
    headings = ["a page of", "size", "written", "opened", "a frame while it scrolls", "worst in 20"]
    print(f"Pages of {COUNT:,} feature maps: medians of {rounds} rounds.\n")
    print(table(headings, rows))
    print(f"\nA picture has 64 channels of 28×28; it scrolls by 40 pixels a frame.\n\n{machine()}")


def measured(driver, project, rounds):
    start = time.perf_counter()
    text = page.render(folder.read(project.output))
    written = time.perf_counter() - start
    path = project.root / "page.html"
    path.write_bytes(text)
    opened, frames = [], []
    for _ in range(rounds):
        shown = Page(driver, path, project.root)
        opened.append(shown.ask(OPENED))
        shown.ask(UNFOLD)
        frames += driver.execute_async_script(SCROLL)
    usual, *_, worst = statistics.quantiles(frames, n=20)[9:]
    return (
        f"{len(text) / 1e6:.1f} MB",
        f"{1000 * written:.0f} ms",
        f"{statistics.median(opened):.0f} ms",
        f"{usual:.0f} ms",
        f"{worst:.0f} ms",
    )


# By the browser's own clock: from the start of loading until the page is there and obeys.
OPENED = "return performance.getEntriesByType('navigation')[0].loadEventEnd"
UNFOLD = "for (const one of document.querySelectorAll('.fold')) one.open = true"
SCROLL = """
const done = arguments[0], frames = [];
const step = (now, last) => {
  frames.push(now - last);
  scrollBy(0, 40);
  if (frames.length < 150) requestAnimationFrame((next) => step(next, now));
  else done(frames.slice(1));
};
requestAnimationFrame((now) => step(now, now));
"""


def numbers(project):
    maps = tuple(changed(f"encoder.layers.{count}.projection") for count in range(COUNT))
    project.leave(maps=maps)


def pictures(project):
    drawn = [picture(seed) for seed in range(20)]
    for count in range(COUNT):
        test, (before, after) = f"test_{count // 20}", drawn[count % 20]
        key = f"layer{count % 20}.conv"
        file = File("actual.png", digest(after, "picture"))
        place = project.leave(
            before, after, (changed(key),), f"{test}[{key}].png",
            test=f"tests/test_it.py::{test}", actual=file,
        )  # fmt: skip
        (place / file.file).write_bytes(after)


def changed(key):
    said = "relative L2 change 2.0e-01, allowed 1.0e-04"
    return Map(
        key, "changed", said, key, key, module="Conv2d", tolerance="cpu", before=NUMBERS,
        after=NUMBERS, violations=(BEYOND,),
    )  # fmt: skip


def picture(seed):
    """Make up a map with some texture, as a baseline and with eight channels that grew."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(size=(64, 7, 7)).repeat(4, 1).repeat(4, 2)
    planes = coarse + 0.1 * generator.normal(size=(64, 28, 28))
    before = rendering.render(planes)
    planes[:8] *= 1.3
    after = rendering.render(planes, low=before.low, high=before.high)
    return rendering.encode(before), rendering.encode(after)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
