"""Scores of a training set, as a policy says: by the iteration's own model, by another detector, or out of fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.config import Params
from irp_core.config.base import Section
from irp_core.detectors import Detector, Localises, detector_class
from irp_core.detectors.folds import score_in_parts
from irp_core.detectors.out_of_fold import ScoredSet, out_of_fold_scores
from irp_core.detectors.protocol import ScoreGradient
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.pooled import resolve_device
from irp_core.refinement.careful.landscape import Landscape, landscape
from irp_core.refinement.policy import Policy, policy_of

__all__ = [
    "MAPPED",
    "Scored",
    "drawn_rows",
    "expect_different",
    "later_settings",
    "local_needed",
    "localiser_name",
    "mapped",
    "most_mapped",
    "needs_of",
    "only_of",
    "score_by_policy",
    "scorers",
    "scores_with_its_own_model",
]

MAPPED = 5000
"""Images: of a larger training set so many, drawn by their md5 (`mapped`), say what places look like."""
_GRADIENTS = 500  # of these alone: each is shown to the network again, and back through it, four times


def scorers(policy: Policy, params: Params) -> tuple[str, ...]:
    """The detectors whose scores a round is decided from."""
    return policy.members if policy.sees_landscape else (policy.detector or params.detector.name,)


def needs_of(detectors: Iterable[str]) -> list[Local]:
    """Which local features these detectors read."""
    return sorted({need for name in detectors for need in detector_class(name).needs})


def local_needed(params: Params) -> list[Local]:
    """Which local features the detector, those that score for the removal, and the one that says where, read."""
    localiser = localiser_name(params)
    others = scorers(policy_of(params.refinement), params)
    return needs_of([params.detector.name, *others, *([localiser] if localiser else [])])


def localiser_name(params: Params) -> str | None:
    """The detector that says where: the final one if it can, else the one beside it; None where no maps are asked for.

    Example:
        >>> localiser_name(Params())
        'ensemble'
    """
    if params.localisation.detector is None or params.run.outputs != "full":
        return None
    own = issubclass(detector_class(params.detector.name), Localises)
    return params.detector.name if own else params.localisation.detector


def most_mapped(params: Params) -> int:
    """How many images of a training set say where at most: `MAPPED`, or fewer where a map is a gradient."""
    name = localiser_name(params)
    return _GRADIENTS if name is not None and issubclass(detector_class(name), ScoreGradient) else MAPPED


def mapped(md5s: Iterable[str], most: int | None = None) -> frozenset[str]:
    """The images of a training set that say where: what the maps' detector is fitted on, and their scale is taken from.

    They are also those that a final detector which reads cells is fitted on and takes its threshold from.

    All, or of more than `most` (None: `MAPPED`) those with the lowest md5: a draw that depends on what is in the images
    and on nothing else.
    """
    return frozenset(sorted(set(md5s))[: MAPPED if most is None else most])


def only_of(params: Params, md5s: Sequence[str]) -> dict[Local, frozenset[str]]:
    """Local features that are not wanted of every training image → the images that they are extracted of.

    What the maps' detector reads, and what the final detector reads of a sample (its `samples`), unless a detector that
    scores for the removal reads it: those score every image.

    Args:
        md5s: of the training images that the run began with.

    Example:
        >>> {name: len(of) for name, of in only_of(Params(), [str(number) for number in range(9000)]).items()}
        {'cells': 5000}
        >>> only_of(Params(), ["a", "b"])
        {}
    """
    if len(set(md5s)) <= MAPPED:
        return {}
    localiser, some = localiser_name(params), mapped(md5s)
    sampled = _sampled(params)
    everywhere = set(needs_of(scorers(policy_of(params.refinement), params)))
    everywhere |= set(detector_class(params.detector.name).needs) - sampled
    partly = sampled | set(needs_of([localiser] if localiser else []))
    return dict.fromkeys(sorted(partly - everywhere), some)


def drawn_rows(params: Params, started: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Those of `rows` of which everything was extracted that the final detector reads: all, save of a large set.

    Args:
        started: the training images that the run began with.
    """
    only = only_of(params, started["md5"].tolist())
    of = [md5s for need, md5s in only.items() if need in detector_class(params.detector.name).needs]
    return rows[rows["md5"].isin(frozenset.intersection(*of))].reset_index(drop=True) if of else rows


def _sampled(params: Params) -> set[Local]:
    samples: tuple[Local, ...] = getattr(detector_class(params.detector.name), "samples", ())
    return set(samples)


def later_settings(detectors: Iterable[str], params: Params) -> list[Section]:
    """The sections that these detectors read, save those that were there first and stand in every step's key."""
    read: dict[str, Section] = {
        "patch_gaussian": params.patch_gaussian,
        "ensemble": params.patch_gaussian,
        "cell_votes": params.cell_votes,
    }
    return [read[name] for name in detectors if name in read]


def scores_with_its_own_model(policy: Policy) -> bool:
    """Whether a round's scores come from the model that was trained for the iteration."""
    return policy.score_on == "in_sample" and policy.detector is None


def expect_different(groups: Sequence[str]) -> None:
    """Refuse a training set of which all images show the same: none is left to judge it by.

    Raises:
        InputError: fewer than two different images.
    """
    if len(set(groups)) < 2:
        raise InputError("Out-of-fold scores expect 2 different training images at least, found 1.")


class Scored(NamedTuple):
    """What a round is decided from.

    `scores` (n,): higher is more anomalous. `lower_bound`: the scorer's lower confidence bound on the share of
    defective images, None where it has none. `landscape`: where each image stands among the others, where the policy
    asks.
    """

    scores: NDArray[np.float64]
    lower_bound: float | None = None
    landscape: Landscape | None = None


def score_by_policy(
    features: FeatureSet,
    contents: Sequence[str],
    inside: NDArray[np.bool_],
    iteration: int,
    policy: Policy,
    params: Params,
    model: Callable[[], Detector],
    groups: Sequence[str] | None = None,
) -> Scored:
    """Score n images for the decision round after model `iteration`.

    Args:
        features: of the n images.
        contents: digest of each image's bytes (n,): copies share a fold, a vote and a place in the landscape.
        inside: which are in the current training set (n,); the others were removed before and train nothing.
        model: gives the iteration's own model; only called where `scores_with_its_own_model`.
        groups: digest of what each image shows (n,), equal for near-copies too: they share a fold and a vote. None:
            `contents`.

    Raises:
        InputError: out-of-fold scores of fewer than two different images.
    """
    if scores_with_its_own_model(policy):
        return Scored(score_in_parts(model(), features))
    device = resolve_device(params.features.device)
    if policy.score_on == "in_sample":
        detector = detector_class(scorers(policy, params)[0]).build(features, params, device)
        detector.fit(features[inside], epochs=params.training.epochs, seed=params.run.seed)
        return Scored(score_in_parts(detector, features))
    shown = contents if groups is None else groups
    expect_different(shown)

    def out_of_fold(name: str) -> ScoredSet:
        return out_of_fold_scores(
            lambda: detector_class(name).build(features, params, device),
            features,
            shown,
            inside=inside,
            start=policy.start if iteration == 0 else "all",
            folds=params.refinement.folds,
            repeats=params.refinement.repeats,
            epochs=params.training.epochs,
            confidence=policy.confidence,
            seed=params.run.seed,  # of every iteration: a set that did not change has the same folds, and stays
        )

    if not policy.sees_landscape:
        return Scored(*out_of_fold(scorers(policy, params)[0]))
    members = np.column_stack([out_of_fold(name).scores for name in policy.members])

    def appearance(images: NDArray[np.intp]) -> Iterator[NDArray[np.float32]]:
        return (block.pooled.mean(axis=1) for block in features[images].blocks())

    found = landscape(members, appearance, contents)
    return Scored(np.exp(found.total[found.of_image]), landscape=found)
