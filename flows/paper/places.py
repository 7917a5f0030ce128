"""Where the sweep keeps what; `dvc.yaml` names the same paths."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "APART",
    "BENCHMARKS",
    "DEMO",
    "FIGURES",
    "METRICS",
    "PAGE",
    "RESULTS",
    "STUDIED",
    "STUDIES",
    "TABLES",
    "cell",
    "features",
    "metrics",
    "prepared",
    "raw",
    "scanned",
    "study",
]

DATA = Path("data")
RESULTS = Path("docs/results")
METRICS = RESULTS / "metrics"
TABLES = RESULTS / "tables"
FIGURES = RESULTS / "figures"
STUDIES = RESULTS / "studies"
STUDIED = ("lambda", "memory", "histograms", "protocols")  # tables of a study
BENCHMARKS = RESULTS / "benchmarks"  # tables that benchmarks.paper_settings and benchmarks.transformations wrote
APART = (
    BENCHMARKS / "study"
)  # tables as those of a study, of what a sweep does not run (docs/results/benchmarks/README.md)
PAGE = Path("docs/results.md")
DEMO = "demo"


def raw(entity: str) -> Path:
    """The entity's images: a folder, or a link to one."""
    return DATA / "raw" / entity


def scanned(entity: str) -> Path:
    """Manifest of all readable images, before any is injected."""
    return DATA / "prepared" / entity / "images"


def prepared(entity: str, level: int, seed: int | None = None) -> Path:
    """The contaminated manifests of one noise level; with `seed`, the folder that `irp refine --manifest` takes."""
    folder = DATA / "prepared" / entity / str(level)
    return folder if seed is None else folder / f"seed-{seed}"


def features(entity: str) -> Path:
    """A feature store that holds every view of every image of the entity."""
    return DATA / "features" / entity


def cell(entity: str, level: int) -> Path:
    """Results of one entity at one noise level."""
    return DATA / "cells" / entity / str(level)


def study(entity: str) -> Path:
    """Results of the entity's studies: `lambda.csv`, `memory.csv`, `histograms.csv`, `protocols.csv`."""
    return DATA / "study" / entity


def metrics(entity: str, level: int) -> Path:
    """The cell's AUROCs at a glance, for `dvc metrics`."""
    return METRICS / f"{entity}-{level}.json"
