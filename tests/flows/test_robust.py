"""The robust refinement as a tracked run: out-of-fold scores, a separate cleaner, images that come back."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from flows.terminal.run import show_run
from irp_core.atomic import read_json, write_json
from irp_core.data.manifest import read_manifest, write_manifest
from irp_core.hashing import file_sha256
from irp_core.inspection import Inspector
from irp_core.params_file import load_params
from irp_core.run.directory import RunDirectory
from tests.conftest import TINY, make_workspace
from tests.flows.harness import refine_in, store_of, table_hashes

ROBUST = [
    "refinement.method=robust",
    "refinement.rule=mad",  # the plant is too small for the mixture to say anything
    "refinement.k=2",
    "detector.name=patch_knn",
    "features.patch_grid=4",
]


@pytest.fixture(scope="module")
def robust(tmp_path_factory: pytest.TempPathFactory, plant: Path, prefect_api: str, few_resamples: None) -> Path:
    return refine_in(make_workspace(tmp_path_factory.mktemp("robust") / "workspace"), plant, ROBUST)


def test_the_sets_add_up_over_removals_and_restorations(robust: Path) -> None:
    removed = pd.read_parquet(robust / "removals.parquet")
    scores = pd.read_parquet(robust / "scores.parquet")
    sets = scores.groupby("iteration")["image_id"].agg(set).to_dict()
    assert len(sets) > 1
    for iteration in range(1, len(sets)):
        found = removed[removed["iteration"] == iteration].groupby("decision")["image_id"].agg(set).to_dict()
        assert sets[iteration] == sets[iteration - 1] - found.get("removed", set()) | found.get("restored", set())


def test_a_refinement_in_memory_keeps_what_a_run_keeps(robust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from irp_core.data.manifest import training_rows
    from irp_core.refinement.in_memory import refine_in_memory
    from irp_core.refinement.scoring import local_needed
    from tasks.steps.extract import open_pipeline

    monkeypatch.chdir(robust.parents[1])
    params = load_params(None, [*TINY, *ROBUST])
    rows = training_rows(read_manifest(robust / "manifest.parquet"))
    features = open_pipeline(params, local_needed(params)).stored.read(rows, params.views.score, local_needed(params))
    refined = refine_in_memory(rows, features, params)
    last = pd.read_parquet(robust / "scores.parquet").query("iteration == iteration.max()")
    assert sorted(rows["image_id"][refined.kept]) == sorted(last["image_id"])


def test_the_iterations_models_are_the_scorer_and_the_final_detector_is_trained_once(
    robust: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from irp_core.detectors import Consensus, load_detector
    from tasks.audit.questions import describe_model
    from tasks.tracking.finding import find_run

    monkeypatch.chdir(robust.parents[1])
    params = load_params(None, [*TINY, *ROBUST, f"tracking.uri={store_of(Path.cwd())}"])
    run, (tracked, _) = RunDirectory(robust), find_run(robust.name, params)
    last = int(run.summary()["iterations"])
    assert last > 0
    assert [run.key("train", k) is not None for k in range(last + 1)] == [False] * last + [True]
    for k, model in enumerate(tracked.models):
        assert isinstance(load_detector(run.step("scorers", k)), Consensus)
        assert model.data.tags["irp.weights_sha256"] == file_sha256(run.step("scorers", k) / "weights.safetensors")
    assert [tracked.weights(model) is not None for model in tracked.models] == [True] + [False] * (last - 1) + [True]
    final = file_sha256(run.step("train", last) / "weights.safetensors")
    assert file_sha256(robust / "model" / "weights.safetensors") == final
    assert describe_model(run.run_id, params)[0]["weights sha256"] == final
    assert run.iterations()["auroc"].notna().tolist() == [False] * last + [True]  # of the final detector alone


def test_the_operating_threshold_is_stored_with_the_model(robust: Path) -> None:
    point = read_json(robust / "summary.json")["operating"]
    described = read_json(robust / "model" / "inspector.json")
    assert described["threshold"] == point["threshold"]
    assert described["operating"]["false_alarm_rate"] == 0.05
    assert 0.0 <= point["test_false_alarms"] <= 1.0
    kept = pd.read_parquet(robust / "operating" / "scores.parquet")
    assert point["images"] == len(kept)
    assert (kept["score"] > point["threshold"]).mean() <= 0.05


def test_a_training_image_on_disk_scores_as_if_it_had_not_trained(robust: Path) -> None:
    """The bank knows its images by their patches, and the inspector makes the very same ones again."""
    inspector = Inspector(robust / "model")
    stored = pd.read_parquet(robust / "operating" / "scores.parquet").head(5)
    root = Path(read_json(robust / "run.json")["data_root"])
    table = inspector.score([root / image for image in stored["image_id"]])
    np.testing.assert_allclose(table["score"].astype(float), stored["score"], rtol=1e-6)


def test_the_estimated_contamination_is_reported(robust: Path) -> None:
    found = read_json(robust / "summary.json")["contamination"]
    assert 0.0 <= found["low"] <= found["share"] <= found["high"] <= 1.0


def test_the_audit_decides_the_same_again(robust: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.audit.verify import verify

    workspace = robust.parents[1]
    monkeypatch.chdir(workspace)
    params = load_params(None, [*TINY, *ROBUST, f"tracking.uri={store_of(workspace)}"])
    findings = verify(robust.name, params, rescore=True)
    assert [f for f in findings if f.status == "failed"] == []
    assert {f.check for f in findings if f.status == "ok"} >= {"training set", "decision", "removal table"}


def test_labels_change_nothing(robust: Path, plant: Path, tmp_path: Path, prefect_api: str) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    manifest = read_manifest(robust / "manifest.parquet")
    train = manifest.index[manifest["split"] == "train"]
    shuffled = np.random.default_rng(0).permutation(train)
    for column in ("label", "injected", "defect_type"):
        manifest.loc[train, column] = manifest.loc[shuffled, column].to_numpy()
    write_manifest(manifest, prepared / "manifest.parquet")
    run = refine_in(make_workspace(tmp_path / "w"), plant, ROBUST, manifest=str(prepared))
    ours, theirs = table_hashes(run), table_hashes(robust)
    assert ours["scores.parquet"] == theirs["scores.parquet"]
    assert ours["weights.safetensors"] == theirs["weights.safetensors"]


@pytest.mark.parametrize(("share", "said"), [(0.0, False), (0.9, True)])
def test_what_is_estimated_and_not_certain_is_said(robust: Path, tmp_path: Path, share: float, said: bool) -> None:
    copy = tmp_path / robust.name
    shutil.copytree(robust, copy)
    summary = read_json(copy / "summary.json")
    write_json(copy / "summary.json", {**summary, "contamination": {"share": share, "low": 0.0, "high": 0.9}})
    shown = Console(record=True, width=200, file=io.StringIO())
    show_run(shown, RunDirectory(copy))
    assert ("not certain" in shown.export_text()) == said
