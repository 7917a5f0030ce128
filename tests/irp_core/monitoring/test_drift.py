"""Drift is found where it is, and the false-alarm budget holds over a thousand windows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from irp_core.errors import InputError
from irp_core.monitoring.drift import COLUMNS, P_VALUE, drift, population_stability_index

THRESHOLD = 1.6


def scored(scores: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"score": scores, "decision": np.where(scores > THRESHOLD, "anomalous", "normal")})


@pytest.mark.parametrize("size", [100, 500])
def test_a_thousand_windows_without_drift_stay_within_the_budget(size: int) -> None:
    alarms = 0
    for seed in range(20):  # of twenty references: one alone may be odd
        rng = np.random.default_rng([seed, size])
        reference = scored(rng.lognormal(0.0, 0.3, 500))
        alarms += int(drift(reference, scored(rng.lognormal(0.0, 0.3, 50 * size)), window=size)["alarm"].sum())
    most = stats.binom(1000, 2 * P_VALUE).ppf(0.999)
    assert alarms <= most


def test_psi_would_alarm_without_drift() -> None:
    rng = np.random.default_rng(0)
    found = [population_stability_index(rng.normal(size=200), rng.normal(size=50)) for _ in range(200)]
    assert np.mean(np.array(found) > 0.1) > 0.8


@pytest.mark.parametrize(("factor", "said"), [(1.3, "higher"), (0.75, "lower")])
def test_scores_that_moved_alarm_in_the_first_window(factor: float, said: str) -> None:
    rng = np.random.default_rng(1)
    table = drift(scored(rng.lognormal(0.0, 0.3, 300)), scored(factor * rng.lognormal(0.0, 0.3, 100)))
    assert tuple(table.columns) == COLUMNS
    assert table["alarm"].tolist() == [True]
    assert said in table["reason"][0]


def test_more_alarms_are_told_where_the_bulk_of_the_scores_stayed() -> None:
    rng = np.random.default_rng(2)
    now = rng.lognormal(0.0, 0.1, 100)
    now[:9] = 3.0
    table = drift(scored(rng.lognormal(0.0, 0.1, 1000)), scored(now))
    assert table["alarm"].tolist() == [True]
    assert "9 % of the images are alarms, in the reference 0 %" in table["reason"][0]


def test_unreadable_images_and_what_is_left_over_do_not_count() -> None:
    rng = np.random.default_rng(3)
    new = scored(rng.lognormal(0.0, 0.3, 250))
    new.loc[:60, "score"] = np.nan
    assert drift(scored(rng.lognormal(0.0, 0.3, 100)), new)["images"].tolist() == [100]


def test_too_few_tell_nothing() -> None:
    few, many = (scored(np.linspace(0, 1, count)) for count in (99, 100))
    with pytest.raises(InputError, match="at least 100"):
        drift(few, many)
    with pytest.raises(InputError, match="at least 100"):
        drift(many, many, window=50)
