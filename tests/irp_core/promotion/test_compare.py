"""Champion against challenger: what each check says, and what the checks come to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irp_core.config.lines import PromotionPolicy
from irp_core.errors import InputError
from irp_core.promotion import Comparison, ModelEvidence, compare, with_reviewed
from tests.irp_core.promotion.evidence import binormal, evidence, golden_table, table

GOLDEN = PromotionPolicy(mode="golden")


def labelled(defects: int = 40, good: int = 80, auroc: float = 0.95, seed: int = 3) -> pd.DataFrame:
    return golden_table(*binormal(defects, good, auroc, seed))


def verdicts(found: Comparison) -> dict[str, str]:
    return dict(zip(found.checks["check"], found.checks["verdict"], strict=True))


def test_an_equal_challenger_is_promoted_by_the_golden_policy_alone() -> None:
    champion, challenger = evidence("line3/1", golden=labelled()), evidence("line3/2", golden=labelled())
    found = compare(champion, challenger, GOLDEN)
    assert set(verdicts(found).values()) == {"pass"}, found.checks.to_string()
    assert found.verdict == "promote"
    assert found.flips.empty
    for mode, verdict in (("manual", "ask"), ("always", "promote")):
        assert compare(champion, challenger, PromotionPolicy(mode=mode)).verdict == verdict


def test_below_20_defects_or_50_good_images_nothing_is_promoted_by_the_golden_policy() -> None:
    for defects, good, verdict in ((19, 80, "ask"), (40, 49, "ask"), (20, 50, "promote")):
        images = labelled(defects, good)
        found = compare(evidence("line3/1", golden=images), evidence(golden=images), GOLDEN)
        assert found.verdict == verdict, (defects, good, found.reason)
    assert compare(evidence("line3/1"), evidence(), GOLDEN).verdict == "ask"


def test_a_worse_challenger_is_refused_and_an_unsure_one_is_asked_about() -> None:
    scores, truth = binormal(60, 60, 0.97, seed=1)
    noise = np.random.default_rng(5).standard_normal(120)
    champion = evidence("line3/1", golden=golden_table(scores, truth))
    worse = compare(champion, evidence(golden=golden_table(scores + 2.5 * noise, truth)), GOLDEN)
    assert worse.verdict == "refuse"
    assert verdicts(worse)["golden AUROC"] == "veto"
    assert "AUROC goes from" in worse.reason
    ranks_only = PromotionPolicy(mode="golden", margin_misses=0.9, margin_alarms=0.9)
    unsure = compare(champion, evidence(golden=golden_table(scores + 0.6 * noise, truth)), ranks_only)
    assert verdicts(unsure)["golden AUROC"] == "open"
    assert unsure.verdict == "ask"


def test_misses_and_alarms_at_the_threshold_count_although_the_ranks_are_the_same() -> None:
    images = labelled(60, 120)
    champion = evidence("line3/1", golden=images)
    for threshold, check in ((3.5, "golden misses"), (0.3, "golden alarms")):
        challenger = evidence(golden=images, threshold=threshold)
        found = compare(champion, challenger, GOLDEN)
        assert verdicts(found)["golden AUROC"] == "pass"
        assert verdicts(found)[check] == "veto", found.checks.to_string()
        assert found.verdict == "refuse"


def test_more_alarms_than_declared_refuse_a_challenger_only_where_the_champion_raises_none() -> None:
    rng = np.random.default_rng(0)
    good = rng.standard_normal(400)
    some = np.where(np.arange(400) < 80, good + 4.0, good)  # 20 % alarms
    assert verdicts(compare(evidence("line3/1", scores=good), evidence(scores=some), GOLDEN))["alarm share"] == "veto"
    both = compare(evidence("line3/1", scores=some), evidence(scores=some), GOLDEN)
    assert verdicts(both)["alarm share"] == "open"
    first = compare(None, evidence(scores=some), GOLDEN)
    assert verdicts(first)["alarm share"] == "open"
    known = compare(evidence("line3/1", scores=good), evidence(scores=some, contamination=0.2), GOLDEN)
    assert verdicts(known)["alarm share"] == "pass"  # it said that a fifth is defective


def test_what_was_removed_is_held_against_the_versions_before() -> None:
    challenger = evidence(share_removed=0.3, contamination=0.32)
    found = compare(evidence("line3/1"), challenger, PromotionPolicy(mode="always"))
    assert (verdicts(found)["share removed"], verdicts(found)["contamination"]) == ("veto", "veto")
    assert found.verdict == "refuse"
    assert "30.0%" in found.reason
    first = compare(None, replace(challenger, contamination=None, history=challenger.history[:0]), GOLDEN)
    assert (verdicts(first)["share removed"], verdicts(first)["contamination"]) == ("pass", "open")


def test_new_images_that_look_different_are_drift() -> None:
    scores = np.random.default_rng(0).standard_normal(400)
    shifted = np.where(np.arange(400) < 300, scores, scores + 3.0)
    found = compare(evidence("line3/1", scores=shifted), evidence(), PromotionPolicy(mode="always"))
    assert verdicts(found)["drift"] == "veto"
    champion = evidence("line3/1")
    few = replace(champion, scores=champion.scores[:310])
    assert verdicts(compare(few, evidence(), GOLDEN))["drift"] == "open"
    unknown = replace(champion, scores=champion.scores.drop(columns="new"))
    assert verdicts(compare(unknown, evidence(), GOLDEN))["drift"] == "open"


def test_flipped_decisions_are_listed_with_both_scores() -> None:
    before, after = np.zeros(400), np.zeros(400)
    before[0], after[1] = 9.0, 9.0
    found = compare(evidence("line3/1", scores=before), evidence(scores=after), GOLDEN)
    assert found.flips[["image_id", "change", "champion_score", "challenger_score"]].to_numpy().tolist() == [
        ["line/0000.png", "no longer an alarm", 9.0, 0.0],
        ["line/0001.png", "now an alarm", 0.0, 9.0],
    ]
    assert verdicts(found)["flipped decisions"] == "pass"
    after[100:200] = 9.0
    many = compare(evidence("line3/1", scores=before), evidence(scores=after), GOLDEN)
    assert verdicts(many)["flipped decisions"] == "open"


def test_reviewed_images_count_as_labelled_ones_if_nobody_trained_on_them() -> None:
    models = [
        with_reviewed(
            evidence(name, golden=labelled(19, 80), trained_on={"line/0001"}),
            {"line/0000": "defective", "line/0001": "defective", "golden/0000": "good", "unknown": "good"},
        )
        for name in ("line3/1", "line3/2")
    ]
    found = compare(*models, GOLDEN)
    assert found.verdict == "promote"
    sentence = found.checks.set_index("check").loc["golden set", "sentence"]
    assert sentence.startswith("20 labelled defects and 80 labelled good images (1 more were trained on")


def test_the_first_version_needs_ranks_above_chance() -> None:
    assert compare(None, evidence(golden=labelled()), GOLDEN).verdict == "promote"
    assert compare(None, evidence(golden=labelled(auroc=0.5)), GOLDEN).verdict in ("ask", "refuse")
    assert compare(None, evidence(golden=labelled()), PromotionPolicy()).verdict == "ask"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": float("nan")}, "line3/2: expected a finite threshold, found nan."),
        ({"scores": table("a", np.array([np.inf]))}, "expected finite scores, found another of a0000.png"),
        ({"scores": pd.DataFrame({"md5": []})}, "expected scores with column 'image_id'"),
        ({"golden": table("g", np.array([1.0]), label="odd")}, "golden labels good or defective, found 'odd'"),
    ],
)
def test_evidence_that_is_none_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(evidence(), **change)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.01, 100.0), shift=st.floats(-50.0, 50.0))
def test_two_models_share_no_scale(seed: int, scale: float, shift: float) -> None:
    """A monotone change of a model's scores and threshold changes no verdict, and no value."""
    champion = evidence("line3/1", seed=seed, golden=labelled(seed=seed))
    challenger = evidence(seed=seed + 1, golden=labelled(seed=seed + 1))

    def moved(model: ModelEvidence) -> ModelEvidence:
        assert model.golden is not None
        tables = {
            name: frame.assign(score=frame["score"] * scale + shift)
            for name, frame in (("scores", model.scores), ("golden", model.golden))
        }
        return replace(model, threshold=model.threshold * scale + shift, **tables)  # type: ignore[arg-type]

    plain, other = compare(champion, challenger, GOLDEN), compare(champion, moved(challenger), GOLDEN)
    pd.testing.assert_frame_equal(plain.checks, other.checks)
    assert plain.flips["md5"].tolist() == other.flips["md5"].tolist()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), trained=st.sets(st.integers(0, 399), max_size=200))
def test_neither_order_nor_what_was_trained_on_changes_anything(seed: int, trained: set[int]) -> None:
    """Rows may come in any order, and scores of images that a model trained on do not count."""
    seen = frozenset(f"line/{index:04d}" for index in trained)
    models = [evidence(f"line3/{k}", seed=seed + k, golden=labelled(), trained_on=seen) for k in (1, 2)]
    plain = compare(*models, GOLDEN)
    rng = np.random.default_rng(seed)
    changed = []
    for model in models:
        scores = model.scores.assign(score=np.where(model.scores["md5"].isin(seen), 99.0, model.scores["score"]))
        assert model.golden is not None
        changed.append(
            replace(model, scores=scores.iloc[rng.permutation(400)], golden=model.golden.iloc[rng.permutation(120)])
        )
    other = compare(*changed, GOLDEN)
    pd.testing.assert_frame_equal(plain.checks, other.checks)
    pd.testing.assert_frame_equal(plain.flips, other.flips)
    assert not set(other.flips["md5"]) & seen
