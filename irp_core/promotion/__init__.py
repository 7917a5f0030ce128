"""Whether a new detector (the challenger) may take the place of the one in service (the champion): tables in, a table
of checks out. Nothing here trains, scores, asks MLflow or tells anybody."""

from irp_core.promotion.comparison import Comparison, compare
from irp_core.promotion.evidence import ModelEvidence, with_reviewed

__all__ = ["Comparison", "ModelEvidence", "compare", "with_reviewed"]
