"""Compute the coupling block's reference values from PAPER's formulas in numpy, independently of torch.

python tests/irp_core/make_coupling_reference.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

DIMENSIONS, HIDDEN, CLAMP = 5, 4, 3.0
FIRST = DIMENSIONS // 2


def subnet(weights: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    for layer in range(4):
        x = x @ weights[f"{name}.linears.{layer}.weight"].T + weights[f"{name}.linears.{layer}.bias"]
        if layer < 3:
            x = np.maximum(x, 0.0)
    return x


def soft_clamp(raw: np.ndarray) -> np.ndarray:
    return CLAMP * 0.636 * np.arctan(raw / CLAMP)


def main() -> None:
    rng = np.random.default_rng(7)
    weights = {}
    second = DIMENSIONS - FIRST
    for name, inputs, outputs in (("subnet1", FIRST, 2 * second), ("subnet2", second, 2 * FIRST)):
        sizes = [inputs, HIDDEN, HIDDEN, HIDDEN, outputs]
        for layer in range(4):
            weights[f"{name}.linears.{layer}.weight"] = rng.normal(0, 0.8, (sizes[layer + 1], sizes[layer]))
            weights[f"{name}.linears.{layer}.bias"] = rng.normal(0, 0.3, sizes[layer + 1])
    y = rng.normal(0, 2, (6, DIMENSIONS))
    y1, y2 = y[:, :FIRST], y[:, FIRST:]
    r2 = subnet(weights, "subnet2", y2)
    s2 = soft_clamp(r2[:, :FIRST])
    z1 = y1 * np.exp(s2) + r2[:, FIRST:]
    r1 = subnet(weights, "subnet1", z1)
    s1 = soft_clamp(r1[:, :second])
    z2 = y2 * np.exp(s1) + r1[:, second:]
    stored = {
        "dimensions": DIMENSIONS,
        "hidden": HIDDEN,
        "clamp": CLAMP,
        "weights": {name: value.tolist() for name, value in weights.items()},
        "y": y.tolist(),
        "z": np.concatenate([z1, z2], axis=1).tolist(),
        "log_det": (s1.sum(axis=1) + s2.sum(axis=1)).tolist(),
    }
    path = Path(__file__).parent / "coupling_reference.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
