"""Which final detector, by leaving one set out: `python -m benchmarks.choosing.detector docs/choosing/detectors.csv`.

The table of runs is one of `benchmarks.choosing` with method `vanilla`: nothing is removed, so that the detector alone
is compared.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

__all__ = ["detector_table", "left_out_table"]


def detector_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC over the seeds, a row per detector, a column per data set: at each level, joined by " / "."""
    rows = []
    for detector in runs["detector"].unique():
        means = runs[runs["detector"] == detector].pivot_table(
            index="level", columns="entity", values="auroc", sort=False
        )
        means["mean"] = means.mean(axis=1)
        rows.append({"detector": detector, **{name: _levels(means[name]) for name in means}})
    return pd.DataFrame(rows)


def _levels(values: pd.Series[float]) -> str:
    return " / ".join(f"{value:.3f}" for value in values)


def left_out_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The detector that the other sets choose, by their mean AUROC over all levels, and what it reaches on each set.

    `chosen` and `best` are AUROC at each level: of the chosen detector, and of the best one of this very set, which
    nobody knows beforehand.
    """
    means = runs.pivot_table(index=["entity", "level"], columns="detector", values="auroc", sort=False)
    rows = []
    for entity in runs["entity"].unique():
        own = means.loc[[entity]]
        chosen = means.drop(index=entity, level="entity").mean().idxmax()
        rows.append(
            {
                "left out": entity,
                "the others choose": chosen,
                "chosen": _levels(own[chosen]),
                "best": _levels(own.max(axis=1)),
                "best one": " / ".join(own.idxmax(axis=1)),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Write both tables beside the runs."""
    source = Path(sys.argv[1])
    runs = pd.read_csv(source)
    runs = runs[runs["method"] == "vanilla"]
    for name, table in (("detectors", detector_table(runs)), ("left_out", left_out_table(runs))):
        (source.parent / f"{name}.md").write_text(table.to_markdown(index=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
