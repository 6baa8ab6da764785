"""What it takes before the first result: python -m bench.cold_start, from the root.

Writes bench/results/<machine>/cold_start.json: milliseconds to import NumPy and tesela, milliseconds from the start of
a process to ResNet-50's first result with weights in a file, and the most memory that this took, beside what weights
and activations need. Each is the median of processes of their own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from tesela import benchmark, models, show_runtime

from bench.source import commit

FIRST_RESULT = """
import resource, sys
import numpy as np
import tesela
run = tesela.models.resnet50(weights=sys.argv[1]).compile()
run(np.zeros((1, 3, 224, 224), np.float32))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, run.memory()["weights"], run.memory()["arena"])
"""


def milliseconds(script: str, *arguments: str, repeats: int) -> tuple[float, str]:
    """The median of whole processes, and what the last one printed. Bytecode is cached, as after an installation."""
    times = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = folder
        for _ in range(repeats + 1):  # the first one compiles
            begin = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, check=True
            )
            times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times[1:]), done.stdout


def measure(repeats: int) -> dict:
    python, numpy, tesela = (
        milliseconds(script, repeats=repeats)[0] for script in ("pass", "import numpy", "import tesela")
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.npz"
        parameters = models.resnet50().parameters
        np.savez(path, **parameters)
        first, printed = milliseconds(FIRST_RESULT, str(path), repeats=repeats)
    peak, packed, arena = map(int, printed.split())
    return {
        "python_ms": round(python, 1),
        "numpy_ms": round(numpy - python, 1),
        "tesela_beyond_numpy_ms": round(tesela - numpy, 1),
        "first_result_ms": round(first, 1),
        "peak_mb": round(peak / 1024, 1),
        "weights_mb": round(sum(value.nbytes for value in parameters.values()) / 2**20, 1),
        "packed_weights_mb": round(packed / 2**20, 1),
        "arena_mb": round(arena / 2**20, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    machine = benchmark.describe()
    record = {
        "machine": machine,
        "isa": show_runtime()["isa"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        **measure(args.repeats),
    }
    out = args.out or Path(__file__).parent / "results" / benchmark.slug(machine) / "cold_start.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
