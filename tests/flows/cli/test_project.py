"""A command works in its project, wherever it is typed; what is typed means what it means there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from flows.cli.project import InProject, project_of

pytestmark = pytest.mark.trust

app = typer.Typer(cls=InProject)


@app.command()
def tell(path: Path, word: str, to: Path = Path("out")) -> None:
    print(Path.cwd(), path, word, to, sep="|")


@app.command()
def other() -> None:
    """A second command: Typer makes a group of two."""


def told(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, ["tell", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()[-1].split("|")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with runs, and a folder deep inside it."""
    for name in (".irp", "runs", "a/b"):
        (tmp_path / "project" / name).mkdir(parents=True)
    return tmp_path / "project"


def test_a_project_is_found_upwards(project: Path) -> None:
    assert project_of(project / "a" / "b") == project_of(project) == project
    assert project_of(project.parent) == project.parent  # none: where one stands
    (project / "a" / ".dvc").mkdir()
    assert project_of(project / "a" / "b") == project / "a"


def test_a_folder_that_everybody_can_write_to_is_no_project(project: Path) -> None:
    project.chmod(0o777)
    assert project_of(project / "a") == project / "a"


def test_typed_paths_mean_what_they_mean_where_they_are_typed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = project / "a"
    monkeypatch.chdir(inside)
    (inside / "note.txt").write_text("")
    assert told("images", "b/../note.txt") == [
        str(project), str(inside / "images"), str(inside / "b/../note.txt"), str(inside / "out"),
    ]  # fmt: skip
    assert told("images", "a-word")[2] == "a-word"
    assert Path.cwd() == inside
    monkeypatch.chdir(project)
    assert told("images", "word") == [str(project), "images", "word", "out"]


def test_a_run_that_is_named_by_its_folder_is_worked_on_in_its_own_project(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from irp_core.config import Params
    from irp_core.run.directory import RunDirectory

    RunDirectory(project / "runs" / "r").write_record({"params": Params().model_dump(mode="json")})
    monkeypatch.chdir(tmp_path)
    named = os.path.relpath(project / "runs" / "r")
    assert told(named, f"{named}:2")[:3] == [str(project), str(project / "runs/r"), f"{tmp_path / named}:2"]
