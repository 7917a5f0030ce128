"""Runs are found by what a person types, and every answer can be had by a program."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core import __version__
from tests.conftest import TINY
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


def test_scores_and_exports_are_for_programs_too(in_workspace: Path, plant: Path, tmp_path: Path) -> None:
    image = next((plant / "test" / "good").iterdir())
    (scored,) = json.loads(ask("score", in_workspace.name, str(image), "--format", "json"))["scores"]
    assert scored["decision"] in ("normal", "anomalous")
    assert "Scores" in ask("score", in_workspace.name, str(image), "--format", "table")
    (done,) = json.loads(ask("export", in_workspace.name, "--to", str(tmp_path / "o"), "--lists", "--format", "json"))[
        "exported"
    ]
    assert done["kept"] == len(pd.read_csv(tmp_path / "o" / "kept.csv"))


def test_a_refinement_answers_with_its_summary_and_the_piped_output_is_json_alone(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = f"tracking.uri={store_of(tmp_path)}"
    options = [part for override in (*TINY, store, "refinement.method=vanilla") for part in ("-S", override)]
    answer = json.loads(ask("refine", str(plant), "--no-prefect", "--no-dvc", "--format", "json", *options))
    assert answer["n_removed"] == 0
    assert [row["iteration"] for row in answer["iterations"]] == [0]
    assert Path(answer["path"]).is_dir()
    assert json.loads(ask("show", "last", "--format", "json"))["run"] == answer["run"]
    prepared = json.loads(ask("prepare", str(plant), "--no-prefect", "--format", "json"))
    assert prepared["train"] == sum(row["train"] for row in prepared["folders"])


QUIET = ("demo", "init", "fetch", "prepare", "refine", "runs", "show", "review", "whatif", "export", "score", "gc")
AUDITS = ("model", "image", "diff", "verify", "checkout")


@pytest.mark.parametrize("words", [*((name,) for name in QUIET), *(("audit", name) for name in AUDITS)], ids=" ".join)
def test_a_command_can_be_quiet(words: tuple[str, ...]) -> None:
    command: Any = get_command(app)
    for word in words:
        command = command.commands[word]
    assert any("--quiet" in option.opts for option in command.params)


def test_a_quiet_list_is_of_ids_and_a_quiet_run_is_its_folder(in_workspace: Path) -> None:
    assert in_workspace.name in ask("runs", "-q").splitlines()
    assert Path(ask("show", in_workspace.name, "-q").strip()).resolve() == in_workspace.resolve()
