"""Features stored in half precision: half the bytes, other features under a name of their own, the same in a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.data.manifest import training_rows
from irp_core.data.scan import scan
from irp_core.detectors import Consensus
from irp_core.features.feature_set import FeatureSet, Local
from irp_core.features.local import halved
from irp_core.features.pipeline import FeaturePipeline
from irp_core.features.stores.sizes import store_sizes
from irp_core.inspection import Inspector, save_inspector
from tasks.versions.lineage import result_params

NEEDS: list[Local] = ["patches", "kurtosis"]


def stored(tiny: Params, root: Path, precision: str) -> Params:
    features = tiny.features.model_copy(update={"store": str(root / precision), "stored": precision})
    return tiny.model_copy(update={"features": features})


def test_half_the_bytes_and_a_model_that_sees_the_same(
    tiny: Params, plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("irp_core.detectors.local.resampled_shares", lambda scores, seed: [0.0])
    rows = training_rows(scan(plant).manifest).head(6)
    seen: dict[str, FeatureSet] = {}
    for precision in ("float32", "float16"):
        pipeline = FeaturePipeline(stored(tiny, tmp_path, precision), None, NEEDS)
        pipeline.fill(rows, plant, "train")
        seen[precision] = pipeline.stored.read(rows, tiny.views.score, NEEDS)
    for name in ("pooled", *NEEDS):
        full, half = (getattr(seen[precision], name) for precision in ("float32", "float16"))
        assert half.dtype == np.float32
        assert np.array_equal(halved(full), half)
    bytes_of = {name: sum(size.bytes for size in store_sizes(tmp_path / name)) for name in seen}
    assert 0.45 < bytes_of["float16"] / bytes_of["float32"] < 0.75  # of tiny rows the keys and headers count

    params = stored(tiny, tmp_path, "float16")
    detector = Consensus.build(seen["float16"], params, torch.device("cpu"))
    detector.fit(seen["float16"], epochs=1, seed=0)
    (tmp_path / "trained").mkdir()
    detector.save(tmp_path / "trained")
    save_inspector(tmp_path, tmp_path / "trained", load_backbone("bundled", None), params, {"threshold": 1.0})
    shown = Inspector(tmp_path).score([plant / name for name in rows["image_id"]])
    assert shown["score"].tolist() == detector.score(seen["float16"]).tolist()


def test_a_run_of_the_default_precision_has_the_name_that_it_had(tiny: Params, tmp_path: Path) -> None:
    assert "stored" not in result_params(tiny)["features"]
    assert result_params(stored(tiny, tmp_path, "float16"))["features"]["stored"] == "float16"


def test_what_half_precision_cannot_hold_is_its_largest() -> None:
    assert halved(np.array([1e9, -1e9, 0.5], dtype=np.float32)).tolist() == [60_000.0, -60_000.0, 0.5]
