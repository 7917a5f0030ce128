"""A finished run of any size without images, models or flows: its tables, made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from irp_core.data.manifest import MANIFEST_SCHEMA
from irp_core.data.schemas import ITERATIONS_SCHEMA, SCORES_SCHEMA
from irp_core.params_file import load_params
from irp_core.removals import REMOVAL_SCHEMA
from irp_core.run.directory import RunDirectory
from irp_core.run.prepared import PreparedSet
from irp_core.run.removal_tables import write_removal_tables
from irp_core.run.step_files import write_decision, write_scored

__all__ = ["made_run"]


def made_run(folder: Path, images: int, removed: int) -> RunDirectory:
    """A run over `images` images whose first round removed the `removed` highest scores, and whose second none."""
    run = RunDirectory(folder)
    run.path.mkdir(parents=True)
    params = load_params(None, ["review.decisions=null"]).model_dump(mode="json")
    run.write_record(
        {"params": params, "created": "2026-01-01", "dataset": "made", "version": "0", "data_root": "images"}
    )
    names = [f"images/{number:07d}.png" for number in range(images)]
    md5s = [f"{number:032x}" for number in range(images)]
    table = pd.DataFrame({"image_id": names, "md5": md5s, "split": "train", "injected": False})
    PreparedSet(run.path).write_manifest(table.reindex(columns=MANIFEST_SCHEMA.names))
    scores = table[["image_id", "md5"]].assign(iteration=0, score=np.linspace(1.0, 3.0, images))[SCORES_SCHEMA.names]
    gone, kept = scores.tail(removed), scores.head(images - removed)
    threshold = float(kept["score"].max()) + 1e-9
    rows = gone.assign(
        iteration=1, threshold=threshold, margin=gone["score"] - threshold, rule="iqr", decision="removed"
    )
    for iteration, scored, decided in ((0, scores, rows), (1, kept.assign(iteration=1), rows.head(0))):
        write_scored(run.step("score", iteration), scored)
        facts = {"iteration": iteration + 1, "threshold": threshold, "rule": "iqr", "n_removed": len(decided)}
        write_decision(
            run.step("decide", iteration + 1),
            decided.reindex(columns=REMOVAL_SCHEMA.names),
            kept[["image_id", "md5"]],
            facts,
        )
    run.write_all_scores(pd.concat([scores, kept.assign(iteration=1)], ignore_index=True))
    write_removal_tables(run, 1)
    sizes = pd.DataFrame({"iteration": [0, 1], "n_train": [images, images - removed], "n_removed": [0, removed]})
    run.write_iterations(sizes.assign(n_restored=0, threshold=threshold).reindex(columns=ITERATIONS_SCHEMA.names))
    counts = {"iterations": 1, "n_start": images, "n_removed": removed, "n_injected": 0}
    run.write_summary(
        counts | {"stop_reason": "nothing_above", "last_round": {"threshold": threshold, "max_score": threshold}}
    )
    return run
