"""One image at a time and micro-batches: padded as in training, in small batches, and side by side, in one run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from irp_core.backbones import load_backbone
from irp_core.config import Features, Params
from irp_core.demo.plant import write_demo_plant
from irp_core.detectors import detector_class
from irp_core.features.cells import cell_grid
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, save_inspector

__all__ = ["BENCHMARKS"]

_ROUNDS, _BATCH, _TOGETHER = 24, 8, 12
_KINDS = {"gaussian": Params(), "ensemble": Params(features=Features(cell_scale=256)), "differnet": Params()}
"""The ensemble's cells at 256, the side that the first pass has anyway."""
_WAYS: dict[str, Callable[[Inspector], None]] = {
    "padded": lambda inspector: None,
    "small": lambda inspector: inspector.find_small_batches(side_by_side=False),
    "side by side": lambda inspector: inspector.find_small_batches(),
}


def _model(folder: Path, kind: str, params: Params) -> Path:
    (folder / "trained").mkdir(parents=True)
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(60, *cell_grid(params.features, params.images), params.features.cell_channels))
    seen = FeatureSet(rng.normal(size=(60, 4, 768)).astype(np.float32), cells=cells.astype(np.float16))
    detector = detector_class(kind).build(seen, params, torch.device("cpu"))
    detector.fit(seen, epochs=1, seed=0)
    detector.save(folder / "trained")
    save_inspector(folder, folder / "trained", load_backbone("bundled", None), params, {"threshold": 1.0})
    return folder


def serving() -> list[tuple[str, str]]:
    """Default parameters on the demo plant's images; CPU seconds of this process, and the wall clock."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plant = write_demo_plant(root / "plant", train_good=4, test_good=_BATCH, defective=4)
        contents = [path.read_bytes() for path in sorted((plant / "test" / "good").iterdir())]
        for kind, params in _KINDS.items():
            folder = _model(root / kind, kind, params)
            ways = {way: Inspector(folder, "cpu") for way in _WAYS}
            for way, prepare in _WAYS.items():
                prepare(ways[way])
            rows += [(f"{kind}, {what}", found) for what, found in _measured(ways, contents)]
    return rows


def _measured(ways: dict[str, Inspector], contents: list[bytes]) -> list[tuple[str, str]]:
    of_cpu: dict[str, list[float]] = {way: [] for way in ways}
    of_wall: dict[str, list[float]] = {way: [] for way in ways}
    together: dict[str, list[float]] = {way: [] for way in ways}
    differing = 0
    for number in range(_ROUNDS):  # interleaved: a slow moment of the machine meets all
        content, scores = contents[number % len(contents)], []
        for way, inspector in ways.items():
            worked, started = time.process_time(), time.perf_counter()
            scores.append(inspector.judge([inspector.see(content)])[0]["score"])
            of_cpu[way].append(time.process_time() - worked)
            of_wall[way].append(time.perf_counter() - started)
        differing += len(set(scores)) > 1
    for _ in range(_TOGETHER):
        of_way = {}
        for way, inspector in ways.items():
            started = time.perf_counter()
            of_way[way] = [row["score"] for row in inspector.judge([inspector.see(content) for content in contents])]
            together[way].append((time.perf_counter() - started) / len(contents))
        differing += len({tuple(scores) for scores in of_way.values()}) > 1
    cpu = {way: float(np.median(seconds)) for way, seconds in of_cpu.items()}
    p50, p95 = (1000 * float(np.quantile(of_wall["side by side"], share)) for share in (0.5, 0.95))
    wall = {way: float(np.median(seconds)) for way, seconds in of_wall.items()}
    batch = {way: float(np.median(seconds)) for way, seconds in together.items()}
    return [
        ("one image: CPU, small / padded batches", f"{cpu['small'] / cpu['padded']:.2f} x"),
        ("one image: CPU, side by side", f"{1000 * cpu['side by side']:.0f} ms"),
        ("one image: p50, p95", f"{p50:.0f}, {p95:.0f} ms"),
        ("one image: wall clock, side by side / small", f"{wall['side by side'] / wall['small']:.2f} x"),
        (f"batches of {_BATCH}, side by side / small", f"{batch['side by side'] / batch['small']:.2f} x"),
        (f"batches of {_BATCH}", f"{1 / batch['side by side']:.0f} images/s"),
        ("scores that differ in a bit", f"{differing} of {_ROUNDS + _TOGETHER}"),
    ]


BENCHMARKS = {"serving": serving}
