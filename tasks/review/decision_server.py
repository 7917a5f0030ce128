"""A page on which a person decides about images, one after another: the list, the pictures, the decision, the undo."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

import pandas as pd
from fastapi import HTTPException, Query, Response
from pydantic import Field

from irp_core.errors import InputError
from irp_core.refinement.reviews import KEPT_BY_REVIEW
from tasks.review.page_server import MD5, WORD, Body, Name, PageServer
from tasks.review.paging import page_of

__all__ = ["SIZES", "DecisionServer", "NoLongerThereError"]

SIZES = {"small": 160, "large": 900, "map": 900}
"""Longest sides of a page's pictures, in pixels."""


_SHOW = Query("all", pattern=r"^[a-z_]{1,30}$")
_FIND = Query("", max_length=200)
_AT = Query(None, pattern=r"^[0-9a-f]{32}$")


class _Decision(Body):
    md5: str = MD5
    decision: Literal["keep", "remove"]
    reviewer: str = WORD
    note: str = Field(default="", max_length=2000)


class NoLongerThereError(InputError):
    """The image is gone: nothing can be decided about it, and no decision taken back."""


class DecisionServer(PageServer):
    """Serves the images that are to be decided about. What they are, and where a decision goes, a subclass says.

    Args:
        reviewer: name that the page starts with.
        port: 0 for a free one.
    """

    template = "review.html"

    def __init__(self, reviewer: str, port: int = 0) -> None:
        self.reviewer = reviewer
        # One decision at a time: each rewrites tables.
        self._lock = threading.Lock()
        # Reviewer, md5, and the decision that counted before.
        self._undo: list[tuple[str, str, dict[str, Any] | None]] = []
        super().__init__(port)

    def table(self) -> pd.DataFrame:
        """The images, in the order in which they are shown: `md5, image_id, kind, iteration, score, threshold, rule`,
        and `likely`, the probability that it is defective, where it is known."""
        raise NotImplementedError

    def beside(self, md5: str) -> list[dict[str, Any]]:
        """A few images to compare one with: `md5, image_id, score`."""
        raise NotImplementedError

    def picture(self, md5: str, size: str) -> bytes | None:
        """The image as a JPEG of `SIZES[size]` pixels, with its map where the size is `map`; None: it is not to be had.

        Raises:
            InputError: why there is none.
        """
        raise NotImplementedError

    def decisions(self) -> dict[str, dict[str, Any]]:
        """md5 → the decision that counts now."""
        raise NotImplementedError

    def decide(self, md5: str, keep: bool, reviewer: str, note: str) -> None:
        """Put a decision on record.

        Raises:
            NoLongerThereError: the image is gone.
        """
        raise NotImplementedError

    def withdraw(self, md5: str, reviewer: str) -> None:
        """Take the reviewer's own decision back.

        Raises:
            NoLongerThereError: the image is gone.
        """
        raise NotImplementedError

    def routes(self) -> list[tuple[str, Callable[..., Any], str]]:
        return [
            *super().routes(),
            ("/items", self.items, "GET"),
            ("/neighbours/{md5}", self.beside, "GET"),
            ("/image/{md5}/{size}", self._image, "GET"),
            ("/decision", self._decide, "POST"),
            ("/undo", self._undo_last, "POST"),
        ]

    def items(self, show: str = _SHOW, find: str = _FIND, at: str | None = _AT) -> dict[str, Any]:
        """What the page shows: a page of the images (`page_of`), each with the decision that counts about it."""
        return {**page_of(self.table(), self.decisions(), show, find, at), **self.state()}

    def state(self) -> dict[str, Any]:
        """What the page shows besides the images."""
        return {"can_undo": bool(self._undo)}

    def _image(self, md5: str, size: Literal["small", "large", "map"]) -> Response:
        content = self.picture(md5, size)
        if content is None and size == "map":
            raise HTTPException(404, "there is no map of this image")
        if content is None:
            raise HTTPException(404, "this image is no longer on this machine")
        return Response(content, media_type="image/jpeg")

    # The page asks for its items after each decision, with its filter: here they would be made for nobody.
    def _decide(self, body: _Decision) -> dict[str, Any]:
        with self._lock:
            before = self.decisions().get(body.md5)
            self.decide(body.md5, body.decision == "keep", body.reviewer, body.note)
            self._undo.append((body.reviewer.strip(), body.md5, before))
            return self.state()

    def _undo_last(self, body: Name) -> dict[str, Any]:
        """Take back the last decision of the one who asks: nobody's name is put to what another did."""
        with self._lock:
            name = body.reviewer.strip()
            own = [at for at, (who, _, _) in enumerate(self._undo) if who == name]
            if not own:
                raise HTTPException(409, f"there is nothing of {name}'s to undo")
            _, md5, before = self._undo[own[-1]]
            now = self.decisions().get(md5)
            if now is None or now["reviewer"] != name:
                del self._undo[own[-1]]
                raise HTTPException(409, f"{now['reviewer'] if now else 'somebody'} has decided about this image since")
            try:
                if before is not None and before["reviewer"] == name:
                    self.decide(md5, before["decision"] == KEPT_BY_REVIEW, name, before["note"] or "")
                else:
                    self.withdraw(md5, name)
            except NoLongerThereError:  # it must not stand before those that can be taken back
                del self._undo[own[-1]]
                raise
            del self._undo[own[-1]]
            return {**self.state(), "md5": md5}
