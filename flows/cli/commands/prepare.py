"""`irp prepare`: what a data set holds, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import DataPath, Overrides, ParamsFile, Quiet, read_params
from flows.cli.session import prefect_session

__all__ = ["prepare"]


def prepare(
    path: DataPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables.")] = Path("prepared"),
    params: ParamsFile = None,
    set_param: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Read a data set, quarantine what is unreadable, contaminate it, write its manifest. Trains nothing."""
    console = Console(quiet=quiet)
    from irp_core.data.scan import detect_layout

    checked = read_params(params, set_param)
    detect_layout(path, checked.dataset.layout, good_names=checked.dataset.good_names)
    plain = checked.model_dump(mode="json")
    with prefect_session():
        from flows.prepare import prepare_dataset

        counts = prepare_dataset(str(path), plain, str(output))
    from flows.terminal.run import show_prepared

    show_prepared(console, counts, path, output)
