"""The review page of a run: what was removed and what nearly was, decided one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pandas as pd

from irp_core.localisation.rendering import colour_stops
from irp_core.report.run_maps import RunMaps
from irp_core.results.again import again
from tasks.reports.thumbnails import image_file, jpeg
from tasks.review.decision_server import SIZES, DecisionServer
from tasks.review.page_server import Name
from tasks.review.session import Review

__all__ = ["ReviewServer"]


class ReviewServer(DecisionServer):
    """Serves one review until it is finished.

    Args:
        review: the review.
        reviewer, port: as `DecisionServer`.
    """

    def __init__(self, review: Review, reviewer: str, port: int = 0) -> None:
        self.review = review
        self._maps = RunMaps(review.run)
        super().__init__(reviewer, port)

    def routes(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [*super().routes(), ("/approve", self._approve, "POST")]

    def says(self) -> dict[str, Any]:
        return {
            "subject": self.review.run.run_id,
            "kept": False,
            "reviewer": self.reviewer,
            "again": again(self.review.run),
            "stops": colour_stops() if self._maps else None,
        }

    def table(self) -> pd.DataFrame:
        return self.review.items

    def state(self) -> dict[str, Any]:
        return {**super().state(), "approved": self.review.approved()}

    def beside(self, md5: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.review.neighbours(md5).to_dict("records")
        return rows

    def decisions(self) -> dict[str, dict[str, Any]]:
        return self.review.decisions()

    def decide(self, md5: str, keep: bool, reviewer: str, note: str) -> None:
        self.review.decide(md5, keep, reviewer, note)

    def withdraw(self, md5: str, reviewer: str) -> None:
        self.review.withdraw(md5, reviewer)

    def _approve(self, body: Name) -> dict[str, Any]:
        with self._lock:
            self.review.approve(body.reviewer, body.note)
            return self.state()

    @lru_cache(maxsize=512)  # noqa: B019  (the server lives as long as its process's only review)
    def picture(self, md5: str, size: str) -> bytes | None:
        name = self.review.names.get(md5)
        path = image_file(self.review.run, name, md5) if name is not None else None
        if size == "map":
            return self._maps.jpeg(md5, path, SIZES[size])
        return jpeg(path, SIZES[size], self.review.run.params().images) if path else None
