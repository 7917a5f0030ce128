"""A number that is not finite meets no threshold, wherever the two come together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from irp_core.atomic import read_json, write_json
from irp_core.audit.whatif import changed_images, what_if
from irp_core.backbones import load_backbone
from irp_core.config import Params, Refinement
from irp_core.detectors import detector_class
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.hashing import file_sha256
from irp_core.inspection import Inspector, save_inspector
from irp_core.model_files import INSPECTOR, WEIGHTS
from irp_core.refinement.policy import policy_of
from irp_core.refinement.rounds import decide, decision_round
from irp_core.rules import MedianMultiple
from irp_core.run import step_files
from irp_core.statistics.finite import finite_scores
from tests.irp_core.data.brought import picture

NOT_FINITE = [float("nan"), float("inf"), float("-inf")]


def scored(*scores: float) -> pd.DataFrame:
    names = [f"{i}.png" for i in range(len(scores))]
    return pd.DataFrame({"image_id": names, "md5": [f"{i:032x}" for i in range(len(scores))], "score": scores})


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("method", ["irp", "robust", "random", "oracle"])
def test_a_round_refuses_it_whoever_decides(value: float, method: str) -> None:
    policy = policy_of(Refinement(method=method), random_counts=(1,))
    this = decision_round(1, scored(1.0, 1.1, value, 1.2), injected=frozenset({"0.png"}))
    with pytest.raises(InputError, match=r"decision round 1: expected finite scores, found .* for 2.png and 1 of 4"):
        decide(this, policy, [frozenset(this.images["image_id"])])


@pytest.mark.parametrize("value", NOT_FINITE)
def test_no_table_of_scores_holds_it(value: float, tmp_path: Path) -> None:
    table = scored(1.0, value).assign(iteration=0)
    for write in (step_files.write_scores, step_files.write_scored):
        with pytest.raises(InputError, match="expected finite scores"):
            write(tmp_path, table)
    with pytest.raises(InputError, match="expected finite scores"):
        step_files.write_scored(tmp_path, table.head(1), table)
    step_files.write_scores(tmp_path, table.head(1))
    spoilt = step_files.read_scores(tmp_path).assign(score=value)
    step_files.write_table(spoilt, tmp_path / step_files.SCORES, step_files.SCORES_SCHEMA)
    with pytest.raises(InputError, match=r"scores.parquet: expected finite scores"):
        step_files.read_scores(tmp_path)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_an_operating_threshold_that_is_not_finite_is_refused(value: float, tmp_path: Path) -> None:
    step_files.write_operating(tmp_path, scored(1.0).assign(iteration=0), {"threshold": value})
    with pytest.raises(InputError, match="expected a finite threshold"):
        step_files.read_operating(tmp_path)


@pytest.mark.parametrize("value", NOT_FINITE)
def test_what_if_refuses_it_on_either_side(value: float) -> None:
    good, spoilt = scored(1.0, 2.0).assign(iteration=0), scored(1.0, value).assign(iteration=0)
    with pytest.raises(InputError, match="expected finite scores"):
        what_if(spoilt, MedianMultiple(2.0), {0: 1.5})
    with pytest.raises(InputError, match="expected a finite threshold"):
        what_if(good, MedianMultiple(2.0), {0: value})
    for limits, applied in (({0: value}, {0: 1.0}), ({0: 1.0}, {0: value})):
        with pytest.raises(InputError, match="expected finite scores"):
            changed_images(good, limits, applied, {})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> Path:
    """A complete inspector with a normal distribution."""
    folder = tmp_path_factory.mktemp("model")
    backbone = load_backbone("bundled", None, None)
    values = np.random.default_rng(0).normal(size=(12, 2, _width(tiny))).astype(np.float32)
    detector = detector_class("gaussian").build(FeatureSet(values), tiny, torch.device("cpu"))
    detector.fit(FeatureSet(values), epochs=1, seed=0)
    trained = tmp_path_factory.mktemp("trained")
    detector.save(trained)
    save_inspector(folder, trained, backbone, tiny, {"threshold": 1.5})
    return folder


def _width(params: Params) -> int:
    from irp_core.features.pooled import PooledExtractor

    extractor = PooledExtractor(
        load_backbone("bundled", None, None), params.features.scales, torch.device("cpu"), torch.float32
    )
    return extractor(np.zeros((1, *params.images.shape, 3), np.uint8)).shape[1]


def test_weights_that_are_nan_make_an_error_of_every_image(model: Path, tmp_path: Path) -> None:
    image = picture(tmp_path / "1.png", (64, 64))
    assert Inspector(model).score([image])["decision"].notna().all()
    weights = load_file(model / WEIGHTS)
    before = (model / WEIGHTS).read_bytes(), (model / INSPECTOR).read_bytes()
    try:
        save_file({name: torch.full_like(tensor, torch.nan) for name, tensor in weights.items()}, model / WEIGHTS)
        described = read_json(model / INSPECTOR) | {"detector_sha256": file_sha256(model / WEIGHTS)}
        write_json(model / INSPECTOR, described)
        (row,) = Inspector(model).score([image]).to_dict("records")
    finally:
        (model / WEIGHTS).write_bytes(before[0])
        (model / INSPECTOR).write_bytes(before[1])
    assert row["decision"] is None or pd.isna(row["decision"])
    assert "the score is not finite (nan)" in row["error"]


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_saved_threshold_that_is_not_finite_is_refused(model: Path, value: float, tiny: Params) -> None:
    described = read_json(model / INSPECTOR)
    try:
        write_json(model / INSPECTOR, described | {"threshold": value})
        with pytest.raises(InputError, match=r"inspector.json: threshold: Input should be a finite number"):
            Inspector(model)
    finally:
        write_json(model / INSPECTOR, described)
    with pytest.raises(InputError, match="the operating threshold: expected a finite threshold"):
        save_inspector(model, model, load_backbone("bundled", None, None), tiny, {"threshold": value})


def test_finite_scores_are_left_as_they_are() -> None:
    table = scored(0.0, 1e300)
    assert finite_scores(table, "here") is table
