"""What the compiler made of the register tile: sums stay in registers from the first product to the last one's end."""

import functools
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

KERNELS = Path(__file__).parent.parent / "csrc/cpu/kernels"
COMPILER = shutil.which(os.environ.get("CXX", "g++"))
FLAGS = {
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mfma"],
}
# File and instruction set -> at least so many loops over products are to be found.
LOOPS = {
    ("tile", "avx2"): 20,
    ("tile", "avx512"): 80,
    ("conv2d_strassen", "avx2"): 6,
    ("conv2d_strassen", "avx512"): 14,
    ("gemm_few_rows", "avx2"): 2,
    ("gemm_few_rows", "avx512"): 3,
    ("linear_bfloat16", "avx2"): 10,
    ("linear_bfloat16", "avx512"): 40,
    ("products_bfloat16", "avx512"): 40,
}

pytestmark = pytest.mark.skipif(
    COMPILER is None or platform.machine() != "x86_64" or not KERNELS.exists(),
    reason="needs a compiler and sources, on x86-64",
)


def hot_loops(assembly: str) -> list[tuple[str, list[str]]]:
    """Function and instructions of each backward jump's body that multiplies and adds and has no loop inside."""
    lines, loops = assembly.splitlines(), []
    function, labels = "", {}
    for i, line in enumerate(lines):
        if match := re.match(r"(_Z\w+):", line):
            function, labels = match[1], {}
        elif match := re.match(r"(\.L\w+):", line):
            labels[match[1]] = i
        elif (match := re.match(r"\s+j\w+\s+(\.L\w+)", line)) and match[1] in labels:
            loops.append((function, labels[match[1]], i))
    bodies = []
    for function, begin, end in loops:
        inside = any(begin < other < last < end for name, other, last in loops if name == function)
        body = lines[begin:end]
        if not inside and sum("vfmadd" in line or "vdpbf16ps" in line for line in body) >= 4:
            bodies.append((function, body))
    return bodies


def spilled(body: list[str]) -> list[str]:
    return [line.strip() for line in body if re.search(r"\(%rsp", line) and re.search(r"%[yz]mm", line)]


@functools.cache
def assembly(source: str, target: str) -> str:
    command = [COMPILER, "-O3", "-DNDEBUG", "-std=c++20", "-fPIC", f"-DTESELA_ISA={target}", f"-DTESELA_ISA_{target}=1"]
    more = ["-mavx512bf16"] if source == "products_bfloat16" else []
    command = [*command, *FLAGS[target], *more, "-S", "-o", "-", str(KERNELS / f"{source}.cpp")]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


@pytest.mark.slow
@pytest.mark.parametrize("source, target", LOOPS)
def test_the_register_tile_stays_in_registers(source, target):
    loops = [(name, body) for name, body in hot_loops(assembly(source, target)) if "run_tile" in name or source in name]
    assert len(loops) >= LOOPS[source, target]
    found = {name: lines for name, body in loops if (lines := spilled(body))}
    assert not found


@pytest.mark.slow
@pytest.mark.parametrize("target, block_vectors", [("avx2", 2), ("avx512", 1)])
def test_sums_do_not_begin_and_end_in_memory(target, block_vectors):
    """An array of sums that any loop indexes would be one in memory, and each loop over products load and store it.

    All may be stored once, and as much be cleared, for what finishes row by row.
    """
    stores = {}
    for body in re.split(r"^(?=_Z\w+:)", assembly("tile", target), flags=re.MULTILINE):
        if match := re.match(r"_Z\w+run_tileILi(\d+)ELi(\d+)E\w+", body):
            sums = int(match[1]) * int(match[2]) * block_vectors
            if sums >= 6:  # in smaller ones other vectors count
                stores[match[0]] = len(re.findall(r"vmov\w+\s+%[yz]mm\d+, -?\d*\(%rsp", body)) / sums
    assert len(stores) >= 12
    assert max(stores.values()) <= 2


def test_a_spill_would_be_seen():
    body = ["\tvfmadd213ps\t64(%rsp), %zmm0, %zmm4", "\tvmovaps\t%ymm0, 32(%rsp)", "\tmovq\t8(%rsp), %rax"]
    loop = "\n".join(["_Z8run_tilev:", ".L2:", *body, *["\tvfmadd231ps\t%zmm1, %zmm0, %zmm4"] * 8, "\tjne\t.L2"])
    ((name, lines),) = hot_loops(loop)
    assert name == "_Z8run_tilev" and spilled(lines) == [line.strip() for line in body[:2]]
