"""How far the feature maps of real networks drift between ways to compute them on one machine."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import zoo

from pytest_featuremaps.baseline import noise
from pytest_featuremaps.baseline.table_files import load
from pytest_featuremaps.baseline.tolerances import estimate

SCRIPT = Path(__file__).with_name("record_tables.py")

LOWEST = "lowest"
# What is chosen by torch, by oneDNN and by MKL. Where a machine has no such kernels, it takes
# what it has.
CAPABILITIES = {
    "as it is": {},
    "AVX-512 core": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
    LOWEST: {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
    },
}
WAYS = ("one", "two", "plain")
# The usual way to run, with which the others are compared.
REFERENCE = "as it is", "two"


def record(folder, names, capabilities=tuple(CAPABILITIES)):
    """Record networks under each capability, in a process: {(capability, way): tables}.

    The tables of one way are a dictionary by the name of the network. All processes are given
    the same weights.
    """
    for name in names:
        torch.save(zoo.load(name).state_dict(), folder / f"{name}.pt")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = pool.map(lambda one: _in_a_process(folder, one, names), capabilities)
        return {key: tables for found in done for key, tables in found.items()}


def _in_a_process(folder, capability, names):
    out = folder / capability
    out.mkdir()
    command = [sys.executable, str(SCRIPT), str(folder), str(out), *names]
    # Threads that wait for each other must not keep the cores of other processes busy.
    waiting = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    environment = os.environ | waiting | CAPABILITIES[capability]
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL)
    return {
        (capability, way): {
            name: load((out / f"{name}.{way}.jsonl").read_bytes()) for name in names
        }
        for way in WAYS
    }


def changes(before, after):
    """Give the relative L2 change of each map that has a sketch, by key."""
    pairs = zip(before.lines, after.lines, strict=True)
    return {
        one.key: estimate(one.sketch, one.stats["rms"], other.sketch, other.stats["rms"])
        for one, other in pairs
        if one.sketch
    }


def with_noise(table, other):
    """Give a table with its drift to another as its measured noise, as an update records it."""
    noisy, chance = noise.measured(table, other)
    assert not chance
    return noisy
