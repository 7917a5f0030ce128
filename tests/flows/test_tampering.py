"""Whatever was tampered with since a run ended is found: in MLflow's database, its artifacts, DVC, the run's folder."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from safetensors.numpy import load_file, save_file

from irp_core.audit.findings import Finding
from irp_core.config import Params
from irp_core.hashing import file_md5, file_sha256
from irp_core.params_file import load_params
from irp_core.refinement.reviews import append_events, event
from tasks.audit.seal import seal_run
from tasks.audit.verify import verify
from tasks.audit.verify_decisions import standing_decisions
from tasks.tracking.artifacts import FILES_TAG, PENDING_TAG
from tasks.tracking.finding import find_run
from tasks.tracking.reader import TrackedRun
from tests.flows.harness import store_of

pytestmark = pytest.mark.trust


def here() -> Params:
    return load_params(None, [f"tracking.uri={store_of(Path.cwd())}"])


def failed(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.status == "failed"]


@dataclass
class Hand:
    """Somebody who changes things, and whose changes are undone afterwards."""

    run: TrackedRun
    spare: Path
    changed: dict[Path, Path | None] = field(default_factory=dict)

    @property
    def parent(self) -> str:
        return str(self.run.parent.info.run_id)

    @property
    def last(self) -> Run:
        return self.run.models[-1]

    def save(self, path: Path) -> None:
        if path in self.changed:
            return
        self.changed[path] = self.spare / str(len(self.changed)) if path.exists() else None
        if (kept := self.changed[path]) is not None:
            shutil.copy2(path, kept)
            path.unlink()  # the cache's images are hard links: the data set itself stays as it is
            shutil.copyfile(kept, path)

    def undo(self) -> None:
        for path, kept in self.changed.items():
            path.unlink(missing_ok=True)
            if kept is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(kept, path)

    def delete(self, path: Path) -> None:
        self.save(path)
        path.unlink()

    def write(self, path: Path, content: str | bytes) -> None:
        self.save(path)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def json(self, path: Path, **changes: object) -> None:
        self.write(path, json.dumps({**json.loads(path.read_text()), **changes}))

    def table(self, path: Path, column: str = "score", by: float = 1.0) -> None:
        self.save(path)
        table = pd.read_parquet(path)
        table.loc[0, column] = table[column][0] + by
        table.to_parquet(path)

    def weights(self, path: Path) -> None:
        self.save(path)
        found = load_file(path)
        found["mean"] = found["mean"] + np.float32(0.5)
        save_file(found, path)

    def artifact(self, name: str, holder: Run | None = None) -> Path:
        return self.run.file(name, holder, verify=False)

    def final(self, name: str) -> tuple[str, Path]:
        artifact = next(
            known for known in self.run.known_files() if known.endswith(name) and "/localiser/" not in known
        )
        return artifact, self.artifact(artifact)

    def tag(self, key: str, value: str, holder: str | None = None) -> None:
        self.run.client.set_tag(holder or self.parent, key, value)

    def in_tag(self, name: str, holder: Run | None = None, tag: str = FILES_TAG) -> None:
        """Let a tag have the digest of what an artifact is now."""
        source = holder or self.run.parent
        known = json.loads(source.data.tags.get(tag, "{}")) | {name: file_sha256(self.artifact(name, holder))}
        self.tag(tag, json.dumps(known), source.info.run_id)

    def sql(self, statement: str, *values: object) -> None:
        with sqlite3.connect("mlflow.db") as store:
            assert store.execute(statement, values).rowcount > 0

    def dvc(self, name: str) -> Path:
        return Path("snapshots") / self.run.run_id / name

    def cached(self, md5: str) -> Path:
        return Path(".dvc/cache/files/md5") / md5[:2] / md5[2:]

    def registered(self) -> str:
        own = f"{self.run.parent.info.artifact_uri}/model"
        self.run.client.create_registered_model("line")
        self.run.client.create_model_version("line", own, self.parent)
        return "line/1"


def _edited(name: str, model: bool = False, tags: bool = False, **how: Any) -> Callable[[Hand], object]:
    """An edited table, with its digest in the tag if `tags`."""

    def change(hand: Hand) -> None:
        holder = hand.run.models[1] if model else None
        hand.table(hand.artifact(f"tables/{name}", holder), **how)
        if tags:
            hand.in_tag(f"tables/{name}", holder)

    return change


def _pending(name: str, column: str) -> Callable[[Hand], object]:
    def change(hand: Hand) -> None:
        hand.table(hand.artifact(name), column)
        hand.in_tag(name, tag=PENDING_TAG)

    return change


def _summary(**changes: object) -> Callable[[Hand], object]:
    def change(hand: Hand) -> None:
        hand.json(hand.artifact("summary.json"), **changes)
        hand.in_tag("summary.json")

    return change


def _threshold(tags: bool, both: bool = False) -> Callable[[Hand], object]:
    def change(hand: Hand) -> None:
        artifact, file = hand.final("/inspector.json")
        hand.json(file, threshold=99.0)
        if tags:
            hand.in_tag(artifact)
        if both:
            summary = json.loads(hand.artifact("summary.json").read_text())
            hand.json(hand.artifact("summary.json"), operating={**summary["operating"], "threshold": 99.0})
            hand.in_tag("summary.json")

    return change


def _version(column: str) -> Callable[[Hand], str]:
    def change(hand: Hand) -> str:
        name = hand.registered()
        hand.sql(f"UPDATE model_versions SET {column} = ?", hand.last.info.artifact_uri + "/model")
        return name

    return change


def _database(tag: str, value: str, model: bool = False) -> Callable[[Hand], object]:
    return lambda hand: hand.tag(tag, value, hand.last.info.run_id if model else None)


def _value(table: str, key: str, value: object, model: bool = False) -> Callable[[Hand], object]:
    def change(hand: Hand) -> None:
        holder = hand.last.info.run_id if model else hand.parent
        hand.sql(f"UPDATE {table} SET value = ? WHERE key = ? AND run_uuid = ?", value, key, holder)

    return change


def _impostor(hand: Hand) -> None:
    tags = {**hand.run.tags, "irp.params_digest": "0" * 64}
    hand.run.client.create_run(hand.run.parent.info.experiment_id, tags=tags)


def _another_model(hand: Hand) -> None:
    tags = {**hand.last.data.tags, "irp.iteration": str(len(hand.run.models))}
    hand.run.client.create_run(hand.run.parent.info.experiment_id, tags=tags)


def _invented_review(hand: Hand) -> None:
    from irp_core.data.manifest import write_table
    from irp_core.refinement.reviews import REVIEW_SCHEMA, event

    said = event(
        "approved", image_id=None, md5=None, reviewer="Eve", reviewed_at="2026-01-01T00:00", note="", run_id=""
    )
    file = hand.spare / "review.parquet"
    write_table(pd.DataFrame([said]), file, REVIEW_SCHEMA)
    place = hand.artifact("tables/scores.parquet").with_name("review.parquet")
    hand.save(place)
    shutil.copyfile(file, place)
    known = json.loads(hand.run.tags[FILES_TAG]) | {"tables/review.parquet": file_sha256(file)}
    hand.tag(FILES_TAG, json.dumps(known))
    hand.tag("irp.approved_by", "Eve")
    hand.tag("irp.approved_at", "2026-01-01T00:00")


def _code(with_list: bool) -> Callable[[Hand], object]:
    def change(hand: Hand) -> None:
        file = hand.artifact("model/code/irp_core/inspection/inspector.py")
        before = file_sha256(file)
        hand.write(file, file.read_text() + "\n# harmless?\n")
        if with_list:
            listed = hand.artifact("model/code.sha256")
            hand.write(listed, listed.read_text().replace(before, file_sha256(file)))
            hand.in_tag("model/code.sha256")

    return change


def _digests(tags: bool, dvc: bool = False) -> Callable[[Hand], object]:
    """The manifest of digests itself, and what it says of the parent's metrics."""

    def change(hand: Hand) -> None:
        file = hand.artifact("digests.json")
        content = json.loads(file.read_text())
        content["run"]["metrics"]["n_removed"] = 0.0
        hand.write(file, json.dumps(content, indent=2, sort_keys=True) + "\n")
        if tags:
            hand.in_tag("digests.json")
        if dvc:
            named = hand.dvc("digests.json.dvc")
            hand.write(named, named.read_text().replace(_md5_in(named), file_md5(file)))

    return change


def _unfinished(hand: Hand) -> None:
    """A run that is said not to have ended, as if what was changed besides were of an upload that broke off."""
    hand.sql("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", hand.parent)
    _value("latest_metrics", "auroc", 0.5)(hand)


def _more(table: str) -> Callable[[Hand], object]:
    columns, values = {
        "params": ("key, value, run_uuid", "'validated', 'yes', ?"),
        "latest_metrics": ("key, value, timestamp, step, is_nan, run_uuid", "'f1', 0.99, 1, 0, 0, ?"),
    }[table]
    return lambda hand: hand.sql(f"INSERT INTO {table} ({columns}) VALUES ({values})", hand.parent)


def _curve(hand: Hand) -> None:
    """The loss of the first epoch, which the last one's metric says nothing of."""
    hand.sql(
        "UPDATE metrics SET value = value / 2 WHERE key = 'loss' AND step = 1 AND run_uuid = ?",
        hand.run.models[0].info.run_id,
    )


def _point_more(hand: Hand) -> None:
    hand.sql(
        "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES ('auroc', 0.99, 1, 0, 0, ?)",
        hand.parent,
    )


def _counted(name: str, key: str) -> Callable[[Hand], object]:
    def change(hand: Hand) -> None:
        file = hand.dvc(name)
        hand.write(file, re.sub(rf"{key}: \d+", f"{key}: 7", file.read_text()))

    return change


def _stranger(hand: Hand) -> None:
    """Python would import it instead of the library."""
    file = hand.artifact("model/code.sha256").with_name("code") / "torch.py"
    hand.save(file)
    file.write_text("print('not what you think')")


def _logged_model(hand: Hand) -> None:
    """MLflow shows its files, and loads them, as if they were the run's own."""
    code = hand.spare / "model" / "code"
    code.mkdir(parents=True)
    (code / "torch.py").write_text("print('not what you think')")
    run = hand.run.parent.info
    model = hand.run.client.create_logged_model(run.experiment_id, name="model", source_run_id=run.run_id)
    hand.run.client.log_model_artifacts(model.model_id, str(code.parent))


def _of_another_run(hand: Hand) -> str:
    name = hand.registered()
    hand.sql("UPDATE model_versions SET run_id = ?", hand.last.info.run_id)
    return name


def _lineage(hand: Hand) -> None:
    file = hand.dvc("iteration-01.dvc")
    hand.write(file, file.read_text().replace("iteration: 1", "iteration: 0"))


def _md5_in(dvc_file: Path) -> str:
    return next(line.split(": ")[1] for line in dvc_file.read_text().splitlines() if "md5: " in line)


def _forgotten_digests(hand: Hand) -> None:
    known = json.loads(hand.run.tags[FILES_TAG])
    del known["digests.json"]
    hand.tag(FILES_TAG, json.dumps(known))
    hand.delete(hand.dvc("digests.json.dvc"))


def _comment(hand: Hand) -> None:
    file = hand.dvc("iteration-01.dvc")
    md5 = _md5_in(file)
    hand.write(file, file.read_text().replace(md5, "0" * 32 + ".dir") + f"# md5: {md5}\n")


def _image(hand: Hand) -> None:
    hand.write(hand.cached(str(hand.run.scores(0)["md5"][0])), b"another")


def _list(hand: Hand) -> None:
    file = hand.cached(hand.last.data.tags["irp.dvc_md5"])
    hand.write(file, json.dumps(json.loads(file.read_text())[1:]))


TAMPERINGS: dict[str, tuple[Callable[[Hand], object], str]] = {
    # The database.
    "a registered version whose source was re-pointed": (_version("source"), "registered version"),
    "a registered version whose storage was re-pointed": (_version("storage_location"), "registered version"),
    "another run's tags rewritten to this run's id": (_impostor, "MLflow's database"),
    "another run's tags rewritten to a model of this run": (_another_model, "MLflow's database"),
    "a pending tag that whitelists an edited removal table": (
        _pending("tables/removals.parquet", "score"),
        "removal table",
    ),
    "a pending tag that whitelists an edited table of scores": (
        _pending("tables/scores.parquet", "score"),
        "artifact hashes",
    ),
    "a parameter": (_value("params", "refinement.lambda", "9.0"), "record"),
    "a model's metric": (_value("latest_metrics", "n_removed", 0, model=True), "summary"),
    "the run's metric": (_value("latest_metrics", "auroc", 0.5), "MLflow's database"),
    "the digest of the parameters": (_database("irp.params_digest", "0" * 64), "MLflow's database"),
    "the digest of the data": (_database("irp.manifest_sha256", "0" * 64), "manifest"),
    "the digest of a training set": (_database("irp.set_sha256", "0" * 64, model=True), "training set"),
    "the digest of the weights": (_database("irp.weights_sha256", "0" * 64, model=True), "weights"),
    "a model's DVC version": (
        lambda hand: hand.tag(
            "irp.dvc_md5", hand.run.models[0].data.tags["irp.dvc_md5"], hand.last.info.run_id
        ),
        "DVC list",
    ),
    "the commit": (_database("mlflow.source.git.commit", "0" * 40), "MLflow's database"),
    "the digest of the code": (_database("irp.code_sha256", "0" * 64), "MLflow's database"),
    "the method": (_database("irp.method", "vanilla"), "record"),
    "the reason to stop": (_database("irp.stop_reason", "max_iterations_"), "summary"),
    "the name of who approved": (_database("irp.approved_by", "Eve"), "approval"),
    "an invented review with its approval": (_invented_review, "reviews"),
    "a metric of a run that is said not to have ended": (_unfinished, "MLflow's database"),
    "a parameter more": (_more("params"), "MLflow's database"),
    "a metric more": (_more("latest_metrics"), "MLflow's database"),
    "a registered version that is said to be of a model": (_of_another_run, "registered version"),
    "a point of a curve before its last": (_curve, "MLflow's database"),
    "a point more of the run's curve": (_point_more, "MLflow's database"),
    "a model's name": (
        lambda hand: hand.run.client.update_run(hand.last.info.run_id, name="iteration-09"),
        "MLflow's database",
    ),
    # The artifacts, some with their digests in the tags.
    "a removal table": (_edited("removals.parquet"), "artifact hashes"),
    "a removal table and its tag": (_edited("removals.parquet", tags=True), "removal table"),
    "the final states": (_edited("images.parquet"), "artifact hashes"),
    "a round's removals": (_edited("decided.parquet", model=True, tags=True), "decision"),
    "a model's scores": (_edited("scores.parquet", model=True, tags=True), "decision"),
    "the run's scores": (_edited("scores.parquet", tags=True), "scores"),
    "the iterations": (_edited("iterations.parquet", tags=True, column="n_train", by=1), "summary"),
    "the test scores": (_edited("test_scores.parquet", tags=True), "artifact hashes"),
    "how many were removed": (_summary(n_removed=0), "summary"),
    "the final threshold": (_threshold(tags=False), "artifact hashes"),
    "the final threshold and its tag": (_threshold(tags=True), "final detector"),
    "both notes of the final threshold": (_threshold(tags=True, both=True), "artifact hashes"),
    "the record": (lambda hand: hand.json(hand.artifact("run.json"), data_root="/other"), "record"),
    "the page": (lambda hand: hand.write(hand.artifact("report.html"), "<p>All is well"), "artifact hashes"),
    "a model's weights": (
        lambda hand: hand.weights(hand.artifact("model/weights.safetensors", hand.run.models[0])),
        "weights",
    ),
    "the final weights": (lambda hand: hand.weights(hand.final("/weights.safetensors")[1]), "weights"),
    "code beside the model": (_code(with_list=False), "final detector"),
    "code beside the model and its list": (_code(with_list=True), "artifact hashes"),
    "a file more beside the model": (_stranger, "artifact hashes"),
    "a model of the same name that was logged for the run": (_logged_model, "artifact hashes"),
    "a deleted table": (lambda hand: hand.delete(hand.artifact("tables/quarantine.parquet")), "artifact hashes"),
    # The digests.
    "the digests": (_digests(tags=False), "digests"),
    "the digests and their tag": (_digests(tags=True), "digests"),
    "the digests, their tag and their DVC version": (_digests(tags=True, dvc=True), "MLflow's database"),
    "the digests, taken away": (_forgotten_digests, "digests"),
    # DVC.
    "a deleted .dvc": (lambda hand: hand.delete(hand.dvc("iteration-01.dvc")), "DVC list"),
    "the digests' deleted .dvc": (lambda hand: hand.delete(hand.dvc("digests.json.dvc")), "digests"),
    "the iteration that a version is of": (_lineage, "DVC list"),
    "a version in a comment": (_comment, "DVC list"),
    "how many files a version has": (_counted("iteration-01.dvc", "nfiles"), "DVC list"),
    "how large the digests' version is": (_counted("digests.json.dvc", "size"), "digests"),
    "DVC's list of images": (_list, "DVC list"),
    "an image": (_image, "image contents"),
}  # fmt: skip


def _said(hand: Hand, decision: str = "kept_by_review") -> dict[str, str | None]:
    image = hand.run.scores(0).iloc[0]
    return event(
        decision,
        image_id=image["image_id"],
        md5=image["md5"],
        reviewer="Ada",
        reviewed_at="2026-01-01T10:00",
        note="",
        run_id=hand.run.run_id,
    )


@pytest.mark.parametrize("again", [False, True], ids=["edited", "edited with its digest"])
def test_a_decision_that_was_edited_is_found(again: bool, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Path("decisions.csv")
    hand.save(log)
    reviews = pd.DataFrame([_said(hand)])
    monkeypatch.setattr(TrackedRun, "reviews", lambda run: reviews)

    def found() -> list[str]:
        return [one.status for one in standing_decisions(hand.run, log)]

    assert found() == []  # an auditor's own machine has none
    append_events(log, [_said(hand) | {"run_id": "another"}])
    assert found() == ["ok", "skipped"]
    append_events(log, [_said(hand)])
    assert found() == ["ok"]
    if again:
        log.unlink()
        append_events(log, [_said(hand, "removed_by_review")])
    else:
        log.write_text(log.read_text().replace("kept_by", "removed_by"))
    assert {f.check for f in failed(verify(hand.run.run_id, here()))} >= {"decisions"}


IN_THE_FOLDER: dict[str, Callable[[Hand, Path], object]] = {
    "the final states": lambda hand, run: hand.table(run / "images.parquet"),
    "the removal table": lambda hand, run: hand.table(run / "removals.parquet"),
    "a deleted table": lambda hand, run: hand.delete(run / "scores.parquet"),
    "a step's scores": lambda hand, run: hand.table(run / "iterations/00/score/scores.parquet"),
    "a step's note": lambda hand, run: hand.write(run / "iterations/01/decide/step.json", "{}"),
    "the model's threshold": lambda hand, run: hand.json(run / "model/inspector.json", threshold=99.0),
    "the record": lambda hand, run: hand.json(run / "run.json", data_root="/other"),
    "the page": lambda hand, run: hand.write(run / "report.html", "<p>All is well"),
}


@pytest.fixture
def hand(in_workspace: Path, tmp_path: Path) -> Iterator[Hand]:
    found = Hand(find_run(in_workspace.name, here())[0], tmp_path / "spare")
    found.spare.mkdir()
    with sqlite3.connect("mlflow.db") as store, sqlite3.connect(":memory:") as saved:
        store.backup(saved)
        try:
            yield found
        finally:
            found.undo()
            saved.backup(store)


@pytest.mark.parametrize("what", TAMPERINGS)
def test_what_was_tampered_with_is_found(what: str, hand: Hand) -> None:
    tamper, check = TAMPERINGS[what]
    reference = tamper(hand)
    findings = verify(reference if isinstance(reference, str) else hand.run.run_id, here())
    assert check in {finding.check for finding in failed(findings)}, findings


@pytest.mark.parametrize("what", IN_THE_FOLDER)
def test_a_runs_directory_is_held_against_the_digests(what: str, hand: Hand, in_workspace: Path) -> None:
    IN_THE_FOLDER[what](hand, in_workspace)
    assert {finding.check for finding in failed(verify(str(in_workspace), here()))} == {"run's folder"}


def test_the_directorys_files_are_not_asked_about_a_run_in_mlflow(hand: Hand, in_workspace: Path) -> None:
    for tamper in IN_THE_FOLDER.values():
        tamper(hand, in_workspace)
    assert failed(verify(hand.run.run_id, here())) == []


def test_the_untouched_run_and_its_directory_pass(in_workspace: Path) -> None:
    findings = verify(str(in_workspace), here())
    assert failed(findings) == []
    assert {"digests", "MLflow's database", "run's folder"} <= {f.check for f in findings if f.status == "ok"}


def _everything(hand: Hand) -> None:
    """The run's metric and all that says what it was: nothing among them disagrees."""
    _value("latest_metrics", "n_removed", 0)(hand)
    _digests(tags=True, dvc=True)(hand)


@pytest.mark.parametrize("place", ["file", "tag"])
def test_a_seal_elsewhere_finds_what_was_rewritten_consistently(place: str, hand: Hand, tmp_path: Path) -> None:
    file = tmp_path / "seals.txt"
    seals = {"seals": file} if place == "file" else {}
    _, (said,) = seal_run(hand.run.run_id, here(), to=file if place == "file" else None, tag=place == "tag")
    try:
        findings = verify(hand.run.run_id, here(), **seals)
        assert failed(findings) == []
        assert "seal" in {finding.check for finding in findings if finding.status == "ok"}
        _everything(hand)
        assert {finding.check for finding in failed(verify(hand.run.run_id, here(), **seals))} == {"seal"}
    finally:
        if place == "tag":
            name = said.split()[5].rstrip(":")
            subprocess.run(["git", "tag", "--delete", name], check=True, capture_output=True)
