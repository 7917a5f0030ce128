"""A finished command that is given again adds nothing: no point of a metric, no second, no file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from irp_core.run.directory import RunDirectory
from tests.flows.harness import refine_in, table_hashes


def _points(workspace: Path) -> int:
    with sqlite3.connect(workspace / "mlflow.db") as store:
        return int(store.execute("SELECT count(*) FROM metrics").fetchone()[0])


def test_a_repeated_command_adds_nothing(in_workspace: Path, plant: Path) -> None:
    workspace = in_workspace.parents[1]
    before, tables = _points(workspace), table_hashes(in_workspace)
    times = RunDirectory(in_workspace).timings()
    files = {path for path in in_workspace.rglob("*") if path.is_file()}
    assert refine_in(workspace, plant) == in_workspace
    assert _points(workspace) == before > 0
    assert RunDirectory(in_workspace).timings() == times
    assert RunDirectory(in_workspace).timings(since=0.0) != times
    assert table_hashes(in_workspace) == tables
    assert {path for path in in_workspace.rglob("*") if path.is_file()} == files
