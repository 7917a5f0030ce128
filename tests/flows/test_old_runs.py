"""Runs made before the run's folder and the removal table had owners, still open; an interrupted one ends.

`tests/data/make_old_run.py` made the archive: a workspace with three runs and their MLflow store.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from flows.cli.main import app
from irp_core.run.directory import RunDirectory, list_runs
from tests.flows.harness import store_of

ARCHIVE = Path(__file__).parents[1] / "data" / "old_run.tar.xz"
MADE_IN = "/tmp/irp-old-run"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace, moved: the runs name the place where it now lies, the store is brought along when it is opened."""
    workspace = tmp_path_factory.mktemp("old") / "workspace"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(workspace)  # made by make_old_run.py; with the hard links of DVC's cache
    for file in workspace.glob("runs/*/run.json"):
        file.write_text(file.read_text().replace(MADE_IN, str(workspace)))
    return workspace


@pytest.fixture(autouse=True)
def in_workspace(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(old)


def irp(*arguments: str) -> Result:
    # By its absolute path: MLflow keeps one engine per address and process.
    store = ("-S", f"tracking.uri={store_of(Path.cwd())}") if arguments[0] != "show" else ()
    return CliRunner().invoke(app, [*arguments, *store], catch_exceptions=False)


def ask(*arguments: str) -> str:
    result = irp(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def run_of(method: str) -> RunDirectory:
    # The oldest: another test resumes an interrupted one.
    *_, run = [run for run in list_runs(Path("runs")) if f"-{method}-" in run.run_id and run.finished()]
    return run


@pytest.mark.parametrize("method", ["irp", "robust"])
def test_a_run_shows_its_removals(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # else names are folded
    run = run_of(method)
    old_table = pd.read_parquet(run.path / "removed.parquet")
    shown = ask("show", str(run.path), "--removed")
    for image in old_table["image_id"]:
        assert image in shown
    assert run.run_id in ask("runs")
    pd.testing.assert_frame_equal(run.removals()[["image_id", "decision"]], old_table[["image_id", "decision"]])


def test_a_column_that_was_renamed_is_read() -> None:
    run = run_of("robust")
    before = pd.read_parquet(run.path / "iterations.parquet")["supported"]
    assert before.notna().any()
    assert run.iterations()["defective_lower_bound"].tolist()[1:] == before.tolist()[1:]
    assert [run.lower_bound(k) for k in range(len(before) - 1)] == before.tolist()[1:]
    assert run.summary()["last_round"]["defective_lower_bound"] == run.lower_bound(len(before) - 1)


@pytest.mark.parametrize("method", ["irp", "robust"])
def test_the_audit_answers(method: str) -> None:
    run = run_of(method)
    old_table = pd.read_parquet(run.path / "removed.parquet")
    model = json.loads(ask("audit", "model", run.run_id, "--format", "json"))
    assert [row["image_id"] for row in model["removed"]] == old_table["image_id"].tolist()
    image = old_table.iloc[0]
    history = json.loads(ask("audit", "image", image["md5"], "--format", "json"))["history"]
    ours = [row for row in history if row["run"] == run.run_id]
    assert ours[image["iteration"] - 1]["score"] == pytest.approx(image["score"], rel=1e-12)
    checks = json.loads(ask("audit", "verify", run.run_id, "--format", "json"))
    assert checks["failed"] == 0
    found = {finding["check"] for finding in checks["findings"] if finding["status"] == "ok"}
    assert {"artifact hashes", "training set", "decision", "removal table", "DVC list", "image contents"} <= found


def test_the_registered_model_scores_as_the_runs_own(tmp_path: Path) -> None:
    run = run_of("irp")
    tables = []
    for model in (str(run.path), "old/1"):
        output = tmp_path / f"{len(tables)}.csv"
        ask("score", model, "plant/test", "-o", str(output))
        tables.append(pd.read_csv(output))
    pd.testing.assert_frame_equal(*tables)
    assert tables[0]["score"].notna().all()
    assert "old/1" in ask("audit", "model", "old/1")


@pytest.mark.parametrize("method", ["irp", "robust"])
def test_what_if_reads_the_stored_scores(method: str, tmp_path: Path) -> None:
    run = run_of(method)
    for reference in (str(run.path), run.run_id):
        figure = str(tmp_path / "whatif.svg")
        answer = json.loads(ask("whatif", reference, "--figure", figure, "--format", "json"))
        first = answer["iterations"][0]
        assert first["gained"] == first["lost"] == 0 < first["n_above"]


def test_an_interrupted_run_resumes(prefect_api: str) -> None:
    (run,) = [run for run in list_runs(Path("runs")) if not run.finished()]
    assert run.inputs().operating  # an older record lacks the key: `irp refine` had found one
    assert run.shares_with() is None
    # The command line's own settings for the Prefect server stay out of this process, which has one.
    from flows.refine import resume

    store_as_seen_here(run)
    resume(str(run.path))
    assert run.finished()
    summary = run.summary()
    assert summary["operating"] is not None
    images, removals = run.images(), run.removals()
    assert (images["state"] == "removed").sum() == summary["n_removed"] == len(removals)
    checks = json.loads(ask("audit", "verify", run.run_id, "--format", "json"))
    assert checks["failed"] == 0
    # Its first model was tracked before; nothing of it is there twice.
    assert json.loads(ask("audit", "model", f"{run.run_id}:1", "--format", "json"))["status"] == "FINISHED"


def store_as_seen_here(run: RunDirectory) -> None:
    record = run.record()
    record["params"]["tracking"]["uri"] = store_of(Path.cwd())
    run.write_record(record)


def test_reviewing_an_old_run_brings_its_tables_up_to_date() -> None:
    from tasks.review.session import Review
    from tasks.tracking.writer import log_review

    run = run_of("robust")
    store_as_seen_here(run)
    decided = run.removals().dropna(subset=["reviewer"])
    review = Review(run)
    md5 = str(review.items["md5"].iloc[0])
    review.decide(md5, True, "Bob", "seen again")
    log_review(review)
    assert not (run.path / "removed.parquet").exists()
    states = run.images().set_index("md5")
    assert states.loc[md5, ["state", "decided_by", "note"]].tolist() == ["kept", "Bob", "seen again"]
    assert set(decided["md5"]) <= set(run.removals()["md5"])
    assert json.loads(ask("audit", "verify", run.run_id, "--format", "json"))["failed"] == 0


def test_an_old_run_without_a_table_of_final_states_is_exported(tmp_path: Path) -> None:
    run = run_of("irp")
    assert not run.has_images()
    ask("export", run.run_id, "--to", str(tmp_path / "out"))
    summary = run.summary()
    assert len(pd.read_csv(tmp_path / "out/removed.csv")) == summary["n_removed"]
    images = [file for file in (tmp_path / "out/images").rglob("*") if file.is_file()]
    assert len(images) == len(pd.read_csv(tmp_path / "out/kept.csv")) == summary["n_start"] - summary["n_removed"]
