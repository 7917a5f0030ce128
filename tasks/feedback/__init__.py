"""Images that a service kept, what people say about them, and how a confirmed defect enters a golden set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from irp_core.errors import InputError

if TYPE_CHECKING:
    from irp_core.config import Params
    from tasks.feedback.answers import Feedback

__all__ = ["feedback_of"]


def feedback_of(folder: Path, params: Params) -> Feedback:
    """The answers about the images that a service keeps in a folder, in the log that the parameters name.

    Raises:
        InputError: no such folder, or no log.
    """
    from tasks.feedback.answers import Feedback
    from tasks.feedback.kept_folder import KeptFolder

    if params.review.decisions is None:
        raise InputError("review.decisions must name the file that answers go to. Got null.")
    return Feedback(KeptFolder(folder), Path(params.review.decisions))
