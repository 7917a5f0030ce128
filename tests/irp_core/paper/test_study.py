"""The studies: memory and λ on a set whose defects are plain, and the sentences made of their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from irp_core.config import DifferNetParams, Features, Figures, Params, Refinement, Training
from irp_core.features.feature_set import FeatureSet
from irp_core.paper.study import StudySet, lambda_rows, memory_rows
from irp_core.paper.study_figures import figure6, figure7
from irp_core.paper.study_reading import protocol_table, study_reading

PARAMS = Params(
    differnet=DifferNetParams(blocks=2, hidden=8),
    training=Training(epochs=2),
    refinement=Refinement(folds=2),
    features=Features(device="cpu"),
)
BAD = np.arange(20) >= 17


@pytest.fixture(scope="module")
def found() -> StudySet:
    generator = np.random.default_rng(0)
    train, test = (generator.normal(size=(20, 2, 4)).astype(np.float32) for _ in range(2))
    train[BAD] += 6
    test[BAD] += 6
    return StudySet(FeatureSet(train), [str(n) for n in range(20)], BAD, FeatureSet(test), BAD)


@pytest.fixture(scope="module")
def tables(found: StudySet) -> tuple[pd.DataFrame, pd.DataFrame]:
    memory, scores = memory_rows(found, PARAMS)
    lambdas = pd.DataFrame(list(lambda_rows(found, scores, (1.05, 50.0), PARAMS)))
    return memory.assign(entity="made"), lambdas.assign(entity="made")


def test_plain_defects_rank_first_and_the_rule_finds_them(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    memory, lambdas = tables
    assert memory["epoch"].tolist() == [1, 2]
    assert memory["ranking"].tolist() == [1.0, 1.0]
    assert memory["recall"].tolist() == [1.0, 1.0]
    assert (memory["bad_05"] > memory["good_95"]).all()
    rows = lambdas.set_index(["scores", "lambda"])
    for name in ("in_sample", "out_of_fold"):
        assert rows.loc[(name, 1.05), "removed_bad"] == 3
        assert rows.loc[(name, 50.0), ["removed_good", "removed_bad"]].tolist() == [0, 0]
        assert rows.loc[(name, 50.0), "auroc"] == lambdas.loc[lambdas["scores"] == "vanilla", "auroc"].iloc[0]


def test_labels_change_nothing_but_what_is_reported(found: StudySet) -> None:
    shuffled = StudySet(found.train, found.contents, BAD[::-1].copy(), found.test, found.defective)
    _, scores = memory_rows(found, PARAMS)
    _, again = memory_rows(shuffled, PARAMS)
    assert (scores == again).all()


def test_the_sentences_and_figures_say_what_the_tables_hold(tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    memory, lambdas = tables
    rows = [("plain", seed, method, auroc) for seed, auroc in ((0, 0.8), (1, 0.9)) for method in ("vanilla", "irp")]
    protocols = pd.DataFrame(rows, columns=["protocol", "seed", "method", "auroc"])
    protocols = protocols.assign(entity="made", n=20, n_injected=3, n_test=20)
    first, second, third = study_reading(lambdas, memory, protocols, 1.25)
    assert "with in-sample scores AUROC is" in first and "to 100 % (λ = 1.05)" in first
    assert "rank the injected defects best after epoch 1 of 2 (AUROC 1.000)" in second
    assert third == "**made**, nothing removed, by noise protocol: plain: 0.850."
    assert study_reading(lambdas, memory, protocols.head(0), 1.25) == [first, second]  # the protocols were not compared
    assert protocol_table(protocols).iloc[0].tolist() == ["made", "plain", 20, 3, 20, "0.850 ± 0.071", "0.850 ± 0.071"]
    assert [axes.get_ylabel() for axes in figure6(lambdas, Figures()).axes][1:] == [
        "removal precision",
        "removal recall",
    ]
    assert figure7(memory, Figures()).axes[1].get_xlabel() == "epoch"
