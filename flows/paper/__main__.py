"""`python -m flows.paper STAGE [ENTITY [LEVEL]]`: what the stages of `dvc.yaml` run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# A sweep starts a dozen processes: compiling every library anew in each would take minutes (see the Makefile).
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import tasks.runtime.environment  # noqa: E402, F401  (before any of the libraries that it quiets)
from irp_core.errors import InputError  # noqa: E402
from irp_core.params_file import load_params  # noqa: E402

USAGE = (
    "usage: python -m flows.paper demo | prepare ENTITY | extract ENTITY | refine ENTITY LEVEL | study ENTITY | tables "
    "| figures | studies | page"
)


def main(arguments: list[str]) -> int:
    """Run one stage; a mistake in the input is one sentence on stderr and exit code 2."""
    try:
        params = load_params(Path("params.yaml"))
        match arguments:
            case ["demo"]:
                from flows.paper.demo import make_demo

                make_demo(params)
            case ["prepare", entity]:
                from flows.paper.prepare import prepare_entity

                prepare_entity(entity, params)
            case ["extract", entity]:
                from flows.paper.extract import extract_entity

                extract_entity(entity, params)
            case ["refine", entity, level]:
                from flows.paper.cell import run_cell

                run_cell(entity, int(level), params)
            case ["study", entity]:
                from flows.paper.study import run_study

                run_study(entity, params)
            case ["tables"]:
                from flows.paper.tables import write_tables

                write_tables(params)
            case ["figures"]:
                from flows.paper.figures import write_figures

                write_figures(params)
            case ["studies"]:
                from flows.paper.figures import write_studies

                write_studies(params)
            case ["page"]:
                from flows.paper.page import write_page

                write_page(params)
            case _:
                raise InputError(USAGE)
    except InputError as error:
        print(f"{' '.join(arguments)}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on from the last finished run.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
