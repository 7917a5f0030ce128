"""The command line. Heavy libraries are imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import tasks.runtime.environment  # noqa: F401  (before any of the libraries that it quiets)
from flows.cli.audit import audit
from flows.cli.demo import demo
from flows.cli.ending import carry_out
from flows.cli.export import export
from flows.cli.fetch import fetch
from flows.cli.lines.line import line
from flows.cli.lines.promotion import promote, reject, rollback
from flows.cli.options import AllowDetectors, DataPath, NoDvc, Overrides, ParamsFile, read_params
from flows.cli.review import review
from flows.cli.session import close_session, compare_methods, prefect_session, without_dvc
from flows.cli.whatif import whatif
from irp_core import __version__
from irp_core.errors import InputError
from irp_core.methods import METHODS

__all__ = ["app", "main"]

app = typer.Typer(
    name="irp",
    help="Clean the contaminated training set of an industrial visual anomaly detector.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(audit, name="audit")
app.add_typer(line, name="line")
app.command()(promote)
app.command()(reject)
app.command()(rollback)
app.command()(whatif)
app.command()(review)
app.command()(export)
app.command()(demo)
console = Console()


def main() -> None:
    """Entry point."""
    carry_out(app)


@app.command()
def refine(
    path: Annotated[Path | None, typer.Argument(metavar="PATH", help="Folder of images.")] = None,
    params: ParamsFile = None,
    set_param: Overrides = None,
    manifest: Annotated[Path | None, typer.Option(help="Folder written by `irp prepare`, instead of scanning.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Run directory to go on with.")] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="More decisions to respect: a CSV, or a run's removals.parquet.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(help=f"Methods to compare on the same set, comma-separated: {', '.join(METHODS)} (or: all)."),
    ] = None,
    no_dvc: NoDvc = False,
    allow_detector: AllowDetectors = None,
) -> None:
    """Refine a data set: train, score, remove, retrain, until nothing stands out."""
    if decisions is not None:
        from irp_core.refinement.reviews import read_events

        read_events(decisions)  # a mistake in the file is said before anything starts
        if resume is not None or compare is not None:
            raise InputError("--decisions goes with PATH alone: a run that is resumed keeps those it began with.")
    if (path is None) == (resume is None):
        raise InputError("irp refine expects either PATH or --resume RUN.")
    if resume is not None:
        from irp_core.run.directory import open_run

        without = {"--set-param": set_param, "--params": params, "--manifest": manifest, "--compare": compare}
        if given := [name for name, value in {**without, "--no-dvc": no_dvc or None}.items() if value is not None]:
            raise InputError(
                f"{given[0]} goes with PATH alone: a run that is resumed does what it was asked to do when it began."
            )
        open_run(resume)
        run_path = _resume(resume, tuple(allow_detector or ()))
    else:
        assert path is not None
        from irp_core.data.scan import detect_layout

        checked = read_params(params, [*(set_param or ()), *without_dvc(no_dvc)])
        detect_layout(path, checked.dataset.layout, good_names=checked.dataset.good_names)
        plain = checked.model_dump(mode="json")
        if compare is not None:
            if manifest is not None:
                raise InputError("--manifest goes with one method alone: --compare reads the data set itself.")
            compare_methods(console, path, plain, _methods(compare))
            return
        with prefect_session():
            from flows.refine import refine as refine_flow

            said = str(decisions) if decisions else None

            run_path = Path(refine_flow(str(path), plain, str(manifest) if manifest else None, decisions=said))
            close_session([run_path])
    from flows.terminal.run import show_run
    from irp_core.run.directory import RunDirectory

    show_run(console, RunDirectory(run_path))


def _resume(run: Path, allow_detectors: tuple[str, ...]) -> Path:
    with prefect_session():
        from flows.refine import resume

        path = Path(resume(str(run), allow_detectors))
        close_session([path])
    return path


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(METHODS) if text == "all" else tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in METHODS:
            raise InputError(f"--compare must list methods among {', '.join(METHODS)} (or all). Got {name!r}.")
    return names


@app.command()
def prepare(
    path: DataPath,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables.")] = Path("prepared"),
    params: ParamsFile = None,
    set_param: Overrides = None,
) -> None:
    """Read a data set, quarantine what is unreadable, contaminate it, write its manifest. Trains nothing."""
    from irp_core.data.scan import detect_layout

    checked = read_params(params, set_param)
    detect_layout(path, checked.dataset.layout, good_names=checked.dataset.good_names)
    plain = checked.model_dump(mode="json")
    with prefect_session():
        from flows.prepare import prepare_dataset

        counts = prepare_dataset(str(path), plain, str(output))
    from flows.terminal.run import show_prepared

    show_prepared(console, counts, path, output)


app.command()(fetch)


@app.command()
def runs(params: ParamsFile = None, set_param: Overrides = None) -> None:
    """List the runs, newest first."""
    from flows.terminal.run import show_runs
    from irp_core.run.overview import overview

    show_runs(console, overview(Path(read_params(params, set_param).run.directory)))


@app.command()
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    removed: Annotated[bool, typer.Option("--removed", help="List the removed images too.")] = False,
) -> None:
    """Show a run: iterations, why it stopped, where everything lies; with --removed every removed image."""
    from flows.terminal.run import show_removed, show_run
    from irp_core.run.directory import open_run

    opened = open_run(run)
    if not opened.has_results():
        raise InputError(f"{run}: is not finished; go on with `irp refine --resume {run}`.")
    if removed:
        show_removed(console, opened)
    show_run(console, opened)


@app.command()
def score(
    model: Annotated[
        str,
        typer.Argument(metavar="RUN|MODEL", help="A run's directory, or a registered model: NAME[@alias|/version]."),
    ],
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An image or a folder of images.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here (.csv or .parquet), not to stdout.")
    ] = None,
    params: ParamsFile = None,
    set_param: Overrides = None,
    allow_detector: AllowDetectors = None,
) -> None:
    """Score new images with a refined detector: one row per image, its decision against the threshold."""
    if output is not None and output.suffix not in (".csv", ".parquet"):
        raise InputError(f"--output must end in .csv or .parquet. Got {output.name!r}.")
    from tasks.scoring import score_images

    checked = read_params(params, set_param)
    table = score_images(model, path, checked, allow=allow_detector or ())
    _write_scores(table, output)
    errors = table[table["error"].notna()]
    anomalous = int((table["decision"] == "anomalous").sum())
    notes = Console(stderr=True)
    for row in errors.to_dict("records"):
        notes.print(f"Unreadable: {row['path']} ({row['error']})", style="yellow", highlight=False, soft_wrap=True)
    notes.print(
        f"{len(table)} images: {anomalous} anomalous, {len(table) - anomalous - len(errors)} normal, "
        f"{len(errors)} unreadable" + (f"; written to {output}" if output else ""),
        highlight=False,
    )


def _write_scores(table: Any, output: Path | None) -> None:
    from irp_core.atomic import atomic_path
    from irp_core.text.spreadsheet import escaped

    if output is None:
        escaped(table).to_csv(sys.stdout, index=False)
        return
    with atomic_path(output) as temporary:
        if output.suffix == ".csv":
            escaped(table).to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)


@app.command()
def version() -> None:
    """Print the version."""
    console.print(__version__, highlight=False)


if __name__ == "__main__":
    main()
