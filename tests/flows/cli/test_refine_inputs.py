"""What `irp refine` refuses before anything is trained, and what it says at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flows.cli.main import main
from flows.terminal import run as terminal
from irp_core.config import Review, Tracking
from irp_core.run.directory import RunDirectory
from irp_core.statistics.recovery import recovery_text
from tests.flows.processes import irp


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["irp", "refine", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    return capsys.readouterr().err


def images(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("how", [("--compare", "vanilla,oracle"), ("-S", "refinement.method=answered")])
def test_a_method_that_reads_labels_is_refused_where_there_are_none(
    how: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capsys, str(images(tmp_path / "plain", 3)), "--no-dvc", *how)
    assert "reads which images are defective" in said and "found no labels" in said


def test_a_folder_with_one_image_fails_before_the_network(tmp_path: Path, prefect_api: str) -> None:
    done = irp("refine", str(images(tmp_path / "one", 1)), "--no-dvc", cwd=tmp_path)
    assert done.wait() == 2
    assert "expected 2 different training images at least, found 1" in done.stderr
    assert not list(tmp_path.rglob("features.json"))  # no run was begun


def test_the_users_images_stay_writable_and_their_own(finished: Path, plant: Path) -> None:
    assert (RunDirectory(finished).snapshot(0) or {})["md5"]
    for image_id in pd.read_parquet(finished / "images.parquet")["image_id"]:
        found = (plant / image_id).stat()
        assert found.st_mode & 0o200 and found.st_nlink == 1


def test_the_end_says_what_became_of_the_registration(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(finished)
    params = run.params()
    named = params.model_copy(update={"tracking": Tracking(registered_model="plate")})
    monkeypatch.setattr(RunDirectory, "params", lambda self: named)
    assert terminal.registration(run) == "as plate"
    waiting = named.model_copy(update={"review": Review(required=True)})
    monkeypatch.setattr(RunDirectory, "params", lambda self: waiting)
    assert "not yet as plate: review.required waits for an approval" in terminal.registration(run)
    assert f"irp review {run.path}" in terminal.next_commands(run)


def test_a_recovery_below_nothing_is_no_number() -> None:
    assert [recovery_text(value) for value in (0.5, -1.56, float("nan"))] == ["50 %", "none", "–"]
