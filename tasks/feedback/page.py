"""The page on which a person says of a service's kept images whether they are good or defective."""

from __future__ import annotations

import threading
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import pandas as pd

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.inspection import Inspector
from irp_core.localisation.drawn import drawn
from irp_core.localisation.rendering import colour_stops
from irp_core.packed.images import read_image
from tasks.feedback.answers import Answer, Feedback
from tasks.reports.thumbnails import as_jpeg, jpeg
from tasks.review.decision_server import SIZES, DecisionServer, NoLongerThereError
from tasks.scoring import open_inspector

__all__ = ["KeptServer"]


class KeptServer(DecisionServer):
    """Serves the kept images until the person finishes: those that nobody answered for first, the most likely defect
    first.

    Args:
        feedback: the images, and where answers go.
        params: how images are read, and where registered models are.
        subject: whose images they are.
        reviewer, port: as `DecisionServer`.
        allow: see `irp_core.detectors.load_detector`.
    """

    def __init__(
        self,
        feedback: Feedback,
        params: Params,
        subject: str,
        reviewer: str,
        port: int = 0,
        *,
        allow: Collection[str] = (),
    ) -> None:
        self.feedback, self._params, self._subject, self._allow = feedback, params, subject, allow
        self._opened: dict[str, Inspector | InputError] = {}
        self._opening = threading.Lock()  # a network takes seconds to load, and decisions do not wait for it
        super().__init__(reviewer, port)

    def says(self) -> dict[str, Any]:
        return {"subject": self._subject, "kept": True, "reviewer": self.reviewer, "stops": colour_stops()}

    def table(self) -> pd.DataFrame:
        rows = [
            {
                "md5": row["md5"],
                "image_id": row["name"] or row["md5"],
                "kind": "alarm" if row["decision"] == "anomalous" else "near",
                "iteration": None,
                "score": row["score"],
                "threshold": row["threshold"],
                "rule": row["model"],
                "likely": row["defective"],
            }
            for row in self.feedback.rows()
        ]
        return pd.DataFrame(
            rows, columns=["md5", "image_id", "kind", "iteration", "score", "threshold", "rule", "likely"]
        )

    def beside(self, md5: str) -> list[dict[str, Any]]:
        rows = {row["md5"]: row for row in self.feedback.kept.rows()}
        if md5 not in rows:
            return []
        return [
            {"md5": other, "image_id": rows[other]["name"] or other, "score": rows[other]["score"]}
            for other in self.feedback.resembling(md5)
            if other in rows
        ]

    def decisions(self) -> dict[str, dict[str, Any]]:
        return self.feedback.said()

    def decide(self, md5: str, keep: bool, reviewer: str, note: str) -> None:
        try:
            self.feedback.record(Answer(md5=md5, defective=not keep, reviewer=reviewer, note=note))
        except KeyError:
            raise _gone(md5) from None

    def withdraw(self, md5: str, reviewer: str) -> None:
        try:
            self.feedback.withdraw(md5, reviewer)
        except KeyError:
            raise _gone(md5) from None

    @lru_cache(maxsize=512)  # noqa: B019  (the server lives as long as its process's only review)
    def picture(self, md5: str, size: str) -> bytes | None:
        file = self.feedback.kept.image(md5)
        if md5 not in self.feedback.kept:
            return None
        return self._map(md5, SIZES[size]) if size == "map" else jpeg(file, SIZES[size], self._params.images)

    def _map(self, md5: str, size: int) -> bytes | None:
        """The image with the map of the model that kept it, which is opened when the first one is asked for."""
        with self._opening:
            model = self.feedback.kept.row(md5)["model"]
            if model not in self._opened:
                self._opened[model] = self._open(model)
            opened = self._opened[model]
            if isinstance(opened, InputError):
                raise opened
            if opened.scale is None:
                return None
            content = read_image(self.feedback.kept.image(md5), opened.images.max_bytes)
            (view,) = opened.locate([opened.see(content)])
        return as_jpeg(drawn(content, view, opened.scale, opened.images).overlay(size))

    def _open(self, model: str) -> Inspector | InputError:
        try:
            return open_inspector(model, self._params, allow=self._allow, maps=None)
        except InputError as error:
            return error


def _gone(md5: str) -> NoLongerThereError:
    return NoLongerThereError(f"the image {md5} is no longer kept: it made room for others")
