"""What lines keep: a refused version loses its weights in time, an image of no round its file; what is needed stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from irp_core.atomic import write_json
from irp_core.config import Params, Retention
from irp_core.config.lines import Line
from irp_core.data.look import THUMBNAIL, Facts
from irp_core.data.manifest import MANIFEST_SCHEMA
from irp_core.errors import InputError
from irp_core.features.stores.sizes import store_sizes
from irp_core.hashing import file_md5
from irp_core.line.definition import line_params, write_line
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger, SeenFile
from irp_core.line.rounds import LineRound
from irp_core.retention import plan
from tasks.promotion.registry import open_registry
from tasks.retention.housekeeping import delete, inventory
from tasks.retention.runs import measure
from tasks.scoring import download_model
from tasks.tracking.queries import client_of

DAY = 86400.0
POLICY = Retention(weights_days=90, keep_versions=1, line_days=30)
NIGHTS = 5


def _line(folder: Path) -> Line:
    values = {"tracking": {"uri": f"sqlite:///{folder}/mlflow.db"}}
    return Line(name="line3", inbox="in", history=1, params=values)


@pytest.fixture(scope="module")
def five_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A line after five nights: three versions were in service one after another, one was refused, one waits."""
    place = tmp_path_factory.mktemp("nights") / "project"
    place.mkdir()
    with contextlib.chdir(place):
        params = line_params(_line(place), Path())
        client = client_of(params)
        experiment = client.create_experiment("irp", artifact_location=(place / "artifacts").as_uri())
        client.create_registered_model("line3")
        folder = LineFolder("line3").make()
        ledger = Ledger(folder.ledger)
        with open_registry(_line(place), params) as registry:
            for number in range(1, NIGHTS + 1):
                began = time.time() - (100 - number) * DAY
                _round(folder, ledger, number, began)
                _version(client, experiment, number, began)
                registry.enter(str(number), number, {})
                if number <= 3:
                    registry.promote(str(number), "ada", "better")
                elif number == 4:
                    registry.refuse(str(number), "ada", "misses more")
    return place


@pytest.fixture
def project(five_nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A copy of it, with the retention of this test."""
    shutil.copytree(five_nights, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    write_line(_line(Path.cwd()), Path())
    params = line_params(_line(Path.cwd()), Path()).model_copy(update={"retention": POLICY})
    return params.model_copy(update={"snapshots": params.snapshots.model_copy(update={"enabled": False})})


def _round(folder: LineFolder, ledger: Ledger, number: int, began: float) -> None:
    image = folder.images / f"day-{number}" / "a.png"
    image.parent.mkdir()
    image.write_bytes(bytes([number]) * 1000)
    facts = Facts(
        md5=file_md5(image), thumbnail=np.zeros((THUMBNAIL, THUMBNAIL), np.uint8), width=1, height=1, near_binary=False,
        bits=8, lowest=0.0, highest=1.0, white=0.0, pages=1,
    )  # fmt: skip
    name = image.relative_to(folder.images).as_posix()
    ledger.take(SeenFile(name, 1000, "1"), name, facts, "", began)
    ledger.assign({name: False}, number)
    this = LineRound(folder.rounds / f"{number:04d}")
    row = {"image_id": name, "md5": facts.md5, "split": "train", "injected": False}
    this.path.mkdir(parents=True)
    this.prepared.write_manifest(pd.DataFrame([row]).reindex(columns=MANIFEST_SCHEMA.names))
    write_json(this.path / "round.json", {"round": number, "params": {}, "began": began, "ended": began + 60})


def _version(client: MlflowClient, experiment: str, number: int, began: float) -> None:
    run = client.create_run(experiment, tags={"irp.run_id": f"run-{number}"})
    client.log_text(run.info.run_id, "weights", "model/weights.safetensors")
    client.set_terminated(run.info.run_id, "FINISHED", int((began + 60) * 1000))
    client.create_model_version("line3", f"{run.info.artifact_uri}/model", run.info.run_id)


def _plan(params: Params) -> pd.DataFrame:
    return plan(inventory(params), params.retention, time.time())


def test_what_no_rollback_and_no_round_needs_goes_and_says_so(project: Params) -> None:
    made = _plan(project)
    client = client_of(project)
    runs = {str(v.run_id): int(v.version) for v in client.search_model_versions("name='line3'")}
    weights = made[made["kind"] == "weights"].assign(version=lambda table: table["name"].map(runs)).set_index("version")
    assert weights["delete"].to_dict() == {1: True, 2: False, 3: False, 4: True, 5: False}
    assert "@previous" in weights.loc[2, "reason"] and "@champion" in weights.loc[3, "reason"]
    images = made[made["kind"] == "image"].set_index("name")
    # Of round 1 nothing is needed; 2 and 3 are those of the versions in service, 4 is in no round any more.
    assert images["delete"].tolist() == [True, False, False, True, False]
    assert images.loc["line3/day-5/a.png", "reason"] == "the next round trains on it"
    assert not made.loc[made["kind"] == "round", "delete"].any()  # the latest ten

    assert delete(made, project) == []
    folder = LineFolder("line3")
    assert sorted(day.name for day in folder.images.iterdir()) == ["day-2", "day-3", "day-5"]
    ledger = Ledger(folder.ledger)
    assert len(ledger.images()) == NIGHTS  # the ledger knows what it was: the same file again is a double
    again = _plan(project)
    assert not again["delete"].any()

    assert "irp.weights_deleted" in client.get_model_version("line3", "4").tags
    line = Line(name="line3", inbox="in")
    with open_registry(line, project) as registry:
        for refused in (
            lambda: registry.promote("4", "ada", "after all"),
            lambda: registry.roll_back("ada", "no", "1"),
        ):
            with pytest.raises(InputError, match=r"line3/[14]: its weights were deleted 20.* \(irp gc\)"):
                refused()
    with pytest.raises(InputError, match=r"line3/4: its weights were deleted"):
        download_model("line3/4", project, Path())


def test_images_are_kept_for_ever_unless_a_time_is_named(project: Params) -> None:
    kept = _plan(project.model_copy(update={"retention": Retention(keep_versions=1)}))
    images = kept[kept["kind"] == "image"]
    assert len(images) == NIGHTS and not images["delete"].any()
    assert "it may be the only copy (retention.line_days)" in set(images["reason"])


def test_a_line_whose_definition_is_broken_is_left_alone(project: Params, caplog: pytest.LogCaptureFixture) -> None:
    Path("params/lines/line3.yaml").write_text("inbox: in\nhistroy: 1\n")
    made: Any = _plan(project)
    assert not made["kind"].isin(("image", "round")).any()
    assert "What the line line3 keeps is left alone" in caplog.text


def test_a_file_that_goes_while_a_folder_is_measured_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fingerprint").mkdir()
    (tmp_path / "fingerprint" / "spec.json").write_text("{}")
    monkeypatch.setattr(os, "walk", lambda folder: [(str(folder), [], ["gone.arrow", "spec.json"])])
    assert measure(tmp_path / "fingerprint")[0] == 2
    assert [size.bytes for size in store_sizes(tmp_path)] == [2]
