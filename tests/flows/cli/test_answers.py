"""Runs are found by what a person types, and every answer can be had by a program."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core import __version__
from tests.flows.harness import store_of


def ask(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("how", ["folder", "id", "beginning", "digest", "last"])
def test_every_command_finds_a_run_by_what_a_person_types(how: str, in_workspace: Path) -> None:
    name = in_workspace.name
    newest = json.loads(ask("runs", "--format", "json"))["runs"][0]["run"]
    reference, expected = {
        "folder": (f"runs/{name}", name),
        "id": (name, name),
        "beginning": (name[:-2], name),
        "digest": (name.rpartition("-")[2][:6], name),
        "last": ("last", newest),
    }[how]
    store = ("-S", f"tracking.uri={store_of(Path.cwd())}")
    shown = json.loads(ask("show", reference, "--format", "json"))
    assert shown["run"] == expected
    assert len(shown["iterations"]) == shown["iterations"][-1]["iteration"] + 1
    if how != "last":  # another test's run may be the newest, and not be in MLflow
        assert expected in ask("audit", "model", reference, *store)
        assert json.loads(ask("whatif", reference, "--format", "json", *store))["run"] == expected


def test_tables_are_csv_and_json_for_programs(in_workspace: Path) -> None:
    listed = pd.read_csv(io.StringIO(ask("runs", "--format", "csv")))
    assert in_workspace.name in set(listed["run"])
    removed = pd.read_csv(io.StringIO(ask("show", in_workspace.name, "--removed", "--format", "csv")))
    assert len(removed) == len(pd.read_parquet(in_workspace / "removals.parquet"))


def test_an_id_is_whole_at_80_columns(in_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = ask("runs")
    assert in_workspace.name in listed
    assert max(map(len, listed.splitlines())) <= 80


def test_quiet_leaves_the_result_alone(in_workspace: Path, plant: Path, tmp_path: Path) -> None:
    assert ask("export", in_workspace.name, "--to", str(tmp_path / "out"), "--lists", "-q",
               "-S", f"tracking.uri={store_of(Path.cwd())}") == ""  # fmt: skip
    assert (tmp_path / "out" / "kept.csv").is_file()


def test_the_version_is_one_line() -> None:
    assert ask("--version") == ask("version") == f"{__version__}\n"


def test_a_project_is_made_once(tmp_path: Path) -> None:
    project = tmp_path / "line"
    assert "params.yaml: made" in ask("init", str(project))
    parameters = (project / "params.yaml").read_text()
    assert parameters == Path(__file__).parents[3].joinpath("params.yaml").read_text()
    (project / "params.yaml").write_text("run: {seed: 3}\n")
    assert "params.yaml: found" in ask("init", str(project))
    assert (project / "params.yaml").read_text() == "run: {seed: 3}\n"
    assert (project / ".gitignore").read_text().count("/runs/") == 1
    assert {".git", ".dvc", ".gitignore", "params.yaml"} <= {file.name for file in project.iterdir()}
