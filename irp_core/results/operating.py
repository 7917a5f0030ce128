"""The final detector's operating threshold, from out-of-fold scores of the training images: no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.config import Params
from irp_core.data.manifest import training_rows
from irp_core.detectors import detector_class
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.features.pipeline import StoredFeatures
from irp_core.features.pooled import resolve_device
from irp_core.refinement.careful.asking import believe
from irp_core.refinement.policy import Policy
from irp_core.refinement.rounds import Round, assess
from irp_core.refinement.scoring import drawn_rows
from irp_core.run.directory import RunDirectory
from irp_core.statistics.operating_point import OperatingPoint, operating_point, weighted_operating_point

__all__ = ["OutOfFoldPoint", "find_operating_point", "operating_point_of", "probably_good"]


class OutOfFoldPoint(NamedTuple):
    """An operating point, and the out-of-fold scores (n,) that it was taken from."""

    scores: NDArray[np.float64]
    point: OperatingPoint


def find_operating_point(
    run: RunDirectory, iteration: int, features: StoredFeatures
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The threshold of model `iteration`, the last one: the scores that it was taken from, and the point itself.

    Of a large set of which the final detector reads some features of a sample only, it is the sample's
    (`irp_core.refinement.scoring.drawn_rows`); the point then has `drawn_from`, the number of images it stands for.

    Raises:
        InputError: fewer than two different images: there is no fold to leave out.
    """
    params, policy, rows = run.params(), run.policy(), run.training_set(iteration)
    if len(set(run.groups(rows))) < 2:
        raise InputError(f"{run.run_id}: an operating threshold expects 2 different images at least, found 1.")
    good = probably_good(run.round_after(0), policy) if policy.sees_landscape else None
    everything = rows if good is None else run.training_set(0)
    counted = drawn_rows(params, training_rows(run.manifest()), everything)
    found = operating_point_of(
        features.read(counted, params.views.score, detector_class(params.detector.name).needs),
        run.groups(counted),
        counted["image_id"].isin(rows["image_id"]).to_numpy(),
        None if good is None else good.loc[counted["md5"]].to_numpy(),
        params,
    )
    drawn = {} if len(counted) == len(everything) else {"drawn_from": len(everything)}
    return counted.assign(iteration=iteration, score=found.scores), asdict(found.point) | drawn


def operating_point_of(
    features: FeatureSet,
    groups: Sequence[str],
    inside: NDArray[np.bool_],
    good: NDArray[np.float64] | None,
    params: Params,
) -> OutOfFoldPoint:
    """The configured detector's threshold, a quantile of the images' out-of-fold scores.

    Args:
        features: of n images.
        groups: of copies, of each image (n,).
        inside: which images were kept (n,); the others are scored, and train nothing.
        good: how likely each image is good (n,). Where that is known the removed images count, too, each with that
            probability: the kept ones alone are a trimmed set. None: the images, all kept, count alike.
    """
    kind, device = detector_class(params.detector.name), resolve_device(params.features.device)
    scores = out_of_fold_scores(
        lambda: kind.build(features, params, device),
        features,
        groups,
        inside=inside,
        folds=params.operating.folds,
        epochs=params.training.epochs,
        seed=params.run.seed,
    ).scores
    rate = params.operating.false_alarm_rate
    if good is None:
        return OutOfFoldPoint(scores, operating_point(scores, rate))
    return OutOfFoldPoint(scores, weighted_operating_point(scores, good, rate))


def probably_good(first: Round, policy: Policy) -> pd.Series[float]:
    """md5 → the probability of being good, by what is known after the first round of a policy that sees a landscape."""
    assessed = assess(first, policy)
    belief = assessed.belief
    if belief is None or belief.one_sided:  # reports of defects say nothing of the others
        belief = believe(assessed.landscape, {}, expected=policy.expected)
    return pd.Series(1.0 - belief.defective, index=list(assessed.landscape.contents))
