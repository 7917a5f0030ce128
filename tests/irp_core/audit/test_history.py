"""The auditor's tables against small cases worked out by hand, and what-if against brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irp_core.audit.findings import row_differences
from irp_core.audit.history import (
    defective_lower_bounds,
    difference,
    image_history,
    removals_of_set,
    thresholds_applied,
)
from irp_core.audit.whatif import changed_images, removal_curve, what_if
from irp_core.plots import what_if_curves
from irp_core.removals import REMOVAL_SCHEMA
from irp_core.rules import MedianMultiple

MANIFEST = pd.DataFrame(
    {
        "image_id": ["a.png", "b.png", "t.png"],
        "md5": ["a" * 32, "b" * 32, "c" * 32],
        "split": ["train", "train", "test"],
    }
)
SCORES = pd.DataFrame(
    {
        "image_id": ["a.png", "b.png", "a.png"],
        "md5": ["a" * 32, "b" * 32, "a" * 32],
        "iteration": [0, 0, 1],
        "score": [1.0, 3.0, 0.9],
    }
)
ITERATIONS = pd.DataFrame({"iteration": [0, 1], "threshold": [np.nan, 2.0]})


def removal(image: str, iteration: int, decision: str = "removed", reviewer: str | None = None) -> pd.DataFrame:
    row = {"image_id": image, "md5": image[0] * 32, "iteration": iteration, "score": 3.0, "threshold": 2.0}
    row |= {"rule": "iqr(1.5)", "margin": 1.0, "decision": decision, "reviewer": reviewer}
    return pd.DataFrame([row]).reindex(columns=REMOVAL_SCHEMA.names)


def test_scores_without_a_lower_bound_have_none() -> None:
    iterations = pd.DataFrame({"iteration": [0, 1, 2], "defective_lower_bound": [np.nan, 0.25, np.nan]})
    assert defective_lower_bounds(iterations, {"defective_lower_bound": 0.1}) == {0: 0.25, 1: None, 2: 0.1}


def test_history_holds_each_score_against_the_threshold_of_the_next_look() -> None:
    applied = thresholds_applied(ITERATIONS, {"threshold": 1.5})
    assert applied == {0: 2.0, 1: 1.5}
    kept = image_history(MANIFEST[:1], SCORES, removal("b.png", 1), applied)
    assert kept[["iteration", "score", "threshold", "decision"]].to_numpy().tolist() == [
        [0, 1.0, 2.0, "kept"],
        [1, 0.9, 1.5, "kept"],
    ]
    gone = image_history(MANIFEST[1:2], SCORES, removal("b.png", 1), applied)
    assert gone[["iteration", "trained_on", "decision", "rule"]].to_numpy().tolist() == [
        [0, True, "removed", "iqr(1.5)"]
    ]


def test_history_says_why_an_image_was_in_no_training_set() -> None:
    tested = image_history(MANIFEST[2:], SCORES, removal("b.png", 1), {})
    assert tested[["split", "trained_on", "decision"]].to_numpy().tolist() == [["test", False, "not a training image"]]
    excluded = image_history(MANIFEST[:1], SCORES[:0], removal("a.png", 0, "removed_by_review", "Ada"), {})
    assert excluded[["trained_on", "decision", "reviewer"]].to_numpy().tolist() == [[False, "removed_by_review", "Ada"]]


def test_a_later_review_does_not_hide_that_an_image_was_trained_on() -> None:
    reviewed = removal("a.png", 2, "removed_by_review", "Ada")
    history = image_history(MANIFEST[:1], SCORES, reviewed, {0: 2.0, 1: 1.5})
    assert history[["trained_on", "decision"]].to_numpy().tolist() == [
        [True, "kept"],
        [True, "trained on, later removed_by_review"],
    ]


def test_a_later_review_does_not_hide_that_an_image_was_removed() -> None:
    reviewed = removal("b.png", 1, "kept_by_review", "Ada")
    history = image_history(MANIFEST[1:2], SCORES, reviewed, {0: 2.0, 1: 1.5})
    assert history["decision"].tolist() == ["removed, later kept_by_review"]
    rows = MANIFEST[["image_id", "md5"]]
    table = difference(rows[:2], rows[:1], {"A": reviewed[:0], "B": reviewed}, {"A": MANIFEST, "B": MANIFEST})
    assert table[["image_id", "why"]].to_numpy().tolist() == [["b.png", "removed, later kept by review in B"]]
    moved = rows[:1].assign(image_id="other.png")
    none = reviewed[:0]
    table = difference(rows[:1], moved, {"A": none, "B": none}, {"A": MANIFEST, "B": MANIFEST[:0]})
    assert table["why"].iloc[0] == "B has this content under the name other.png"


def test_a_models_removals_say_what_was_before_what_a_later_review_wants() -> None:
    rows = [("b.png", "kept_by_review"), ("c.png", "removed"), ("d.png", "removed_by_review")]
    outside = pd.concat([removal(image, 1, said) for image, said in rows], ignore_index=True)
    inside = pd.concat([removal("e.png", 2, "kept_by_review"), removal("f.png", 2, "removed_by_review")])
    table = removals_of_set(pd.concat([outside, inside]), pd.DataFrame({"image_id": ["a.png", "e.png", "f.png"]}))
    assert table["decision"].tolist() == [
        "removed, later kept_by_review",
        "removed",
        "removed_by_review",
        "kept_by_review",
        "trained on, later removed_by_review",
    ]


def test_difference_gives_each_reason() -> None:
    ours = pd.DataFrame({"image_id": [f"{x}.png" for x in "abcde"], "md5": [x * 32 for x in "abcde"], "split": "train"})
    theirs = ours[ours["image_id"] != "d.png"].copy()
    theirs.loc[theirs["image_id"] == "c.png", "md5"] = "f" * 32
    theirs.loc[theirs["image_id"] == "e.png", "split"] = "test"
    kept = theirs[theirs["image_id"].isin(["a.png", "c.png"])]
    table = difference(
        ours[["image_id", "md5"]],
        kept[["image_id", "md5"]],
        {"A": removal("x.png", 1)[:0], "B": removal("b.png", 2)},
        {"A": ours, "B": theirs},
    )
    why = {(row.image_id, row.only_in): row.why for row in table.itertuples()}
    assert why[("b.png", "A")] == "removed in B"
    assert why[("c.png", "A")] == f"B has other content under this name (md5 {'f' * 32})"
    assert why[("c.png", "B")] == f"A has other content under this name (md5 {'c' * 32})"
    assert why[("d.png", "A")] == "not in B's data set"
    assert why[("e.png", "A")] == "not a training image of B (split test)"
    assert len(why) == 5
    assert table.set_index("image_id").loc["b.png", "iteration"] == 2


@given(
    values=st.lists(st.floats(0.01, 10), min_size=4, max_size=30),
    factor=st.floats(1.01, 3),
    seed=st.integers(0, 99),
)
def test_what_if_counts_as_the_rule_would(values: list[float], factor: float, seed: int) -> None:
    truth = np.random.default_rng(seed).random(len(values)) < 0.4
    names = [f"{i}.png" for i in range(len(values))]
    scores = pd.DataFrame({"image_id": names, "iteration": 0, "score": values})
    injected = dict(zip(names, truth.tolist(), strict=True))
    (row,) = what_if(scores, MedianMultiple(factor), {0: 1.0}, injected).to_dict("records")
    limit = MedianMultiple(factor).threshold(np.array(values))
    above = np.array(values) > limit
    then = np.array(values) > 1.0
    assert row["n_above"] == above.sum()
    assert row["n_above"] - row["gained"] == row["n_above_then"] - row["lost"]
    if above.any():
        assert row["precision"] == pytest.approx((above & truth).sum() / above.sum())
    else:
        assert pd.isna(row["precision"])
    images = changed_images(scores, {0: limit}, {0: 1.0}, {})
    assert len(images) == (above | then).sum()
    assert images["score"].is_monotonic_decreasing


@given(seed=st.integers(0, 200), size=st.integers(2, 40))
def test_the_removal_curve_is_precision_and_recall_of_every_cut(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, size).astype(float)  # ties
    truth = rng.random(size) < 0.5
    truth[0] = True
    for row in removal_curve(scores, truth).itertuples():
        gone = scores >= row.lowest_removed
        assert row.n_removed == gone.sum()
        assert row.precision == pytest.approx(truth[gone].mean())
        assert row.recall == pytest.approx(truth[gone].sum() / truth.sum())


def test_the_what_if_figure_marks_both_thresholds_on_first_and_last_scores() -> None:
    scores = pd.DataFrame({"image_id": ["a", "b", "a"], "iteration": [0, 0, 2], "score": [1.0, 2.0, 1.0]})
    figure = what_if_curves(scores, {0: 1.5, 2: 1.2}, {0: 1.1, 2: 1.3}, {"a": False, "b": True})
    for axes, (applied, other) in zip(figure.axes, ((1.1, 1.5), (1.3, 1.2)), strict=True):
        marks = {line.get_label(): line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1}
        assert marks["threshold applied"] == applied
        assert marks["what if"] == other


def test_row_differences_name_what_is_missing_added_and_changed() -> None:
    base = pd.DataFrame({"image_id": ["a", "b", "c"], "score": [1.0, 2.0, np.nan]})
    assert row_differences(base, base.iloc[::-1]) == []
    other = pd.DataFrame({"image_id": ["a", "c", "d"], "score": [1.5, np.nan, 1.0]})
    assert row_differences(base, other) == ["rows missing: b", "rows too many: d", "rows changed: a"]
