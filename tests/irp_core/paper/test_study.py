"""The studies: memory and λ on a set whose defects are plain, and the sentences made of their tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from irp_core.config import DifferNetParams, Features, Figures, Params, Refinement, Training
from irp_core.detectors.differnet import DifferNet
from irp_core.features.feature_set import FeatureSet
from irp_core.paper.study import Memory, StudySet, lambda_rows, memory_of
from irp_core.paper.study_figures import figure6, figure7, figure8
from irp_core.paper.study_reading import lambda_table, memory_table, protocol_table, study_reading

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
def memory(found: StudySet) -> Memory:
    return memory_of(found, PARAMS)


@pytest.fixture(scope="module")
def lambdas(found: StudySet, memory: Memory) -> pd.DataFrame:
    return pd.DataFrame(list(lambda_rows(found, memory, (1.05, 50.0), PARAMS))).assign(entity="made")


def test_plain_defects_rank_first_and_the_rule_finds_them(memory: Memory, lambdas: pd.DataFrame) -> None:
    epochs = memory.epochs
    assert epochs["epoch"].tolist() == [1, 2]
    assert epochs["ranking"].tolist() == [1.0, 1.0]
    assert epochs["recall"].tolist() == [1.0, 1.0]
    assert (epochs["bad_05"] > epochs["good_95"]).all()
    rows = lambdas.set_index(["scores", "lambda"])
    for name in ("in_sample_early", "in_sample", "out_of_fold"):
        assert rows.loc[(name, 1.05), "removed_bad"] == 3
        assert rows.loc[(name, 50.0), ["removed_good", "removed_bad"]].tolist() == [0, 0]
        assert rows.loc[(name, 50.0), "auroc"] == lambdas.loc[lambdas["scores"] == "vanilla", "auroc"].iloc[0]


def test_nothing_removed_is_the_flow_whose_memory_was_looked_at(found: StudySet, memory: Memory) -> None:
    detector = DifferNet.build(found.train, PARAMS, torch.device("cpu"))
    detector.fit(found.train, epochs=2, seed=0)
    assert (detector.score(found.train) == memory.scores).all()
    assert not (memory.early == memory.scores).all()


def test_histograms_count_every_image_once(memory: Memory) -> None:
    counted = memory.histograms.groupby("epoch")[["good", "bad"]].sum()
    assert counted.to_dict("index") == {1: {"good": 17, "bad": 3}, 2: {"good": 17, "bad": 3}}
    last = memory.histograms[memory.histograms["epoch"] == 2]
    multiples = memory.scores / np.median(memory.scores)
    assert last.loc[last["high"] <= 1.0, "good"].sum() == (multiples[~BAD] < 1.0).sum()


def test_labels_change_nothing_but_what_is_reported(found: StudySet, memory: Memory) -> None:
    shuffled = StudySet(found.train, found.contents, BAD[::-1].copy(), found.test, found.defective)
    assert (memory.scores == memory_of(shuffled, PARAMS).scores).all()


def test_the_tables_sentences_and_figures_say_what_was_measured(memory: Memory, lambdas: pd.DataFrame) -> None:
    epochs, histograms = memory.epochs.assign(entity="made"), memory.histograms.assign(entity="made")
    table = lambda_table(lambdas)
    assert table["scores"].tolist() == ["in sample, after a tenth of the epochs", "in sample", "out of fold"]
    vanilla = lambdas.loc[lambdas["scores"] == "vanilla", "auroc"].iloc[0]
    assert table.loc[1, "λ = 50"] == f"{vanilla:.3f} (0/0)"
    fewer = lambda_table(lambdas[lambdas["lambda"] != 1.05])
    assert "λ = 1.05" not in fewer
    assert memory_table(epochs).iloc[0].tolist() == [
        "made",
        "8",
        "2",
        *["1.000 (100 %)"] * 2,
        "1.000 (100 %), epoch 1",
        "1.000 (100 %)",
    ]
    ranking, recall, auroc = study_reading(lambdas, epochs, 50.0)
    assert ranking.endswith("made, hidden 8: 1.00, then 1.00.")
    assert recall.endswith("made, hidden 8: 100 %, then 100 %.")
    assert f"in sample {vanilla:.3f}, out of fold {vanilla:.3f} (nothing removed {vanilla:.3f}" in auroc
    assert [axes.get_ylabel() for axes in figure6(lambdas, Figures()).axes][1:] == [
        "removal precision",
        "removal recall",
    ]
    widths = pd.concat([lambdas.assign(width=width) for width in (8, 16, 32, 64)])
    assert len(figure6(widths, Figures()).axes[0].lines) == 4 * (3 + 2)  # kinds of score, and what bounds them
    assert figure7(epochs, Figures()).axes[1].get_xlabel() == "epoch"
    shown = figure8(histograms, 1.25, Figures())
    assert [axes.get_title() for axes in shown.axes] == ["epoch 1", "epoch 2"]


def test_protocols_stand_side_by_side() -> None:
    rows = [("plain", seed, method, auroc) for seed, auroc in ((0, 0.8), (1, 0.9)) for method in ("vanilla", "irp")]
    protocols = pd.DataFrame(rows, columns=["protocol", "seed", "method", "auroc"])
    protocols = protocols.assign(entity="made", n=20, n_injected=3, n_test=20)
    assert protocol_table(protocols).iloc[0].tolist() == ["made", "plain", 20, 3, 20, "0.850 ± 0.071", "0.850 ± 0.071"]
