"""Decision rounds, and the policies that methods are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irp_core.config import Refinement
from irp_core.refinement.policy import Policy, policy_of
from irp_core.refinement.rounds import Decision, Round, decide
from irp_core.rules import Mad, MedianMultiple, Mixture

POSITIVE = arrays(np.float64, st.integers(3, 40), elements=st.floats(0.01, 100))
IRP = Policy(MedianMultiple(1.25), "all_above", "warm_start", 10, 0.5)


def decided(
    scores: np.ndarray,
    policy: Policy,
    *,
    iteration: int,
    initial_size: int,
    seed: int = 0,
    injected: np.ndarray | None = None,
    protected: np.ndarray | None = None,
    inside: np.ndarray | None = None,
    history: Sequence[frozenset[int]] = (),
) -> Decision:
    """The decision about images that are called by their place in `scores`."""
    yes, no = np.ones(len(scores), dtype=bool), np.zeros(len(scores), dtype=bool)
    images = pd.DataFrame(
        {
            "image_id": np.arange(len(scores)),
            "score": scores,
            "inside": yes if inside is None else inside,
            "protected": no if protected is None else protected,
        }
    )
    known = None if injected is None else frozenset(np.flatnonzero(injected))
    return decide(
        Round(iteration, images, seed=seed, injected=known), policy, [frozenset(range(initial_size)), *history]
    )


def ids(rows: pd.DataFrame) -> list[int]:
    return list(rows["image_id"])


@given(scores=POSITIVE)
def test_decision_partitions_the_set(scores: np.ndarray) -> None:
    decision = decided(scores, IRP, iteration=1, initial_size=len(scores))
    assert sorted([*ids(decision.kept), *ids(decision.removed)]) == list(range(len(scores)))
    assert (scores[ids(decision.removed)] > decision.threshold).all()
    if decision.stop_reason:
        assert len(decision.removed) == 0


@given(scores=POSITIVE, seed=st.integers(0, 1000))
def test_decision_follows_the_images_not_their_order(scores: np.ndarray, seed: int) -> None:
    scores = scores + np.arange(len(scores)) * 1e-7  # no ties: among equal scores the order may decide
    order = np.random.default_rng(seed).permutation(len(scores))
    plain = decided(scores, IRP, iteration=1, initial_size=len(scores))
    shuffled = decided(scores[order], IRP, iteration=1, initial_size=len(scores))
    assert set(order[ids(shuffled.removed)]) == set(ids(plain.removed))


def test_max_one_takes_only_the_maximum() -> None:
    scores = np.array([1.0, 1.0, 1.0, 5.0, 9.0])
    decision = decided(scores, dataclasses.replace(IRP, removal="max_one"), iteration=1, initial_size=5)
    assert ids(decision.removed) == [4]
    assert decision.n_above == 2


@given(scores=POSITIVE, seed=st.integers(0, 1000), removal=st.sampled_from(["max_one", "all_above"]))
def test_a_protected_image_never_goes_but_counts_for_the_threshold(scores: np.ndarray, seed: int, removal: str) -> None:
    protected = np.random.default_rng(seed).random(len(scores)) < 0.4
    policy = dataclasses.replace(IRP, removal=removal)  # type: ignore[arg-type]
    free = decided(scores, policy, iteration=1, initial_size=len(scores))
    decision = decided(scores, policy, iteration=1, initial_size=len(scores), protected=protected)
    assert not protected[ids(decision.removed)].any()
    assert (decision.threshold, decision.n_above) == (free.threshold, free.n_above)
    assert set(ids(decision.spared)) == set(np.flatnonzero(protected & (scores > decision.threshold)))
    if (scores > decision.threshold).any() and not len(decision.spared):
        assert ids(decision.removed) == ids(free.removed)


def test_random_control_spares_the_protected_too() -> None:
    policy = policy_of(Refinement(method="random"), random_counts=(5,))
    protected = np.arange(10) < 5
    decision = decided(np.ones(10), policy, iteration=1, initial_size=10, protected=protected)
    assert ids(decision.removed) == [5, 6, 7, 8, 9]


def test_stop_reasons() -> None:
    flat, peaked = np.ones(10), np.array([1.0] * 8 + [9.0, 9.0])
    assert decided(flat, IRP, iteration=1, initial_size=10).stop_reason == "converged"
    assert decided(peaked, IRP, iteration=11, initial_size=10).stop_reason == "max_iterations"
    assert decided(peaked, IRP, iteration=2, initial_size=20).stop_reason == "max_removed_fraction"


def test_max_removed_fraction_takes_the_highest_first() -> None:
    scores = np.array([1.0] * 8 + [8.0, 9.0])
    policy = dataclasses.replace(IRP, max_removed_fraction=0.1)
    assert ids(decided(scores, policy, iteration=1, initial_size=10).removed) == [9]


def test_oracle_removes_exactly_the_injected() -> None:
    injected = np.array([False, True, False, True])
    policy = policy_of(Refinement(method="oracle"))
    assert ids(decided(np.ones(4), policy, iteration=1, initial_size=4, injected=injected).removed) == [1, 3]
    with pytest.raises(ValueError, match="injected"):
        decided(np.ones(4), policy, iteration=1, initial_size=4)


def test_random_control_removes_the_given_counts() -> None:
    policy = policy_of(Refinement(method="random"), random_counts=(3, 2))
    first = decided(np.ones(10), policy, iteration=1, initial_size=10, seed=5)
    again = decided(np.ones(10), policy, iteration=1, initial_size=10, seed=5)
    assert len(first.removed) == 3
    assert ids(first.removed) == ids(again.removed)
    assert decided(np.ones(5), policy, iteration=3, initial_size=10).stop_reason == "max_iterations"


def test_algorithm_1_is_a_setting_of_the_loop() -> None:
    policy = policy_of(Refinement(method="irp_max_one", max_one_iterations=12))
    assert (policy.removal, policy.max_iterations, policy.retrain) == ("max_one", 12, "warm_start")
    scores = np.array([1.0, 1.0, 1.0, 2.0, 3.0])
    assert ids(decided(scores, policy, iteration=1, initial_size=5).removed) == [4]


REVERSIBLE = dataclasses.replace(IRP, reversible=True, score_on="out_of_fold", detector="consensus")


def test_an_image_that_was_removed_comes_back_below_the_threshold() -> None:
    scores = np.array([1.0, 1.0, 1.0, 1.1, 9.0, 1.05])
    inside = np.array([True, True, True, True, True, False])
    decision = decided(scores, REVERSIBLE, iteration=2, initial_size=6, inside=inside)
    assert ids(decision.removed) == [4]
    assert ids(decision.restored) == [5]
    assert ids(decision.kept) == [0, 1, 2, 3, 5]
    once = decided(scores, IRP, iteration=2, initial_size=6, inside=inside)
    assert len(once.restored) == 0
    assert ids(once.kept) == [0, 1, 2, 3]


def test_a_set_that_was_there_before_is_a_cycle() -> None:
    scores = np.array([1.0, 1.0, 1.0, 1.1, 9.0, 1.05])
    inside = np.array([True, True, True, True, True, False])
    decision = decided(
        scores, REVERSIBLE, iteration=3, initial_size=6, inside=inside, history=[frozenset({0, 1, 2, 3, 5})]
    )
    assert decision.stop_reason == "cycle"
    assert ids(decision.kept) == [0, 1, 2, 3, 4]
    assert len(decision.removed) == len(decision.restored) == 0


@given(scores=POSITIVE, seed=st.integers(0, 1000))
def test_the_next_set_is_what_stays_and_what_comes_back(scores: np.ndarray, seed: int) -> None:
    inside = np.random.default_rng(seed).random(len(scores)) < 0.7
    inside[0] = True
    decision = decided(scores, REVERSIBLE, iteration=1, initial_size=len(scores), inside=inside)
    before = set(np.flatnonzero(inside))
    assert set(ids(decision.kept)) == before - set(ids(decision.removed)) | set(ids(decision.restored))
    assert set(ids(decision.removed)) <= before
    assert not set(ids(decision.restored)) & before


def test_concentration_ends_within_as_many_sets_as_there_are() -> None:
    """Scores that depend on the set: the loop ends by itself, in a fixed point or a cycle that is found."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(0, 1, 60), rng.normal(8, 1, 20)])
    inside, seen = np.ones(80, dtype=bool), []
    policy = dataclasses.replace(REVERSIBLE, rule=Mad(3.0), max_iterations=1000)
    for iteration in range(1, 200):
        seen.append(frozenset(np.flatnonzero(inside).tolist()))
        scores = np.exp(np.abs(values - np.median(values[inside])))
        decision = decided(scores, policy, iteration=iteration, initial_size=80, inside=inside, history=seen)
        if decision.stop_reason:
            break
        inside = np.isin(np.arange(80), ids(decision.kept))
    assert decision.stop_reason in ("converged", "cycle")


def test_who_went_with_confidence_returns_when_the_evidence_turns_not_when_it_weakens() -> None:
    """16 of 80 lie apart and are out; one round later there is a doubt about three of them."""
    rng = np.random.default_rng(3)
    logs = np.concatenate([rng.normal(0.0, 0.3, 64), rng.normal(2.0, 0.3, 16)])
    cautious = dataclasses.replace(REVERSIBLE, rule=Mixture(0.2, 0.95))
    first = decided(np.exp(logs), cautious, iteration=1, initial_size=80)
    assert set(ids(first.removed)) <= set(range(64, 80)) and len(first.removed) >= 8
    inside = np.arange(80) < 64
    second = decided(np.exp(logs), cautious, iteration=2, initial_size=80, inside=inside)
    assert second.stop_reason == "converged"  # what lies above the free limit stays out, below the bound or not
    logs[64:67] = 0.0
    third = decided(np.exp(logs), cautious, iteration=3, initial_size=80, inside=inside)
    assert list(ids(third.restored)) == [64, 65, 66]
