"""`irp refine`: clean a data set, or go on with a run that was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli.options import (
    AllowDetectors,
    As,
    Format,
    NoDvc,
    NoPrefect,
    Overrides,
    ParamsFile,
    Quiet,
    find_run,
    read_params,
)
from flows.cli.session import close_session, compare_methods, left_off, prefect_session
from irp_core.errors import InputError
from irp_core.methods import METHODS

if TYPE_CHECKING:
    from irp_core.run.directory import RunDirectory

__all__ = ["refine"]


def refine(
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="Folder of images.")] = None,
    params: ParamsFile = None,
    set_param: Overrides = None,
    manifest: Annotated[Path | None, typer.Option(help="Folder written by `irp prepare`, instead of scanning.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="RUN", help="Run to go on with (folder, id, last).")] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="More decisions to respect: a CSV, or a run's removals.parquet.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(help=f"Methods to compare on the same set, comma-separated: {', '.join(METHODS)} (or: all)."),
    ] = None,
    no_dvc: NoDvc = False,
    no_prefect: NoPrefect = False,
    allow_detector: AllowDetectors = None,
    as_: As = Format.table,
    quiet: Quiet = False,
) -> None:
    """Refine a data set: train, score, remove, retrain, until nothing stands out."""
    console = Console(quiet=quiet or as_ is not Format.table)
    if decisions is not None:
        from irp_core.refinement.reviews import read_events

        read_events(decisions)  # a mistake in the file is said before anything starts
        if resume is not None or compare is not None:
            raise InputError("--decisions goes with PATH alone: a run that is resumed keeps those it began with.")
    if (path is None) == (resume is None):
        raise InputError("irp refine expects either PATH or --resume RUN.")
    if resume is not None:
        without = {"--set-param": set_param, "--params": params, "--manifest": manifest, "--compare": compare}
        if given := [name for name, value in {**without, "--no-dvc": no_dvc or None}.items() if value is not None]:
            raise InputError(
                f"{given[0]} goes with PATH alone: a run that is resumed does what it was asked to do when it began."
            )
        run_path = _resume(find_run(resume), tuple(allow_detector or ()), no_prefect)
    else:
        assert path is not None
        from irp_core.data.scan import is_labelled

        checked = read_params(params, [*(set_param or ()), *left_off(no_dvc, no_prefect)])
        wanted = (checked.refinement.method,) if compare is None else _methods(compare)
        reading = [name for name in wanted if METHODS[name].reads_injected]
        if not is_labelled(path, checked.dataset.layout, good_names=checked.dataset.good_names) and reading:
            raise InputError(
                f"{path}: method {reading[0]} reads which images are defective: expected a folder of good images "
                "beside one per defect, found no labels."
            )
        plain = checked.model_dump(mode="json")
        if compare is not None:
            if manifest is not None:
                raise InputError("--manifest goes with one method alone: --compare reads the data set itself.")
            done = compare_methods(console, path, plain, _methods(compare))
            if as_ is not Format.table:
                from flows.compare import comparison_table
                from flows.terminal.answer import write_rows

                write_rows(comparison_table(done), as_.value, "methods", {"runs": done})
            elif quiet:
                print("\n".join(done.values()))
            return
        with prefect_session(orchestrate=checked.run.orchestrate):
            from flows.refine import refine as refine_flow

            said = str(decisions) if decisions else None

            run_path = Path(refine_flow(str(path), plain, str(manifest) if manifest else None, decisions=said))
            close_session([run_path])
    from flows.terminal.run import show_run
    from irp_core.run.directory import RunDirectory

    run = RunDirectory(run_path)
    show_run(console, run)
    if as_ is not Format.table:
        from flows.terminal.answer import write_rows

        write_rows(
            run.iterations(), as_.value, "iterations", {"run": run.run_id, "path": str(run.path), **run.summary()}
        )
    elif quiet:
        print(run_path)


def _resume(run: RunDirectory, allow_detectors: tuple[str, ...], no_prefect: bool) -> Path:
    with prefect_session(orchestrate=not no_prefect and run.params().run.orchestrate):
        from flows.refine import resume

        path = Path(resume(str(run.path), allow_detectors))
        close_session([path])
    return path


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(METHODS) if text == "all" else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in METHODS:
            raise InputError(f"--compare must list methods among {', '.join(METHODS)} (or all). Got {name!r}.")
    return names
