"""Images that a service kept, laid out by hand: no network sees them but where a map is asked for."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.feedback.kept_folder import KeptFolder

Keep = Callable[..., str]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptFolder:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lines" / "line3" / "kept").mkdir(parents=True)
    return KeptFolder(Path("lines/line3/kept"))


@pytest.fixture
def keep(kept: KeptFolder) -> Keep:
    """Keeps an image: two kinds look different to the detector."""

    def put(number: int, *, kind: int = 0, name: str | None = "plate.bmp", score: float = 2.0, model: str = "m") -> str:
        rng = np.random.default_rng(number)
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(buffer, "PNG")
        md5 = hashlib.md5(buffer.getvalue(), usedforsecurity=False).hexdigest()
        row = {"md5": md5, "score": score, "threshold": 1.0, "decision": "anomalous" if score > 1 else "normal"}
        features = rng.normal(size=16) + 6.0 * kind
        kept.add(name, buffer.getvalue(), row, model, features.astype(np.float32))
        return md5

    return put
