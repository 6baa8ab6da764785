"""The budgets of the CUDA kernels: what ptxas prints is understood, what exceeds a budget is refused, none spills."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "cmake" / "nvcc.py").is_file():
    pytest.skip("the repository's cmake/ is not here", allow_module_level=True)
specification = importlib.util.spec_from_file_location("nvcc", ROOT / "cmake" / "nvcc.py")
nvcc = importlib.util.module_from_spec(specification)
specification.loader.exec_module(nvcc)

SOURCES = {path.stem for path in (ROOT / "csrc" / "cuda").glob("*.cu")}
BUDGETS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "csrc" / "cuda" / "budgets").glob("*.json")}
TARGETS = {"sm_75", "sm_80", "sm_90a"}

REPORT = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'gather_kernel' for 'sm_80'
ptxas info    : Function properties for gather_kernel
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 26 registers, used 0 barriers, 408 bytes cmem[0]
ptxas info    : Compile time = 4.2 ms
ptxas info    : Compiling entry function 'tile_kernel' for 'sm_80'
ptxas info    : Function properties for tile_kernel
    40 bytes stack frame, 24 bytes spill stores, 56 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 40 bytes cumulative stack size, 4096 bytes smem, 408 bytes cmem[0]
"""


def test_the_report_of_ptxas_is_understood():
    assert nvcc.parse(REPORT) == {
        "gather_kernel": {"sm_80": {"stack": 0, "spills": 0, "registers": 26, "shared": 0}},
        "tile_kernel": {"sm_80": {"stack": 40, "spills": 80, "registers": 255, "shared": 4096}},
    }


@pytest.mark.skipif(nvcc.shutil.which("c++filt") is None, reason="c++filt is not here")
def test_names_are_those_of_the_source():
    mangled = "_ZN6tesela4cuda41_GLOBAL__N__45da36dd_9_reduce_cu_1c40e56313reduce_kernelIlLi32EEEvNS1_10ReduceArgsE"
    assert nvcc.names_of([mangled + "PKvPv"]) == ["reduce_kernel<long, 32>"]


def test_what_exceeds_its_budget_is_refused():
    found = nvcc.parse(REPORT)
    budgets = json.loads(nvcc.written(found, {}, "13.0"))
    assert nvcc.complaints({"gather_kernel": found["gather_kernel"]}, {}, "13.0") == ([], [])  # no budgets at all
    spilled, exceeded = nvcc.complaints(found, budgets, "13.0")
    assert spilled == ["tile_kernel on sm_80 spills 80 bytes"] and exceeded == []
    budgets["kernels"]["gather_kernel"]["sm_80"]["registers"] = 25
    budgets["kernels"]["old_kernel"] = budgets["kernels"].pop("tile_kernel")
    assert nvcc.complaints(found, budgets, "13.0")[1] == [
        "gather_kernel on sm_80 takes 26 registers, its budget is 25",
        "tile_kernel on sm_80 has no budget",
        "old_kernel has a budget but does not exist",
    ]
    assert nvcc.complaints(found, budgets, "13.1")[1] == []  # another release of nvcc


def test_every_file_has_budgets_for_every_target():
    assert set(BUDGETS) == SOURCES
    for source, budgets in BUDGETS.items():
        has_kernels = "__global__" in (ROOT / "csrc" / "cuda" / f"{source}.cu").read_text()
        assert bool(budgets["kernels"]) == has_kernels, source
        for kernel, uses in budgets["kernels"].items():
            assert set(uses) == TARGETS, f"{source}: {kernel}"
            # CUDA's own sin, cos and tan alone need local memory.
            assert source == "map_trigonometric" or all(use["stack"] == 0 for use in uses.values()), (
                f"{source}: {kernel}"
            )


def test_inline_assembly_stands_in_one_file():
    files = [path for path in (ROOT / "csrc" / "cuda").rglob("*.*") if path.suffix in (".cu", ".cuh", ".h", ".cpp")]
    assert {path.name for path in files if "asm volatile" in path.read_text()} <= {"ptx.cuh"}
