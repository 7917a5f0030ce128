"""Draw the held-out loss curve: ``python -m training.curve --curve DIR/curve.csv --out training/curve.svg``."""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

SHOWN = ("layer2/map", "layer3/map", "layer2/within1", "layer3/within1", "layer2/total1", "layer3/total1")


def main() -> None:
    """Read the rows ``step, term, value`` that `training.distill` wrote and save one figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curve", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    terms: dict[str, dict[int, float]] = defaultdict(dict)
    with args.curve.open(newline="") as stream:
        for step, name, value in csv.reader(stream):
            terms[name][int(step)] = float(value)  # a resumed run may repeat a step: the later value counts

    matplotlib.rcParams["svg.hashsalt"] = "curve"  # same input, same bytes
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in SHOWN:
        layer = name.split("/")[0]
        style = {"map": "-", "within1": "--", "total1": ":"}[name.split("/")[1]]
        axes.plot(
            list(terms[name]),
            list(terms[name].values()),
            style,
            label=name,
            color={"layer2": "C0", "layer3": "C3"}[layer],
        )
    axes.set(xlabel="step", ylabel="relative error, held-out images", ylim=(0, None))
    figure.legend(loc="outside right upper", frameon=False)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
