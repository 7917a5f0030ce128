"""The recorded story of a line (`make line-demo`) is what it says, and everything that it says is on record."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from irp_core.config import Params
from irp_core.data import manifest as manifests
from irp_core.errors import InputError
from irp_core.line.definition import line_params, load_line
from irp_core.line.folder import LineFolder
from irp_core.run.directory import RunDirectory
from tests.conftest import make_workspace
from tests.flows.harness import store_of

if TYPE_CHECKING:
    from flows.line.story import Chapter


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("story") / "line")


@pytest.fixture(scope="module")
def story(folder: Path, prefect_api: str) -> list[Chapter]:
    from flows.line.story import tell_story

    with contextlib.chdir(folder.parent):  # as `irp line demo` names it: from where it is typed
        return list(tell_story(Path(folder.name), store_of(folder)))


@pytest.fixture
def params(story: list[Chapter], folder: Path) -> Params:
    return line_params(load_line("line3", folder), folder)


def run_of(folder: Path, number: int) -> RunDirectory:
    from irp_core.line.rounds import LineRound

    record = LineRound(folder / LineFolder("line3").rounds / f"{number:04d}").record()
    return RunDirectory(folder / record["run"])


@pytest.mark.timeout(600)
def test_the_nights_of_a_line(story: list[Chapter]) -> None:
    _, first, second, defects, again, back, last = (chapter.facts for chapter in story)
    assert (first["outcome"], first["aliases"], first["told"]) == ("promoted", {"champion": "1"}, ["irp.promoted"])
    assert first["misses"] == 200

    assert (second["outcome"], second["misses"], second["images"]) == ("promoted", 200, 400)
    assert second["aliases"] == {"champion": "2", "previous": "1"}

    assert (defects["outcome"], defects["misses"]) == ("refused", 60)
    assert defects["aliases"] == second["aliases"]
    assert "irp.refused" in defects["told"]

    assert (again["outcome"], again["versions"], again["told"]) == ("nothing new", 3, [])

    assert (back["aliases"], back["told"]) == ({"champion": "1"}, ["irp.rolled_back"])

    assert last["outcome"] in ("waits", "refused") and last["aliases"]["champion"] == "1"
    assert last["versions"] == 4


def test_the_audit_tells_all_of_it(params: Params, folder: Path) -> None:
    from tasks.audit.lines import describe_line
    from tasks.audit.questions import describe_model

    facts, events = describe_line("line3", params)
    assert facts["champion"] == "line3/1" and "rolled back by shift leader" in facts["in service since"]
    assert events["event"].tolist()[:4] == ["promoted", "promoted", "refused", "rolled back"]
    assert events["version"].tolist()[:4] == ["1", "2", "3", "2"]
    assert events["done"].all()
    with contextlib.chdir(folder):
        model, removals = describe_model("line3/2", params)
    assert "rolled back" in model["line3/2"] and "shift leader" in model["line3/2"]
    assert (removals["reviewer"] == "end-of-line inspection").any()


def test_every_record_has_the_comparisons_table_and_page(params: Params) -> None:
    from tasks.tracking.queries import client_of
    from tasks.tracking.records import records_of

    client = client_of(params)
    for record in records_of(client, "line3"):
        files = {file.path for file in client.list_artifacts(record.mlflow_run, "comparison")}
        expected = {f"comparison/comparison.{ending}" for ending in ("html", "parquet")}
        assert files == (set() if record.event == "rolled back" else expected)


def test_the_test_split_of_the_first_night_stands(story: list[Chapter], folder: Path) -> None:
    sides = [
        dict(zip(manifest["image_id"], manifest["split"], strict=True))
        for manifest in (run_of(folder, number).manifest() for number in (1, 2, 3, 4))
    ]
    for before, after in pairwise(sides):
        assert before.items() <= after.items()
    assert len(manifests.testing_rows(run_of(folder, 1).manifest())) > 0


def test_the_champions_set_is_checked_out_in_a_second_clone(params: Params, folder: Path, tmp_path: Path) -> None:
    from tasks.audit.lines import describe_line

    facts, _ = describe_line("line3", params)
    clone, set_file = tmp_path / "clone", facts["its data set"]
    subprocess.run(["git", "clone", "-q", "-b", "line/line3", str(folder), str(clone)], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "pull", "-q", set_file], cwd=clone, check=True)
    there = clone / set_file.removesuffix(".dvc")
    images = {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()}
    run = run_of(folder, 1)
    assert images == set(run.training_set(int(run.summary()["iterations"]))["image_id"])


def test_the_working_tree_is_left_alone(story: list[Chapter], folder: Path) -> None:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)

    assert git("rev-parse", "--verify", "HEAD").returncode != 0  # the project's own branch has no commit yet
    assert git("ls-files", "lines", "snapshots").stdout == ""
    assert len(git("log", "--format=%s", "line/line3").stdout.splitlines()) == 4


def test_nothing_is_promoted_whose_set_cannot_be_pulled(params: Params, folder: Path, tmp_path: Path) -> None:
    from tasks.promotion.deciding import promote_version
    from tasks.promotion.registry import open_registry

    with contextlib.chdir(folder):
        line = load_line("line3", Path())
        remote = LineFolder("line3").remote.absolute()
        shutil.move(remote, tmp_path / "aside")
        try:
            with pytest.raises(InputError, match="nothing was promoted"):
                promote_version(line, params, "2", "ada", "for a test")
            with open_registry(line, params) as registry:
                assert registry.aliases()["champion"] == "1"
        finally:
            shutil.rmtree(remote, ignore_errors=True)
            shutil.move(tmp_path / "aside", remote)
