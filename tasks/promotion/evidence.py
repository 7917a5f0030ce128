"""What is known of a registered version, for a comparison: its scores of images, and how its training set was cleaned.

A version answers for itself: its tables and its weights come from MLflow, held against their digests, with the
parameters that it was made with. Features come from the store, so that no image goes through the network twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from irp_core.config import Params
from irp_core.data.manifest import training_rows
from irp_core.detectors import detector_class
from irp_core.inspection import Inspector
from irp_core.promotion import ModelEvidence, with_reviewed
from irp_core.refinement.reviews import KEPT_BY_REVIEW
from tasks.promotion.registry import Registry
from tasks.runtime.progress import bar
from tasks.scoring import download_model
from tasks.steps.extract import open_pipeline
from tasks.tracking.reader import TrackedRun

__all__ = ["Shown", "evidence_of", "reviewed_labels"]

_COLUMNS = ["image_id", "md5", "score"]


@dataclass(frozen=True)
class Shown:
    """The images that both versions are asked about.

    Attributes:
        root, rows: the line's own, unlabelled: `image_id`, `md5`, and `new` (no round had it before).
        golden_root, golden: labelled ones with `label`; None: there are none.
        reviewed: md5 → `good` or `defective`, as reviewers decided.
    """

    root: Path
    rows: pd.DataFrame
    golden_root: Path | None
    golden: pd.DataFrame | None
    reviewed: Mapping[str, str]


def evidence_of(number: str, registry: Registry, params: Params, shown: Shown, history: pd.DataFrame) -> ModelEvidence:
    """The evidence of one version.

    Args:
        params: the line's, for where features lie and what computes them.
        history: columns `version`, `share_removed`, `contamination` of the versions before.

    Raises:
        InputError: files of the version are gone or were changed.
    """
    name = f"{registry.line.name}/{number}"
    version = registry.version(number)
    run = TrackedRun(registry.client, registry.client.get_run(version.run_id))
    made_with = run.params()
    here = params.features.model_dump(include={"store", "device", "workers", "batch_size", "weights"})
    used = made_with.model_copy(update={"features": made_with.features.model_copy(update=here)})
    with tempfile.TemporaryDirectory() as temporary:
        folder = download_model(name, params, Path(temporary))
        inspector = Inspector(folder, params.features.device, allow=[made_with.detector.name])
    needs = detector_class(made_with.detector.name).needs
    pipeline = open_pipeline(used, needs)

    def scored(rows: pd.DataFrame, root: Path) -> pd.DataFrame:
        if rows.empty:
            return rows.assign(score=pd.Series(dtype="float64"))
        pipeline.fill(rows, root, f"for {name}", bar)
        return rows.assign(score=inspector.detector.score(pipeline.stored.read(rows, used.views.score, needs)))

    scores = scored(shown.rows, shown.root)
    golden = None
    if shown.golden is not None and shown.golden_root is not None:
        golden = scored(shown.golden, shown.golden_root)
    last = len(run.models) - 1
    trained = run.scores(last)
    start = training_rows(run.manifest())
    removed = start[~start["image_id"].isin(trained["image_id"])]
    evidence = ModelEvidence(
        name=name,
        threshold=inspector.threshold,
        false_alarm_rate=made_with.operating.false_alarm_rate,
        scores=scores,
        trained_on=frozenset(trained["md5"]),
        removed=frozenset(removed["md5"]),
        share_removed=len(removed) / len(start),
        contamination=_contamination(run),
        golden=golden,
        history=history,
    )
    return with_reviewed(evidence, shown.reviewed)


def reviewed_labels(decisions: pd.DataFrame) -> dict[str, str]:
    """md5 → label, of reviewers' standing decisions."""
    labels = decisions["decision"].map(lambda decision: "good" if decision == KEPT_BY_REVIEW else "defective")
    return dict(zip(decisions["md5"], labels, strict=True))


def _contamination(run: TrackedRun) -> float | None:
    known = run.summary().get("contamination")
    return None if known is None else float(known["share"])
