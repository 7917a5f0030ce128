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

__all__ = ["EARLY", "QUANTILES", "Memory", "StudySet", "early_epoch", "lambda_rows", "memory_of"]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the scores' distribution, as multiples of the median of all of them."""
EARLY = 0.1
"""Share of the epochs after which the paper's rule is asked a first time; fixed before anything was measured."""
_SHOWN = (0.0, EARLY, 0.3, 1.0)  # shares of the epochs after which histograms are kept; 0: after the first epoch
_EDGES = np.linspace(0.5, 2.5, 41)  # multiples of the median; what lies outside counts in the outermost bins


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


@dataclass(frozen=True)
class Memory:
    """Scores of the images that a flow trains on, while it learns them.

    When it knows the injected defects by heart their scores are like the good ones', and no λ finds them.

    Attributes:
        epochs: a row per epoch: `width, epoch, loss`; `ranking`, the AUROC of the injected among the training images;
            `precision, recall` of the paper's rule at `refinement.lambda`, had it been asked then; `test_auroc`; and
            quantiles of the scores, as multiples of their median: `good_05 … good_95`, `bad_05 … bad_95`.
        histograms: images by score, after a few of the epochs: `width, epoch, low, high` (multiples of the median),
            `good, bad` (images).
        early: scores (n,) after the share `EARLY` of the epochs.
        scores: scores (n,) after the last epoch.
    """

    epochs: pd.DataFrame
    histograms: pd.DataFrame
    early: NDArray[np.float64]
    scores: NDArray[np.float64]


def memory_of(found: StudySet, params: Params) -> Memory:
    """Train on all images; after every epoch, score those that it trains on, and those that test it."""
    rows: list[dict[str, float]] = []
    histograms: list[pd.DataFrame] = []
    kept: dict[int, NDArray[np.float64]] = {}
    detector, total = _detector(found, params), params.training.epochs
    shown = {_epoch(share, total) for share in _SHOWN}

    def after(report: EpochReport) -> None:
        scores = detector.score(found.train)
        multiples = scores / np.median(scores)
        above = multiples > params.refinement.lambda_
        asked = removal(found.injected[above].tolist(), int(found.injected.sum()))
        place = {"width": params.differnet.hidden, "epoch": report.epoch}
        rows.append(
            {
                **place,
                "loss": report.loss,
                "ranking": _auroc(scores, found.injected),
                "precision": _known(asked.precision),
                "recall": _known(asked.recall),
                "test_auroc": _auroc(detector.score(found.test), found.defective),
                **_quantiles("good", multiples[~found.injected]),
                **_quantiles("bad", multiples[found.injected]),
            }
        )
        if report.epoch in shown:
            kept[report.epoch] = scores
            histograms.append(_histogram(multiples, found.injected).assign(**place))

    detector.fit(found.train, epochs=total, seed=params.run.seed * 1000, report=after)
    bins = pd.concat(histograms)[["width", "epoch", "low", "high", "good", "bad"]]
    return Memory(pd.DataFrame(rows), bins, kept[early_epoch(total)], kept[total])


def lambda_rows(
    found: StudySet, memory: Memory, lambdas: Sequence[float], params: Params
) -> Iterator[dict[str, object]]:
    """One round of equation 6 at each λ: remove by in-sample scores early and late, or by out-of-fold scores, and train
    anew from scratch.

    Args:
        memory: of `memory_of` with the same parameters.

    Yields:
        `width, scores` (in_sample_early, in_sample or out_of_fold), `lambda, removed_good, removed_bad, precision,
        recall, auroc`; λ is NaN in the two rows of what bounds it: `vanilla` and `oracle` in place of `scores`.
    """
    # Nothing removed: the flow of `memory_of`, of the same seed.
    nothing = np.zeros_like(found.injected)
    known = {nothing.tobytes(): float(memory.epochs["test_auroc"].iloc[-1])}

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

    yield row("vanilla", float("nan"), nothing)
    yield row("oracle", float("nan"), found.injected)
    out_of_fold = out_of_fold_scores(
        lambda: _detector(found, params),
        found.train,
        found.contents,
        folds=params.refinement.folds,
        epochs=params.training.epochs,
        seed=params.run.seed,
    ).scores
    kinds = {"out_of_fold": out_of_fold, "in_sample": memory.scores, "in_sample_early": memory.early}
    for name, scores in kinds.items():
        for at in lambdas:
            removed = scores > at * np.median(scores)
            if removed.mean() <= params.refinement.max_removed_fraction:
                yield row(name, at, removed)


def early_epoch(total: int) -> int:
    """The epoch after which `Memory.early` is taken, of `total` epochs."""
    return _epoch(EARLY, total)


def _epoch(share: float, total: int) -> int:
    return max(1, round(share * total))


def _histogram(multiples: NDArray[np.float64], injected: NDArray[np.bool_]) -> pd.DataFrame:
    clipped = np.clip(multiples, _EDGES[0], _EDGES[-1])
    good, bad = (np.histogram(clipped[chosen], _EDGES)[0] for chosen in (~injected, injected))
    return pd.DataFrame({"low": _EDGES[:-1], "high": _EDGES[1:], "good": good, "bad": bad})


def _detector(found: StudySet, params: Params) -> Detector:
    return detector_class("differnet").build(found.train, params, resolve_device(params.features.device))


def _auroc(scores: NDArray[np.float64], defective: NDArray[np.bool_]) -> float:
    return _known(detection(scores, defective).auroc)


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _quantiles(name: str, multiples: NDArray[np.float64]) -> dict[str, float]:
    return {f"{name}_{100 * q:02.0f}": float(np.quantile(multiples, q)) for q in QUANTILES}
