"""A plant in numbers: good images of one or two kinds, defects alone or in company, three imperfect members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIMENSIONS = 60


@dataclass(frozen=True)
class Plant:
    """Scores (n, 3), features (n, 60), digests, and the truth (n,)."""

    scores: np.ndarray
    features: np.ndarray
    contents: list[str]
    bad: np.ndarray

    @property
    def truth(self) -> dict[str, bool]:
        return dict(zip(self.contents, self.bad.tolist(), strict=True))


def plant(
    n: int = 120, share: float = 0.0, *, seed: int, second_kind: float = 0.0, alike: bool = False, seen: float = 2.0
) -> Plant:
    """`round(share n)` defective images.

    A second kind of good image (a share of the good ones) differs and scores higher by every member. `alike`:
    all defects have one appearance; otherwise each has its own, along ten directions. `seen` is by how many standard
    deviations a member's log score rises for a defect, on average.
    """
    rng = np.random.default_rng(seed)
    bad = np.arange(n) < round(share * n)
    kind = ~bad & (rng.random(n) < second_kind)
    features = rng.normal(size=(n, DIMENSIONS)) * np.linspace(2.0, 0.5, DIMENSIONS)
    directions = rng.normal(size=(10, DIMENSIONS))
    directions *= 6.0 / np.linalg.norm(directions, axis=1, keepdims=True)
    of_image = np.zeros(n, dtype=int) if alike else rng.integers(0, 10, n)
    features[bad] += directions[of_image[bad]]
    if alike:
        features[bad] = features[bad].mean(axis=0) + 0.1 * rng.normal(size=(int(bad.sum()), DIMENSIONS))
    features[kind] += 3.0 * rng.normal(size=DIMENSIONS)
    severity = np.maximum(rng.normal(seen, 1.0, n), 0.0) * bad + 3.0 * kind
    common = rng.normal(size=n)
    logs = np.column_stack([0.7 * common + 0.7 * rng.normal(size=n) + severity for _ in range(3)])
    order = rng.permutation(n)
    contents = [f"{seed:04d}{number:028x}" for number in range(n)]
    return Plant(np.exp(0.3 * logs)[order], features[order], contents, bad[order])
