"""Stages one after the other, each with a budget of seconds, in a time for all of them.

What a stage leaves of its budget is there for those after it. The record is written after every stage, so that what was
done is kept whatever happens next.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stage:
    name: str
    seconds: float
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    obstacle: str = ""  # why it cannot run here
    needed: bool = False  # without it no other stage makes sense


def run(stages: Sequence[Stage], seconds: float, out: Path, record: dict[str, Any], card: Callable[[], Any]) -> bool:
    """Runs all, and writes record.json with what `card()` says before and after each. Whether all passed."""
    start = time.monotonic()
    allowed = 0.0
    record["stages"] = {}
    stopped = ""
    for stage in stages:
        allowed += stage.seconds
        limit = min(allowed, seconds) - (time.monotonic() - start)
        obstacle = stage.obstacle or stopped or ("" if limit > 1 else "no time was left")
        result = {"status": "left out", "reason": obstacle} if obstacle else _run(stage, limit, out, card)
        record["stages"][stage.name] = result
        if stage.needed and result["status"] != "passed":
            stopped = f"{stage.name}: {result['status']}"
        (out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
        print(f"{stage.name}: {result['status']} {result.get('reason', '')}".rstrip(), flush=True)
    return all(result["status"] == "passed" for result in record["stages"].values())


def _run(stage: Stage, limit: float, out: Path, card: Callable[[], Any]) -> dict[str, Any]:
    before, start = card(), time.monotonic()
    log = out / f"{stage.name}.log"
    with log.open("w") as stream:
        # In a session of its own: at the end of its time, its children end with it.
        process = subprocess.Popen(stage.command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                                   env=os.environ | stage.environment | {"PYTHONUNBUFFERED": "1"})  # fmt: skip
        try:
            status = process.wait(limit)
            verdict = {"status": "passed"} if status == 0 else {"status": "failed", "reason": f"exit status {status}"}
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            verdict = {"status": "out of time", "reason": f"{limit:.0f} s"}
    seconds = round(time.monotonic() - start, 1)
    return verdict | {"seconds": seconds, "log": log.name, "card_before": before, "card_after": card()}
