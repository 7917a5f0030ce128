"""The review page's server: on the loopback interface only, behind a random token.

The token is part of every address, so a page from elsewhere can neither read nor send anything; in addition the host
name of each request (DNS rebinding) and the origin of each writing one are checked, and no cookie exists.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jinja2
import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from irp_core.errors import InputError
from irp_core.localisation.rendering import colour_stops
from irp_core.refinement.reviews import KEPT_BY_REVIEW
from irp_core.report.run_maps import RunMaps
from irp_core.results.again import again
from tasks.reports.thumbnails import image_file, jpeg
from tasks.review.door import Bounded, Impatient, answer_in_json
from tasks.review.paging import Filter, page_of
from tasks.review.session import Review

__all__ = ["MD5", "Body", "Name", "ReviewServer"]

_SIZES = {"small": 160, "large": 900, "map": 900}  # pixels
MD5 = Field(pattern=r"^[0-9a-f]{32}$")
_AT = Query(None, pattern=r"^[0-9a-f]{32}$")
_FIND = Query("", max_length=200)
_WORD = Field(min_length=1, max_length=200, pattern=r"\S")


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Decision(Body):
    md5: str = MD5
    decision: Literal["keep", "remove"]
    reviewer: str = _WORD
    note: str = Field(default="", max_length=2000)


class Name(Body):
    reviewer: str = _WORD
    note: str = Field(default="", max_length=2000)


class ReviewServer:
    """Serves one review until it is finished.

    Args:
        review: the review.
        reviewer: name that the page starts with.
        port: 0 for a free one.
    """

    template = "review.html"

    def __init__(self, review: Review, reviewer: str, port: int = 0) -> None:
        self.review = review
        self.token = secrets.token_urlsafe(24)
        self._reviewer = reviewer
        self._maps = RunMaps(review.run)
        self._socket = socket.socket()
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(f"--port {port}: cannot be listened on ({error.strerror}).") from None
        self._socket.listen()
        self.port = int(self._socket.getsockname()[1])
        # One decision at a time: each rewrites the run's tables.
        self._lock = threading.Lock()
        # Reviewer, md5, and the decision that counted before.
        self._undo: list[tuple[str, str, dict[str, Any] | None]] = []
        config = uvicorn.Config(
            Bounded(self.app()), log_level="error", timeout_graceful_shutdown=2, http=Impatient, ws="none"
        )
        self._server = uvicorn.Server(config)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def run(self) -> None:
        """Serve until the reviewer finishes or presses Ctrl-C."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`."""
        self._server.should_exit = True

    def app(self) -> FastAPI:
        """The application; every route lies under the token."""
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.middleware("http")(self._guard)
        answer_in_json(app)
        for path, handler, method in self.routes():
            app.add_api_route(f"/{self.token}{path}", handler, methods=[method])
        return app

    def routes(self) -> list[tuple[str, Callable[..., Any], str]]:
        """Path under the token, handler and method."""
        return [
            ("/", self._page, "GET"),
            ("/items", self._items, "GET"),
            ("/neighbours/{md5}", self._neighbours, "GET"),
            ("/image/{md5}/{size}", self._image, "GET"),
            ("/decision", self._decide, "POST"),
            ("/undo", self._undo_last, "POST"),
            ("/approve", self._approve, "POST"),
            ("/finish", self._finish, "POST"),
        ]

    async def _guard(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        hosts = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        if request.headers.get("host") not in hosts:
            return JSONResponse({"detail": "unknown host"}, 400)
        if request.method != "GET":
            origin = request.headers.get("origin")
            json_body = request.headers.get("content-type", "").startswith("application/json")
            if not json_body or (origin is not None and origin not in {f"http://{host}" for host in hosts}):
                return JSONResponse({"detail": "not from this page"}, 403)
        response = await call_next(request)
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.url.path.endswith(("/small", "/large", "/map")):
            response.headers["Cache-Control"] = "private, max-age=3600"
        else:
            response.headers["Cache-Control"] = "no-store"
        return response

    def _page(self) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        text = _template(self.template).render(
            run_id=self.review.run.run_id,
            dataset=self.review.run.record()["dataset"],
            reviewer=self._reviewer,
            nonce=nonce,
            again=again(self.review.run),
            stops=colour_stops() if self._maps else None,
        )
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    def _items(self, show: Filter = "all", find: str = _FIND, at: str | None = _AT) -> dict[str, Any]:
        return {**page_of(self.review, show, find, at), **self._state()}

    def _state(self) -> dict[str, Any]:
        return {"approved": self.review.approved(), "can_undo": bool(self._undo)}

    def _neighbours(self, md5: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.review.neighbours(md5).to_dict("records")
        return rows

    def _image(self, md5: str, size: Literal["small", "large", "map"]) -> Response:
        content = self._picture(md5, size)
        if content is None and size == "map":
            raise HTTPException(404, "there is no map of this image")
        if content is None:
            raise HTTPException(404, "this image is no longer on this machine")
        return Response(content, media_type="image/jpeg")

    def _decide(self, body: _Decision) -> dict[str, Any]:
        with self._lock:
            before = self.review.decisions().get(body.md5)
            self.review.decide(body.md5, body.decision == "keep", body.reviewer, body.note)
            self._undo.append((body.reviewer.strip(), body.md5, before))
            return self._state()

    def _undo_last(self, body: Name) -> dict[str, Any]:
        """Take back the last decision of the one who asks: nobody's name is put to what another did."""
        with self._lock:
            name = body.reviewer.strip()
            own = [at for at, (who, _, _) in enumerate(self._undo) if who == name]
            if not own:
                raise HTTPException(409, f"there is nothing of {name}'s to undo")
            _, md5, before = self._undo[own[-1]]
            now = self.review.decisions().get(md5)
            if now is None or now["reviewer"] != name:
                del self._undo[own[-1]]
                raise HTTPException(409, f"{now['reviewer'] if now else 'somebody'} has decided about this image since")
            if before is not None and before["reviewer"] == name:
                self.review.decide(md5, before["decision"] == KEPT_BY_REVIEW, name, before["note"] or "")
            else:
                self.review.withdraw(md5, name)
            del self._undo[own[-1]]
            return {**self._state(), "md5": md5}

    def _approve(self, body: Name) -> dict[str, Any]:
        with self._lock:
            self.review.approve(body.reviewer, body.note)
            return self._state()

    def _finish(self) -> dict[str, bool]:
        self.stop()
        return {"finished": True}

    @lru_cache(maxsize=512)  # noqa: B019  (the server lives as long as its process's only review)
    def _picture(self, md5: str, size: str) -> bytes | None:
        name = self.review.names.get(md5)
        path = image_file(self.review.run, name, md5) if name is not None else None
        if size == "map":
            return self._maps.jpeg(md5, path, _SIZES[size])
        return jpeg(path, _SIZES[size], self.review.run.params().images) if path else None


@lru_cache
def _template(name: str) -> jinja2.Template:
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)
