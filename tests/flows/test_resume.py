"""Killed at random moments and started again, a run ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY, make_workspace
from tests.flows.harness import table_hashes

KILLS = 5


def start(workspace: Path, data: Path) -> subprocess.Popen[bytes]:
    options = [part for override in TINY for part in ("-S", override)]
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", "refine", str(data), *options],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def progress(workspace: Path) -> int:
    return len(list(workspace.glob("runs/*/iterations/*/*/step.json"))) + len(
        list(workspace.glob(".irp/features/*/*.npy"))
    )


@pytest.mark.timeout(600)
def test_five_kills_change_nothing(finished: Path, plant: Path, tmp_path: Path, prefect_api: str) -> None:
    workspace = make_workspace(tmp_path / "w")
    rng = random.Random(4)
    for kill in range(KILLS):
        process = start(workspace, plant)
        # Anywhere within the next few steps, so that the kills spread over the run and not over the imports.
        target = progress(workspace) + rng.randint(1, 3)
        while progress(workspace) < target and process.poll() is None:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        if process.returncode == 0:
            pytest.fail(f"the run ended before kill {kill + 1}: give it more steps")
    process = start(workspace, plant)
    output = process.communicate()[0].decode()
    assert process.returncode == 0, output
    (run,) = workspace.glob("runs/*/run.json")
    assert run.parent.name == finished.name
    assert table_hashes(run.parent) == table_hashes(finished)
    assert "Traceback" not in output
