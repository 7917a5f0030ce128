"""The list of runs: one that cannot be read is named and hides none of the others; records of earlier versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from flows.terminal.runs import show_runs
from irp_core.atomic import write_json
from irp_core.config import Params
from irp_core.run.directory import RunDirectory
from irp_core.run.glance.overview import overview


def make(runs: Path, name: str, created: str = "2026-01-01T00:00:00+00:00", **changes: object) -> RunDirectory:
    run = RunDirectory(runs / name)
    record = {"run_id": name, "created": created, "version": "0.1.0", "params": Params().model_dump(mode="json")}
    run.write_record({**record, **changes})
    return run


BROKEN: dict[str, tuple[Callable[[RunDirectory], object], str]] = {
    "a record cut short": (lambda run: (run.path / "run.json").write_text('{"created"'), "damaged"),
    "a record in another encoding": (lambda run: (run.path / "run.json").write_bytes(b"\xff\xfe{\x00"), "damaged"),
    "a record that is a list": (lambda run: (run.path / "run.json").write_text("[]"), "expected a JSON object"),
    "a record without parameters": (lambda run: run.write_record({"created": "2026"}), "parameters of a run"),
    "a record without a date": (
        lambda run: run.write_record({"params": Params().model_dump(mode="json")}),
        "expected the key 'created'",
    ),
    "a later version's parameter": (
        lambda run: run.write_record({**run.record(), "version": "9.9", "params": {"refinement": {"zeal": 1}}}),
        "made by irp 9.9, whose parameters this version does not all know: unknown key 'refinement.zeal'",
    ),
    "a summary of something else": (lambda run: write_json(run.path / "summary.json", {}), "expected the key"),
    "no table of iterations": (
        lambda run: write_json(run.path / "summary.json", {"iterations": 1, "n_removed": 0, "n_start": 2}),
        "iterations.parquet",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_run_that_cannot_be_read_hides_none_of_the_others(what: str, tmp_path: Path) -> None:
    make(tmp_path, "a-irp-1", created="2026-01-02T00:00:00+00:00")
    make(tmp_path, "c-irp-3", created="2026-01-03T00:00:00+00:00")
    damage, problem = BROKEN[what]
    damage(make(tmp_path, "b-irp-2"))
    lines = overview(tmp_path)
    assert [line.run_id for line in lines] == ["c-irp-3", "a-irp-1", "b-irp-2"]
    assert [line.problem for line in lines[:2]] == [None, None]
    assert problem in (lines[2].problem or "")
    assert "b-irp-2" in (lines[2].problem or "")
    console = Console(width=200, record=True)
    show_runs(console, lines)
    shown = console.export_text()
    assert "a-irp-1" in shown
    assert "unreadable" in shown
    assert "Traceback" not in shown


def test_a_key_that_was_renamed_is_translated_and_what_was_fixed_then_stays(tmp_path: Path) -> None:
    params = Params().model_dump(mode="json")
    del params["refinement"]["lambda"], params["refinement"]["k"], params["detector"], params["dataset"]["near_copies"]
    params["refinement"] |= {"factor": 1.5, "rule": "median_multiple"}
    read = make(tmp_path, "old-irp-1", params=params).params()
    assert (read.refinement.lambda_, read.detector.name, read.dataset.near_copies) == (1.5, "differnet", None)
    params["refinement"] |= {"factor": 2.5, "rule": "iqr"}
    assert make(tmp_path, "old-irp-2", params=params).params().refinement.k == 2.5
