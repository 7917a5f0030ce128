"""The final detector's operating threshold, from out-of-fold scores of the training images: no labels."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from irp_core.detectors import detector_class
from irp_core.detectors.out_of_fold import out_of_fold_scores
from irp_core.errors import InputError
from irp_core.features.pipeline import StoredFeatures
from irp_core.features.pooled import resolve_device
from irp_core.refinement.careful.asking import believe
from irp_core.refinement.rounds import assess
from irp_core.run.directory import RunDirectory
from irp_core.statistics.operating_point import operating_point, weighted_operating_point

__all__ = ["find_operating_point"]


def find_operating_point(
    run: RunDirectory, iteration: int, features: StoredFeatures
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The threshold of model `iteration`, the last one: the scores that it was taken from, and the point itself.

    It is a quantile of the kept images' scores; where it is known how likely each image is good (the policy sees the
    landscape) the removed ones count, too, each with that probability: the kept ones alone are a trimmed set.

    Raises:
        InputError: fewer than two different images: there is no fold to leave out.
    """
    params, rows = run.params(), run.training_set(iteration)
    if len(set(run.groups(rows))) < 2:
        raise InputError(f"{run.run_id}: an operating threshold expects 2 different images at least, found 1.")
    kind = detector_class(params.detector.name)
    good = _probably_good(run)
    counted = rows if good is None else run.training_set(0)
    seen = features.read(counted, params.views.score, kind.needs)
    device = resolve_device(params.features.device)
    scores = out_of_fold_scores(
        lambda: kind.build(seen, params, device),
        seen,
        run.groups(counted),
        inside=counted["image_id"].isin(rows["image_id"]).to_numpy(),
        folds=params.operating.folds,
        epochs=params.training.epochs,
        seed=params.run.seed,
    ).scores
    rate = params.operating.false_alarm_rate
    if good is None:
        point = operating_point(scores, rate)
    else:
        point = weighted_operating_point(scores, good.loc[counted["md5"]].to_numpy(), rate)
    return counted.assign(iteration=iteration, score=scores), asdict(point)


def _probably_good(run: RunDirectory) -> pd.Series[float] | None:
    """Content → the probability of being good, by what is known after the first round; None where nothing is."""
    policy = run.policy()
    if not policy.sees_landscape:
        return None
    assessed = assess(run.round_after(0), policy)
    belief = assessed.belief
    if belief is None or belief.one_sided:  # reports of defects say nothing of the others
        belief = believe(assessed.landscape, {}, expected=policy.expected)
    return pd.Series(1.0 - belief.defective, index=list(assessed.landscape.contents))
