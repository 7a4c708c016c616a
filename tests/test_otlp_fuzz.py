"""The short form of benchmarks/fuzz.py: whatever bodies come, no 5xx, nothing lost by a defect, no growth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from dirty_equals import IsInt, IsPartialDict

FUZZ = Path(__file__).parent.parent / "benchmarks" / "fuzz.py"


def test_no_body_brings_the_server_into_trouble() -> None:
    command = [sys.executable, str(FUZZ), "--bodies", "500", "--warm-up", "1000", "--seed", "7"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    [row] = json.loads(run.stdout)["rows"]
    assert row == IsPartialDict({"bodies": 500, "200": IsInt(gt=50), "400": IsInt(gt=50), "415": IsInt(gt=0)})
