"""The service's answers: POST /score, /feedback, GET /feedback, /model, /health, /metrics."""

from __future__ import annotations

import asyncio
import base64
import queue
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from irp_core import __version__
from irp_core.errors import InputError
from irp_core.inspection.mapped import KINDS, map_png
from irp_core.regular_file import shown
from tasks.feedback.answers import Answer, Feedback
from tasks.serve.batching import Batcher
from tasks.serve.door import Limits
from tasks.serve.kept import Kept
from tasks.serve.line import line_figures, line_of
from tasks.serve.metrics import Metrics
from tasks.serve.model import LoadedModel, ServedModel

__all__ = ["make_app"]

_RAW = ("image/", "application/octet-stream")


def make_app(
    served: ServedModel,
    batcher: Batcher,
    metrics: Metrics,
    limits: Limits,
    kept: Kept | None = None,
    feedback: Feedback | None = None,
) -> FastAPI:
    """The application; `tasks.serve.door.Door` stands before it.

    Args:
        kept: which images are kept, and where; None: none are.
        feedback: about them.
    """
    # One map at a time is drawn: an image has fifty million pixels at most, and each of many would take its memory.
    drawing = ThreadPoolExecutor(1, "irp-draw")
    line = line_of(served.reference)
    app = FastAPI(title="irp serve", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    @app.post("/score")
    async def score(request: Request) -> Response:
        started = time.perf_counter()
        status = 500
        try:
            answer = await _score(request, batcher, drawing, metrics, limits, kept)
            status = answer.status_code
            return answer
        except HTTPException as refused:
            status = refused.status_code
            raise
        finally:
            metrics.requests.labels(str(status)).inc()
            metrics.latency.observe(time.perf_counter() - started)

    @app.get("/model")
    def model() -> dict[str, Any]:
        return {
            "reference": served.reference,
            **_described(served.current),
            "registry_reached": served.registry_reached,
        }

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "model": served.current.name}

    @app.get("/feedback")
    def kept_images() -> dict[str, Any]:
        return {"images": _of(feedback).rows(served.current.name)}

    @app.post("/feedback")
    async def answered(request: Request) -> dict[str, Any]:
        given = _of(feedback)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "expected application/json")
        try:
            answer = Answer.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise HTTPException(400, f"{where}: {first['msg']}") from None
        try:
            return await asyncio.to_thread(given.record, answer)
        except KeyError:
            raise HTTPException(404, f"no image with md5 {answer.md5} is kept") from None
        except InputError as error:
            raise HTTPException(400, str(error)) from None

    @app.get("/metrics")
    def figures() -> Response:
        current = served.current
        metrics.set_model(current.name)
        if line is not None:
            metrics.set_line(line, line_figures(line))
        metrics.loaded.set(current.loaded)
        metrics.threshold.set(current.inspector.threshold)
        metrics.registry_reached.set(served.registry_reached)
        metrics.waiting.set(batcher.waiting)
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.exception_handler(Exception)
    async def failed(_request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": f"the service failed ({type(error).__name__})"}, 500)

    return app


def _of(feedback: Feedback | None) -> Feedback:
    if feedback is None:
        raise HTTPException(404, "no images are kept: start the service with --keep DIR")
    return feedback


async def _score(
    request: Request,
    batcher: Batcher,
    drawing: ThreadPoolExecutor,
    metrics: Metrics,
    limits: Limits,
    kept: Kept | None,
) -> Response:
    kind = _map_asked(request)
    images = await _images(request, limits)
    if kind and len(images) > limits.maps:
        raise HTTPException(413, f"expected at most {limits.maps} images with map={kind}, found {len(images)}")
    futures: list[asyncio.Future[Any]] = []
    try:
        for _, content in images:
            futures.append(asyncio.wrap_future(batcher.submit(content, mapped=kind is not None)))
        async with asyncio.timeout(limits.seconds):
            results = await asyncio.gather(*futures)
            maps: list[dict[str, Any] | None] = []
            if kind is not None:
                if results[0][0].inspector.scale is None:
                    raise HTTPException(409, f"{results[0][0].name} makes no maps")
                loop = asyncio.get_running_loop()
                futures += [
                    loop.run_in_executor(drawing, _drawn, content, view, model, kind)
                    for (_, content), (model, _, view, _) in zip(images, results, strict=True)
                ]
                maps = await asyncio.gather(*futures[len(images) :])
    except queue.Full:
        raise HTTPException(503, "busy: too many images wait; try again in a moment", {"Retry-After": "1"}) from None
    except TimeoutError:
        raise HTTPException(504, "the images were not scored in time") from None
    finally:
        for future in futures:
            future.cancel()  # of no effect on those that are done
    rows = []
    for place, ((name, content), (model, row, _, features)) in enumerate(zip(images, results, strict=True)):
        metrics.images.labels(row["decision"] or "error").inc()
        if row["score"] is not None and model.inspector.threshold > 0:
            metrics.scores.observe(row["score"] / model.inspector.threshold)
        if kept is not None:
            kept.consider(name, content, model, row, features)
        rows.append({"name": name, "model": model.name, **row, **({"map": maps[place]} if kind else {})})
    return JSONResponse({"images": rows})


def _map_asked(request: Request) -> str | None:
    """Which kind of map the address asks for: `?map=png` or `?map=raw`."""
    if unknown := sorted(set(request.query_params) - {"map"}):
        raise HTTPException(400, f"expected no parameter but map in the address, found {shown(unknown[0])[:60]}")
    kind = request.query_params.get("map")
    if kind is not None and kind not in KINDS:
        raise HTTPException(400, f"map must be one of {', '.join(KINDS)}; found {shown(kind)[:60]}")
    return kind


def _drawn(content: bytes, view: NDArray[np.float32] | None, model: LoadedModel, kind: str) -> dict[str, Any] | None:
    if view is None:  # an image without a score
        return None
    try:
        png, says = map_png(content, view, model.inspector, kind)
    except MemoryError:
        raise HTTPException(507, "the map needs more memory than there is") from None
    return {**says, "png": base64.b64encode(png).decode()}


async def _images(request: Request, limits: Limits) -> list[tuple[str | None, bytes]]:
    """(name, bytes) of each image of a request: of the parts of a form that are files, or of the body itself."""
    if (coding := request.headers.get("content-encoding", "identity").strip().lower()) not in ("", "identity"):
        raise HTTPException(415, f"expected the bytes as they are, found Content-Encoding {shown(coding)[:60]}")
    kind = request.headers.get("content-type", "application/octet-stream").strip().lower()
    if kind.startswith("multipart/form-data"):
        found: list[tuple[str | None, bytes]] = []
        async with request.form(max_files=limits.images, max_fields=8) as form:
            for _, part in form.multi_items():
                if isinstance(part, UploadFile):
                    found.append((shown(part.filename or "")[:200] or None, await part.read()))
        if not found:
            raise HTTPException(400, "expected at least one file in the form, found none")
        return found
    if not kind.startswith(_RAW):
        raise HTTPException(415, "expected multipart/form-data, image/* or application/octet-stream")
    content = await request.body()
    if not content:
        raise HTTPException(400, "expected an image's bytes, found none")
    return [(None, content)]


def _described(model: LoadedModel) -> dict[str, Any]:
    inspector = model.inspector
    return {
        "model": model.name,
        "detector": type(inspector.detector).__name__,
        "threshold": inspector.threshold,
        "image_size": list(inspector.images.shape),
        "max_pixels": inspector.images.max_pixels,
        "maps": inspector.scale is not None,
        "loaded": model.loaded,
        "irp": __version__,
    }
