"""`docs/results.md`: what was run, the tables and figures, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from flows.paper.places import BENCHMARKS, PAGE, STUDIED, STUDIES, TABLES
from irp_core.atomic import atomic_path
from irp_core.config import Params
from irp_core.methods import METHODS, iterative
from irp_core.paper.paper_settings import (
    paper_rows,
    paper_settings_reading,
    paper_settings_table,
    paper_settings_times,
)
from irp_core.paper.reading import reading, verdicts
from irp_core.paper.reference import load_reference
from irp_core.paper.study_reading import lambda_table, memory_table, protocol_table, study_reading
from irp_core.paper.table_text import markdown
from irp_core.params_file import load_params

__all__ = ["write_page"]

# Why a setting differs from the paper's profile (params/paper.yaml).
_WHY = {
    "images.size": "cost: the frozen network is three times cheaper",
    "views.train": "cost; the paper draws 4 at random in each of 400 epochs (decision 21)",
    "views.score": "cost; the bank of views is fixed (decision 1)",
    "views.jitter_degrees": "four views at right angles need no interpolation",
    "features.backbone": "AlexNet's weights are a download; the one named here is at hand",
    "features.scales": "the paper's three scales, smaller by as much as the images",
    "differnet.hidden": "cost: 172 million parameters take days on two cores",
    "differnet.standardize": "with it a few epochs reach what a hundred reach without",
    "training.epochs": "by convergence of the training loss (decision 11)",
    "training.precision": "bfloat16 pays for wide flows only (decision 20)",
    "training.retrain_epochs": "a warm start goes on from a trained model",
    "refinement.removal": "both are run: eq. 6 as `irp`, Algorithm 1 as `irp_max_one`",
    "refinement.retrain": "cost: from scratch every removal costs a whole training",
    "refinement.max_iterations": "of eq. 6; Algorithm 1 has `refinement.max_one_iterations`, the paper's 15",
}
_PLUMBING = {"tracking", "snapshots", "run", "sweep", "study", "figures"}


def write_page(params: Params) -> None:
    """Write the page from the tables in `docs/results/`: those of the sweep, of the studies and of the benchmarks."""
    runs, summary, between = (pd.read_csv(TABLES / f"{name}.csv") for name in ("runs", "table3", "differences"))
    files = {name: STUDIES / f"{name}.csv" for name in STUDIED}
    studies = {name: pd.read_csv(file) for name, file in files.items() if file.is_file()}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, made from numbers and from names that the configuration checks
    )
    text = environment.get_template("results.md").render(
        params=params,
        command=_command(params),
        sets=_sets(runs, params),
        methods=[method for name, method in METHODS.items() if name in params.sweep.methods],
        table1=(TABLES / "table1.md").read_text(encoding="utf-8"),
        table2=(TABLES / "table2.md").read_text(encoding="utf-8"),
        differences=[
            (TABLES / f"differences-{method}.md").read_text(encoding="utf-8")
            for method in iterative()
            if (TABLES / f"differences-{method}.md").is_file()
        ],
        verdicts=markdown(verdicts(runs, between)) if len(between) else "",
        sentences=reading(runs, summary, between),
        settings=_differing(params),
        **_studies(studies, params),
        **_benchmarks(),
    )
    with atomic_path(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _studies(studies: Mapping[str, pd.DataFrame], params: Params) -> dict[str, Any]:
    """What the page shows of the studies; without their tables their sections are left out."""
    if set(studies) != set(STUDIED):
        return {"studied": None, "protocols": None}
    lambdas, memory, protocols = studies["lambda"], studies["memory"], studies["protocols"]
    return {
        "studied": study_reading(lambdas, memory, params.refinement.lambda_),
        "lambdas": markdown(lambda_table(lambdas)),
        "memory": markdown(memory_table(memory)),
        "protocols": markdown(protocol_table(protocols)) if len(protocols) else None,
    }


def _benchmarks() -> dict[str, Any]:
    """What the page shows of the paper's own settings and of the transformations."""
    runs, losses, times = (pd.read_csv(BENCHMARKS / f"{name}.csv") for name in ("runs", "losses", "times"))
    paper, reference = load_params(Path("params/paper.yaml")), load_reference()
    return {
        "their_rows": markdown(paper_rows(reference, ("bottle", "screw"), (0, 10, 20, 30, 40, 50))),
        "theirs": markdown(paper_settings_table(runs, reference)),
        "theirs_said": paper_settings_reading(runs, losses, reference, paper.training.epochs * paper.views.train),
        "theirs_levels": ", ".join(f"{level}" for level in sorted(set(runs["level"]))),
        "times": markdown(paper_settings_times(times, losses)),
        "transformations": (BENCHMARKS / "transformations.md").read_text(encoding="utf-8"),
    }


def _command(params: Params) -> str:
    """The shortest command that gives these settings from the defaults."""
    base, overrides = Params().model_dump(mode="json"), []
    for section, values in params.model_dump(mode="json").items():
        if section in _PLUMBING - {"sweep"}:
            continue
        for key, value in values.items():
            if value == base[section][key]:
                continue
            text = Path(value).name if key == "weights" and value else str(value).replace(" ", "").replace("'", "")
            overrides.append(f"-S '{section}.{key}={text}'")
    return " ".join(["dvc exp run --keep-going", *overrides]) if overrides else "dvc repro --keep-going"


def _sets(runs: pd.DataFrame, params: Params) -> list[dict[str, Any]]:
    rows = []
    for entity, group in runs.groupby("entity", sort=False):
        injected = group.groupby("level")["n_injected"].first()
        rows.append(
            {
                "entity": entity,
                "n": int(group["n_start"].iloc[0]),
                "injected": ", ".join(f"{count}" for count in injected),
                "training": params.sweep.training_of(entity, params.training),
            }
        )
    return rows


def _differing(params: Params) -> list[dict[str, str]]:
    """Settings that differ from the paper's profile, and why."""
    ours, paper = params.model_dump(mode="json"), load_params(Path("params/paper.yaml")).model_dump(mode="json")
    for key in ("epochs", "retrain_epochs"):
        each = {
            entity: getattr(params.sweep.training_of(entity, params.training), key) for entity in params.sweep.entities
        }
        ours["training"][key] = ", ".join(f"{entity} {epochs}" for entity, epochs in each.items())
    ours["detector"]["name"] = params.sweep.detector
    preset = METHODS["irp"].preset
    for settings in (ours["refinement"], paper["refinement"]):
        settings |= {key: preset[key] for key, given in settings.items() if given is None and key in preset}
    rows = []
    for section, values in ours.items():
        if section in _PLUMBING:
            continue
        for key, value in values.items():
            name = f"{section}.{key}"
            if value == paper[section][key] or key in ("weights", "method", "store", "workers", "batch_size", "device"):
                continue
            rows.append({"key": name, "ours": str(value), "paper": str(paper[section][key]), "why": _WHY.get(name, "")})
    return rows
