"""`irp fetch`: public data sets from their publishers' addresses, with the licence shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import Quiet
from irp_core.errors import InputError

__all__ = ["fetch"]


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="ksdd2 | mtd | mvtec")],
    to: Annotated[Path, typer.Option(help="Folder that the data set's folder goes into.")] = Path("data/raw"),
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="You accept the licence that is shown (MVTec AD asks for it).")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Download a public data set, check its hash, unpack it. An interrupted download goes on where it stopped."""
    from tasks.fetch.data_sets import fetch as fetch_data_set
    from tasks.fetch.sources import SOURCES

    if name not in SOURCES:
        raise InputError(f"irp fetch expects one of {', '.join(SOURCES)}. Got {name!r}.")
    source = SOURCES[name]
    console = Console(highlight=False, soft_wrap=True, quiet=quiet)
    console.print(f"[bold]{source.title}[/bold]  {source.page}")
    console.print(f"Licence: {source.license} ({source.license_url}). {source.terms}")
    console.print(f"Cite: {source.citation}")
    done = fetch_data_set(source, to, accept_license=accept_license)
    if done.sha256 is None:
        console.print(f"{done.root} is there already; nothing was done.")
    else:
        trusted = f"sha256 {done.sha256} ({source.sha256_source})"
        console.print(f"{done.root} is complete; {trusted}.")
        console.print(f"The archive is not needed any more: {done.archive}")
    console.print(f"[bold]Next[/bold]  irp refine {done.root / source.example}")
    if quiet:
        print(done.root)
