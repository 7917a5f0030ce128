"""`irp export` of the session's run: from its folder, from MLflow, and with the images in DVC's cache alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.errors import InputError
from irp_core.run.directory import RunDirectory
from tests.flows.harness import store_of


def export(run: str, to: Path, *options: str) -> str:
    arguments = ["export", run, "--to", str(to), *options, "-S", f"tracking.uri={store_of(Path.cwd())}"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}


@pytest.mark.parametrize("reference", ["{run}", "{id}", "{digest}", "last"])
def test_what_the_last_model_trained_on_comes_out(in_workspace: Path, tmp_path: Path, reference: str) -> None:
    run_id = in_workspace.name
    said = export(reference.format(run=in_workspace, id=run_id, digest=run_id.rpartition("-")[2][:5]), tmp_path / "out")
    run = RunDirectory(in_workspace)
    trained = set(run.training_set(run.summary()["iterations"])["image_id"])
    assert names(tmp_path / "out" / "images") == trained
    assert set(pd.read_csv(tmp_path / "out/kept.csv")["image_id"]) == trained
    assert len(pd.read_csv(tmp_path / "out/removed.csv")) == run.summary()["n_removed"] > 0
    assert f"{len(trained)} images kept" in said


def test_a_machine_that_has_mlflow_and_dvc_alone_exports_the_same(
    in_workspace: Path, plant: Path, tmp_path: Path
) -> None:
    export(str(in_workspace), tmp_path / "here")
    hidden, images = in_workspace.with_name("elsewhere"), plant.with_name("gone")
    in_workspace.rename(hidden)
    plant.rename(images)
    shutil.move(hidden, tmp_path / "run")
    try:
        export(in_workspace.name, tmp_path / "there")
    finally:
        shutil.move(tmp_path / "run", in_workspace)
        images.rename(plant)
    assert names(tmp_path / "here") == names(tmp_path / "there")
    assert (tmp_path / "here/removed.csv").read_text() == (tmp_path / "there/removed.csv").read_text()


def test_no_such_run_is_said(in_workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a run or a registered model"):
        export("nobody", tmp_path / "out")
    assert not (tmp_path / "out").exists()
