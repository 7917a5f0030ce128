"""What is known of one model when it is compared with another: its decisions, never its loss."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from irp_core.errors import InputError

__all__ = ["ModelEvidence", "with_reviewed"]

_SCORES = ("image_id", "md5", "score")
_LABELS = ("good", "defective")


@dataclass(frozen=True)
class ModelEvidence:
    """One model: what it says about images, and how its training set was cleaned.

    Scores of two models share no scale, so only decisions (score above the model's own threshold) and ranks within
    one model are compared.

    Attributes:
        name: as people call it, e.g. `line3/7`.
        threshold: its operating threshold; a score above it is an alarm.
        false_alarm_rate: the share of good images that may exceed the threshold, as declared.
        scores: columns `image_id`, `md5`, `score` of unlabelled images, and optionally `new` (bool): the image
            arrived after the champion was made. Images that a model trained on are left out by `compare`.
        trained_on: md5 of the images that its detector trained on.
        removed: md5 of the images that were removed from its training set. They were chosen by their scores, so they
            say nothing about the share of alarms; those that a reviewer decided about count as labelled images.
        share_removed: of its training images, in [0, 1].
        contamination: the estimated share of defective images before the removal; None where it is not known.
        golden: columns `image_id`, `md5`, `label` (`good` or `defective`), `score`; None without labelled images.
        history: columns `version`, `share_removed`, `contamination` (null where not known) of the versions before
            it, the champion included.

    Raises:
        InputError: a table without its columns, scores or a threshold that are not finite, or another label.

    Example:
        >>> scores = pd.DataFrame({"image_id": ["a.png"], "md5": ["a"], "score": [0.3]})
        >>> ModelEvidence("line3/1", threshold=0.5, false_alarm_rate=0.05, scores=scores).alarms(scores).tolist()
        [False]
    """

    name: str
    threshold: float
    false_alarm_rate: float
    scores: pd.DataFrame
    trained_on: Collection[str] = frozenset()
    removed: Collection[str] = frozenset()
    share_removed: float = 0.0
    contamination: float | None = None
    golden: pd.DataFrame | None = None
    history: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["version", "share_removed", "contamination"])
    )

    def __post_init__(self) -> None:
        if not np.isfinite(self.threshold):
            raise InputError(f"{self.name}: expected a finite threshold, found {self.threshold}.")
        self._check("scores", self.scores, _SCORES)
        self._check("history", self.history, ("version", "share_removed", "contamination"))
        if self.golden is not None:
            self._check("golden scores", self.golden, (*_SCORES, "label"))
            for label in self.golden["label"]:
                if label not in _LABELS:
                    raise InputError(f"{self.name}: expected golden labels good or defective, found {label!r}.")

    def _check(self, what: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
        if missing := [column for column in columns if column not in table]:
            raise InputError(f"{self.name}: expected {what} with column {missing[0]!r}, found {list(table.columns)}.")
        if "score" in columns and not np.isfinite(table["score"].to_numpy(dtype=np.float64)).all():
            worst = table.loc[~np.isfinite(table["score"].to_numpy(dtype=np.float64)), "image_id"].iloc[0]
            raise InputError(f"{self.name}: expected finite {what}, found another of {worst}.")

    def alarms(self, scores: pd.DataFrame) -> pd.Series[bool]:
        """Which rows of a table of its scores are alarms."""
        above: pd.Series[bool] = scores["score"] > self.threshold
        return above


def with_reviewed(evidence: ModelEvidence, labels: Mapping[str, str]) -> ModelEvidence:
    """The evidence with reviewed images among the golden ones.

    A golden label stands before a reviewer's. Images that a model trained on are left out by `compare`, so what counts
    are images that were reviewed and not trained on.

    Args:
        labels: md5 → `good` or `defective`, as reviewers decided; only images that have a score are taken.
    """
    known = evidence.golden if evidence.golden is not None else pd.DataFrame(columns=[*_SCORES, "label"])
    reviewed = evidence.scores[evidence.scores["md5"].isin(list(labels)) & ~evidence.scores["md5"].isin(known["md5"])]
    if reviewed.empty:
        return evidence
    rows = reviewed[list(_SCORES)].assign(label=reviewed["md5"].map(dict(labels)))
    both = [table[[*_SCORES, "label"]] for table in (known, rows) if len(table)]
    return replace(evidence, golden=pd.concat(both, ignore_index=True))
