"""Things move: the project is renamed or copied, the images lie elsewhere, a command is typed in another directory."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

import flows.refine
from flows.cli.main import app
from irp_core.params_file import load_params
from irp_core.run.directory import RunDirectory
from tasks.audit.verify import verify
from tasks.tracking.database import bring_addresses_along
from tests.conftest import TINY, make_workspace
from tests.flows.harness import refine_in, store_of, table_hashes
from tests.flows.processes import irp

QUICK = ["refinement.method=vanilla", "tracking.registered_model=line", "training.epochs=1"]


def names_of(store: Path, old: Path) -> int:
    """How often a database names a place, but for the default experiment's, which MLflow makes and we do not use."""
    with sqlite3.connect(store) as database:
        rows = [line.replace("''", "'") for line in database.iterdump() if line.startswith("INSERT")]
    return sum((str(old) in row or old.as_uri() in row) and "mlruns" not in row for row in rows)


def test_a_renamed_project_with_its_images_is_whole_again(
    plant: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = make_workspace(tmp_path / "it's before"), tmp_path / "after"
    shutil.copytree(plant, before / "images")
    run = refine_in(before, before / "images", QUICK)
    assert RunDirectory(run).record()["data_root"] == "images"  # relative: it moves along
    hashes = table_hashes(run)
    assert names_of(before / "mlflow.db", before) > 0
    before.rename(after)
    monkeypatch.chdir(after)
    params = load_params(None, [*TINY, *QUICK, f"tracking.uri={store_of(after)}"])
    findings = verify(run.name, params)
    assert [finding for finding in findings if finding.status == "failed"] == []
    assert "registered version" in {finding.check for finding in findings if finding.status == "ok"}
    assert names_of(after / "mlflow.db", before) == 0
    # The same again goes on in the same run, here and in MLflow, and writes nowhere else.
    again = irp("refine", "images", *(part for value in [*TINY, *QUICK] for part in ("-S", value)), cwd=after)
    assert again.wait() == 0, again.stderr
    assert [folder.name for folder in after.glob("runs/*")] == [run.name]
    assert not before.exists()
    assert table_hashes(after / "runs" / run.name) == hashes
    client = MlflowClient(store_of(after))
    (experiment,) = [e for e in client.search_experiments() if e.name == "irp"]
    assert len(client.search_runs([experiment.experiment_id])) == 2  # the run and its one model
    assert RunDirectory(after / "runs" / run.name).data_root() == after / "images"


def test_a_copied_project_writes_into_its_own_artifacts(finished: Path, tmp_path: Path) -> None:
    here = tmp_path / "copy"
    shutil.copytree(finished.parents[1], here, symlinks=True)
    bring_addresses_along(here / "mlflow.db")
    assert names_of(here / "mlflow.db", finished.parents[1]) == 0
    assert names_of(finished.parents[1] / "mlflow.db", finished.parents[1]) > 0


def test_images_that_were_moved_go_on_from_the_place_that_is_given_now(
    plant: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path / "w")
    shutil.copytree(plant, tmp_path / "old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(flows.refine, "extract_features", interrupted)
        refine_in(workspace, tmp_path / "old", QUICK)
    (run,) = workspace.glob("runs/*")
    (tmp_path / "old").rename(tmp_path / "new")
    assert refine_in(workspace, tmp_path / "new", QUICK) == run
    assert RunDirectory(run).data_root() == tmp_path / "new"
    assert len(list(workspace.glob("runs/*"))) == 1


def test_a_run_is_resumed_from_another_directory_in_its_own_project(
    plant: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, elsewhere = make_workspace(tmp_path / "w"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(workspace)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(flows.refine, "snapshot", interrupted)
        refine_in(workspace, plant, QUICK)
    (run,) = workspace.glob("runs/*")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    done = CliRunner().invoke(app, ["refine", "--resume", f"../w/runs/{run.name}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert RunDirectory(run).finished()
    assert list(elsewhere.iterdir()) == []
    assert "-" not in done.output.split("Features:")[1].split("from the store")[0]  # it counted "-32 from the store"
    monkeypatch.chdir(workspace / "snapshots")
    shown = CliRunner().invoke(app, ["audit", "model", run.name, "-S", f"tracking.uri={store_of(workspace)}"])
    assert shown.exit_code == 0, shown.output
