"""One image at a time and micro-batches, padded as in training against the small batches of a service, in one run."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.demo.plant import write_demo_plant
from irp_core.detectors import Detector, DifferNet, Gaussian
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, save_inspector

__all__ = ["BENCHMARKS"]

_ROUNDS, _BATCH = 24, 8


def _model(folder: Path, detector: Detector) -> Path:
    (folder / "trained").mkdir(parents=True)
    detector.fit(FeatureSet(np.random.default_rng(0).normal(size=(60, 4, 768)).astype(np.float32)), epochs=1, seed=0)
    detector.save(folder / "trained")
    save_inspector(folder, folder / "trained", load_backbone("bundled", None), Params(), {"threshold": 1.0})
    return folder


def serving() -> list[tuple[str, str]]:
    """Default parameters on the demo plant's images; CPU seconds of this process, p50 and p95 of the wall clock."""
    params, rows = Params(), []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plant = write_demo_plant(root / "plant", train_good=4, test_good=_BATCH, defective=4)
        contents = [path.read_bytes() for path in sorted((plant / "test" / "good").iterdir())]
        kinds: dict[str, Detector] = {
            "gaussian": Gaussian(torch.device("cpu")),
            "differnet": DifferNet(768, params.differnet, params.training, torch.device("cpu")),
        }
        for kind, detector in kinds.items():
            folder = _model(root / kind, detector)
            padded, small = Inspector(folder, "cpu"), Inspector(folder, "cpu")
            small.find_small_batches()
            of_cpu: dict[str, list[float]] = {"padded": [], "small": []}
            of_wall: dict[str, list[float]] = {"padded": [], "small": []}
            together, differing = [], 0
            for number in range(_ROUNDS):  # interleaved: a slow moment of the machine meets both
                content = contents[number % len(contents)]
                scores = []
                for which, inspector in (("padded", padded), ("small", small)):
                    cpu, wall = time.process_time(), time.perf_counter()
                    scores.append(inspector.judge([inspector.see(content)])[0]["score"])
                    of_cpu[which].append(time.process_time() - cpu)
                    of_wall[which].append(time.perf_counter() - wall)
                differing += scores[0] != scores[1]
            for _ in range(4):
                wall = time.perf_counter()
                small.judge([small.see(content) for content in contents[:_BATCH]])
                together.append((time.perf_counter() - wall) / _BATCH)
            cpu_padded, cpu_small = (float(np.median(of_cpu[which])) for which in ("padded", "small"))
            p50, p95 = (1000 * float(np.quantile(of_wall["small"], share)) for share in (0.5, 0.95))
            rows += [
                (
                    f"{kind}, one image: CPU, small / padded batches",
                    f"{cpu_small / cpu_padded:.2f} x ({1000 * cpu_small:.0f} ms)",
                ),
                (f"{kind}, one image: p50, p95", f"{p50:.0f}, {p95:.0f} ms"),
                (f"{kind}, batches of {_BATCH}", f"{1 / min(together):.0f} images/s"),
                (f"{kind}: scores that differ in a bit", f"{differing} of {_ROUNDS}"),
            ]
    return rows


BENCHMARKS = {"serving": serving}
