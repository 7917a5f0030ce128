"""Studies of the paper's open points: λ, the flow's width, in-sample scores, and how a set is contaminated.

Labels are read to report; nothing here chooses by them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.config import Params
from irp_core.detectors import Detector, detector_class
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.detectors.protocol import EpochReport
from irp_core.features.feature_set import FeatureSet
from irp_core.features.pooled import resolve_device
from irp_core.statistics.metrics import detection, removal

__all__ = ["QUANTILES", "StudySet", "lambda_rows", "memory_rows"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the scores' distribution, as multiples of the median of all of them."""


@dataclass(frozen=True)
class StudySet:
    """A contaminated training set and its test set.

    Attributes:
        train: features of the n training images.
        contents: digest of each training image's bytes (n,).
        injected: which are defective (n,); read to report.
        test: features of the test images.
        defective: which of these are defective.
    """

    train: FeatureSet
    contents: Sequence[str]
    injected: NDArray[np.bool_]
    test: FeatureSet
    defective: NDArray[np.bool_]


def memory_rows(found: StudySet, params: Params) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Train on all images; after every epoch, score those that it trains on.

    When the flow knows the injected defects by heart their scores are like the good ones', and no λ finds them.

    Returns:
        A row per epoch: `width, epoch, loss`; `ranking`, the AUROC of the injected among the training images;
        `precision, recall` of the paper's rule at `refinement.lambda`, had it been asked then; `test_auroc`; and
        quantiles of the scores, as multiples of their median: `good_05 … good_95`, `bad_05 … bad_95`.
        And the scores (n,) after the last epoch.
    """
    rows: list[dict[str, float]] = []
    detector = _detector(found, params)
    scores = np.empty(0)

    def after(report: EpochReport) -> None:
        nonlocal scores
        scores = detector.score(found.train)
        multiples = scores / np.median(scores)
        above = multiples > params.refinement.lambda_
        asked = removal(found.injected[above].tolist(), int(found.injected.sum()))
        rows.append(
            {
                "width": params.differnet.hidden,
                "epoch": report.epoch,
                "loss": report.loss,
                "ranking": _auroc(scores, found.injected),
                "precision": _known(asked.precision),
                "recall": _known(asked.recall),
                "test_auroc": _auroc(detector.score(found.test), found.defective),
                **_quantiles("good", multiples[~found.injected]),
                **_quantiles("bad", multiples[found.injected]),
            }
        )

    detector.fit(found.train, epochs=params.training.epochs, seed=params.run.seed * 1000, report=after)
    return pd.DataFrame(rows), scores


def lambda_rows(
    found: StudySet, in_sample: NDArray[np.float64], lambdas: Sequence[float], params: Params
) -> Iterator[dict[str, object]]:
    """One round of equation 6 at each λ, with scores in sample and out of fold: remove, then train anew from scratch.

    Args:
        in_sample: of `memory_rows`.

    Yields:
        `width, scores` (in_sample or out_of_fold), `lambda, removed_good, removed_bad, precision, recall, auroc`; λ is
        NaN in the two rows of what bounds it: `vanilla` and `oracle` in place of `scores`.
    """
    out_of_fold = out_of_fold_scores(
        lambda: _detector(found, params),
        found.train,
        found.contents,
        folds=params.refinement.folds,
        epochs=params.training.epochs,
        seed=params.run.seed,
    ).scores
    known: dict[bytes, float] = {}

    def auroc_without(removed: NDArray[np.bool_]) -> float:
        key = removed.tobytes()
        if key not in known:  # neighbouring λ often remove the same images
            detector = _detector(found, params)
            detector.fit(found.train[~removed], epochs=params.training.epochs, seed=params.run.seed * 1000)
            known[key] = _auroc(detector.score(found.test), found.defective)
        return known[key]

    def row(scores: str, at: float, removed: NDArray[np.bool_]) -> dict[str, object]:
        of = removal(found.injected[removed].tolist(), int(found.injected.sum()))
        return {
            "width": params.differnet.hidden,
            "scores": scores,
            "lambda": at,
            "removed_good": of.good,
            "removed_bad": of.bad,
            "precision": _known(of.precision),
            "recall": _known(of.recall),
            "auroc": auroc_without(removed),
        }

    yield row("vanilla", float("nan"), np.zeros_like(found.injected))
    yield row("oracle", float("nan"), found.injected)
    for name, scores in (("in_sample", in_sample), ("out_of_fold", out_of_fold)):
        for at in lambdas:
            removed = scores > at * np.median(scores)
            if removed.mean() <= params.refinement.max_removed_fraction:
                yield row(name, at, removed)


def _detector(found: StudySet, params: Params) -> Detector:
    return detector_class("differnet").build(found.train, params, resolve_device(params.features.device))


def _auroc(scores: NDArray[np.float64], defective: NDArray[np.bool_]) -> float:
    return _known(detection(scores, defective).auroc)


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _quantiles(name: str, multiples: NDArray[np.float64]) -> dict[str, float]:
    return {f"{name}_{100 * q:02.0f}": float(np.quantile(multiples, q)) for q in QUANTILES}
