"""`irp prepare`: what a data set holds, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import As, DataPath, Format, NoPrefect, Overrides, ParamsFile, Quiet, read_params
from flows.cli.session import prefect_session

__all__ = ["prepare"]


def prepare(
    path: DataPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables.")] = Path("prepared"),
    params: ParamsFile = None,
    set_param: Overrides = None,
    no_prefect: NoPrefect = False,
    as_: As = Format.table,
    quiet: Quiet = False,
) -> None:
    """Read a data set, quarantine what is unreadable, contaminate it, write its manifest. Trains nothing."""
    console = Console(quiet=quiet)
    from irp_core.data.scan import detect_layout

    checked = read_params(params, set_param)
    detect_layout(path, checked.dataset.layout, good_names=checked.dataset.good_names)
    plain = checked.model_dump(mode="json")
    with prefect_session(orchestrate=checked.run.orchestrate and not no_prefect):
        from flows.prepare import prepare_dataset

        counts = prepare_dataset(str(path), plain, str(output))
    from flows.terminal.run import show_prepared

    if as_ is Format.table:
        show_prepared(console, counts, path, output)
        return
    from flows.terminal.answer import write_rows
    from irp_core.data.by_folder import counts_by_folder
    from irp_core.run.prepared import PreparedSet

    prepared = PreparedSet(output)
    folders = counts_by_folder(prepared.manifest(), prepared.quarantine(), prepared.ignored())
    write_rows(folders, as_.value, "folders", counts)
