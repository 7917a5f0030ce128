"""`irp serve`: a detector behind HTTP."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import AllowDetectors, Overrides, ParamsFile, RunOrModel, read_params, reference_of

__all__ = ["serve"]

_TOKEN = "IRP_SERVE_TOKEN"


def serve(
    model: RunOrModel,
    host: Annotated[str, typer.Option(help=f"Address to listen at; beyond this machine, {_TOKEN} must be set.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 8000,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further name that requests may be addressed to.")
    ] = None,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks where an alias points.")] = 10.0,
    max_body: Annotated[int, typer.Option(min=1000, help="Bytes of a request.")] = 32_000_000,
    max_pixels: Annotated[int, typer.Option(min=1, help="Of an image.")] = 50_000_000,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Until a request is there, and until its answer.")] = 30.0,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep alarms and images near the threshold here, for people's answers."),
    ] = None,
    keep_images: Annotated[int, typer.Option(min=1, help="Images that are kept at most.")] = 500,
    keep_bytes: Annotated[int, typer.Option(min=1000, help="Bytes that they have together at most.")] = 1_000_000_000,
    params: ParamsFile = None,
    set_param: Overrides = None,
    allow_detector: AllowDetectors = None,
) -> None:
    """Serve a refined detector over HTTP, and follow the alias that it is registered under."""
    checked = read_params(params, set_param)
    from tasks.serve.door import Limits
    from tasks.serve.kept import Kept
    from tasks.serve.service import Service

    notes = Console(stderr=True)
    limits = Limits(body=max_body, together=max(256_000_000, max_body), pixels=max_pixels, seconds=max_seconds)
    with notes.status("Loading the model …"):
        service = Service(
            reference_of(model, checked),
            checked,
            host=host,
            port=port,
            token=os.environ.get(_TOKEN) or None,
            hosts=allow_host or (),
            every=poll,
            limits=limits,
            allow=allow_detector or (),
            kept=None if keep is None else Kept(keep, images=keep_images, size=keep_bytes),
        )
    notes.print(
        f"{service.model.current.name} answers at http://{host}:{service.port} "
        "(POST /score, GET /model, /health, /metrics).",
        highlight=False,
        soft_wrap=True,
    )
    service.run()
