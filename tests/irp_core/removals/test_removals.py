"""The removal tables: what a round did, and what became of every image by the end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from irp_core.data.manifest import MANIFEST_SCHEMA
from irp_core.refinement.reviews import REVIEW_SCHEMA, event, no_events
from irp_core.removals import IMAGE_SCHEMA, image_states, removal_history, round_rows

NAMES = ["a", "b", "c", "d", "e", "f"]
MD5 = {name: name * 32 for name in NAMES}


@pytest.fixture
def manifest() -> pd.DataFrame:
    table = pd.DataFrame({"image_id": NAMES, "md5": [MD5[n] for n in NAMES], "split": "train", "label": "good"})
    return table.assign(injected=False).reindex(columns=MANIFEST_SCHEMA.names)


def scores(names: str, iteration: int, score: float) -> pd.DataFrame:
    ids = list(names)
    table = pd.DataFrame({"image_id": ids, "md5": [MD5[n] for n in ids], "iteration": iteration})
    return table.assign(score=score + np.arange(len(ids)))


def said(image: str, decision: str, reviewer: str = "Ada") -> dict[str, str | None]:
    return event(
        decision, image_id=image, md5=MD5[image], reviewer=reviewer, reviewed_at="2026-01-01", note="n", run_id="r"
    )


def history(manifest: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    """Round 1 removes a and b and spares c, round 2 takes a back and removes d, round 3 stops."""
    standing = pd.DataFrame([said("c", "kept_by_review", "Bob")], columns=REVIEW_SCHEMA.names)
    common = {"rule": "iqr", "decisions": standing, "manifest": manifest}
    nobody = scores("", 0, 1.0)
    first, second = scores("abcdef", 0, 1.0), scores("cdefab", 1, 1.0)
    rounds = [
        round_rows(removed=first[:2], restored=nobody, spared=first[2:3], iteration=1, threshold=0.5, **common),
        round_rows(removed=second[1:2], restored=second[4:5], spared=nobody, iteration=2, threshold=1.5, **common),
        round_rows(removed=nobody, restored=nobody, spared=nobody, iteration=3, threshold=9.0, **common),
    ]
    last_round = {"iteration": 3, "threshold": 9.0, "rule": "iqr"}
    return removal_history(rounds, events, scores("acef", 2, 1.0), last_round, manifest)


def states(manifest: pd.DataFrame, events: pd.DataFrame) -> pd.DataFrame:
    everything = pd.concat([scores("abcdef", 0, 1.0), scores("cdefab", 1, 1.0), scores("acefbd", 2, 1.0)])
    table = image_states(
        manifest[["image_id", "md5"]],
        history(manifest, events),
        everything,
        scores("acef", 2, 1.0),
        {0: 0.5, 1: 1.5, 2: 9.0},
        "iqr",
        manifest,
    )
    assert table.columns.tolist() == IMAGE_SCHEMA.names
    return table.set_index("image_id")


def test_a_round_says_what_it_did_and_who_spared_an_image(manifest: pd.DataFrame) -> None:
    table = history(manifest, no_events())
    assert table[["image_id", "iteration", "decision"]].to_numpy().tolist() == [
        ["a", 1, "removed"],
        ["b", 1, "removed"],
        ["c", 1, "kept_by_review"],
        ["d", 2, "removed"],
        ["a", 2, "restored"],
    ]
    assert table["reviewer"].isna().tolist() == [True, True, False, True, True]
    assert (table["margin"] == table["score"] - table["threshold"]).all()


def test_every_image_has_one_final_state(manifest: pd.DataFrame) -> None:
    found = states(manifest, no_events())
    assert found["state"].to_dict() == {
        "a": "restored", "b": "removed", "c": "kept", "d": "removed", "e": "kept", "f": "kept",
    }  # fmt: skip
    assert found["since_round"].tolist() == [2, 1, 0, 2, 0, 0]
    assert found["decided_by"].tolist() == ["refinement", "refinement", "Bob", *["refinement"] * 3]
    assert found["trained_on"].tolist() == [True, False, True, False, True, True]
    # The last score that each got, those that were out by then included.
    assert found["score"].tolist() == [1.0, 5.0, 2.0, 6.0, 3.0, 4.0]
    assert found["threshold"].eq(9.0).all()


def test_a_review_of_the_finished_run_counts_and_says_what_the_model_saw(manifest: pd.DataFrame) -> None:
    events = pd.DataFrame([said("b", "kept_by_review"), said("d", "removed_by_review"), said("e", "removed_by_review")])
    found = states(manifest, events)
    assert found.loc["b", ["state", "decided_by", "since_round", "trained_on"]].tolist() == ["kept", "Ada", 3, False]
    assert found.loc["d", ["state", "decided_by", "since_round", "trained_on"]].tolist() == ["removed", "Ada", 2, False]
    assert found.loc["e", ["state", "decided_by", "since_round", "trained_on"]].tolist() == ["removed", "Ada", 3, True]
    assert found.loc[["b", "d", "e"], "note"].tolist() == ["n", "n", "n"]
