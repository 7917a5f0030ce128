"""Killed at random moments and started again, a run ends with the same bytes."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from irp_core.run.directory import RunDirectory, list_runs
from tests.conftest import TINY, make_workspace
from tests.flows.harness import refine_in, table_hashes
from tests.flows.processes import Command, irp

pytestmark = pytest.mark.trust

KILLS = 2  # among the steps, after two while the database is made


def start(workspace: Path, data: Path) -> Command:
    return irp("refine", str(data), *(part for override in TINY for part in ("-S", override)), cwd=workspace)


def progress(workspace: Path) -> int:
    return len(list(workspace.glob("runs/*/iterations/*/*/step.json"))) + len(
        list(workspace.glob(".irp/features/*/*.arrow"))
    )


def kill(command: Command) -> None:
    command.process.kill()
    assert command.wait() == -signal.SIGKILL, f"the run ended before it was killed: {command.stderr}"


@pytest.mark.timeout(600)
def test_four_kills_two_on_a_fresh_database_change_nothing(
    finished: Path, plant: Path, tmp_path: Path, prefect_api: str
) -> None:
    workspace = make_workspace(tmp_path / "w")
    rng = random.Random(4)
    for pause in (0.0, rng.uniform(0.1, 0.5)):
        command = start(workspace, plant)
        while not list(workspace.glob(".mlflow.db.*.tmp")) and command.process.is_alive():
            time.sleep(0.005)
        time.sleep(pause)
        kill(command)
        assert not (workspace / "mlflow.db").exists()
    for _ in range(KILLS):
        command = start(workspace, plant)
        # Anywhere within the next few steps, so that the kills spread over the run and not over the imports.
        target = progress(workspace) + rng.randint(1, 6)
        while progress(workspace) < target and command.process.is_alive():
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        kill(command)
    command = start(workspace, plant)
    assert command.wait() == 0, command.stderr
    (run,) = workspace.glob("runs/*/run.json")
    assert run.parent.name == finished.name
    assert table_hashes(run.parent) == table_hashes(finished)
    assert list(workspace.glob(".mlflow.db.*")) == [workspace / ".mlflow.db.lock"]
    assert "Traceback" not in command.stdout + command.stderr


def test_resuming_does_what_was_asked_for_first(
    finished: Path, plant: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison's run shares another's pre-trained detector and needs no operating threshold: resumed, neither."""
    import flows.refine

    workspace = make_workspace(tmp_path / "w")

    def interrupted(path: str, iteration: int) -> None:
        raise KeyboardInterrupt

    def trained_again(*arguments: object, **options: object) -> None:
        raise AssertionError("the detector should have been taken over")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(flows.refine, "snapshot", interrupted)
        refine_in(workspace, plant, ["refinement.method=vanilla"], share_with=str(finished), operating=False)
    monkeypatch.chdir(workspace)
    (run,) = list_runs(Path("runs"))
    assert not run.has_results()
    monkeypatch.setattr("irp_core.detectors.differnet.DifferNet.fit", trained_again)
    flows.refine.resume(str(run.path))
    shared = RunDirectory(finished)
    assert run.weights_sha256(0) == shared.weights_sha256(0)
    assert run.summary()["operating"] is None
    assert shared.summary()["operating"] is not None
