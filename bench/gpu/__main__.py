"""python -m bench.gpu --out DIR, from the root of the repository, on a machine with a GPU, nvcc and PyTorch.

Builds tesela for the card, checks it there, and compares it with cuDNN. DIR gets record.json (card, driver, clocks,
date, commit, and how every stage ended), a log of each stage, and cudnn.json, which is written row by row.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path

from bench.source import ROOT, commit

from . import card, stages

# Such machines may have no network, from which the build could take them.
PACKAGES, PROGRAMS = ("scikit_build_core", "pybind11", "pytest", "hypothesis"), ("cmake", "ninja")
# By what they need: any GPU, tensor cores from sm_80 on, those of sm_90.
TESTS, TESTS_OF_MMA, TESTS_OF_WGMMA = ("device", "array", "cuda_build"), ("ampere",), ("stems", "hopper")


def plan(out: Path, described: dict[str, str]) -> list[stages.Stage]:
    python, site = sys.executable, str(out / "site")
    build = {"TESELA_CUDA": "ON", "TESELA_WERROR": "OFF", "CUDAARCHS": card.architecture(described)}
    # The first GPU for CUDA is the one that nvidia-smi calls the first.
    here = {"PYTHONPATH": f"{site}:{ROOT / 'tests'}:{ROOT}", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    missing = [name for name in (*PACKAGES, *PROGRAMS) if importlib.util.find_spec(name) is None]
    missing = [name for name in missing if name in PACKAGES or shutil.which(name) is None]
    torch = "" if importlib.util.find_spec("torch") else "PyTorch is not installed"
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    no_sanitizer = "" if Path(sanitizer).exists() else "compute-sanitizer was not found"
    install = [python, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--upgrade", "--target", site]
    selftest = [python, "-m", "bench.gpu.selftest"]
    major = int(described["compute_cap"].split(".")[0])
    names = [*TESTS, *(TESTS_OF_MMA if major >= 8 else ()), *(TESTS_OF_WGMMA if major == 9 else ())]
    files = [str(ROOT / "tests" / f"test_{name}.py") for name in names]
    # What other packages warn of as they are imported is no fault here.
    tests = [python, "-m", "pytest", "-q", "--maxfail", "20", "-W", "default", "--device", "cuda", *files]
    compared = [python, "-m", "bench.gpu.cudnn", "--seconds", "215"]
    checked = [sanitizer, "--error-exitcode", "9", "--tool"]
    return [
        stages.Stage("build", 150, [*install, str(ROOT)], build,
                     f"pip install {' '.join(missing)}" if missing else "", needed=True),
        stages.Stage("selftest", 30, selftest, here),
        stages.Stage("tests", 100, tests, here),
        stages.Stage("cudnn", 230, [*compared, "--out", str(out / "cudnn.json")], here, torch),
        *(stages.Stage(tool, 40, [*checked, tool, *selftest, "--reduced"], here, no_sanitizer)
          for tool in ("memcheck", "racecheck")),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description="Build, check and measure on this GPU.")
    parser.add_argument("--out", type=Path, required=True, help="folder for records and logs")
    parser.add_argument("--seconds", type=float, default=590, help="for everything (default: %(default)s)")
    args = parser.parse_args()
    try:
        described = card.describe()
    except RuntimeError as error:
        parser.exit(1, f"bench.gpu: {error}\n")
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    record = {
        "card": described,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "python": sys.version.split()[0],
    }
    parser.exit(0 if stages.run(plan(out, described), args.seconds, out, record, card.describe) else 1)


if __name__ == "__main__":
    main()
