"""Killed at every stage, or with the server killed, a round goes on as the same; lines do not mix, and rounds wait."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from irp_core.demo.line import Batch
from tests.flows.harness import table_hashes
from tests.flows.line.plants import Plant, make_plant
from tests.flows.processes import irp

STAGES = ("run", "train", "published", "version")


def reached(plant: Plant, stage: str) -> bool:
    """Whether the round noted a stage; `train`: whether a model of it is there."""
    if stage == "train":
        return any(plant.project.glob("runs/*/iterations/*/train/step.json"))
    for file in plant.project.glob("lines/*/rounds/*/round.json"):
        with contextlib.suppress(ValueError, OSError):
            return stage in json.loads(file.read_text())
    return False


def told(plant: Plant) -> dict[str, Any]:
    """What MLflow and the run's folder say of a line."""
    from tasks.promotion.registry import open_registry
    from tasks.tracking.records import table_of

    with contextlib.chdir(plant.project), open_registry(plant.line(), plant.params()) as registry:
        events: pd.DataFrame = table_of(registry.records())
        versions = registry.client.search_model_versions(f"name='{plant.name}'")
    (run,) = plant.project.glob("runs/*/run.json")
    assert len(plant.rounds()) == 1
    return {
        "run": run.parent.name,
        "tables": table_hashes(run.parent),
        "aliases": plant.aliases(),
        "versions": [(v.version, v.tags["irp.state"], v.tags["irp.dvc_md5"]) for v in versions],
        "events": events[["event", "version", "by", "done"]].to_dict("records"),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Plant:
    plant = make_plant(tmp_path_factory.mktemp("undisturbed"), [Batch(24, 4), Batch(12, 0)])
    plant.night(1)
    assert plant.retrain()["outcome"] == "promoted"
    return plant


@pytest.mark.timeout(600)
def test_killed_at_every_stage_it_is_the_same_round(undisturbed: Plant, tmp_path: Path, prefect_api: str) -> None:
    plant = make_plant(tmp_path, [Batch(24, 4)])
    plant.night(1)
    for stage in STAGES:
        command = irp("line", "run", "line3", cwd=plant.project)
        while not reached(plant, stage) and command.process.is_alive():
            time.sleep(0.01)
        command.process.kill()
        assert command.wait() == -signal.SIGKILL, f"ended before stage {stage}: {command.stderr}"
    # And the server, under a round that goes on: what it was asked for in that moment may be lost, the round is not.
    command = irp("line", "run", "line3", cwd=plant.project)
    begun = sessions(plant)
    while sessions(plant) == begun and command.process.is_alive():
        time.sleep(0.002)
    os.kill(server(), signal.SIGKILL)
    if code := command.wait():
        assert code == 1 and "A server no longer answers" in command.stderr, command.stderr
        assert len(command.stderr.splitlines()) == 1
        command = irp("line", "run", "line3", cwd=plant.project)
        assert command.wait() == 0, command.stderr
    assert "line3/1 is in service" in command.stdout
    assert "Traceback" not in command.stdout + command.stderr
    assert told(plant) == told(undisturbed)


def sessions(plant: Plant) -> int:
    """How often anybody was at work on the round."""
    return sum(log.read_text().count("begins: round") for log in plant.project.glob("lines/*/rounds/*/round.log"))


def server() -> int:
    """The session's Prefect server: it is started again when it dies, as a unit of systemd is."""
    listed = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())]
    told = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
    (number,) = [line.split()[0] for line in told.splitlines() if "prefect.server.api.server" in line]
    return int(number)


@pytest.mark.timeout(600)
def test_two_lines_at_once_do_not_mix(tmp_path: Path, prefect_api: str) -> None:
    # The same images: whatever one line takes of the other is taken without an error.
    first = make_plant(tmp_path, [Batch(24, 0)], name="left")
    second = make_plant(tmp_path, [Batch(24, 0)], name="right", project=first.project)
    commands = []
    for plant in (first, second):
        plant.night(1)
        commands.append(irp("line", "run", plant.name, cwd=plant.project, output=tmp_path / f"output-{plant.name}"))
    for plant, command in zip((first, second), commands, strict=True):
        assert command.wait() == 0, command.stderr
        assert f"{plant.name}/1 is in service" in command.stdout
        assert plant.aliases() == {"champion": "1"}
        (this,) = plant.rounds()
        record = this.record()
        assert Path(record["run"]).name.startswith(f"{plant.name}-") and record["outcome"] == "promoted"
        assert record["published"]["branch"] == f"line/{plant.name}"
    assert len(list(first.project.glob("runs/*/finished.json"))) == 2


@pytest.mark.timeout(300)
def test_a_second_round_of_a_line_waits_for_the_first(undisturbed: Plant, tmp_path: Path) -> None:
    from flows.line.working import alone, at_work

    line = undisturbed.line()
    with contextlib.chdir(undisturbed.project):
        assert at_work(line) is None
        with alone(line):
            assert "process" in str(at_work(line))
            command = irp("line", "run", "line3", cwd=undisturbed.project)
            while "Waits for the round" not in command.stdout and command.process.is_alive():
                time.sleep(0.05)
            assert command.process.is_alive(), command.stderr
        assert command.wait() == 0, command.stderr
    assert "Nothing new" in command.stdout


def test_a_push_that_fails_is_named_and_the_round_goes_on_when_it_works(
    undisturbed: Plant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And what the round began with, damaged meanwhile, is used by nobody: it begins again, and finds its run."""
    from tasks.versions import publish

    plant = undisturbed
    plant.night(2)
    monkeypatch.setattr(publish.publish, "retries", 0)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "_push", _refuse)
        with pytest.raises(OSError, match="remote: cannot be pushed to"):
            plant.retrain()
    assert plant.aliases() == {"champion": "1"}
    (*_, broken) = plant.rounds()
    assert not broken.ended
    run = broken.record()["run"]
    table = broken.path / "manifest.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(bytes(content))
    result = plant.retrain()
    assert (result["round"], result["outcome"], result["run"]) == (2, "promoted", run)
    assert "manifest.parquet: is gone or was changed since the round began. Round 2 begins again" in caplog.text
    assert plant.aliases() == {"champion": "2", "previous": "1"}


def _refuse(objects: set[str], name: str, url: str) -> None:
    raise OSError(f"{url}: cannot be pushed to (no space).")
