"""Files of an interrupted run that were damaged meanwhile: none is used, what can be made again is, and it is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import flows.refine
from irp_core.errors import InputError
from tests.flows.harness import refine_in, table_hashes


def _flip(path: Path, at: int = -9) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(content))


def _half(path: Path) -> None:
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[: len(content) // 2])


def _edited(path: Path) -> None:
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "params": {**record["params"], "run": {"seed": 7}}}))


HEALED: list[tuple[str, Callable[[Path], object]]] = [
    ("iterations/00/train/weights.safetensors", _flip),
    ("iterations/00/train/detector.json", _half),
    ("iterations/00/train/trained.json", _half),
    ("iterations/00/train/history.parquet", _flip),
    ("iterations/00/score/scores.parquet", _flip),
    ("iterations/00/score/lower_bound.json", _half),
    ("iterations/00/snapshot/snapshot.json", _half),
    ("iterations/01/decide/training_set.parquet", _flip),
    ("iterations/01/decide/decided.parquet", _half),
    ("iterations/01/decide/decision.json", _flip),
    ("iterations/01/decide/step.json", _half),
    ("iterations/01/train/weights.safetensors", _half),
    ("operating/operating.json", _flip),
    ("features.json", _half),
    ("mlflow.json", _half),
    ("summary.json", _half),
    ("timings.jsonl", _flip),
    ("iterations.parquet", _half),
    ("scores.parquet", _flip),
    ("removals.parquet", _half),
    ("model/weights.safetensors", _flip),
    ("model/inspector.json", _half),
]


def test_a_run_with_every_output_damaged_ends_as_it_would_have(
    finished: Path, plant: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One run with all the damages at once: a run for each would take minutes."""
    workspace = tmp_path / "workspace"
    shutil.copytree(finished.parents[1], workspace, symlinks=True)
    (workspace / "mlflow.db").unlink()  # of the other workspace: it names that one's artifacts
    run = workspace / "runs" / finished.name
    for name, damage in HEALED:
        damage(run / name)
    segments = sorted(workspace.glob(".irp/features/*/*.arrow"))
    _flip(segments[0])
    for file in (workspace / "snapshots" / run.name).glob("*-01.dvc"):
        _half(file)
    again = refine_in(workspace, plant)
    assert again == run
    assert table_hashes(run) == table_hashes(finished)
    said = caplog.text
    for name in (
        *{str(Path(name).parent) for name, _ in HEALED if "/" in name and "model" not in name},
        ".dvc",
        ".arrow",
    ):
        assert name in said
    for file in finished.rglob("*.parquet"):
        name = file.relative_to(finished)
        if "history" not in name.name:  # seconds
            assert (run / name).read_bytes() == file.read_bytes(), name


@pytest.mark.parametrize(("name", "damage"), [("run.json", _edited), ("run.json", _half), ("manifest.parquet", _flip)])
def test_what_a_run_began_with_is_refused_when_it_was_changed(
    name: str, damage: Callable[[Path], object], in_workspace: Path, tmp_path: Path
) -> None:
    copy = tmp_path / in_workspace.name
    shutil.copytree(in_workspace, copy)
    damage(copy / name)
    with pytest.raises(InputError, match=name):
        flows.refine.resume(str(copy))
