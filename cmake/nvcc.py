"""Runs nvcc and holds every kernel to its budget of registers, shared memory and stack. Called by the build.

    nvcc.py --budgets FILE.json [--strict] [--launcher ccache] -- nvcc ...

ptxas reports what each kernel takes on each architecture. FILE.json says what it may take, measured with one release
of nvcc: with another one the numbers are not comparable, and only spills count. A spilled register is an error always;
any word of ptxas about wgmma is shown, and with --strict an error, as is whatever exceeds its budget, has none, or is
gone. TESELA_UPDATE_BUDGETS=1 writes the file anew.

"instructions" in FILE.json names what has to occur in the PTX of an architecture: a kernel that was meant for tensor
cores must not fall back to something else in silence.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIELDS = ("registers", "shared", "stack")
_ENTRY = re.compile(r"Compiling entry function '(\S+)' for '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(.*)")
_SHARED = re.compile(r"(\d+)(?:\+\d+)? bytes smem")
# wgmma serialised, or waits and fences put in by the compiler: what was to be asynchronous is not.
_WGMMA = re.compile(r"^.*\(C75\d\d\).*$", re.MULTILINE)


def parse(report: str) -> dict[str, dict[str, dict[str, int]]]:
    """kernel -> architecture -> registers, shared, stack, spills, from what ptxas -v prints."""
    kernels: dict[str, dict[str, dict[str, int]]] = {}
    here: dict[str, int] = {}
    mangled = list(dict.fromkeys(entry[1] for entry in _ENTRY.finditer(report)))
    names = dict(zip(mangled, names_of(mangled), strict=True))
    for line in report.splitlines():
        if entry := _ENTRY.search(line):
            here = kernels.setdefault(names[entry[1]], {}).setdefault(entry[2], {})
        elif stack := _STACK.search(line):
            # The largest and the sum of what the functions between two entries take.
            here["stack"] = max(here.get("stack", 0), int(stack[1]))
            here["spills"] = here.get("spills", 0) + int(stack[2]) + int(stack[3])
        elif used := _USED.search(line):
            shared = _SHARED.search(used[2])
            here |= {"registers": int(used[1]), "shared": int(shared[1]) if shared else 0}
    return kernels


def names_of(mangled: list[str]) -> list[str]:
    """conv2d_direct_kernel<true>: what a reader knows it by. A mangled name has a hash of the file in it."""
    if shutil.which("c++filt") is None or not mangled:
        return mangled
    lines = "\n".join(mangled)
    text = subprocess.run(["c++filt"], input=lines, capture_output=True, text=True, check=True).stdout
    return [shortened(line) for line in text.splitlines()]


def shortened(signature: str) -> str:
    """Without namespaces, result and parameters."""
    text = signature.replace("(anonymous namespace)::", "").removeprefix("void ")
    text = re.sub(r"\b(\w+::)+", "", text)
    depth = 0
    for i, character in enumerate(text):  # up to the parameters; a cast in a template argument has parentheses too
        depth += (character == "<") - (character == ">")
        if character == "(" and depth == 0:
            return text[:i].strip()
    return text


def complaints(found: dict, budgets: dict, release: str) -> tuple[list[str], list[str]]:
    """What is wrong always, and what is wrong where budgets are strict."""
    spilled = [
        f"{kernel} on {architecture} spills {use['spills']} bytes"
        for kernel, uses in found.items()
        for architecture, use in uses.items()
        if use.get("spills")
    ]
    exceeded = []
    if budgets.get("nvcc") == release:
        known = budgets["kernels"]
        for kernel, uses in found.items():
            for architecture, use in uses.items():
                budget = known.get(kernel, {}).get(architecture)
                if budget is None:
                    exceeded.append(f"{kernel} on {architecture} has no budget")
                    continue
                exceeded += [
                    f"{kernel} on {architecture} takes {use.get(field, 0)} {field}, its budget is {budget[field]}"
                    for field in FIELDS
                    if use.get(field, 0) > budget[field]
                ]
        exceeded += [f"{kernel} has a budget but does not exist" for kernel in known if kernel not in found]
    return spilled, exceeded


def written(found: dict, budgets: dict, release: str) -> str:
    """The file, with what was found in place of what was there. Architectures that were not compiled now stay."""
    kernels = {}
    for kernel, uses in sorted(found.items()):
        before = budgets.get("kernels", {}).get(kernel, {}) if budgets.get("nvcc") == release else {}
        now = {architecture: {field: use.get(field, 0) for field in FIELDS} for architecture, use in uses.items()}
        kernels[kernel] = dict(sorted((before | now).items()))
    lines = [f'{{\n "nvcc": {json.dumps(release)},\n "instructions": {json.dumps(budgets.get("instructions", {}))},']
    lines.append(' "kernels": {')
    lines.append(",\n".join(f"  {json.dumps(kernel)}: {json.dumps(use)}" for kernel, use in kernels.items()))
    return "\n".join(lines) + "\n }\n}\n"


def missing_instructions(command: list[str], expected: dict[str, dict[str, int]]) -> list[str]:
    """Instructions that the PTX of an architecture has too few of. expected: compute_80 -> instruction -> at least."""
    dropped = {"-c", "-MD"}
    missing = []
    for architecture, counts in expected.items():
        kept, skip = [], False
        for argument in command:
            if skip or argument in ("-o", "-MF", "-gencode"):
                skip = not skip
            elif argument not in dropped and not argument.startswith("-Xptxas"):
                kept.append(argument)
        with tempfile.TemporaryDirectory() as folder:
            ptx = Path(folder) / "kernels.ptx"
            subprocess.run([*kept, "-ptx", f"-arch={architecture}", "-o", str(ptx)], check=True)
            text = ptx.read_text()
        missing += [
            f"{instruction} occurs {text.count(instruction)} times in the PTX for {architecture}, expected {count}"
            for instruction, count in counts.items()
            if text.count(instruction) < count
        ]
    return missing


def main() -> int:
    split = sys.argv.index("--")
    options, command = sys.argv[1:split], sys.argv[split + 1 :]
    path, strict = Path(options[options.index("--budgets") + 1]), "--strict" in options
    launcher = [options[options.index("--launcher") + 1]] if "--launcher" in options else []
    result = subprocess.run([*launcher, *command, "-Xptxas=-v"], capture_output=True, text=True)
    report = result.stdout + result.stderr
    noise = re.compile(r"^(ptxas )?info +:|^ +\d+ bytes stack frame|^\s*$|^ptxas info")
    print("".join(line for line in report.splitlines(keepends=True) if not noise.search(line)), end="", file=sys.stderr)
    if result.returncode:
        return result.returncode
    version = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release ([0-9.]+)", version)[1]
    found, budgets = parse(report), json.loads(path.read_text()) if path.exists() else {}
    if os.environ.get("TESELA_UPDATE_BUDGETS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(written(found, budgets, release))
        budgets = json.loads(path.read_text())
    spilled, exceeded = complaints(found, budgets, release)
    serialised = _WGMMA.findall(report)
    if strict:
        exceeded += missing_instructions(command, budgets.get("instructions", {}))
    for sentence in [*spilled, *serialised, *(exceeded if strict else [])]:
        print(f"{path.stem}: {sentence}", file=sys.stderr)
    return int(bool(spilled or (strict and (serialised or exceeded))))


if __name__ == "__main__":
    sys.exit(main())
