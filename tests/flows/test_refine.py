"""The whole loop: what a run leaves behind, and what must not influence it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from irp_core.data.manifest import read_manifest, write_manifest
from irp_core.params_file import load_params
from tests.conftest import TINY, make_workspace
from tests.flows.harness import TABLES, prefect_secret, refine_in, store_of, table_hashes


def test_a_run_leaves_tables_model_and_history(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    tables = {name: pd.read_parquet(finished / f"{name}.parquet") for name in TABLES}
    iterations, removed = tables["iterations"], tables["removals"]
    assert summary["stop_reason"] in ("converged", "max_iterations", "max_removed_fraction")
    assert summary["n_removed"] > 0
    assert len(removed) == summary["n_removed"]
    assert (removed["score"] > removed["threshold"]).all()
    assert iterations["n_train"].tolist() == (30 - iterations["n_removed"].cumsum()).tolist()
    assert iterations["auroc"].between(0, 1).all()
    assert set(tables["scores"]["iteration"]) == set(iterations["iteration"])
    # A removed image is in no later training set.
    for row in removed.itertuples():
        later = tables["scores"].query("iteration >= @row.iteration")
        assert row.image_id not in set(later["image_id"])
    assert (finished / "model" / "inspector.json").is_file()
    images = tables["images"].set_index("image_id")
    assert images.index[images["state"] == "removed"].tolist() == sorted(removed["image_id"])
    assert images.loc[removed["image_id"], "since_round"].tolist() == removed["iteration"].tolist()
    last = tables["scores"].query("iteration == iteration.max()")
    assert images.index[images["trained_on"]].tolist() == last["image_id"].tolist()
    assert images.loc[last["image_id"], "score"].tolist() == last["score"].tolist()
    assert set(images["decided_by"]) == {"refinement"}


def test_mlflow_holds_every_model(in_workspace: Path) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store_of(Path.cwd()))
    (experiment,) = [e for e in client.search_experiments() if e.name == "irp"]
    found = client.search_runs([experiment.experiment_id])
    tag = [run for run in found if run.data.tags["irp.run_id"] == in_workspace.name]
    (parent,) = [run for run in tag if run.data.tags["irp.iteration"] == "all"]
    nested = sorted((r for r in tag if r is not parent), key=lambda r: int(r.data.tags["irp.iteration"]))
    iterations = pd.read_parquet(in_workspace / "iterations.parquet")
    assert len(nested) == len(iterations)
    assert {run.info.status for run in tag} == {"FINISHED"}
    assert parent.data.params["refinement.lambda"] == "1.15"
    for run, row in zip(nested, iterations.itertuples(), strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.metrics["n_train"] == row.n_train
        assert run.data.metrics["auroc"] == pytest.approx(row.auroc)
        (dataset,) = run.inputs.dataset_inputs
        snapshot = in_workspace.parents[1] / "snapshots" / in_workspace.name / f"iteration-{row.iteration:02d}.dvc"
        assert f"{dataset.dataset.digest}.dir" in snapshot.read_text()
        epochs = 4 if row.iteration == 0 else 2
        assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == list(range(1, epochs + 1))
    files = {f.path for f in client.list_artifacts(parent.info.run_id, "tables")}
    assert {f"tables/{name}.parquet" for name in TABLES} <= files
    assert {f.path for f in client.list_artifacts(nested[0].info.run_id, "model")} == {
        "model/detector.json",
        "model/weights.safetensors",
    }


def test_dvc_checks_out_the_exact_set_of_an_iteration(in_workspace: Path, tmp_path: Path) -> None:
    import hashlib

    workspace, last = (
        in_workspace.parents[1],
        int(pd.read_parquet(in_workspace / "iterations.parquet")["iteration"].max()),
    )
    target = Path("snapshots") / in_workspace.name / f"iteration-{last:02d}"

    def dvc(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=workspace, check=True, capture_output=True, text=True
        ).stdout

    dvc("remote", "add", "--force", "-d", "store", str(tmp_path / "remote"))
    dvc("push", "-q")
    shutil.rmtree(workspace / ".dvc" / "cache")
    dvc("pull", "-q", f"{target}.dvc")
    kept = pd.read_parquet(in_workspace / "scores.parquet").query("iteration == @last")
    files = {p.relative_to(workspace / target).as_posix(): p for p in (workspace / target).rglob("*") if p.is_file()}
    assert sorted(files) == sorted(kept["image_id"])
    for row in kept.itertuples():
        assert hashlib.md5(files[row.image_id].read_bytes(), usedforsecurity=False).hexdigest() == row.md5
    assert json.loads(dvc("status", "--json", f"{target}.dvc")) == {}
    dvc("pull", "-q")
    dvc("gc", "-q", "-w", "-f")
    assert json.loads(dvc("status", "--json")) == {}


def test_prefect_shows_the_iterations(in_workspace: Path, prefect_api: str) -> None:
    api = httpx.Client(auth=prefect_secret())
    key = f"{in_workspace.name.lower()}-removed"
    found = api.post(f"{prefect_api}/artifacts/filter", json={"artifacts": {"key": {"any_": [key]}}}).json()
    # Other tests' runs of the same name, with the same removals, are on this server too: each has a store of its own.
    ids = {"flow_runs": {"id": {"any_": [artifact["flow_run_id"] for artifact in found]}}}
    flows = api.post(f"{prefect_api}/flow_runs/filter", json=ids).json()
    ours = [f["id"] for f in flows if f["parameters"]["params"]["tracking"]["uri"] == store_of(Path.cwd())]
    artifact = next(a for a in found if a["flow_run_id"] in ours)
    (tagged,) = [f["tags"] for f in flows if f["id"] == artifact["flow_run_id"]]
    assert set(tagged) == {"method:irp", "dataset:plant", f"run:{in_workspace.name}"}
    removed = pd.read_parquet(in_workspace / "removals.parquet")["image_id"].tolist()
    assert [row["image_id"] for row in json.loads(artifact["data"])] == removed
    flow = {"flow_runs": {"id": {"any_": [artifact["flow_run_id"]]}}}
    names = {run["name"] for run in api.post(f"{prefect_api}/task_runs/filter", json=flow).json()}
    assert {"extract-train", "train-0", "score-0", "decide-1", "snapshot-1", "train-1"} <= names


def test_the_same_command_again_does_nothing_twice(in_workspace: Path, plant: Path) -> None:
    before = {
        file: file.stat().st_mtime_ns for file in in_workspace.rglob("weights.safetensors") if "train" in file.parts
    }
    again = refine_in(in_workspace.parents[1], plant)
    assert again == in_workspace
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_labels_change_no_score_and_no_removal(finished: Path, plant: Path, tmp_path: Path, prefect_api: str) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    manifest = read_manifest(finished / "manifest.parquet")
    train = manifest.index[manifest["split"] == "train"]
    shuffled = np.random.default_rng(0).permutation(train)
    for column in ("label", "injected", "defect_type"):
        manifest.loc[train, column] = manifest.loc[shuffled, column].to_numpy()
    write_manifest(manifest, prepared / "manifest.parquet")
    run = refine_in(make_workspace(tmp_path / "w"), plant, manifest=str(prepared))
    assert run.name != finished.name  # another manifest
    ours, theirs = table_hashes(run), table_hashes(finished)
    assert ours["scores.parquet"] == theirs["scores.parquet"]
    assert ours["weights.safetensors"] == theirs["weights.safetensors"]
    columns = ["image_id", "iteration", "score", "threshold"]
    pd.testing.assert_frame_equal(
        pd.read_parquet(run / "removals.parquet")[columns], pd.read_parquet(finished / "removals.parquet")[columns]
    )


def test_the_test_images_are_not_read_before_the_evaluation(
    finished: Path, plant: Path, tmp_path: Path, prefect_api: str
) -> None:
    noisy = tmp_path / "plant"
    shutil.copytree(plant, noisy)
    manifest = read_manifest(finished / "manifest.parquet")
    rng = np.random.default_rng(0)
    for image_id in manifest.loc[manifest["split"] == "test", "image_id"]:
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(noisy / image_id)
    run = refine_in(make_workspace(tmp_path / "w"), noisy)
    ours, theirs = table_hashes(run), table_hashes(finished)
    for name in ("scores.parquet", "removals.parquet", "weights.safetensors"):
        assert ours[name] == theirs[name]
    assert ours["test_scores.parquet"] != theirs["test_scores.parquet"]


def test_another_seed_pushes_no_image_through_the_network(in_workspace: Path, plant: Path) -> None:
    run = refine_in(in_workspace.parents[1], plant, ["run.seed=7", "tracking.registered_model=plant"])
    features = json.loads((run / "features.json").read_text())
    assert features["train"]["misses"] == features["rest"]["misses"] == 0
    assert features["train"]["images"] + features["rest"]["images"] == 48
    assert table_hashes(run)["scores.parquet"] != table_hashes(in_workspace)["scores.parquet"]
    # Registered, it scores as the run's own model does, through `irp score` and as MLflow's pyfunc.
    from mlflow.pyfunc import load_model

    from tasks.scoring import score_images

    params = load_params(None, [f"tracking.uri={store_of(Path.cwd())}"])
    ours, registered = (score_images(m, plant / "test" / "good", params) for m in (str(run), "plant/1"))
    pd.testing.assert_frame_equal(ours, registered)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(store_of(Path.cwd()))
    source = client.get_model_version("plant", "1").source
    served = load_model(source).predict(pd.DataFrame({"image": [Path(path).read_bytes() for path in ours["path"]]}))
    assert served.to_dict("records") == ours.drop(columns="path").to_dict("records")


def test_methods_share_the_pre_trained_detector(
    tmp_path: Path, plant: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.compare import compare, comparison_table, removals_per_iteration

    monkeypatch.chdir(make_workspace(tmp_path / "w"))
    # By its absolute path: MLflow keeps one engine per address and process.
    params = load_params(None, [*TINY, f"tracking.uri={store_of(Path.cwd())}"]).model_dump(mode="json")
    runs = compare(str(plant), params, ("vanilla", "osr", "irp", "random", "equal_epochs", "oracle"))
    first = [(Path(runs[m]) / "iterations/00/train/weights.safetensors").read_bytes() for m in runs]
    assert first[0] == first[1] == first[2] == first[3] == first[5]
    assert first[4] != first[0]
    table = comparison_table(runs).set_index("method")
    assert table.loc["vanilla", "n_removed"] == 0
    assert table.loc["oracle", ["n_removed", "removal_precision", "removal_recall"]].tolist() == [6, 1.0, 1.0]
    assert table.loc["oracle", "recovery"] == 1.0 or pd.isna(table.loc["oracle", "recovery"])
    assert removals_per_iteration(Path(runs["random"])) == removals_per_iteration(Path(runs["irp"]))
    assert table.loc["osr", "n_removed"] == removals_per_iteration(Path(runs["irp"]))[0]


def test_without_a_repository_the_error_says_what_to_do(tmp_path: Path, plant: Path, prefect_api: str) -> None:
    from irp_core.errors import InputError

    with pytest.raises(InputError, match="git init` and `dvc init`, or pass --no-dvc"):
        refine_in(tmp_path, plant)
    assert not (tmp_path / "runs").exists()


def test_an_unlabelled_folder_needs_no_repository(tmp_path: Path, plant: Path, prefect_api: str) -> None:
    images = tmp_path / "images"
    shutil.copytree(plant / "train" / "good", images)
    (images / "broken.jpg").write_bytes(b"")
    run = refine_in(tmp_path, images, ["contamination.fraction=0", "snapshots.enabled=false"])
    assert pd.read_parquet(run / "quarantine.parquet")["image_id"].tolist() == ["broken.jpg"]
    iterations = pd.read_parquet(run / "iterations.parquet")
    assert iterations["auroc"].isna().all()
    assert not (run / "test_scores.parquet").exists()
