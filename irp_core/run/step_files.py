"""What each step of an iteration leaves in its folder: one pair of functions to write it and to read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.atomic import atomic_path, read_json_object, write_json
from irp_core.data.manifest import read_table, write_table
from irp_core.data.schemas import CELLS_SCHEMA, HISTORY_SCHEMA, SCORES_SCHEMA, TRAINING_SET_SCHEMA
from irp_core.hashing import file_sha256
from irp_core.model_files import WEIGHTS
from irp_core.removals import REMOVAL_SCHEMA
from irp_core.run.files import (
    CELLS,
    DECIDED,
    DECISION,
    HISTORY,
    LANDSCAPE,
    LOWER_BOUND,
    MAPS,
    OPERATING,
    OUTSIDE,
    SCORES,
    SNAPSHOT,
    TRACKED,
    TRAINED,
    TRAINING_SET,
    found_in,
    with_new_names,
)
from irp_core.statistics.finite import finite_scores, finite_threshold

if TYPE_CHECKING:
    from irp_core.detectors import EpochReport
    from irp_core.refinement.careful.landscape import Landscape

__all__ = [
    "read_cells", "read_decided", "read_decision", "read_history", "read_landscape", "read_lower_bound", "read_maps",
    "read_operating", "read_outside", "read_scores", "read_snapshot", "read_tracked", "read_training_set",
    "read_weights_sha256", "write_cells", "write_decision", "write_maps", "write_operating", "write_scored",
    "write_scores", "write_snapshot", "write_tracked", "write_trained",
]  # fmt: skip


def write_trained(folder: Path, history: Iterable[EpochReport]) -> None:
    """Beside a detector that was saved in `folder`: the course of its training, and the digest of its weights.

    The digest is noted once: the paper's flow has 690 MB, and it is asked for more than once.
    """
    write_json(folder / TRAINED, {"weights_sha256": file_sha256(folder / WEIGHTS)})
    table = pd.DataFrame([asdict(entry) for entry in history])[HISTORY_SCHEMA.names]
    write_table(table, folder / HISTORY, HISTORY_SCHEMA)


def read_history(folder: Path) -> pd.DataFrame:
    """`epoch, loss, learning_rate, seconds` of a training."""
    return read_table(folder / HISTORY, HISTORY_SCHEMA)


def read_weights_sha256(folder: Path) -> str | None:
    """sha256 of a trained detector's weights; None where the model was dropped."""
    file = folder / TRAINED
    return str(read_json_object(file, "weights_sha256")["weights_sha256"]) if file.exists() else None


def write_scores(folder: Path, scores: pd.DataFrame) -> None:
    """Write `image_id, md5, iteration, score`.

    Raises:
        InputError: a score is not finite.
    """
    write_table(finite_scores(scores, folder.name), folder / SCORES, SCORES_SCHEMA)


def write_scored(
    folder: Path,
    scores: pd.DataFrame,
    outside: pd.DataFrame | None = None,
    lower_bound: float | None = None,
    landscape: Landscape | None = None,
) -> None:
    """Write what a decision round decides about.

    Args:
        scores: of the training set, as `write_scores` takes them.
        outside: of the images that had been removed before, where the refinement is reversible.
        lower_bound: on the share of defective images, where the detector gives one.
        landscape: where each image stands among the others, where the policy asks.
    """
    write_scores(folder, scores)
    write_json(folder / LOWER_BOUND, {"defective_lower_bound": lower_bound})
    if outside is not None:
        write_table(finite_scores(outside, folder.name), folder / OUTSIDE, SCORES_SCHEMA)
    if landscape is not None:
        everything = scores if outside is None else pd.concat([scores, outside])
        with atomic_path(folder / LANDSCAPE) as temporary:
            landscape.table(everything["md5"].tolist()).to_parquet(temporary, index=False)


def read_landscape(folder: Path, md5s: Sequence[str]) -> Landscape | None:
    """The landscape of these images; None where none was made."""
    from irp_core.refinement.careful.landscape import Landscape

    file = folder / LANDSCAPE
    return Landscape.of_table(pd.read_parquet(file), md5s) if file.exists() else None


def read_scores(folder: Path) -> pd.DataFrame:
    return finite_scores(read_table(folder / SCORES, SCORES_SCHEMA), str(folder / SCORES))


def read_outside(folder: Path) -> pd.DataFrame:
    """Scores of the images outside the training set; no rows where there were none, or they were not scored."""
    file = folder / OUTSIDE
    if not file.exists():
        empty: pd.DataFrame = SCORES_SCHEMA.empty_table().to_pandas()
        return empty
    return finite_scores(read_table(file, SCORES_SCHEMA), str(file))


def read_lower_bound(folder: Path) -> float | None:
    """The lower bound on the share of defective images among those that were scored; None where there is none."""
    bound = with_new_names(read_json_object(found_in(folder, LOWER_BOUND)))["defective_lower_bound"]
    return None if bound is None else float(str(bound))


def write_decision(
    folder: Path, decided: pd.DataFrame, training_set: pd.DataFrame, decision: Mapping[str, Any]
) -> None:
    """Write a decision round.

    Args:
        decided: its removal rows (`irp_core.removals.round_rows`).
        training_set: `image_id` and `md5` of the images that the next model trains on.
        decision: threshold, counts, rule, reason to stop.
    """
    write_table(decided, folder / DECIDED, REMOVAL_SCHEMA)
    write_table(training_set, folder / TRAINING_SET, TRAINING_SET_SCHEMA)
    write_json(folder / DECISION, dict(decision))


def read_decided(folder: Path) -> pd.DataFrame:
    return read_table(found_in(folder, DECIDED), REMOVAL_SCHEMA)


def read_training_set(folder: Path) -> pd.DataFrame:
    return read_table(folder / TRAINING_SET, TRAINING_SET_SCHEMA)


def read_decision(folder: Path) -> dict[str, Any]:
    return with_new_names(read_json_object(folder / DECISION))


def write_operating(folder: Path, scores: pd.DataFrame, point: Mapping[str, Any]) -> None:
    """Write the operating point, and the out-of-fold scores that it was taken from."""
    write_scores(folder, scores)
    write_json(folder / OPERATING, dict(point))


def read_operating(folder: Path) -> dict[str, Any]:
    point = read_json_object(folder / OPERATING, "threshold")
    finite_threshold(float(point["threshold"]), str(folder / OPERATING))
    return point


def write_cells(folder: Path, images: pd.DataFrame, cells: NDArray[np.float32]) -> None:
    """Write maps (n, rows, columns) of `images` (`image_id`, `md5`)."""
    flat = [one.ravel() for one in cells]
    table = images[["image_id", "md5"]].assign(rows=np.int32(cells.shape[1]), cells=flat)
    write_table(table, folder / CELLS, CELLS_SCHEMA)


def read_cells(folder: Path) -> dict[str, NDArray[np.float32]]:
    """md5 → the map (rows, columns) of the image with this content."""
    table = read_table(folder / CELLS, CELLS_SCHEMA)
    return {row.md5: np.asarray(row.cells, dtype=np.float32).reshape(int(row.rows), -1) for row in table.itertuples()}


def write_maps(folder: Path, found: Mapping[str, Any]) -> None:
    """Write the scale of a model's maps (`scale`), the name of what makes them (`detector`) and, where masks exist, how
    well they hit them (`metrics`)."""
    write_json(folder / MAPS, dict(found))


def read_maps(folder: Path) -> dict[str, Any]:
    return read_json_object(folder / MAPS, "detector", "scale")


def write_snapshot(folder: Path, md5: str, dvc_file: Path, dvc_file_sha256: str) -> None:
    """Note the DVC version of a training set, and the digest of the `.dvc` file that names it."""
    write_json(folder / SNAPSHOT, {"md5": md5, "dvc_file": str(dvc_file), "dvc_file_sha256": dvc_file_sha256})


def read_snapshot(folder: Path) -> dict[str, str] | None:
    """`md5`, `dvc_file` and its sha256; None where no version was made."""
    file = folder / SNAPSHOT
    return read_json_object(file, "md5", "dvc_file") if file.exists() else None


def write_tracked(folder: Path, mlflow_run: str) -> None:
    """Note the MLflow run of a model."""
    (folder / TRACKED).write_text(mlflow_run, encoding="utf-8")


def read_tracked(folder: Path) -> str:
    return (folder / TRACKED).read_text(encoding="utf-8")
