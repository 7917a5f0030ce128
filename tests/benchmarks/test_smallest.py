"""Every benchmark runs, at its smallest size: that it measures is tested here, what it measures is not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks import kinds, maps, paper_settings, run, transformations
from benchmarks.choosing import detector as detector_choice
from benchmarks.choosing import report as choosing_report
from benchmarks.choosing import runs as choosing
from benchmarks.running import audit, extraction, feedback, folds, line_round, serving, snapshots, training, waiting
from benchmarks.scale import refinement as scale
from benchmarks.tables import measured, put_rows
from irp_core.config import Params
from irp_core.demo.line import Batch
from irp_core.features.store import FeatureStore
from irp_core.paper.paper_settings import paper_settings_reading, paper_settings_table, paper_settings_times
from irp_core.paper.reference import load_reference
from irp_core.params_file import load_params
from tests.conftest import TINY

SMALLEST: dict[ModuleType, dict[str, Any]] = {
    audit: {"IMAGES": 60, "MODELS": 2, "TIMES": 1},
    snapshots: {"ROWS": 20, "FILES": 5, "TIMES": 1},
    extraction: {"GOOD": 2, "BATCH": 1, "ROUNDS": 2},
    training: {"IMAGES": 8, "WIDTHS": {128: 1, 2048: 1}, "PAPER_IMAGES": 4, "PAPER_WIDTH": 16},
    feedback: {"GOOD": 4, "DEFECTIVE": 6, "ANSWERS": 2, "SEEDS": (0,)},
    line_round: {
        "KNOWN": 14,
        "NEW": 4,
        "GOLDEN": Batch(3, 3),
        "FEATURES": {"scales": [64], "kurtosis_scale": 128, "cell_scale": 64},
    },
    serving: {"_ROUNDS": 2, "_TOGETHER": 1, "_BATCH": 2, "_KINDS": {"ensemble": serving._KINDS["ensemble"]}},
    waiting: {"IMAGES": 60, "ODD": 1, "CELLS": 2, "DETECTORS": ("gaussian",)},
    folds: {"IMAGES": 20, "DIMENSIONS": 16, "FOLDS": 2, "EPOCHS": 1},
}


def in_this_process(arguments: list[str], code: Path) -> None:
    """The command without the seconds that a new process spends on imports."""
    from flows.cli.main import app

    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output


def test_make_bench_measures_everything(
    prefect_api: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, sizes in SMALLEST.items():
        for name, size in sizes.items():
            monkeypatch.setattr(module, name, size)
    monkeypatch.setattr(audit, "irp", in_this_process)
    monkeypatch.setattr(sys, "argv", ["run"])
    run.main()
    named = {line.strip("│ ").split(" ")[0] for line in capsys.readouterr().out.splitlines()}
    assert set(run.BENCHMARKS) <= named


def test_the_comparison_and_its_report(plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("")
    runs = tmp_path / "choosing" / "runs.csv"
    settings = [*TINY, "training.epochs=1", "sweep.levels=[20]", "sweep.seeds=[1]"]
    choosing._main([plant], settings, runs, "gaussian", "vanilla,robust,careful,answered,oracle")
    table = pd.read_csv(runs)
    assert table["method"].tolist() == ["vanilla", "robust", "careful", "answered", "oracle"]
    assert table["auroc"].between(0, 1).all()
    assert (table["fresh_good"] == 19).all()  # 8 of the test split, 11 that the training set has no room for
    assert table["alarms"].between(0, 19).all()
    monkeypatch.setattr(sys, "argv", ["choosing_report", str(runs)])
    choosing_report.main()
    assert {file.name for file in runs.parent.iterdir()} == {
        "runs.csv", "auroc.md", "removals.md", "summary.md", "alarms.md", "auroc.png",
    }  # fmt: skip
    before = runs.read_bytes()
    choosing._main([plant], settings, runs, "gaussian", "vanilla,oracle")  # nothing is left to do
    assert runs.read_bytes() == before


def test_a_row_takes_the_place_of_the_one_of_the_same_cell(tmp_path: Path) -> None:
    file, keys = tmp_path / "tables" / "made.csv", ["entity", "level"]
    assert measured(file, keys).empty
    cells = pd.DataFrame([("a", 0, 0.12345678), ("a", 10, 0.2), ("b", 0, 0.3)], columns=[*keys, "auroc"])
    put_rows(file, cells, keys)
    assert measured(file, keys)["auroc"].tolist() == [0.123457, 0.2, 0.3]
    whole = put_rows(file, cells.head(2).assign(auroc=0.5), keys)
    assert whole["auroc"].tolist() == [0.3, 0.5, 0.5]
    assert measured(file, keys).equals(whole)


def test_each_transformation_is_compared_with_none(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("")
    monkeypatch.setattr(transformations, "SETTINGS", {"rotation only": {}, "zoom 0.1": {"zoom": 0.1}})
    output = tmp_path / "tables" / "transformations.csv"
    transformations._main([plant], [*TINY, "sweep.seeds=[0,1]"], output, "gaussian", "20")
    table = pd.read_csv(output)
    assert table["transformation"].value_counts().to_dict() == {"rotation only": 2, "zoom 0.1": 2}
    wide = table.pivot_table(index="seed", columns="transformation", values="auroc")
    gain = 100 * (wide["zoom 0.1"] - wide["rotation only"])
    assert f"| zoom 0.1 | {gain.mean():+.1f} ± {gain.std():.1f} |" in output.with_suffix(".md").read_text()
    before = output.read_bytes()
    transformations._main([plant], [*TINY, "sweep.seeds=[0,1]"], output, "gaussian", "20")  # nothing is left to do
    assert output.read_bytes() == before


def test_the_papers_settings_are_run_and_told(plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both readings of its scores share the first training; a second call finds the runs and writes the same tables."""
    (tmp_path / "params").symlink_to(Path(__file__).parents[2] / "params")
    monkeypatch.chdir(tmp_path)
    settings = [
        *TINY, "features.backbone=bundled", "training.epochs=2", "training.retrain_epochs=1", "refinement.folds=2",
        "refinement.repeats=1", "refinement.removal=all_above", "refinement.max_iterations=1", "refinement.lambda=1.01",
        f"tracking.uri=sqlite:///{tmp_path / 'mlflow.db'}",
    ]  # fmt: skip
    readings = "vanilla;IRP, in-sample scores;IRP, out-of-fold scores;IRP, early scores"
    paper_settings._main(plant, settings, Path("tables"), "20", readings)
    runs, losses, times = (pd.read_csv(f"tables/{name}.csv") for name in ("runs", "losses", "times"))
    assert runs["n_injected"].gt(0).all() and runs["auroc"].between(0, 1).all()
    first = losses[losses["iteration"] == 0].pivot_table(index="epoch", columns="reading", values="loss")
    assert first.drop(columns="IRP, early scores").nunique(axis=1).eq(1).all()
    early = losses[losses["reading"] == "IRP, early scores"]
    assert early[["iteration", "epoch"]].to_numpy().tolist() == [[0, 1], [1, 1]]  # as many epochs in all
    table = paper_settings_table(runs, load_reference()).iloc[0]
    assert table["vanilla"] == f"{runs['auroc'].iloc[0]:.3f}"
    assert table["paper, IRP"] == "–"
    inside, early, outside, beside, progress = paper_settings_reading(runs, losses, load_reference(), 16)
    for sentence, row in ((inside, runs.iloc[1]), (outside, runs.iloc[2]), (early, runs.iloc[3])):
        gain = 100 * (row["auroc"] - runs["auroc"].iloc[0])
        removed = f"removed: {row['removed_bad']} of {row['n_injected']} defects, {row['removed_good']} good"
        assert f"by {gain:+.1f} at 20 % ({removed}) on plant, hidden" in sentence
    assert "(paper –) at 20 %" in beside
    assert "25 % of the paper's steps" in progress
    named = [table.assign(entity="bottle") for table in (runs, losses)]  # a set that the paper has
    assert "(paper 0.925) at 20 %" in paper_settings_reading(*named, load_reference(), 16)[3]
    assert paper_settings_times(times, losses)["epochs x views"].tolist() == ["2 x 2"]
    before = Path("tables/runs.csv").read_bytes()
    paper_settings._main(plant, settings, Path("tables"), "20", "vanilla")
    assert sorted(Path("tables/runs.csv").read_bytes().splitlines()) == sorted(before.splitlines())


def test_maps_of_every_maker_are_held_against_the_masks(plant: Path, tmp_path: Path) -> None:
    settings = [*TINY, "training.epochs=1", f"features.store={tmp_path}/store"]
    for maker in ("patch_gaussian", "differnet"):
        row = maps.measured_maps(plant, load_params(None, settings), maker)
        assert row["images"] == 16
        assert all(0 <= row[name] <= 1 for name in ("pixel_auroc", "aupro", "peak_hits", "defects_hit"))


def test_images_of_two_kinds(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("")
    kinds._main(plant, [*TINY, "refinement.method=irp"], sizes="12")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[5].rstrip(":") for line in lines] == ["darker", "blurred", "nearer", "turned"]


def test_the_detector_is_chosen_on_the_other_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aurocs = {"a": (0.9, 0.8, 0.7), "b": (0.5, 0.8, 0.85), "c": (0.9, 0.8, 0.5)}
    rows = [
        {"entity": entity, "level": level, "seed": seed, "detector": detector, "method": method, "auroc": value}
        for entity, values in aurocs.items()
        for detector, value in zip(("one", "two", "three"), values, strict=True)
        for level in (0, 30)
        for seed in (0, 1)
        for method in ("vanilla", "oracle")
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "runs.csv", index=False)
    monkeypatch.setattr(sys, "argv", ["detector_choice", str(tmp_path / "runs.csv")])
    detector_choice.main()
    table = detector_choice.left_out_table(pd.DataFrame(rows)).set_index("left out")
    assert table["the others choose"].to_dict() == {"a": "two", "b": "one", "c": "two"}
    assert table.loc["b", "chosen"] == "0.500 / 0.500" and table.loc["b", "best one"] == "three / three"
    assert "| two        | 0.800 / 0.800" in (tmp_path / "detectors.md").read_text()


def test_made_up_features_are_those_of_the_made_up_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = Params()
    md5s = scale.write_images(Path("images"), 5)
    assert scale.write_features(params, Path("images"), md5s) > 5 * 20_000
    for spec in Path(params.features.store).glob("*/spec.json"):
        store = FeatureStore(Path(params.features.store), json.loads(spec.read_text()))
        assert store.missing(md5s, 1) == []


def test_exponents_are_of_stages_that_take_time() -> None:
    small, large = {"score": 1.0, "decide": 0.1, "_whole": 2.0}, {"score": 10.0, "decide": 0.9, "_whole": 20.0}
    assert scale.exponents(10, 100, small, large) == pytest.approx({"score": 1.0})
