"""A review of a run that is laid out by hand: no training, whole flows are in `tests/flows/test_review.py`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from flows.approve import Approval, record
from irp_core.data.manifest import MANIFEST_SCHEMA
from irp_core.data.schemas import SCORES_SCHEMA
from irp_core.params_file import load_params
from irp_core.removals import REMOVAL_SCHEMA
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from irp_core.run.step_files import write_decision, write_scored
from tasks.review.session import Review

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
