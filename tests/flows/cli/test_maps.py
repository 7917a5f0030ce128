"""Maps of a finished run, as a person asks for them: `irp score --maps`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.config.lines import PromotionPolicy
from irp_core.errors import InputError
from irp_core.promotion import compare
from irp_core.results.located import maps_metrics, maps_sentence
from irp_core.run.directory import RunDirectory
from tasks.promotion.comparing import _overlays
from tasks.tracking.queries import client_of
from tests.irp_core.promotion.evidence import evidence


def test_how_well_maps_hit_is_told_wherever_the_run_is(in_workspace: Path) -> None:
    run = RunDirectory(in_workspace)
    summary = run.summary()
    found, sentence = summary["maps"]["metrics"], maps_sentence(summary)
    assert found["defective"] > 0 and 0.0 <= found["defects_hit"] <= 1.0 and 0.0 <= found["aupro"] <= 1.0
    tracked = run.mlflow()
    assert tracked is not None and sentence is not None
    metrics = client_of(run.params()).get_run(tracked["run"]).data.metrics
    assert {name: metrics[f"map_{name}"] for name in maps_metrics(summary)} == maps_metrics(summary)
    assert sentence in run.report.read_text(encoding="utf-8")
    assert f"AUPRO {found['aupro']:.3f}" in sentence
    shown = CliRunner().invoke(app, ["show", str(in_workspace)], catch_exceptions=False).output
    assert "Maps against the masks of" in shown


def test_the_comparison_shows_what_the_challenger_sees(in_workspace: Path, plant: Path) -> None:
    before, after = np.zeros(40), np.zeros(40)
    after[:3] = 9.0
    policy = PromotionPolicy()
    comparison = compare(evidence("line3/6", scores=before), evidence("line3/7", scores=after), policy)
    there = dict(zip(comparison.flips["image_id"], sorted((plant / "test" / "good").iterdir())[:2], strict=False))
    found = _overlays(comparison, RunDirectory(in_workspace), lambda image_id, md5: there.get(image_id))
    assert set(found) == set(there) and len(found) == 2
    assert {image.size for image in found.values()} == {(64, 64)}
    assert _overlays(comparison, RunDirectory(in_workspace / "none"), lambda *_: None) == {}


def test_score_writes_a_map_beside_each_score(in_workspace: Path, plant: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    for name in ("good/a.png", "b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(next(iter(sorted((plant / "test" / "good").iterdir()))).read_bytes())
    (folder / "broken.png").write_bytes(b"none")
    plain, mapped = tmp_path / "plain.csv", tmp_path / "mapped.csv"
    command = ["score", str(in_workspace), str(folder), "-o"]
    CliRunner().invoke(app, [*command, str(plain)], catch_exceptions=False)
    answer = CliRunner().invoke(app, [*command, str(mapped), "--maps", str(tmp_path / "maps")], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert plain.read_bytes() == mapped.read_bytes()  # a map changes no score
    index = pd.read_csv(tmp_path / "maps" / "maps.csv")
    assert sorted(index["map"]) == ["b.png.map.png", "good/a.png.map.png"]
    threshold = RunDirectory(in_workspace).summary()["maps"]["scale"]["threshold"]
    for row in index.itertuples():
        with Image.open(tmp_path / "maps" / row.map) as raw, Image.open(row.path) as image:
            assert raw.size == image.size
            # The file's values are the map's: the highest one is the score, in units of the threshold.
            assert np.asarray(raw).max() / 1024 <= row.score / threshold + 1 / 1024
    with pytest.raises(InputError, match="must lie outside"):
        CliRunner().invoke(app, [*command, str(mapped), "--maps", str(folder / "maps")], catch_exceptions=False)
    assert not (folder / "maps").exists()
