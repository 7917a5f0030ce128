"""The removal tables: what every decision round did (`removals.parquet`), what became of each image (`images.parquet`).

Both are made here from plain tables, by a run as by an auditor; where they are kept is the business of `irp_core.run`.
"""

from irp_core.removals.history import (
    DECISIONS,
    GONE,
    REMOVAL_SCHEMA,
    REMOVED,
    RESTORED,
    empty_removals,
    excluded_rows,
    joined_rounds,
    removal_history,
    review_removals,
    round_rows,
    standing_removals,
    with_truth,
)
from irp_core.removals.images import IMAGE_SCHEMA, KEPT, REFINEMENT, image_states

__all__ = [
    "DECISIONS",
    "GONE",
    "IMAGE_SCHEMA",
    "KEPT",
    "REFINEMENT",
    "REMOVAL_SCHEMA",
    "REMOVED",
    "RESTORED",
    "empty_removals",
    "excluded_rows",
    "image_states",
    "joined_rounds",
    "removal_history",
    "review_removals",
    "round_rows",
    "standing_removals",
    "with_truth",
]
