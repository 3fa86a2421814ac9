"""Record the tables of networks in a process of its own, whose environment chooses the kernels.

Usage: python tests/record_tables.py WEIGHTS FOLDER NAME...

Each network is recorded on one thread, on two, and on one without oneDNN.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves a script's folder out

import torch
import zoo

from pytest_featuremaps.baseline.table_files import dump


def main(weights, folder, names):
    for name in names:
        stored = torch.load(Path(weights, f"{name}.pt"), weights_only=True)
        model, inputs = zoo.load(name, stored), zoo.sample(name)
        for way, threads, onednn in (("one", 1, True), ("two", 2, True), ("plain", 1, False)):
            torch.set_num_threads(threads)
            torch._C._set_mkldnn_enabled(onednn)
            written = dump(zoo.record(model, inputs))
            Path(folder, f"{name}.{way}.jsonl").write_bytes(written)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
