"""A review of a run that is laid out by hand: no training, whole flows are in `tests/flows/test_review.py`."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from flows.approve import Approval, record
from irp_core.data.manifest import MANIFEST_SCHEMA
from irp_core.data.schemas import SCORES_SCHEMA
from irp_core.errors import InputError
from irp_core.params_file import load_params
from irp_core.refinement.reviews import read_events
from irp_core.removals import REMOVAL_SCHEMA
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from irp_core.run.step_files import write_decision, write_scored
from tasks.review.session import Review
from tasks.steps.prepare import standing_decisions

A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture
def review(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Review:
    """A run over a.png, its copy and b.png, c.png: the only round removed a.png, and left the copy."""
    monkeypatch.chdir(tmp_path)
    run = RunDirectory(Path("runs/r"))
    run.write_record({"params": load_params(None, []).model_dump(mode="json")})
    run.write_summary({"iterations": 1})
    images = pd.DataFrame({"image_id": ["a.png", "b.png", "c.png", "copy.png"], "md5": [A, B, C, A], "split": "train"})
    PreparedSet(run.path).write_manifest(images.assign(injected=False).reindex(columns=MANIFEST_SCHEMA.names))
    scores = images.assign(iteration=0, score=[3.0, 1.0, 1.0, 3.0])[SCORES_SCHEMA.names]
    final = scores[scores["image_id"] != "a.png"].assign(iteration=1)
    run.write_all_scores(pd.concat([scores, final]))
    for iteration, table in enumerate((scores, final)):
        write_scored(run.step("score", iteration), table)
    removed = scores[:1].assign(iteration=1, threshold=2.0, margin=1.0, rule="iqr", decision="removed")
    for iteration, table in ((1, removed), (2, removed[:0])):
        table = table.reindex(columns=REMOVAL_SCHEMA.names)
        decision = {"iteration": iteration, "threshold": 2.0, "rule": "iqr"}
        write_decision(run.step("decide", iteration), table, final[["image_id", "md5"]], decision)
    return Review(run)


@pytest.mark.parametrize(("md5", "keep", "against"), [(A, True, True), (A, False, True), (B, True, False)])
def test_a_decision_about_copies_that_a_round_separated_needs_another_run(
    review: Review, md5: str, keep: bool, against: bool
) -> None:
    review.decide(md5, keep, "Ada")
    assert review.contradictions()["md5"].tolist() == ([md5] if against else [])
    table = review.run.removals()
    about = table[table["md5"] == md5]
    assert len(about) == (2 if md5 == A else 1)
    assert set(about["decision"]) == {"kept_by_review" if keep else "removed_by_review"}
    states = review.run.images().set_index("image_id")
    for image in states.index[states["md5"] == md5]:
        assert states.loc[image, ["state", "decided_by"]].tolist() == ["kept" if keep else "removed", "Ada"]


def test_an_answer_cannot_keep_one_copy_and_remove_the_other(review: Review) -> None:
    answer = Approval(reviewer="Ada", keep=["a.png"], remove=["copy.png"])
    assert record(review, answer) == "'copy.png' cannot be both kept and removed."
    assert review.run.reviews().empty


def _files(review: Review) -> dict[str, bytes]:
    run = review.run.path
    names = ("review.parquet", "removals.parquet", "images.parquet")
    found = {name: (run / name).read_bytes() for name in names if (run / name).exists()}
    return found | ({"decisions.csv": Path("decisions.csv").read_bytes()} if Path("decisions.csv").exists() else {})


@pytest.mark.parametrize("at", range(12))
def test_a_decision_that_breaks_off_anywhere_is_on_record_everywhere_or_nowhere(
    at: int, review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th file that is put in its place is not: whoever opens the run next finds all four files of one mind."""
    review.decide(B, True, "Grace")
    replace, count = Path.replace, iter(range(1000))

    def failing(self: Path, target: Path) -> Path:
        if next(count) == at:
            raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing)
        broken = False
        try:
            review.decide(A, True, "Ada", "a shadow")
        except OSError:
            broken = True
    assert broken == (at < 5)  # the log, the decisions, two tables, the note of what is done
    again = Review(review.run)
    recorded = A in again.decisions()
    standing = read_events(Path("decisions.csv"))
    assert (A in set(standing["md5"])) == recorded
    states = review.run.images().set_index("image_id")
    assert (states.loc["a.png", "state"] == "kept") == recorded
    assert recorded == (at > 0)
    again.decide(A, True, "Ada", "a shadow")  # the second click
    again.decide(A, True, "Ada", "a shadow")
    assert review.run.reviews()["md5"].tolist() == [B, A]
    assert read_events(Path("decisions.csv"))["md5"].tolist() == [B, A]
    assert len(_files(review)) == 4


def test_another_run_respects_what_was_decided_though_the_decisions_were_not_written(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("irp_core.run.review_log.append_events", full)
        review.decide(A, True, "Ada")
    found = standing_decisions(review.run.params(), review.run.manifest())
    assert found["md5"].tolist() == [A]


def test_what_was_taken_out_of_the_decisions_by_hand_stays_out(review: Review) -> None:
    review.decide(A, True, "Ada")
    Path("decisions.csv").unlink()
    review.decide(B, True, "Ada")
    assert read_events(Path("decisions.csv"))["md5"].tolist() == [B]
    Review(review.run)
    assert read_events(Path("decisions.csv"))["md5"].tolist() == [B]


def test_a_link_to_shared_decisions_stays_one(review: Review, tmp_path: Path) -> None:
    shared = tmp_path / "share.csv"
    Path("decisions.csv").symlink_to(shared)
    review.decide(A, True, "Ada")
    assert Path("decisions.csv").is_symlink()
    assert read_events(shared)["md5"].tolist() == [A]


@pytest.mark.parametrize("note", ["=cmd|'/C calc'!A0", "+1", "-1", "@SUM(A1)", "'=1", "\t=1", 'two\nlines, "quoted"'])
def test_no_note_is_a_formula_in_a_spreadsheet(note: str, review: Review) -> None:
    review.decide(A, True, "=Ada", note)
    with open("decisions.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    for cell in row.values():
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    (event,) = read_events(Path("decisions.csv")).to_dict("records")
    assert (event["note"], event["reviewer"]) == (note.strip(), "=Ada")


@pytest.mark.parametrize("text", ["A\x00da", "A\ud800da", "A\x1b[31mda"])
def test_what_is_no_text_is_refused_before_anything_is_written(text: str, review: Review) -> None:
    for arguments in ((text, ""), ("Ada", text)):
        with pytest.raises(InputError, match="expected text, found the character U"):
            review.decide(A, True, *arguments)
    assert review.run.reviews().empty
    assert not Path("decisions.csv").exists()
