"""A step's result is used only as it was written; whatever is not is made again, and said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from irp_core.run.steps import Steps


def make(folder: Path) -> None:
    (folder / "scores.txt").write_text("1 2 3")
    (folder / "inner").mkdir()
    (folder / "inner" / "weights.bin").write_bytes(bytes(100))


def _note(**changes: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / "step.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a changed number": lambda folder: (folder / "scores.txt").write_text("1 2 4"),
    "a short file": lambda folder: (folder / "inner" / "weights.bin").write_bytes(bytes(99)),
    "a file that is gone": lambda folder: (folder / "scores.txt").unlink(),
    "a short note": lambda folder: (folder / "step.json").write_text('{"key": "k"'),
    "an empty note": lambda folder: (folder / "step.json").write_text(""),
    "a note of something else": lambda folder: (folder / "step.json").write_text("[]"),
    "a note in another encoding": lambda folder: (folder / "step.json").write_bytes("{}".encode("utf-16")),
    "a deep note": lambda folder: (folder / "step.json").write_text('{"a":' * 100_000),
    "another digest": _note(outputs={"scores.txt": "0" * 64}),
    "a list for digests": _note(outputs=["scores.txt"]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_step_is_made_again_and_said(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps(tmp_path / "run")
    folder = steps.do("score", 0, "k", make)
    DAMAGES[name](folder)
    made = []
    steps.do("score", 0, "k", lambda into: (make(into), made.append(1))[0])
    assert made == [1]
    assert "the step is made again" in caplog.text
    assert (folder / "scores.txt").read_text() == "1 2 3"


def test_a_sound_step_is_skipped_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    steps = Steps(tmp_path / "run")
    folder = steps.do("score", 0, "k", make)

    def never(folder: Path) -> None:
        raise AssertionError

    steps.do("score", 0, "k", never)
    (folder / "step.json").write_text('{"key": "k"}')  # as an older version wrote it
    steps.do("score", 0, "k", never)
    assert caplog.text == ""


def test_a_finished_run_whose_results_were_changed_is_not_finished(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "run")
    steps.path.mkdir()
    table = steps.path / "scores.parquet"
    table.write_bytes(b"rows")
    steps.finish()
    assert steps.finished()
    table.write_bytes(b"row")
    assert not steps.finished()
