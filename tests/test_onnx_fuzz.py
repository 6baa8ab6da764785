"""Mutated models, for a moment here and for as long as you like by python -m tests.fuzz_onnx; and that one at work."""

import os
import random
import subprocess
import sys
import time

import pytest

pytest.importorskip("onnx")
import fuzz_onnx
import onnx_mutation


def test_mutants_run_or_are_refused_in_words():
    """For TESELA_FUZZ_SECONDS, 3 as a rule. python -m tests.fuzz_onnx does so in processes that may die."""
    rng, end = random.Random(7), time.monotonic() + float(os.environ.get("TESELA_FUZZ_SECONDS", "3"))
    while time.monotonic() < end:
        onnx_mutation.attempt(onnx_mutation.mutant(rng))


def test_every_start_runs():
    refused = []
    for name in dict.fromkeys(onnx_mutation.names()):
        try:
            if onnx_mutation.attempt(onnx_mutation.start(name)) == "refused":
                refused.append(name)
        except Exception as error:
            refused.append((name, error))
    assert refused in ([], ["test_range_int32_type_negative_delta_cpu"])  # from 1 down to 6 there is nothing


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_children_may_die(tmp_path, monkeypatch):
    """The fuzzer keeps what kills a child, what stops it, and what wants too much."""
    script = f"""
import itertools, os, random, sys, time
from pathlib import Path
sys.path.insert(0, {os.path.dirname(fuzz_onnx.__file__)!r})
import fuzz_onnx

def attempt(data):
    if data == b"0":
        os.abort()
    if data == b"1":
        time.sleep(3600)
    if data == b"2":
        bytearray(2 * fuzz_onnx.SPARE)
    if data == b"3":
        raise KeyError("x")
    return "ran"

seed = int(sys.argv[1])  # each child has the next: five of them meet everything
mutants = (b"%d" % (i % 5) for i in itertools.count(seed))
fuzz_onnx.child(random.Random(seed), Path({str(tmp_path)!r}), float(sys.argv[2]), lambda rng: next(mutants), attempt)
"""
    begin = time.monotonic()
    subprocess.run([sys.executable, "-c", script.split("def attempt")[0]], check=True)
    start = time.monotonic() - begin  # on this machine, now
    monkeypatch.setattr(fuzz_onnx, "LOADS", 3)
    command = [sys.executable, "-c", script]
    outcomes, findings = fuzz_onnx.fuzz(command, tmp_path, seconds=max(4, 40 * start), patience=0.2)
    assert outcomes.keys() == {"crash", "hang", "memory", "KeyError", "ran"}
    assert len(findings.kinds) == 4
    for kind, byte in (("crash", b"0"), ("hang", b"1"), ("memory", b"2"), ("keyerror", b"3")):
        files = list(tmp_path.glob(f"{kind}-*.onnx"))
        assert 1 <= len(files) <= fuzz_onnx.MOST_ALIKE
        assert {path.read_bytes() for path in files} == {byte}
