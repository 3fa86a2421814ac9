"""Strikes runs down by signals, at random moments and at random file operations, and looks at
what is left: every baseline as it was before or as it is after, and nothing half-written.

A process of its own, for it forks: each run begins with torch loaded. It takes the number of
cases and a seed, and prints how many there were of each kind.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = 4
BODY = f"""
import os
import time
import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)).eval()


@pytest.mark.capture("*", inputs=True)
@pytest.mark.parametrize("number", range({TESTS}))
def test_a(number, model, feature_maps, feature_snapshot):
    time.sleep(float(os.environ.get("SLOW", "0")))
    model(torch.ones(1, 1, 6, 6) * float(os.environ["GAIN"]) * (number + 1))
    results = [feature_maps == feature_snapshot, feature_maps["0"] == feature_snapshot]
    assert all(results)
"""
CONFTEST = """
import gc
from pathlib import Path

def pytest_unconfigure():
    from torch import nn
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    modules = [one for one in gc.get_objects() if isinstance(one, nn.Module)]
    left = sum(len(getattr(module, kind)) for module in modules for kind in kinds)
    Path("hooks").write_text(str(left))
"""
PYTEST = ("-p", "no:cacheprovider", "-p", "no:torch", "-p", "no:hypothesispytest")
ACTIONS = ("update", "run", "accept")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
TEMPORARY = ".featuremaps-"


class Project:
    """A project with baselines, and what a changed model would make of them."""

    def __init__(self, root):
        self.root = root
        (root / "test_it.py").write_text(BODY)
        (root / "conftest.py").write_text(CONFTEST)
        os.chdir(root)
        end(start("update", gain=1), expected=0)
        self.before = self.baselines()
        end(start("update"), expected=0)
        self.after = self.baselines()
        self.restore()
        end(start("run"), expected=1)
        shutil.copytree(root / ".featuremaps", root / "kept")
        assert len(self.before) == 2 * TESTS
        assert all(self.before[name] != self.after[name] for name in self.before)

    def baselines(self):
        folder = self.root / "__snapshots__" / "test_it"
        files = [path for path in folder.iterdir() if not path.name.startswith(TEMPORARY)]
        return {path.name: path.read_bytes() for path in files}

    def left(self):
        """What is there under temporary names."""
        return [path for path in self.root.rglob("*") if path.name.startswith(TEMPORARY)]

    def restore(self, *, results=False):
        shutil.rmtree(self.root / "__snapshots__")
        shutil.rmtree(self.root / ".featuremaps", ignore_errors=True)
        (self.root / "hooks").unlink(missing_ok=True)
        folder = self.root / "__snapshots__" / "test_it"
        folder.mkdir(parents=True)
        for name, data in self.before.items():
            (folder / name).write_bytes(data)
        if results:
            shutil.copytree(self.root / "kept", self.root / ".featuremaps")

    def check(self):
        """See that each baseline is whole, and as it was or as it is to be."""
        stored = self.baselines()
        assert stored.keys() == self.before.keys(), stored.keys()
        for name, data in stored.items():
            assert data in {self.before[name], self.after[name]}, name


def start(action, *, gain=2, strike=None):
    """Fork a run, which may strike itself down, and return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.environ["GAIN"] = str(gain)
        with open("log", "w") as log:  # noqa: PTH123 - of a process that is struck down
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        if strike:
            sys.addaudithook(counting(*strike))
        code = int(act(action))
    finally:
        os._exit(code)


def act(action):
    if action == "accept":
        return cli.main(["accept"])
    return pytest.main([*PYTEST, *(["--snapshot-update"] if action == "update" else [])])


def counting(number, how):
    """An audit hook that ends its process before the so-manieth operation on a file of ours."""
    seen = 0

    def hook(event, arguments):
        nonlocal seen
        path = str(arguments[0]) if event in OPERATIONS else ""
        if ".featuremaps" in path or "__snapshots__" in path:
            seen += 1
            if seen == number:
                os.kill(os.getpid(), how)

    return hook


def end(pid, expected=None):
    """Wait for a run; return its exit code, or the signal that ended it, negative."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            assert expected is None or code == expected, (code, Path("log").read_text())
            return code
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    raise TimeoutError(Path("log").read_text())


def case(project, chance, seconds):
    """Strike one run down, look at what is left, and let it run again."""
    action, how = chance.choice(ACTIONS), chance.choice(SIGNALS)
    project.restore(results=action == "accept")
    counted = chance.random() < 0.6
    if counted:
        code = end(start(action, strike=(chance.randint(1, 60), how)))
    else:
        pid = start(action)
        time.sleep(chance.uniform(0, seconds[action]))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        code = end(pid)
    project.check()
    if how == signal.SIGINT and Path("hooks").exists():
        assert Path("hooks").read_text() == "0"
        yield "looked for hooks after an interrupt"
    if code not in {0, 1}:
        yield f"{action}, {how.name}"
    left = project.left()
    if left:
        yield "left something under a temporary name"
    again(project, action, left)


def again(project, action, left):
    """Run once more to the end, a minute later."""
    for path in left:
        os.utime(path, (time.time() - 60,) * 2)
    code = end(start(action))
    assert code in {"update": {0}, "run": {1}, "accept": {0, 3}}[action], Path("log").read_text()
    project.check()
    wanted = project.before if action == "run" else project.after
    assert project.baselines() == wanted
    assert not project.left(), project.left()
    if action == "run":
        results = folder.read(project.root / ".featuremaps")
        assert len(results) == 2 * TESTS
        for one in results:
            assert digest(one.read(one.record.update), one.record.kind) == one.record.update.sha256
    elif action == "accept":
        assert not (project.root / ".featuremaps").exists()


def workers(project, chance):
    """Kill a worker of xdist amid an update; the others go on, and nothing is lost."""
    project.restore()
    command = [sys.executable, "-m", "pytest", *PYTEST, "--snapshot-update", "-n", "2", "-v"]
    around = {**os.environ, "GAIN": "2", "SLOW": "0.1"}
    run = subprocess.Popen(  # noqa: S603 - pytest
        command, env=around, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    for line in run.stdout:
        if b"workers [" in line:
            break
    time.sleep(chance.uniform(0, 1))
    with contextlib.suppress(ProcessLookupError):
        os.kill(chance.choice(children(run.pid) or [run.pid]), signal.SIGKILL)
    run.stdout.read()
    code = run.wait(600)
    project.check()
    if code:
        yield "workers of xdist killed"
    again(project, "update", project.left())


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(one) for one in text.split()]


def main(cases, seed):
    chance = random.Random(seed)  # noqa: S311
    found = Counter()
    with tempfile.TemporaryDirectory() as place:
        project = Project(Path(place).resolve())
        seconds = {}
        for action in ACTIONS:
            project.restore(results=action == "accept")
            began = time.monotonic()
            end(start(action))
            seconds[action] = time.monotonic() - began
        for number in range(cases):
            kinds = list(case(project, chance, seconds))
            if number % 50 == 25:  # each worker takes seconds to load torch
                kinds += list(workers(project, chance))
            found.update(kinds)
            found["runs struck"] += 1
        os.chdir("/")
    print(json.dumps(found))


if __name__ == "__main__":
    import pytest
    import syrupy  # noqa: F401 - likewise
    import torch

    from pytest_featuremaps import cli, plugin  # noqa: F401 - likewise
    from pytest_featuremaps.review import folder
    from pytest_featuremaps.review.records import digest
    from pytest_featuremaps.snapshots import feature_snapshot  # noqa: F401 - likewise

    os.environ.pop("CI", None)
    os.environ["OMP_NUM_THREADS"] = "1"  # for workers, whose tables say so
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        torch.ones(1, 1, 6, 6).sum()
    main(int(sys.argv[1]), int(sys.argv[2]))
