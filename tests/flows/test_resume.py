"""Killed at random moments and started again, or started twice at once, a run ends with the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from irp_core.run.directory import RunDirectory, list_runs
from tests.conftest import TINY, make_workspace
from tests.flows.harness import refine_in, table_hashes
from tests.flows.processes import Command, irp

pytestmark = pytest.mark.trust

KILLS = 2  # among the steps, after two while the database is made


TRIES = 5  # for a kill that came too late, on a machine with other work


def start(workspace: Path, data: Path, *options: str, output: str = "output") -> Command:
    overrides = (part for override in TINY for part in ("-S", override))
    return irp("refine", str(data), *options, *overrides, cwd=workspace, output=workspace.with_name(output))


def progress(workspace: Path) -> int:
    return len(list(workspace.glob("runs/*/iterations/*/*/step.json"))) + len(
        list(workspace.glob(".irp/features/*/*.arrow"))
    )


def kill(
    workspace: Path, data: Path, reached: Callable[[], bool], pause: float, meant: Callable[[], bool] = lambda: True
) -> None:
    """Start the command and kill it `pause` seconds after `reached`; where it had gone further than `meant`, or ended,
    before the kill came, all of it is done again from where it began."""
    before = workspace.with_name("before")
    shutil.copytree(workspace, before, symlinks=True)
    for _ in range(TRIES):
        command = start(workspace, data)
        while not reached() and command.process.is_alive():
            time.sleep(0.005)
        time.sleep(pause)
        command.process.kill()
        ended = command.wait()
        if ended == -signal.SIGKILL and meant():
            shutil.rmtree(before)
            return
        assert ended in (0, -signal.SIGKILL), command.stderr
        shutil.rmtree(workspace)
        shutil.copytree(before, workspace, symlinks=True)
    pytest.fail(f"the run was further than meant before each of {TRIES} kills")


@pytest.mark.timeout(900)
def test_four_kills_two_on_a_fresh_database_and_then_two_at_once_change_nothing(
    finished: Path, plant: Path, tmp_path: Path, prefect_api: str
) -> None:
    workspace = make_workspace(tmp_path / "w")
    rng = random.Random(4)
    for pause in (0.0, rng.uniform(0.1, 0.5)):
        kill(
            workspace,
            plant,
            lambda: bool(list(workspace.glob(".mlflow.db.*.tmp"))),
            pause,
            lambda: not (workspace / "mlflow.db").exists(),
        )
    for _ in range(KILLS):
        # Anywhere within the next few steps, so that the kills spread over the run and not over the imports.
        target = progress(workspace) + rng.randint(1, 6)
        kill(workspace, plant, lambda target=target: progress(workspace) >= target, rng.uniform(0, 0.15))
    commands = [start(workspace, plant, output="one"), start(workspace, plant, "--no-prefect", output="two")]
    for command in commands:
        assert command.wait() == 0, command.stderr
        assert "Traceback" not in command.stdout + command.stderr
    (run,) = workspace.glob("runs/*/run.json")
    assert run.parent.name == finished.name
    assert table_hashes(run.parent) == table_hashes(finished)
    assert list(workspace.glob(".mlflow.db.*")) == [workspace / ".mlflow.db.lock"]
    assert [command.stderr.count("another process is at work on this run") > 0 for command in commands].count(True) == 1
    with sqlite3.connect(workspace / "mlflow.db") as store:
        ((steps,),) = store.execute("SELECT max(n) FROM (SELECT count(*) n FROM metrics GROUP BY run_uuid, key, step)")
    assert steps == 1


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
