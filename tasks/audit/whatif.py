"""What if the rule had been another: on a run's stored scores, from its directory or from MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.figure import Figure

from irp_core.atomic import atomic_path
from irp_core.audit.history import defective_lower_bounds, thresholds_applied
from irp_core.audit.whatif import changed_images, what_if
from irp_core.config import Params, Refinement
from irp_core.errors import InputError
from irp_core.params_file import checked_params
from irp_core.plots import what_if_curves
from irp_core.refinement.policy import policy_of
from irp_core.rules import RULES
from irp_core.run.directory import RunDirectory, is_run

if TYPE_CHECKING:
    from tasks.tracking.reader import TrackedRun

__all__ = ["Supposition", "save_figure", "suppose"]


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


def suppose(
    reference: str,
    params: Params,
    *,
    rule: str | None = None,
    lambda_: float | None = None,
    k: float | None = None,
    fdr: float | None = None,
) -> Supposition:
    """Hold a finished run's stored scores against another rule; trains nothing, writes nothing.

    Args:
        reference: a run's directory, or see `tasks.tracking.reader.find_run`.
        params: for the tracking store.
        rule, lambda_, k, fdr: what to change; what is None stays as it was in the run.

    Raises:
        InputError: no such run, a number out of range, or one that means nothing to the rule.
    """
    stored = _stored(reference, params)
    then = stored.refinement
    now = _changed(then, rule, lambda_, k, fdr)
    labelled = bool(stored.manifest["label"].notna().any() and stored.manifest["injected"].any())
    injected = dict(zip(stored.manifest["image_id"], stored.manifest["injected"], strict=True)) if labelled else None
    labels = dict(zip(stored.manifest["image_id"], stored.manifest["label"], strict=True))
    policy = policy_of(now)
    iterations = what_if(
        stored.scores,
        policy.rule,
        stored.applied,
        injected,
        lower_bounds=stored.lower_bounds,
        seed=stored.seed,
    )
    limits = dict(zip(iterations["iteration"], iterations["threshold"], strict=True))
    first = iterations.to_dict("records")[0]
    facts = {
        "run": stored.run_id,
        "then": policy_of(then).rule_label,
        "what if": policy.rule_label,
        "first round": f"{first['n_above']} of {first['n_scored']} images above {first['threshold']:.4g}, "
        f"then {first['n_above_then']} above {first['threshold_then']:.4g}",
    }
    return Supposition(
        facts,
        iterations,
        changed_images(stored.scores, limits, stored.applied, labels),
        what_if_curves(stored.scores, limits, stored.applied, injected),
    )


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as its suffix says."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix.lstrip("."), dpi=160)


def _changed(
    refinement: Refinement, rule: str | None, lambda_: float | None, k: float | None, fdr: float | None
) -> Refinement:
    wanted = rule or policy_of(refinement).rule.name
    numbers = {"lambda": lambda_, "k": k, "fdr": fdr}
    for setting, value in numbers.items():
        rules = [kind.name for kind in RULES.values() if kind.setting == setting]
        if value is not None and wanted not in rules:
            expected = f"the rule {' or '.join(rules)} (--rule)"
            raise InputError(f"irp whatif --{setting} {value:g}: expected {expected}, found {wanted}.")
    changes: dict[str, Any] = {"rule": rule, **numbers}
    plain = {**refinement.model_dump(), **{name: value for name, value in changes.items() if value is not None}}
    if rule is not None and k is None:
        plain["k"] = None  # another rule's k means nothing here
    return checked_params({"refinement": plain}, "irp whatif").refinement


def _stored(reference: str, params: Params) -> _Stored:
    run: RunDirectory | TrackedRun
    if is_run(Path(reference)):
        run = RunDirectory(Path(reference))
        if not run.has_results():
            raise InputError(f"{reference}: expected a finished run, found one that did not end.")
    else:
        from tasks.tracking.reader import find_run

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
    )
