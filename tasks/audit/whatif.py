"""What if the rule had been another: on a run's stored scores, from its directory or from MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from irp_core.atomic import atomic_path
from irp_core.audit.history import defective_lower_bounds, thresholds_applied
from irp_core.audit.whatif import IMAGE_COLUMNS, WHATIF_COLUMNS, changed_images, what_if
from irp_core.config import Params, Refinement
from irp_core.errors import InputError
from irp_core.plots import what_if_curves
from irp_core.refinement.policy import Policy, policy_of
from irp_core.run.directory import RunDirectory, is_run
from irp_core.run.lasting import check_rounds
from tasks.audit.levers import Levers

if TYPE_CHECKING:
    from tasks.tracking.reader import TrackedRun

__all__ = ["Supposition", "save_figure", "suppose"]

_AS_IT_WAS = Levers()


@dataclass(frozen=True)
class Supposition:
    """The answer: facts by name, a row per iteration, the images above either threshold, the figure."""

    facts: dict[str, Any]
    iterations: pd.DataFrame
    images: pd.DataFrame
    figure: Figure


@dataclass(frozen=True)
class _Stored:
    run_id: str
    refinement: Refinement
    seed: int
    manifest: pd.DataFrame
    scores: pd.DataFrame
    applied: dict[int, float]
    lower_bounds: dict[int, float | None]
    run: RunDirectory | None


def suppose(reference: str, params: Params, levers: Levers = _AS_IT_WAS) -> Supposition:
    """Hold a finished run's stored scores against other settings; trains nothing, writes nothing.

    Args:
        reference: a run's directory, or see `tasks.tracking.finding.find_run`.
        params: for the tracking store.
        levers: what to change.

    Raises:
        InputError: no such run, a number out of range, or one that would change nothing.
    """
    stored = _stored(reference, params)
    then = policy_of(stored.refinement)
    changed = levers.apply(stored.refinement)
    rule = levers.rule_of(changed)
    labelled = bool(stored.manifest["label"].notna().any() and stored.manifest["injected"].any())
    injected = dict(zip(stored.manifest["image_id"], stored.manifest["injected"], strict=True)) if labelled else None
    labels = dict(zip(stored.manifest["image_id"], stored.manifest["label"], strict=True))
    if rule is None:
        iterations, images, limits = _by_landscape(stored, policy_of(changed), injected, labels)
        label = then.rule_label if levers.expected is None else f"{then.rule_label}, expected {_share(levers.expected)}"
    else:
        bounds = stored.lower_bounds
        iterations = what_if(stored.scores, rule, stored.applied, injected, lower_bounds=bounds, seed=stored.seed)
        limits = dict(zip(iterations["iteration"], iterations["threshold"], strict=True))
        images = changed_images(stored.scores, limits, stored.applied, labels)
        label = rule.label if levers.confidence is None else f"{rule.label}, confidence {levers.confidence:g}"
    first = iterations.to_dict("records")[0]
    facts = {
        "run": stored.run_id,
        "then": then.rule_label,
        "what if": label,
        "first round": f"{first['n_above']} of {first['n_scored']} images removed (above {first['threshold']:.4g}), "
        f"then {first['n_above_then']} ({first['threshold_then']:.4g})",
    }
    if levers != _AS_IT_WAS and not iterations[["gained", "lost"]].to_numpy().any():
        facts["changes"] = "nothing: every round would have removed the same images"
    return Supposition(facts, iterations, images, what_if_curves(stored.scores, limits, stored.applied, injected))


def _share(expected: tuple[float, float]) -> str:
    low, high = expected
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _by_landscape(
    stored: _Stored, now: Policy, injected: Mapping[str, bool] | None, labels: Mapping[str, str | None]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[int, float]]:
    """The first round decided again from where each image stands: what goes is no matter of one threshold."""
    from irp_core.refinement.rounds import assess  # brings scikit-learn along

    if stored.run is None:
        raise InputError(
            f"{stored.run_id}: expected the run's folder on this machine: what stands alone is told from more than "
            "the scores in MLflow."
        )
    this = stored.run.round_after(0)
    inside = this.images["inside"].to_numpy(dtype=bool)
    assessed = {"": assess(this, now), "_then": assess(this, stored.run.policy())}
    gone = {suffix: found.removed[inside] for suffix, found in assessed.items()}
    limits = {suffix: float(np.exp(found.isolation.limit)) for suffix, found in assessed.items()}
    table = this.images.loc[inside, ["image_id", "score"]].assign(
        iteration=0, threshold=limits[""], threshold_then=limits["_then"]
    )
    row: dict[str, object] = {"iteration": 0, "n_scored": len(table)}
    row |= {"gained": int((gone[""] & ~gone["_then"]).sum()), "lost": int((gone["_then"] & ~gone[""]).sum())}
    for suffix, removed in gone.items():
        row |= {f"threshold{suffix}": limits[suffix], f"n_above{suffix}": int(removed.sum())}
        if injected is not None:
            truth = table["image_id"].map(dict(injected)).to_numpy(dtype=bool)
            hits = int((removed & truth).sum())
            row[f"precision{suffix}"] = hits / int(removed.sum()) if removed.any() else None
            row[f"recall{suffix}"] = hits / int(truth.sum()) if truth.any() else None
    table["label"] = table["image_id"].map(dict(labels))
    both = gone[""] & gone["_then"]
    table["change"] = np.select([both, gone[""], gone["_then"]], ["both", "gained", "lost"], default="")
    shown = table[table["change"] != ""].sort_values("score", ascending=False, kind="stable")
    iterations = pd.DataFrame([row]).reindex(columns=WHATIF_COLUMNS)
    return iterations, shown[IMAGE_COLUMNS].reset_index(drop=True), {**stored.applied, 0: limits[""]}


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as its suffix says."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=160)


def _stored(reference: str, params: Params) -> _Stored:
    run: RunDirectory | TrackedRun
    if is_run(Path(reference)):
        run = RunDirectory(Path(reference))
        if not run.has_results():
            raise InputError(f"{reference}: expected a finished run, found one that did not end.")
        check_rounds(run)
    else:
        from tasks.tracking.finding import find_run

        run, _ = find_run(reference, params)
    ran, iterations, last_round = run.params(), run.iterations(), run.summary()["last_round"]
    return _Stored(
        run.run_id,
        ran.refinement,
        ran.run.seed,
        run.manifest(),
        run.all_scores(),
        thresholds_applied(iterations, last_round),
        defective_lower_bounds(iterations, last_round),
        run if isinstance(run, RunDirectory) else None,
    )
