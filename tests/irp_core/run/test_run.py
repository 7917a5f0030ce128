"""The run's folder: what is written is read again, under today's names and under former ones."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import irp_core
from irp_core.atomic import write_json
from irp_core.data.manifest import write_table
from irp_core.data.schemas import ITERATIONS_SCHEMA
from irp_core.errors import InputError
from irp_core.removals import REMOVAL_SCHEMA
from irp_core.run import files
from irp_core.run.directory import RunDirectory, open_run
from irp_core.run.inputs import RunInputs
from irp_core.run.step_files import write_decision, write_scored

SCORES = pd.DataFrame({"image_id": ["a"], "md5": ["a" * 32], "iteration": [0], "score": [1.0]})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "r")
    run.write_record({"run_id": "r"})
    return run


def test_inputs_are_in_the_record_and_an_older_record_means_the_defaults(run: RunDirectory) -> None:
    assert run.inputs() == RunInputs()
    asked = RunInputs(total_epochs=9, random_counts=(2, 1), operating=False, share_with="sibling", decisions="d.csv")
    run.write_record({"run_id": "r", **asked.plain()})
    assert run.inputs() == asked
    shared = run.shares_with()
    assert shared is not None
    assert shared.path == run.path.parent / "sibling"


def test_a_step_is_read_as_it_was_written(run: RunDirectory) -> None:
    write_scored(run.step("score", 0), SCORES, SCORES[:0], 0.25)
    decision = {"threshold": 0.5, "defective_lower_bound": 0.25}
    rows = SCORES.assign(decision="removed").reindex(columns=REMOVAL_SCHEMA.names)
    write_decision(run.step("decide", 1), rows, SCORES[["image_id", "md5"]], decision)
    pd.testing.assert_frame_equal(run.scores(0), SCORES.astype({"iteration": np.int32}))
    assert run.scored(0)["inside"].tolist() == [True]
    assert run.lower_bound(0) == 0.25
    assert run.decision(1) == decision
    assert run.decided(1)["image_id"].tolist() == ["a"]
    assert run.training_set(1)["image_id"].tolist() == ["a"]
    names = {path.name for path in run.path.rglob("*.parquet")}
    assert "removed.parquet" not in names  # two tables had that name


def test_former_names_are_read_and_new_ones_win(run: RunDirectory) -> None:
    step = run.step("decide", 1)
    rows = SCORES.assign(decision="removed").reindex(columns=REMOVAL_SCHEMA.names)
    write_table(rows, step / "removed.parquet", REMOVAL_SCHEMA)
    write_json(step / "decision.json", {"threshold": 0.5, "supported": 0.1})
    write_json(run.step("score", 0) / "supported.json", {"supported": None})
    run.write_summary({"last_look": {"supported": 0.1, "threshold": 0.5}})  # as older runs have it
    assert run.decided(1)["image_id"].tolist() == ["a"]
    assert run.decision(1)["defective_lower_bound"] == 0.1
    assert run.lower_bound(0) is None
    assert run.summary()["last_round"]["defective_lower_bound"] == 0.1
    write_table(rows[:0], step / files.DECIDED, REMOVAL_SCHEMA)
    assert run.decided(1).empty


def test_a_renamed_column_is_read_and_another_is_refused(run: RunDirectory) -> None:
    empty = pd.DataFrame({name: [] for name in ITERATIONS_SCHEMA.names})
    run.write_iterations(empty)
    file = run.path / files.ITERATIONS
    table = pq.read_table(file)
    for name in ("supported", "something"):
        names = [name if column == "defective_lower_bound" else column for column in table.schema.names]
        pq.write_table(table.rename_columns(names), file)
        if name == "supported":
            assert run.iterations().columns.tolist() == ITERATIONS_SCHEMA.names
        else:
            with pytest.raises(InputError, match="expected columns"):
                run.iterations()


def test_no_run_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the directory of a run \(with run.json\), found none"):
        open_run(tmp_path)


def test_no_other_module_names_a_file_of_a_run() -> None:
    root = Path(irp_core.__file__).parents[1]
    known = {value for name, value in vars(files).items() if name.isupper() and isinstance(value, str) and "." in value}
    known |= {Path(name).name for name in files.FORMERLY.values()}
    known.remove(files.REPORT)  # the page's template is called so, too
    assert len(known) > 20
    found = {}
    for package in ("irp_core", "tasks", "flows", "benchmarks"):
        for file in sorted((root / package).rglob("*.py")):
            if file.name == "files.py":
                continue
            tree = ast.parse(file.read_text(encoding="utf-8"))
            words = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
            named = [word for word in words if isinstance(word, str) and re.sub(r"^.*/", "", word) in known]
            if named:
                found[file.relative_to(root).as_posix()] = named
    assert found == {}
