"""Draw the paper's figures from the tables, and those of the studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from flows.paper.places import APART, FIGURES, STUDIED, STUDIES, TABLES, cell, study
from irp_core.atomic import atomic_directory
from irp_core.config import Params
from irp_core.paper.figures import Thumbnail, figure1, figure3, figure4, figure5
from irp_core.paper.reference import load_reference
from irp_core.paper.study_figures import figure6, figure7, figure8

__all__ = ["write_figures", "write_studies"]

_EMPTY: NDArray[np.uint8] = np.full((48, 48, 3), 240, dtype=np.uint8)


def write_figures(params: Params) -> None:
    """Write `docs/results/figures/` (SVG and PNG)."""
    drawn, reference = params.figures, load_reference()
    runs = pd.read_csv(TABLES / "runs.csv")
    summary = pd.read_csv(TABLES / "table3.csv")
    galleries = {
        (entity, level): _thumbnails(cell(entity, level) / "thumbnails", drawn.gallery, drawn.pictures)
        for entity in params.sweep.entities
        for level in params.sweep.levels
    }
    figures = {
        "figure1": figure1(runs, drawn),
        "figure3": figure3(runs, reference, drawn),
        "figure4": figure4(runs, summary, reference, drawn),
        "figure5": figure5(galleries, drawn),
    }
    with atomic_directory(FIGURES) as folder:
        for name, figure in figures.items():
            _save(figure, folder / name, drawn.dpi)


def write_studies(params: Params) -> None:
    """Write `docs/results/studies/`: the tables of all entities' studies, figures 6, 7 and 8."""
    studies = {name: _studied(name, params.sweep.entities) for name in STUDIED}
    figures = {
        "figure6": figure6(studies["lambda"], params.figures),
        "figure7": figure7(studies["memory"], params.figures),
        "figure8": figure8(studies["histograms"], params.refinement.lambda_, params.figures),
    }
    with atomic_directory(STUDIES) as folder:
        for name, table in studies.items():
            table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")
        for name, figure in figures.items():
            _save(figure, folder / name, params.figures.dpi)


def _studied(name: str, entities: Sequence[str]) -> pd.DataFrame:
    """One table of the sweep's entities: what stage `study` measured, then what was measured apart from it."""
    own = pd.concat([pd.read_csv(study(entity) / f"{name}.csv") for entity in entities])
    apart = APART / f"{name}.csv"
    if not apart.is_file():
        return own
    more = pd.read_csv(apart)
    keys = [key for key in ("entity", "width") if key in own]  # the protocols know no width
    there = set(own[keys].itertuples(index=False, name=None))
    new = [row[0] in entities and row not in there for row in more[keys].itertuples(index=False, name=None)]
    return pd.concat([own, more[new]]) if any(new) else own


def _thumbnails(folder: Path, count: int, pictures: bool) -> list[Thumbnail]:
    files = sorted(folder.glob("*.jpg"))[:count]
    return [Thumbnail(_pixels(file) if pictures else _EMPTY, file.stem.endswith("bad")) for file in files]


def _pixels(file: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(file).convert("RGB"))


def _save(figure: Figure, stem: Path, dpi: int) -> None:
    # Without a date and with a salt of its own, the same figure gives the same bytes.
    with mpl.rc_context({"svg.hashsalt": stem.name}):
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(stem.with_suffix(".png"), dpi=dpi, metadata={"Software": None})
