"""The page that asks: one image, one key, and what follows from the answers so far."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import HTTPException

from tasks.review.asking import Asking
from tasks.review.page_server import MD5, WORD, Body, Name
from tasks.review.server import ReviewServer

__all__ = ["AskServer"]


class _Answer(Body):
    md5: str = MD5
    answer: Literal["good", "defective"]
    reviewer: str = WORD


class AskServer(ReviewServer):
    """Serves the questions of one run until they are answered or the person finishes.

    Args:
        asking: the questions.
        reviewer: name that the page starts with.
        port: 0 for a free one.
    """

    template = "ask.html"

    def __init__(self, asking: Asking, reviewer: str, port: int = 0) -> None:
        self.asking = asking
        self._given: list[tuple[str, str]] = []  # md5 and reviewer, in their order
        _ = asking.already
        super().__init__(asking.review, reviewer, port)

    def routes(self) -> list[tuple[str, Any, str]]:
        return [
            *super().routes(),
            ("/question", self._question, "GET"),
            ("/answer", self._answer, "POST"),
            ("/take-back", self._take_back, "POST"),
        ]

    def _question(self) -> dict[str, Any]:
        return {**self.asking.state(), "can_undo": bool(self._given)}

    def _answer(self, body: _Answer) -> dict[str, Any]:
        with self._lock:
            self.asking.answer(body.md5, body.answer == "defective", body.reviewer)
            self._given.append((body.md5, body.reviewer.strip()))
            return self._question()

    def _take_back(self, body: Name) -> dict[str, Any]:
        with self._lock:
            if not self._given:
                raise HTTPException(409, "there is nothing to take back")
            md5, reviewer = self._given.pop()
            self.review.withdraw(md5, reviewer)
            return self._question()
