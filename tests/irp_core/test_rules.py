"""Rules against hand-computed values and invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from irp_core.config import Refinement
from irp_core.errors import InputError
from irp_core.params_file import load_params
from irp_core.rules import RULES, Iqr, Mad, MedianMultiple, Mixture, Rule

POSITIVE = arrays(np.float64, st.integers(3, 40), elements=st.floats(0.01, 100))


def test_rules_against_hand_computed_values() -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    assert MedianMultiple(2.0).threshold(scores) == 6.0
    assert Iqr(1.5).threshold(scores) == 4.0 + 1.5 * 2.0
    assert Mad(2.0).threshold(scores) == pytest.approx(3.0 + 2.0 * 1.4826 * 1.0, rel=1e-4)


@given(
    scores=POSITIVE,
    scale=st.floats(0.1, 10),
    rule=st.sampled_from([MedianMultiple(2.0), Iqr(2.0), Mad(2.0), Mixture(0.2)]),
)
def test_threshold_scales_with_the_scores(scores: np.ndarray, scale: float, rule: Rule) -> None:
    assert rule.threshold(scale * scores) == pytest.approx(scale * rule.threshold(scores))


@pytest.mark.parametrize("bad", [np.array([]), np.array([1.0, np.nan])])
@pytest.mark.parametrize("rule", [MedianMultiple(2.0), Iqr(), Mad(), Mixture(0.2)])
def test_threshold_refuses_what_has_no_median(bad: np.ndarray, rule: Rule) -> None:
    with pytest.raises(ValueError, match="at least one score"):
        rule.threshold(bad)


def test_the_settings_name_the_unknown_rule() -> None:
    with pytest.raises(InputError, match=r"refinement\.rule must be 'median_multiple', .* Got 'mode'"):
        load_params(None, ["refinement.rule=mode"])


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        (["refinement.rule=median_multiple", "refinement.lambda=1.4"], MedianMultiple(1.4)),
        (["refinement.rule=mixture", "refinement.fdr=0.3"], Mixture(0.3)),
        (["refinement.rule=iqr"], Iqr(1.5)),
        (["refinement.rule=mad"], Mad(3.0)),
        (["refinement.rule=mad", "refinement.k=5"], Mad(5.0)),
        (["refinement.rule=median_multiple", "refinement.k=5"], MedianMultiple(1.25)),  # k is not median_multiple's
    ],
)
def test_each_rule_has_its_own_number(overrides: list[str], rule: Rule) -> None:
    refinement = load_params(None, overrides).refinement
    assert refinement.rule is not None
    assert RULES[refinement.rule].of(refinement, 0.0) == rule


def test_labels_show_the_rule_with_its_number() -> None:
    made = [kind.of(Refinement(lambda_=1.5, fdr=0.1), 0.95) for kind in RULES.values()]
    assert [rule.label for rule in made] == ["median_multiple(1.5)", "iqr(1.5)", "mad(3)", "mixture(0.1)"]
    assert made[-1] == Mixture(0.1, 0.95)


def test_only_a_bound_is_left_out_where_images_return() -> None:
    assert Mixture(0.1, 0.95).for_return() == Mixture(0.1)
    assert Mad(2.0).for_return() == Mad(2.0)
