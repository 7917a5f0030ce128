"""A round of a line: only new images are extracted, the sets can be pulled elsewhere, and nothing new is quick."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from irp_core.data import manifest as manifests
from irp_core.demo.line import Batch
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.run.directory import RunDirectory
from tests.flows.line.plants import Plant, make_plant


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Plant:
    """A line after two nights."""
    folder = tmp_path_factory.mktemp("line")
    made = make_plant(folder, [Batch(30, 0), Batch(12, 0), Batch(3, 0)], remote=str(folder / "remote"))
    made.night(1)
    (made.inbox / "cut.jpg").write_bytes(b"\xff\xd8\xff cut short")
    assert made.retrain()["outcome"] == "promoted"
    made.night(2)
    assert made.retrain()["outcome"] == "promoted"
    return made


def run_of(plant: Plant, number: int) -> RunDirectory:
    return RunDirectory(plant.project / plant.rounds()[number - 1].record()["run"])


def test_only_new_images_go_through_the_network(plant: Plant) -> None:
    first, second = (run_of(plant, number).features() for number in (1, 2))
    assert sum(first[split]["misses"] for split in ("train", "rest")) == 30
    assert sum(second[split]["misses"] for split in ("train", "rest")) == 12
    assert sum(second[split]["images"] for split in ("train", "rest")) == 42


def test_the_test_split_of_the_first_night_stands(plant: Plant) -> None:
    before, after = (set(manifests.testing_rows(run_of(plant, number).manifest())["image_id"]) for number in (1, 2))
    known = set(run_of(plant, 1).manifest()["image_id"])
    assert before == after & known and before


def test_the_aliases_say_what_is_in_service(plant: Plant) -> None:
    assert plant.aliases() == {"champion": "2", "previous": "1"}


def test_with_nothing_new_the_flow_ends_at_once(plant: Plant) -> None:
    plant.night(3)  # fewer than a round needs
    result = plant.retrain()
    assert result == {"outcome": "nothing new", "taken": 3, "problems": 0}
    assert len(plant.rounds()) == 2


def test_what_is_wrong_with_a_file_is_in_the_ledger(plant: Plant) -> None:
    files = Ledger(plant.project / LineFolder("line3").ledger).files("unreadable")
    assert files["path"].tolist() == ["cut.jpg"]


def test_the_champions_set_is_checked_out_in_a_second_clone(plant: Plant, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", "-b", "line/line3", str(plant.project), str(clone)], check=True)
    set_file = plant.rounds()[1].record()["published"]["dvc_file"]
    subprocess.run([sys.executable, "-m", "dvc", "pull", "-q", set_file], cwd=clone, check=True)
    there = {path.relative_to(clone / set_file.removesuffix(".dvc")) for path in _files(clone, set_file)}
    trained = run_of(plant, 2).training_set(0)["image_id"]
    assert there == set(map(Path, trained))


def _files(clone: Path, set_file: str) -> list[Path]:
    return [path for path in (clone / set_file.removesuffix(".dvc")).rglob("*") if path.is_file()]


def test_the_working_tree_and_its_branch_are_left_alone(plant: Plant) -> None:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-C", str(plant.project), *arguments], capture_output=True, text=True, check=False
        )

    assert git("rev-parse", "--verify", "HEAD").returncode != 0  # the project's own branch has no commit yet
    assert git("ls-files", "lines", "snapshots").stdout == ""
    assert len(git("log", "--format=%s", "line/line3").stdout.splitlines()) == 2
    assert not [line for line in git("status", "--porcelain").stdout.splitlines() if "lines/" in line[3:10]]


def test_nothing_is_promoted_whose_set_cannot_be_pulled(plant: Plant, tmp_path: Path) -> None:
    from tasks.promotion.deciding import promote_version

    remote = Path(str(plant.line().remote))
    aside = tmp_path / "remote"
    shutil.move(remote, aside)
    try:
        with contextlib.chdir(plant.project), pytest.raises(InputError, match="nothing was promoted"):
            promote_version(plant.line(), plant.params(), "1", "ada", "for a test")
        assert plant.aliases()["champion"] == "2"
    finally:
        shutil.rmtree(remote, ignore_errors=True)
        shutil.move(aside, remote)


def test_a_push_that_fails_is_named_and_the_round_goes_on_when_it_works(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.versions import publish

    monkeypatch.setattr(publish.publish, "retries", 0)
    with monkeypatch.context() as patch:
        patch.setattr(publish, "_push", _refuse)
        with pytest.raises(OSError, match="remote: cannot be pushed to"):
            plant.retrain(force=True)
    assert plant.aliases()["champion"] == "2"
    (*_, broken) = plant.rounds()
    assert not broken.ended and "run" in broken.record()
    result = plant.retrain()
    assert (result["round"], result["outcome"]) == (3, "promoted")
    assert plant.aliases() == {"champion": "3", "previous": "2"}


def _refuse(objects: set[str], name: str, url: str) -> None:
    raise OSError(f"{url}: cannot be pushed to (no space).")
