"""The schemas of a run's tables, besides the manifest (`irp_core.manifest`) and the removals (`irp_core.removals`).

Example:
    >>> SCORES_SCHEMA.names
    ['image_id', 'md5', 'iteration', 'score']
"""

from __future__ import annotations

import pyarrow as pa

__all__ = ["HISTORY_SCHEMA", "ITERATIONS_SCHEMA", "SCORES_SCHEMA", "TRAINING_SET_SCHEMA"]

TRAINING_SET_SCHEMA = pa.schema([("image_id", pa.string()), ("md5", pa.string())])
SCORES_SCHEMA = pa.schema(
    [("image_id", pa.string()), ("md5", pa.string()), ("iteration", pa.int32()), ("score", pa.float64())]
)
HISTORY_SCHEMA = pa.schema(
    [("epoch", pa.int32()), ("loss", pa.float64()), ("learning_rate", pa.float64()), ("seconds", pa.float64())]
)
# One row per model. `n_removed` went in the look that cut this model's training set out of the one before, `n_restored`
# came back; `threshold`, `supported` (the share of the images that the scorer supports to be above it), `max_score` and
# `n_above` are of that look, too. Iteration 0 has none.
ITERATIONS_SCHEMA = pa.schema(
    [
        ("iteration", pa.int32()),
        ("n_train", pa.int64()),
        ("n_removed", pa.int64()),
        ("n_restored", pa.int64()),
        ("threshold", pa.float64()),
        ("supported", pa.float64()),
        ("max_score", pa.float64()),
        ("n_above", pa.int64()),
        ("auroc", pa.float64()),
        ("average_precision", pa.float64()),
        ("removal_precision", pa.float64()),
        ("removal_recall", pa.float64()),
    ]
)
