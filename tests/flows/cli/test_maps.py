"""Maps of a finished run, as a person asks for them: `irp score --maps`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.errors import InputError
from irp_core.run.directory import RunDirectory


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
