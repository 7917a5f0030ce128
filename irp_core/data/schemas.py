"""The schemas of a run's tables, besides the manifest and the removals (`irp_core.removals`).

Example:
    >>> SCORES_SCHEMA.names
    ['image_id', 'md5', 'iteration', 'score']
"""

from __future__ import annotations

import pyarrow as pa

__all__ = [
    "CROP_LOSS_SCHEMA",
    "DUPLICATES_SCHEMA",
    "HEALTH_SCHEMA",
    "HISTORY_SCHEMA",
    "IGNORED_SCHEMA",
    "ITERATIONS_SCHEMA",
    "NEAR_COPIES_SCHEMA",
    "NOTES_SCHEMA",
    "QUARANTINE_SCHEMA",
    "SCORES_SCHEMA",
    "TRAINING_SET_SCHEMA",
]

QUARANTINE_SCHEMA = pa.schema([("image_id", pa.string()), ("reason", pa.string())])
DUPLICATES_SCHEMA = pa.schema([("md5", pa.string()), ("image_id", pa.string())])
# Files that are no images of the set; a folder (with `/` at its end) stands for the `files` in it.
IGNORED_SCHEMA = pa.schema([("path", pa.string()), ("files", pa.int64()), ("reason", pa.string())])
# `group` is the md5 of one of its images.
NEAR_COPIES_SCHEMA = pa.schema([("group", pa.string()), ("image_id", pa.string()), ("md5", pa.string())])
NOTES_SCHEMA = pa.schema([("image_id", pa.string()), ("note", pa.string())])  # null: about the set
CROP_LOSS_SCHEMA = pa.schema([("image_id", pa.string()), ("defect_pixels", pa.int64()), ("kept_pixels", pa.int64())])

HEALTH_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("md5", pa.string()), ("width", pa.int64()), ("height", pa.int64())]
    + [(name, pa.float64()) for name in ("brightness", "contrast", "sharpness", "saturation", "white", "black")]
    + [("odd", pa.string())]
)

# Row by row from the top left; `rows` of them.
CELLS_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("md5", pa.string()), ("rows", pa.int32()), ("cells", pa.list_(pa.float32()))]
)
TRAINING_SET_SCHEMA = pa.schema([("image_id", pa.string()), ("md5", pa.string())])
SCORES_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("md5", pa.string()), ("iteration", pa.int32()), ("score", pa.float64())]
)
HISTORY_SCHEMA = pa.schema(
    [("epoch", pa.int32()), ("loss", pa.float64()), ("learning_rate", pa.float64()), ("seconds", pa.float64())]
)
# One row per model. `n_removed` were removed by the decision round that cut this model's training set out of the one
# before, `n_restored` came back; `threshold`, `defective_lower_bound` (on the share of defective images among those
# that were scored; null where the detector gives none), `max_score` and `n_above` are of that round, too. Iteration 0
# has none.
ITERATIONS_SCHEMA = pa.schema(
    [
        ("iteration", pa.int32()),
        ("n_train", pa.int64()),
        ("n_removed", pa.int64()),
        ("n_restored", pa.int64()),
        ("threshold", pa.float64()),
        pa.field("defective_lower_bound", pa.float64(), metadata={"formerly": "supported"}),
        ("max_score", pa.float64()),
        ("n_above", pa.int64()),
        ("auroc", pa.float64()),
        ("average_precision", pa.float64()),
        ("removal_precision", pa.float64()),
        ("removal_recall", pa.float64()),
    ]
)
