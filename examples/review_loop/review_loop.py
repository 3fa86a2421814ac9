"""Run the whole loop of a review: CI fails, a person decides, the next run is green.

Usage: python examples/review_loop/review_loop.py [--pictures FOLDER]

A small repository is copied into a temporary folder, with a second checkout that plays CI.
Every line that a person or CI types is shown with what it answered. With --pictures, headless
Chromium takes pictures of the page, on a desktop and on a phone.
"""

import argparse
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).parent / "repository"
PROGRAMS = {
    "pytest": [sys.executable, "-m", "pytest", "--color=no"],
    "pytest-featuremaps": [sys.executable, "-m", "pytest_featuremaps"],
    "git": ["git", "-c", "user.name=Author", "-c", "user.email=author@example.org"],
}
SIZES = {"page": (1200, 860), "page_on_a_phone": (390, 1100)}


class Checkout:
    """A copy of the repository, and what is typed in it."""

    def __init__(self, folder, **environment):
        self.folder = folder
        # Where this script runs, under pytest or in CI perhaps, is not what the story tells of.
        outer = ("CI", "GIT_", "GITHUB_", "PYTEST_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
        self.environment = {**clean, "GIT_CONFIG_GLOBAL": os.devnull, **environment}
        folder.mkdir()

    def run(self, line, code=0):
        """Type a line, and show what it answers; it must end with this code."""
        answer = self.ask(line, code)
        print(f"\n{self.folder.name}$ {line}", answer, sep="\n" if answer else "", flush=True)

    def ask(self, line, code):
        """Return what a line answers."""
        program, *arguments = shlex.split(line)
        done = subprocess.run(
            [*PROGRAMS[program], *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        answer = (done.stdout + done.stderr).rstrip()
        if done.returncode != code:
            raise SystemExit(f"{line}: ended with {done.returncode}, not {code}\n{answer}")
        return answer


def main(folder, pictures):
    author = Checkout(folder / "author")
    ci = Checkout(folder / "ci", CI="true")
    artifact = folder / "artifact"
    record(author)
    change(author)
    fail(ci, artifact)
    if pictures:
        take_pictures(artifact / "review.html", pictures)
    review(author, artifact)
    run_again(author, ci)


def record(author):
    say("A repository with its baselines: a picture of the filters, a table of every layer")
    shutil.copytree(REPOSITORY, author.folder, dirs_exist_ok=True)
    author.run("git init --quiet")
    author.run("pytest -q --snapshot-update")
    author.run("git add .")
    author.run("git commit -m 'A network that finds stripes'")


def change(author):
    say("The model changes: half of its filters look for narrower stripes")
    path = author.folder / "stripes.py"
    before = path.read_text(encoding="utf-8")
    after = before.replace("WIDTHS = (4.0, 8.0)", "WIDTHS = (4.0, 6.0)")
    assert after != before
    path.write_text(after, encoding="utf-8")
    author.run("git commit --all -m 'Find narrower stripes'")


def fail(ci, artifact):
    say("CI fails; it keeps the folder .featuremaps and the page, and accepts nothing itself")
    ci.run("git clone --quiet ../author .")
    ci.run("pytest -q --tb=no --featuremaps-report=review.html", code=1)
    ci.run("pytest-featuremaps accept", code=4)
    shutil.copytree(ci.folder / ".featuremaps", artifact / ".featuremaps")
    shutil.copy(ci.folder / "review.html", artifact)


def review(author, artifact):
    say("The author downloads both, looks at the page, and accepts the filters there")
    author.run("pytest-featuremaps list --from ../artifact", code=1)
    approve(author, "test_filters", artifact / "approvals.json")
    author.run(
        "pytest-featuremaps accept --from ../artifact --approvals ../artifact/approvals.json"
    )

    say("The layers behind them without the page: first what would be done, then all of it")
    author.run("pytest-featuremaps accept --from ../artifact -k test_layers --dry-run")
    author.run("pytest-featuremaps accept --from ../artifact -k test_layers")
    author.run("pytest-featuremaps list --from ../artifact")
    author.run("git add .")
    author.run("git commit -m 'Baselines of the narrower stripes, reviewed'")


def run_again(author, ci):
    say("The next run of CI is green, and leaves nothing to review")
    ci.run("git pull --quiet")
    ci.run("pytest -q")
    assert not (ci.folder / ".featuremaps").exists()
    author.run("git status --short")


def approve(author, test, path):
    """Write what the page downloads when its reader accepts all of a test."""
    listed = author.ask(f"pytest-featuremaps list --json --from ../artifact -k {test}", code=1)
    told = ("id", "baseline", "layers")
    decisions = [
        {"decision": "accept", **{name: one[name] for name in told}} for one in json.loads(listed)
    ]
    approvals = {"featuremaps_approvals": 1, "decisions": decisions}
    path.write_text(json.dumps(approvals, indent=1), encoding="utf-8")


def take_pictures(page, folder):
    """Let headless Chromium open the page in the sizes of a desktop and of a phone."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    # Chromium does not start inside its sandbox as root, which is what a container runs.
    for switch in ("headless", "hide-scrollbars", "no-sandbox", "disable-background-networking"):
        options.add_argument(f"--{switch}")
    folder.mkdir(parents=True, exist_ok=True)
    with webdriver.Chrome(options, Service(shutil.which("chromedriver"))) as driver:
        for name, (width, height) in SIZES.items():
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.get(page.as_uri())
            WebDriverWait(driver, 10).until(lambda it: it.find_elements("css selector", "canvas"))
            taken = Image.open(io.BytesIO(driver.get_screenshot_as_png()))
            target = folder / f"{name}.png"
            taken.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(
                target, optimize=True
            )
            print(target)


def say(text):
    print(f"\n=== {text}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", metavar="FOLDER", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), chosen.pictures)
