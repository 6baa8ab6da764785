"""Mutated ONNX models, for as long as you like: python -m tests.fuzz_onnx --seconds 600 --crashes DIR

Mutants are tried in a child process, each written to DIR before it is tried. One that kills the child, keeps it for
longer than PATIENCE (LOADS times as long as the child took to load, where that is more), wants more memory than SPARE,
or is refused in words that do not help, is kept there under a name that says so. --replay FILE tries files again, here,
where a debugger can see them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

PATIENCE = 20.0  # seconds for one mutant
LOADS = 10.0  # times what its child took to load, on a machine where that is longer
TICK = 1.0  # seconds of one wait: who was stopped meanwhile has lost no more than that
START = 600.0  # seconds for a child to load what it needs
SPARE = 2**30  # bytes of addresses beyond those of a child that has loaded its modules
MOST_ALIKE = 3  # files kept of one kind


def child(rng: random.Random, folder: Path, seconds: float, mutant: Callable, attempt: Callable) -> None:
    """Tries mutants; a line of JSON on standard output when it is ready, and one for each."""
    import resource  # as /proc, not on every system

    mutant(rng)  # the first loads what the others are made from
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    current, end = folder / "current.onnx", time.monotonic() + seconds
    print("{}", flush=True)
    while time.monotonic() < end:
        data = mutant(rng)
        current.write_bytes(data)
        line = {}
        try:
            line["outcome"] = attempt(data)
        except MemoryError as error:
            line = {"outcome": "memory", "detail": repr(error)}
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            line = {"outcome": type(error).__name__, "detail": f"{error} ({Path(where.filename).name}:{where.name})"}
        if "detail" in line:  # the parent files it under another name
            line["file"] = f"{os.getpid()}-{time.monotonic_ns()}"
            (folder / line["file"]).write_bytes(data)
        print(json.dumps(line), flush=True)


def came(selector: selectors.BaseSelector, seconds: float) -> bool:
    """Whether there is something to read within that time, in which this process runs too."""
    return any(selector.select(min(TICK, seconds)) for _ in range(math.ceil(seconds / TICK)))


def alike(outcome: str, detail: str) -> str:
    """Details that differ in names, operators and numbers only are of one kind."""
    return outcome + " " + re.sub(r"'[^']*'( \(\w+\))?|\"[^\"]*\"|-?[\d.]+(e[+-]?\d+)?|nan|inf", "_", detail)


class Findings:
    def __init__(self, folder: Path):
        self.folder, self.kinds, self.examples = folder, Counter(), {}

    def keep(self, outcome: str, detail: str, file: str = "current.onnx") -> None:
        """Files a mutant; without `file`, the one at which a child ended."""
        kind = alike(outcome, detail)
        self.kinds[kind] += 1
        self.examples.setdefault(kind, detail)
        if self.kinds[kind] <= MOST_ALIKE:
            number = list(self.kinds).index(kind)
            name = f"{outcome.lower()}-{os.getpid()}-{number}-{self.kinds[kind]}.onnx"
            shutil.copyfile(self.folder / file, self.folder / name)
        (self.folder / file).unlink()


def fuzz(command: list[str], folder: Path, seconds: float, patience: float = PATIENCE) -> tuple[Counter, Findings]:
    """Children one after the other: `command` with a seed and the seconds left. Outcomes and findings."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes, findings = Counter(), Findings(folder)
    seed, end = int(time.time()), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        seed += 1
        begin = time.monotonic()
        process = subprocess.Popen([*command, str(seed), f"{left}"], stdout=subprocess.PIPE, bufsize=0)
        ready = stuck = False
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            wait = START
            while came(selector, wait):
                line = process.stdout.readline()
                if not line:
                    break
                if not ready:
                    ready = True
                    wait = max(patience, LOADS * (time.monotonic() - begin))
                    continue
                line = json.loads(line)
                outcomes[line["outcome"]] += 1
                if "detail" in line:
                    findings.keep(**line)
            else:
                stuck = True
                process.kill()
        status = process.wait()
        process.stdout.close()
        if not ready:
            why = f"took longer than {START} s to load" if stuck else f"ended as it loaded, exit status {status}"
            raise RuntimeError(f"a child {why}")
        if stuck:
            outcomes["hang"] += 1
            findings.keep("hang", f"longer than {wait:.0f} s")
        if status != 0 and not stuck:
            outcomes["crash"] += 1
            findings.keep("crash", signal.Signals(-status).name if status < 0 else f"exit status {status}")
    (folder / "current.onnx").unlink(missing_ok=True)
    return outcomes, findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--crashes", type=Path, default=Path("crashes"))
    parser.add_argument("--models", type=Path, nargs="+", default=[], metavar="FILE", help="start from these as well")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--child", nargs=2, metavar=("SEED", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child or options.replay:
        from tests import onnx_mutation
    if options.child:
        rng = random.Random(int(options.child[0]))
        onnx_mutation.FILES[:] = options.models
        child(rng, options.crashes, float(options.child[1]), onnx_mutation.mutant, onnx_mutation.attempt)
        return 0
    if options.replay:
        for path in options.replay:
            try:
                print(path, onnx_mutation.attempt(path.read_bytes()))
            except Exception:
                print(path)
                traceback.print_exc()
        return 0
    command = [sys.executable, "-m", "tests.fuzz_onnx", "--crashes", str(options.crashes)]
    command += ["--models", *map(str, options.models)] if options.models else []
    command += ["--child"]
    outcomes, findings = fuzz(command, options.crashes, options.seconds)
    print(f"{outcomes.total()} mutants: " + ", ".join(f"{count} {name}" for name, count in outcomes.most_common()))
    for kind, count in findings.kinds.most_common():
        print(f"{count:6} {kind.split()[0]}: {findings.examples[kind]}")
    return 1 if findings.kinds else 0


if __name__ == "__main__":
    sys.exit(main())
