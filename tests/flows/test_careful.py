"""The careful refinement as a tracked run: how it ends is said, questions are asked, answers are respected."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.detectors import DETECTORS
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.params_file import load_params
from irp_core.refinement.round_model import load_scorer
from irp_core.run.directory import RunDirectory
from tasks.review.asking import Asking
from tasks.review.session import Review
from tests.conftest import TINY, make_workspace
from tests.flows.harness import refine_in, store_of

CAREFUL = ["refinement.method=careful", "refinement.repeats=1", "detector.name=gaussian", "features.patch_grid=4"]
ASKED = 12


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory, plant: Path, prefect_api: str) -> Path:
    return refine_in(make_workspace(tmp_path_factory.mktemp("careful") / "workspace"), plant, CAREFUL)


def test_a_run_ends_in_one_of_three_ways(careful: Path) -> None:
    summary = RunDirectory(careful).summary()
    said = summary["outcome"]
    assert said["kind"] in ("clean", "cleaned", "undecided")
    assert f"of {summary['n_start']} images" in said["sentences"][0]
    assert summary["contamination"] is None  # without answers nothing is known of it
    images = RunDirectory(careful).images()
    asked = [name for group in said["groups"] for name in group["images"]] + said["singles"]
    assert set(asked) <= set(images["image_id"])


def test_each_iterations_model_is_the_three_detectors_that_decided(careful: Path) -> None:
    run = RunDirectory(careful)
    folder = run.step("scorers", 0)
    for name in ("gaussian", "patch_knn", "kurtosis"):
        assert isinstance(load_scorer(folder, name), DETECTORS[name])
    with pytest.raises(InputError, match="expected the detector differnet"):
        load_scorer(folder, "differnet")
    assert run.weights_sha256(0) == file_sha256(folder / "weights.safetensors")
    # One of the three is of the final detector's kind: what the test images got before the removal is known, too.
    assert run.iterations()["auroc"].notna().all()


def test_the_audit_decides_the_same_again(careful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.audit.verify import verify

    monkeypatch.chdir(careful.parents[1])
    params = load_params(None, [*TINY, *CAREFUL, f"tracking.uri={store_of(careful.parents[1])}"])
    findings = verify(careful.name, params, rescore=True)
    assert [finding for finding in findings if finding.status == "failed"] == []
    assert "decision" in {finding.check for finding in findings if finding.status == "ok"}


def test_who_is_being_asked_is_not_told_to_ask(careful: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(careful.parents[1])
    run = RunDirectory(careful.relative_to(Path.cwd()))
    said = run.summary()["outcome"]["sentences"]
    assert "irp review" in said[-1]
    assert Asking(Review(run), ASKED).state()["sentences"] == said[:-1]


def test_answers_from_the_labels_are_on_record_and_respected(
    careful: Path, plant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = careful.parents[1]
    monkeypatch.chdir(workspace)
    done = CliRunner().invoke(app, ["review", str(careful), "--ask", str(ASKED), "--simulate"])
    assert done.exit_code == 0, done.output
    assert f"{ASKED} of {ASKED} questions answered" in done.output
    run = RunDirectory(careful)
    events = run.reviews()
    assert len(events) == ASKED
    assert set(events["reviewer"]) == {"simulated from the labels"}
    truth = run.manifest().set_index("md5")["label"].eq("defective")
    assert (events["decision"].eq("removed_by_review").to_numpy() == truth.loc[events["md5"]].to_numpy()).all()
    again = RunDirectory(refine_in(workspace, plant, CAREFUL))
    assert again.run_id != run.run_id
    kept = pd.read_parquet(again.path / "images.parquet")
    answered = dict(zip(events["md5"], events["decision"], strict=True))
    rows = kept[kept["md5"].isin(answered)]
    assert len(rows) == ASKED
    trained = set(again.training_set(int(again.summary()["iterations"]))["md5"])
    assert all((md5 in trained) == (said == "kept_by_review") for md5, said in answered.items())
    assert again.summary()["contamination"] is not None


def test_a_run_of_another_method_knows_no_questions(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.parents[1])
    done = CliRunner().invoke(app, ["review", str(finished), "--ask", "3", "--simulate"])
    assert "expected a run of method careful" in str(done.exception)
