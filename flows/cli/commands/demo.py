"""`irp demo`: the main job on a made inspection line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.options import NoDvc, NoPrefect, Overrides, ParamsFile, Quiet, read_params
from flows.cli.session import compare_methods, left_off
from irp_core.errors import InputError

__all__ = ["demo"]

METHODS_SHOWN = ("vanilla", "irp", "careful", "answered", "oracle")
"""Training on all, the paper's rule, what is removed without asking, the same after answers, and the ceiling."""


def _make_plant(folder: Path, size: int, snapshots: bool) -> None:
    from irp_core.demo.plant import write_demo_plant
    from tasks.runtime.progress import bar
    from tasks.versions.snapshots import check_repository

    if snapshots:
        check_repository()  # before a minute of drawing, not after it
    try:
        with bar("Making the demo plant") as advance:
            write_demo_plant(folder, size=size, progress=advance)
    except FileExistsError as error:
        raise InputError(f"{error}") from None


def demo(
    folder: Annotated[Path, typer.Option(help="Where the made images go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of split, injection and training.")] = 0,
    size: Annotated[int, typer.Option(help="Side of the made images in pixels.", min=64, max=1024)] = 256,
    params: ParamsFile = None,
    set_param: Overrides = None,
    no_dvc: NoDvc = False,
    no_prefect: NoPrefect = False,
    quiet: Quiet = False,
) -> None:
    """Run the main job on a made inspection line: 20 % of the training set is defective, five methods compared."""
    overrides = [f"run.seed={seed}", "contamination.fraction=0.2", *(set_param or ())]
    plain = read_params(params, [*overrides, *left_off(no_dvc, no_prefect)]).model_dump(mode="json")
    console = Console(quiet=quiet)
    done = compare_methods(
        console, folder, plain, METHODS_SHOWN, lambda: _make_plant(folder, size, plain["snapshots"]["enabled"])
    )
    # Not earlier: Prefect must not be imported before its settings stand.
    from flows.compare import comparison_table
    from flows.terminal.run import show_run
    from irp_core.run.directory import RunDirectory
    from tasks.reports.page import render_page

    run = RunDirectory(Path(done["careful"]))
    page = render_page(run, comparison_table(done))
    show_run(console, run)
    if quiet:
        print(run.path)
    console.print(f"[bold]Open[/bold]  {page.resolve().as_uri()}", highlight=False, soft_wrap=True)
