"""A kept image enters the golden set by `irp line golden` alone, byte for byte, once, and on record."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.atomic import atomic_path
from irp_core.config.lines import Line
from irp_core.data.scan import scan
from irp_core.errors import InputError
from irp_core.line.definition import write_line
from irp_core.packed.packing import pack
from tasks.feedback import golden as module
from tasks.feedback.answers import Answer, Feedback
from tasks.feedback.golden import GOLDEN_RECORD, take_into_golden
from tasks.feedback.kept_folder import KeptFolder
from tests.tasks.feedback.conftest import Keep

RECORD = Path("lines/line3/golden.csv")


@pytest.fixture
def feedback(kept: KeptFolder) -> Feedback:
    Path("golden/OK").mkdir(parents=True)
    return Feedback(kept, Path("decisions.csv"))


def said(feedback: Feedback, md5: str, defective: bool) -> None:
    feedback.record(Answer(md5=md5, defective=defective, reviewer="Ada"))


def command(*more: str) -> str:
    arguments = ["line", "golden", "line3", "--why", "=seen on Monday", "--by", "Grace", *more]
    return CliRunner().invoke(app, arguments, catch_exceptions=False).output


def in_golden() -> dict[str, str]:
    return {
        hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest(): file.parent.name
        for file in Path("golden").rglob("*.*")
    }


def test_confirmed_defects_go_in_when_told_and_good_ones_when_asked(feedback: Feedback, keep: Keep) -> None:
    write_line(Line(name="line3", inbox="in", golden="golden"), Path())
    bad, good, unanswered = keep(0), keep(1), keep(2)
    said(feedback, bad, True)
    said(feedback, good, False)
    assert in_golden() == {}  # an answer alone puts nothing there
    assert "1 images are new in golden." in command("--kind", "label")
    assert in_golden() == {bad: "label"}
    assert Path(f"golden/label/plate-{bad[:12]}.png").is_file()  # PNG, whatever it was called
    assert "0 images are new in golden, which had 1 of them already." in command()
    command("--good", "--image", good[:9])
    assert in_golden() == {bad: "label", good: "OK"} and unanswered not in in_golden()
    record = pd.read_csv(RECORD, dtype=str)
    assert tuple(record.columns) == GOLDEN_RECORD
    assert record[["md5", "label", "by", "answered_by", "kept_by"]].to_numpy().tolist() == [
        [bad, "defective", "Grace", "Ada", "m"], [good, "good", "Grace", "Ada", "m"],
    ]  # fmt: skip
    assert set(record["why"]) == {"'=seen on Monday"}  # no formula for a spreadsheet
    labels = scan(Path("golden")).manifest.set_index("md5")["label"].to_dict()
    assert labels == {bad: "defective", good: "good"}


def test_what_cannot_be_taken_in_is_said_and_nothing_is(feedback: Feedback, keep: Keep, kept: KeptFolder) -> None:
    bad, good, open_, changed = (keep(number) for number in range(4))
    for md5 in (bad, changed):
        said(feedback, md5, True)
    said(feedback, good, False)
    kept.image(changed).write_bytes(b"other")

    def refused(match: str, golden: str = "golden", why: str = "new", **more: object) -> None:
        with pytest.raises(InputError, match=match):
            take_into_golden(feedback, Path(golden), RECORD, by="Grace", why=why, good_names=("ok",), **more)  # type: ignore[arg-type]

    refused("found no folder", golden="none")
    refused("name and a reason", why=" ")
    for kind in ("OK", "masks", "test", "../out", ""):
        refused("folder of defects", kind=kind)
    refused("found 0 of them", chosen=["ffffffffffff"])
    refused("nobody answered", chosen=[open_])
    refused("called good", chosen=[good])
    refused("was changed since it was kept", chosen=[changed])
    assert in_golden() == {} and not RECORD.exists()
    write_line(Line(name="line3", inbox="in"), Path())
    with pytest.raises(InputError, match="has no golden set"):
        command()


def test_a_kill_between_the_record_and_the_image_leaves_one_row(
    feedback: Feedback, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    said(feedback, keep(0), True)

    def killed(path: Path) -> object:
        if path != RECORD:
            raise KeyboardInterrupt
        return atomic_path(path)

    def take() -> None:
        take_into_golden(feedback, Path("golden"), RECORD, by="Grace", why="new", good_names=("ok",))

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, "atomic_path", killed)
        take()
    assert in_golden() == {} and len(pd.read_csv(RECORD)) == 1
    take()
    assert len(in_golden()) == len(pd.read_csv(RECORD)) == 1


def test_a_multi_picture_jpeg_is_taken_in_and_a_packed_set_is_refused(feedback: Feedback, kept: KeptFolder) -> None:
    buffer = io.BytesIO()
    pictures = [Image.new("RGB", (40, 40), colour) for colour in ("grey", "red")]
    pictures[0].save(buffer, "MPO", save_all=True, append_images=pictures[1:])
    md5 = hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest()
    row = {"md5": md5, "score": 2.0, "threshold": 1.0, "decision": "anomalous"}
    kept.add("phone.jpg", buffer.getvalue(), row, "m", np.zeros(16, dtype=np.float32))
    said(feedback, md5, True)
    take_into_golden(feedback, Path("golden"), RECORD, by="Grace", why="new", good_names=("ok",))
    assert Path(f"golden/defective/phone-{md5[:12]}.jpg").read_bytes() == buffer.getvalue()
    pack(
        Path("golden"),
        [f"defective/phone-{md5[:12]}.jpg"],
        Path("packed"),
        left_out=(),
        shard_bytes=1000,
        max_bytes=10**6,
    )
    with pytest.raises(InputError, match="found a packed one"):
        take_into_golden(feedback, Path("packed"), RECORD, by="Grace", why="new")
