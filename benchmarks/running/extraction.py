"""Feature extraction: the pipeline against one image after another, the store against the network, the backbones."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from irp_core.backbones import Backbone, load_backbone
from irp_core.backbones.alexnet import AlexNet
from irp_core.backbones.resnet18 import ResNet18
from irp_core.backbones.weights import freeze
from irp_core.config import Params
from irp_core.data.scan import scan
from irp_core.demo.plant import write_demo_plant
from irp_core.features.extraction import NetworkPass, extract
from irp_core.features.images import decode, resized
from irp_core.features.pooled import PooledExtractor, extractor_spec
from irp_core.features.store import FeatureStore
from irp_core.features.view_bank import view_bank, views

__all__ = ["BENCHMARKS"]

CPU = torch.device("cpu")
GOOD, BATCH, ROUNDS, SIDE = 40, 8, 6, 1024


def _best(function: Callable[[], object], times: int = 3) -> float:
    found = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found)


def pipeline() -> list[tuple[str, str]]:
    """48 images with four views each, default parameters."""
    params = Params()
    with tempfile.TemporaryDirectory() as folder:
        root = write_demo_plant(Path(folder) / "plant", train_good=GOOD, test_good=4, defective=4)
        rows = scan(root).manifest
        backbone = load_backbone("bundled", None)
        extractor = PooledExtractor(backbone, params.features.scales, CPU, torch.float32)
        spec = extractor_spec(params, backbone, torch.float32)
        extractor(np.zeros((BATCH, 256, 256, 3), dtype=np.uint8))

        def one_by_one() -> None:
            bank = view_bank(params.views, params.views.bank)
            for image_id in rows["image_id"]:
                image = resized(decode((root / image_id).read_bytes()), params.images.shape)
                for view in views(image, bank):
                    extractor(np.stack([view]))

        store = FeatureStore(Path(folder) / "store", spec)
        started = time.perf_counter()
        network_pass = NetworkPass(extractor, [], pooled=True)
        extract(rows, root, {"pooled": store}, network_pass, params)
        first = time.perf_counter() - started
        again = _best(
            lambda: extract(rows, root, {"pooled": FeatureStore(Path(folder) / "store", spec)}, network_pass, params)
        )
        single = _best(one_by_one, times=1)
    count = len(rows)
    return [
        ("pipeline, per image of 4 views", f"{1000 * first / count:.0f} ms"),
        ("one view at a time / pipeline", f"{single / first:.2f} x"),
        ("pipeline / second run from the store", f"{first / again:.0f} x"),
    ]


def backbones() -> list[tuple[str, str]]:
    """Milliseconds per 256 px image, batches of 8, weights random where they are not packaged."""
    networks: dict[str, nn.Module] = {"bundled": load_backbone("bundled", None).network}
    networks |= {"resnet18 layer3": freeze(ResNet18()), "alexnet": freeze(AlexNet())}
    pixels = np.random.default_rng(0).integers(0, 255, (BATCH, 256, 256, 3), dtype=np.uint8)
    times: dict[str, list[float]] = {name: [] for name in networks}
    extractors = {
        name: PooledExtractor(
            Backbone(name, network, (("features",) if name == "alexnet" else ("layer3",)), ""),
            (256,),
            CPU,
            torch.float32,
        )
        for name, network in networks.items()
    }
    for _ in range(ROUNDS):  # interleaved, so that a slow moment of the machine meets all of them
        for name, extractor in extractors.items():
            times[name].append(_best(lambda e=extractor: e(pixels), times=1))  # type: ignore[misc]
    best = {name: min(values[1:]) for name, values in times.items()}
    rows = [(f"{name}, per image", f"{1000 * value / BATCH:.1f} ms") for name, value in best.items()]
    return [*rows, ("resnet18 layer3 / bundled", f"{best['resnet18 layer3'] / best['bundled']:.1f} x")]


def peak() -> list[tuple[str, str]]:
    """Multiplications and additions of the networks in a second, as a share of what a large matrix product reaches.

    One thread and processor time: on a machine that is shared both are slowed down alike.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for precision in (torch.float32, torch.bfloat16) for row in _share_of_peak(precision)]
    finally:
        torch.set_num_threads(threads)


def _share_of_peak(precision: torch.dtype) -> list[tuple[str, str]]:
    left, right = (torch.randn(SIDE, SIDE).to(precision) for _ in range(2))
    name = str(precision).removeprefix("torch.")
    pixels = np.random.default_rng(0).integers(0, 255, (BATCH, 256, 256, 3), dtype=np.uint8)
    networks = {
        "bundled": load_backbone("bundled", None),
        "resnet18": Backbone("resnet18", freeze(ResNet18()), ("layer3",), ""),
    }
    extractors = {
        of: PooledExtractor(network, Params().features.scales, CPU, precision) for of, network in networks.items()
    }
    best, work = dict.fromkeys(["product", *extractors], float("inf")), {"product": 2.0 * SIDE**3}
    for of, extractor in extractors.items():
        with FlopCounterMode(display=False) as counter:
            extractor(pixels)
        work[of] = float(counter.get_total_flops())
    for _ in range(ROUNDS):  # interleaved
        best["product"] = min(best["product"], _processor(lambda: left @ right))
        for of, extractor in extractors.items():
            best[of] = min(best[of], _processor(lambda e=extractor: e(pixels)))  # type: ignore[misc]
    rates = {of: work[of] / best[of] / 1e9 for of in best}
    rows = [(f"{name}: a product of {SIDE:,} x {SIDE:,}, one thread", f"{rates['product']:.0f} GFLOP/s")]
    return rows + [
        (f"{name}: {of}, of it", f"{rates[of]:.0f} GFLOP/s, {100 * rates[of] / rates['product']:.0f} %")
        for of in extractors
    ]


def _processor(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


BENCHMARKS = {"extraction": pipeline, "backbones": backbones, "peak": peak}
