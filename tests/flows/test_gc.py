"""`irp gc` on real runs: what is in service stays whole, the rest goes, and the audit still answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.features.store import FeatureStore
from irp_core.run.directory import RunDirectory
from tests.conftest import make_workspace
from tests.flows.harness import refine_in, store_of

MONTHS = 200 * 86400  # seconds


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory, plant: Path, prefect_api: str) -> tuple[Path, str, str]:
    """A workspace with a run of half a year ago, on an image more, and a newer one that is in service."""
    workspace = make_workspace(tmp_path_factory.mktemp("gc") / "workspace")
    data = workspace.parent / "plant"
    shutil.copytree(plant, data)
    more = data / "train" / "good" / "more.png"
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(more)
    # No hard links: what the cache takes is what deleting from it frees.
    settings = ["contamination.fraction=0", "refinement.max_iterations=1", "snapshots.link=copy"]
    old = refine_in(workspace, data, settings)
    more.unlink()
    new = refine_in(workspace, data, [*settings, "tracking.registered_model=line3"])
    client = MlflowClient(store_of(workspace))
    client.set_registered_model_alias("line3", "champion", "1")
    for run in client.search_runs(["1"]):
        if run.data.tags["irp.run_id"] == old.name:
            client.set_terminated(run.info.run_id, "FINISHED", int((time.time() - MONTHS) * 1000))
    for file in [*old.rglob("*"), old, *(workspace / "snapshots" / old.name).rglob("*.dvc")]:
        os.utime(file, (time.time() - MONTHS,) * 2)
    return workspace, old.name, new.name


@pytest.fixture
def here(two_runs: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(two_runs[0])
    return two_runs[0]


def irp(*arguments: str) -> str:
    result = CliRunner().invoke(
        app, [*arguments, "-S", f"tracking.uri={store_of(Path.cwd())}"], catch_exceptions=False, env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def cached(workspace: Path) -> set[str]:
    files = workspace / ".dvc" / "cache" / "files" / "md5"
    return {file.parent.name + file.name for file in files.glob("??/*")}


def test_what_is_needed_stays_and_the_rest_goes_only_when_asked(here: Path, two_runs: tuple[Path, str, str]) -> None:
    _, old, new = two_runs
    bounds = [f"-Sretention.{bound}=1" for bound in ("keep_runs", "cache_bytes", "store_bytes")]
    extractor = FeatureStore(here / ".irp" / "features", {"backbone": "an earlier one"})
    extractor.append([("a", 0)], np.zeros((1, 8), dtype=np.float32))
    for file in extractor.directory.iterdir():
        os.utime(file, (time.time() - MONTHS,) * 2)
    stores = set((here / ".irp" / "features").iterdir())
    only_old = set(RunDirectory(here / "runs" / old).manifest().query("split == 'train'")["md5"]) - set(
        RunDirectory(here / "runs" / new).manifest().query("split == 'train'")["md5"]
    )
    assert only_old
    before = cached(here)

    said = irp("gc", *bounds)
    assert f"{old}: older than 30 days" in said
    assert "DVC's default remote lacks it" in said
    assert "irp gc --delete" in said
    assert cached(here) == before
    assert (here / "runs" / old).is_dir()

    subprocess.run([sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "s", str(here.parent / "r")], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "push", "-q"], check=True)
    said = irp("gc", "--delete", *bounds)
    assert "line3/1 @champion was trained on it" in said
    assert not (here / "runs" / old).exists()
    assert (here / "runs" / new).is_dir()
    assert before - cached(here) == only_old
    assert stores - set((here / ".irp" / "features").iterdir()) == {extractor.directory}

    assert "would be deleted, 0 bytes" in irp("gc", *bounds)  # nothing is left to do
    irp("audit", "verify", "line3/1")
    verified = irp("audit", "verify", old)  # from MLflow and the remote
    assert verified.count("deleted since (irp gc)") >= 2  # said, and no failure
    client = MlflowClient(store_of(here))
    weights = {
        run.data.tags["irp.run_id"]: client.list_artifacts(run.info.run_id, "model")
        for run in client.search_runs(["1"])
        if "mlflow.parentRunId" not in run.data.tags
    }
    assert weights[new] and not weights[old]
