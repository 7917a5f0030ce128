"""Audit questions over the session's run: answers, and every kind of tampering found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner, Result

from flows.cli.main import app
from irp_core.audit.findings import Finding
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.params_file import load_params
from irp_core.run.directory import RunDirectory
from irp_core.run.inputs import sealed_record
from tasks.audit.verify import verify
from tasks.tracking.finding import find_run
from tasks.tracking.reader import TrackedRun
from tests.flows.harness import store_of


def here() -> Params:
    """Parameters for the workspace that is the current directory."""
    return load_params(None, [f"tracking.uri={store_of(Path.cwd())}"])


def irp(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "-S", f"tracking.uri={store_of(Path.cwd())}"], catch_exceptions=False)


def ask(*arguments: str) -> str:
    result = irp(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def failed(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.status == "failed"]


@pytest.fixture
def tracked(in_workspace: Path) -> TrackedRun:
    return find_run(in_workspace.name, here())[0]


def test_a_model_answers_for_its_data_and_its_lineage(in_workspace: Path, tracked: TrackedRun) -> None:
    answer = json.loads(ask("audit", "model", str(in_workspace), "--format", "json"))
    removed = pd.read_parquet(in_workspace / "removals.parquet")
    iterations = pd.read_parquet(in_workspace / "iterations.parquet")
    last = len(iterations) - 1
    dvc_file = Path("snapshots") / in_workspace.name / f"iteration-{last:02d}.dvc"
    assert answer["DVC_version"] in dvc_file.read_text()
    assert answer["get_exactly_these_images"] == f"dvc pull {dvc_file}"
    assert answer["images_trained_on"] == iterations["n_train"].iloc[-1]
    assert [row["image_id"] for row in answer["removed"]] == removed["image_id"].tolist()
    # An earlier model answers for its own time.
    earlier = json.loads(ask("audit", "model", f"{in_workspace.name}:1", "--format", "json"))
    assert {row["iteration"] for row in earlier["removed"]} == {1}
    assert earlier["DVC_version"] == answer["cut_from"] or last != 2
    features = json.loads((in_workspace / "features.json").read_text())
    for number, model in enumerate(tracked.models):
        tags = model.data.tags
        assert tags["irp.params_digest"] == tracked.tags["irp.params_digest"]
        assert tags["irp.feature_fingerprint"] == features["fingerprint"]
        if number:
            assert tags["irp.parent_dvc_md5"] == tracked.models[number - 1].data.tags["irp.dvc_md5"]
            assert tags["irp.parent_set_sha256"] == tracked.models[number - 1].data.tags["irp.set_sha256"]


def test_mlflows_own_page_shows_the_removal_table(in_workspace: Path, tracked: TrackedRun) -> None:
    import mlflow

    mlflow.set_tracking_uri(store_of(Path.cwd()))
    mlflow.set_experiment("irp")
    shown = mlflow.load_table("removals.json", run_ids=[tracked.parent.info.run_id])
    removed = pd.read_parquet(in_workspace / "removals.parquet")
    assert shown["image_id"].tolist() == removed["image_id"].tolist()
    assert json.loads(tracked.tags["mlflow.loggedArtifacts"]) == [{"path": "removals.json", "type": "table"}]


def test_an_image_answers_for_all_runs(in_workspace: Path, plant: Path) -> None:
    removed = pd.read_parquet(in_workspace / "removals.parquet").iloc[0]
    ours = [row for row in history(str(plant / removed["image_id"])) if row["run"] == in_workspace.name]
    assert [row["iteration"] for row in ours] == list(range(removed["iteration"]))
    assert ours[-1]["decision"] == "removed"
    assert ours[-1]["score"] == pytest.approx(removed["score"], rel=1e-12)
    # By md5 and by name it is the same story.
    assert history(removed["md5"]) == history(str(plant / removed["image_id"]))
    assert [row for row in history(removed["image_id"]) if row["run"] == in_workspace.name] == ours
    scores = pd.read_parquet(in_workspace / "scores.parquet")
    stayed = scores[scores["iteration"] == scores["iteration"].max()].iloc[0]
    assert [row["decision"] for row in history(stayed["md5"]) if row["run"] == in_workspace.name] == ["kept"] * int(
        stayed["iteration"] + 1
    )


def history(image: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(ask("audit", "image", image, "--format", "json"))["history"]
    return rows


def test_two_sets_answer_for_their_difference(in_workspace: Path) -> None:
    removed = pd.read_parquet(in_workspace / "removals.parquet")
    answer = json.loads(ask("audit", "diff", f"{in_workspace.name}:0", in_workspace.name, "--format", "json"))
    assert {row["image_id"] for row in answer["difference"]} == set(removed["image_id"])
    assert {(row["only_in"], row["why"]) for row in answer["difference"]} == {("A", "removed in B")}
    lines = ask("audit", "diff", f"{in_workspace.name}:0", in_workspace.name, "--format", "csv").splitlines()
    assert len(lines) == 1 + len(removed)


def test_unknown_names_are_one_sentence(in_workspace: Path) -> None:
    for arguments, message in (
        (("model", "nobody/7"), "expected a run or a registered model at sqlite:///"),
        (("model", f"{in_workspace.name}:99"), "expected an iteration from 0 to"),
        (("image", "f" * 32), "knows an image with md5"),
    ):
        with pytest.raises(InputError, match=message):
            irp("audit", *arguments)


def test_checkout_makes_the_very_set_of_an_iteration(in_workspace: Path) -> None:
    import hashlib

    target = Path("audited")
    ignored = Path(".gitignore")
    before = ignored.read_text() if ignored.exists() else ""
    ask("audit", "checkout", f"{in_workspace.name}:1", "--to", str(target))
    scores = pd.read_parquet(in_workspace / "scores.parquet").query("iteration == 1")
    found = {
        path.relative_to(target).as_posix(): hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in target.rglob("*")
        if path.is_file()
    }
    assert found == dict(zip(scores["image_id"], scores["md5"], strict=True))
    assert ignored.read_text() == f"{before}/audited\n"
    with pytest.raises(InputError, match="exists"):
        irp("audit", "checkout", f"{in_workspace.name}:1", "--to", str(target))
    shutil.rmtree(target)
    with pytest.raises(InputError, match="names another version"):
        irp("audit", "checkout", f"{in_workspace.name}:0", "--to", str(target))


def test_what_if_with_the_runs_own_rule_changes_nothing(in_workspace: Path, tmp_path: Path) -> None:
    figure = tmp_path / "w.svg"
    same = json.loads(ask("whatif", str(in_workspace), "--figure", str(figure), "--format", "json"))
    assert all(row["gained"] == row["lost"] == 0 for row in same["iterations"])
    assert figure.read_text().startswith("<?xml")
    stricter = json.loads(
        ask("whatif", in_workspace.name, "--lambda", "1.05", "--figure", str(figure), "--format", "json")
    )
    first = stricter["iterations"][0]
    assert first["gained"] > 0
    assert first["lost"] == 0
    assert first["recall"] >= first["recall_then"]


def test_an_untouched_run_verifies_and_scores_the_same_again(in_workspace: Path) -> None:
    findings = verify(in_workspace.name, here(), rescore=True)
    assert failed(findings) == []
    checks = {finding.check for finding in findings if finding.status == "ok"}
    assert checks == {
        "digests",
        "MLflow's database",
        "record",
        "approval",
        "scores",
        "summary",
        "final detector",
        "reviews",
        "artifact hashes",
        "weights",
        "manifest",
        "training set",
        "decision",
        "removal table",
        "DVC list",
        "image contents",
        "rescored",
    }


@contextmanager
def altered(path: Path, alter: Callable[[Path], None], spare: Path) -> Iterator[None]:
    """Alter a file for the length of the block."""
    shutil.copy2(path, spare)
    path.unlink()  # the cache's images are hard links: the data set itself stays as it is
    shutil.copyfile(spare, path)
    try:
        alter(path)
        yield
    finally:
        path.unlink()
        shutil.move(spare, path)


def forge_removal(path: Path) -> None:
    table = pd.read_parquet(path)
    table.loc[0, "score"] = table["score"][0] + 1
    table.to_parquet(path)


def forge_score(path: Path) -> None:
    table = pd.read_parquet(path)
    table.loc[table.index[-1], "score"] = 100.0
    table.to_parquet(path)


def forge_manifest(path: Path) -> None:
    table = pd.read_parquet(path)
    table.loc[0, "label"] = "good" if table["label"][0] == "defective" else "defective"
    table.to_parquet(path)


def forge_weights(path: Path) -> None:
    weights = load_file(path)
    weights["mean"] = weights["mean"] + np.float32(0.5)
    save_file(weights, path)


def spoil(path: Path) -> None:
    path.write_bytes(b"another")


def forge_list(path: Path) -> None:
    entries = json.loads(path.read_text())
    path.write_text(json.dumps(entries[1:]))


TAMPERINGS = {
    "a removal table": ("parent tables/removals.parquet", forge_removal, {"artifact hashes", "removal table"}),
    "the images' final states": ("parent tables/images.parquet", forge_removal, {"artifact hashes", "removal table"}),
    "a round's removals": ("1 tables/decided.parquet", forge_removal, {"artifact hashes", "decision", "removal table"}),
    "a table of scores": ("1 tables/scores.parquet", forge_score, {"artifact hashes", "decision"}),
    "the manifest": ("parent tables/manifest.parquet", forge_manifest, {"artifact hashes", "manifest"}),
    "a model's weights": ("0 model/weights.safetensors", forge_weights, {"artifact hashes", "weights"}),
    "the final weights": ("final", forge_weights, {"artifact hashes", "weights", "rescored"}),
    "an image": ("image", spoil, {"image contents", "rescored"}),
    "DVC's list": ("list", forge_list, {"DVC list"}),
    "the summary": ("parent summary.json", spoil, {"artifact hashes", "tables"}),
    "an unreadable table": (
        "0 tables/scores.parquet",
        lambda path: path.write_bytes(b"?"),
        {"artifact hashes", "tables"},
    ),
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--k", "2"], "--k 2: expected the rule iqr or mad .* found median_multiple"),
        (["--rule", "iqr", "--lambda", "1.3"], "--lambda 1.3: expected the rule median_multiple .* found iqr"),
        (["--rule", "mad", "--k", "2", "--lambda", "1.3"], "--lambda 1.3: expected the rule median_multiple"),
    ],
)
def test_what_if_refuses_a_number_that_its_rule_would_not_read(
    options: list[str], message: str, in_workspace: Path
) -> None:
    with pytest.raises(InputError, match=message):
        irp("whatif", in_workspace.name, *options)


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_found_and_named(what: str, in_workspace: Path, tracked: TrackedRun, tmp_path: Path) -> None:
    where, alter, expected = TAMPERINGS[what]
    cache = Path(".dvc/cache/files/md5")
    last = tracked.models[-1].data.tags
    image = pd.read_parquet(in_workspace / "scores.parquet").query("iteration == iteration.max()").iloc[0]
    if where == "image":
        path = cache / image["md5"][:2] / image["md5"][2:]
    elif where == "list":
        path = cache / last["irp.dvc_md5"][:2] / last["irp.dvc_md5"][2:]
    elif where == "final":
        path = tracked.file(str(tracked.weights()))
    else:
        holder, artifact = where.split()
        path = tracked.file(artifact, None if holder == "parent" else tracked.models[int(holder)])
    with altered(path, alter, tmp_path / "spare"):
        found = failed(verify(in_workspace.name, here(), rescore=True))
    assert expected <= {finding.check for finding in found}, found
    details = " ".join(finding.detail for finding in found)
    if where == "image":
        assert image["image_id"] in details
    elif where == "list":
        assert "list of the images was changed" in details
    else:
        assert path.name in details
    assert failed(verify(in_workspace.name, here())) == []


def test_a_reviews_upload_that_broke_off_halfway_is_no_tampering(
    in_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient
    from mlflow.tracking._tracking_service import utils

    from tasks.review.session import Review
    from tasks.tracking.reviews import log_review

    copy = tmp_path / "copy"
    shutil.copytree(in_workspace.parents[1], copy, symlinks=True)
    monkeypatch.chdir(copy)
    run = RunDirectory(Path("runs") / in_workspace.name)
    record = run.record()
    record["params"]["tracking"]["uri"] = store_of(copy)
    run.write_record(sealed_record(record))
    find_run(run.run_id, here())  # the copy's addresses are brought along
    utils._artifact_repos_cache.clear()  # by the run's id: this process has written to the original
    review = Review(run)
    review.decide(str(review.items["md5"].iloc[0]), True, "Ada")
    log_artifact = MlflowClient.log_artifact

    def killed(self: MlflowClient, mlflow_run: str, path: str, folder: str | None = None) -> None:
        if path.endswith("removals.parquet"):
            raise KeyboardInterrupt
        log_artifact(self, mlflow_run, path, folder)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, "log_artifact", killed)
        log_review(review)
    findings = verify(run.run_id, here())
    assert failed(findings) == []
    assert {"removal table"} <= {f.check for f in findings if "makes it good" in f.detail}
    log_review(review)
    findings = verify(str(run.path), here())
    assert failed(findings) == []
    assert not any("makes it good" in finding.detail for finding in findings)
    utils._artifact_repos_cache.clear()


def test_a_tampered_table_is_refused_by_queries_and_verify_exits_with_1(
    in_workspace: Path, tracked: TrackedRun, tmp_path: Path
) -> None:
    with altered(tracked.file("tables/removals.parquet"), forge_removal, tmp_path / "spare"):
        with pytest.raises(InputError, match="it was changed after it was logged"):
            irp("audit", "model", in_workspace.name)
        result = irp("audit", "verify", in_workspace.name)
    assert result.exit_code == 1
    assert "failed" in result.stdout
