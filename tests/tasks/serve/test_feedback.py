"""What a service keeps is bounded, and what people say about it goes to the one log and ranks the rest."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.refinement.reviews import read_events
from tasks.feedback.answers import Feedback
from tasks.serve.app import make_app
from tasks.serve.batching import Batcher
from tasks.serve.door import Limits
from tasks.serve.kept import Kept
from tasks.serve.metrics import Metrics
from tasks.serve.model import LoadedModel, ServedModel, load_model
from tests.tasks.serve.test_service import make_model

PLAIN = np.zeros(4, dtype=np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> LoadedModel:
    folder = make_model(tmp_path_factory.mktemp("kept") / "model", tiny, 0, 1e-6)  # everything is an alarm
    return load_model(str(folder), tiny, max_pixels=100_000)


class Asked:
    """The application, asked without a socket."""

    def __init__(self, model: LoadedModel, kept: Kept | None = None, decisions: Path = Path()) -> None:
        self._batcher = Batcher(lambda: model)
        served = ServedModel(model.name, lambda _: model)
        feedback = None if kept is None else Feedback(kept, decisions)
        self._app = make_app(served, self._batcher, Metrics(), Limits(), kept, feedback)

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **request)

        return asyncio.run(ask())

    def close(self) -> None:
        self._batcher.close()


@contextmanager
def asked(model: LoadedModel, kept: Kept | None = None, decisions: Path = Path()) -> Iterator[Asked]:
    made = Asked(model, kept, decisions)
    yield made
    made.close()


def wait_for(kept: Kept, count: int) -> None:
    until = time.monotonic() + 60
    while len(kept) < count and time.monotonic() < until:
        time.sleep(0.01)
    assert len(kept) == count


def labelled(path: Path) -> bytes:
    """The plate with a white label left on it: no kind of the demo plant's."""
    image = Image.open(path).convert("RGB")
    image.paste((255, 255, 255), (20, 24, 38, 36))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_answers_go_to_the_log_and_rank_a_kind_that_no_training_saw(
    model: LoadedModel, plant: Path, tmp_path: Path
) -> None:
    good = [path.read_bytes() for path in sorted((plant / "test" / "good").iterdir())]
    bad = [labelled(path) for path in sorted((plant / "train" / "good").iterdir())[:8]]
    kept, log = Kept(tmp_path / "kept"), tmp_path / "decisions.csv"
    md5 = {content: hashlib.md5(content, usedforsecurity=False).hexdigest() for content in (*good, *bad)}
    with asked(model, kept, log) as ask:
        assert ask("GET", "/feedback").json() == {"images": []}
        for number, content in enumerate((*good, *bad)):
            ask("POST", "/score", files=[("a", (f"{number}.png", content))]).raise_for_status()
        wait_for(kept, len(md5))
        assert {row["defective"] for row in ask("GET", "/feedback").json()["images"]} == {None}

        said = {md5[content]: False for content in good[:4]} | {md5[content]: True for content in bad[:4]}
        for name, defective in said.items():
            answer = {"md5": name, "defective": defective, "reviewer": "Ada", "note": "new kind" if defective else ""}
            assert ask("POST", "/feedback", json=answer).json()["answered"]
        rows = ask("GET", "/feedback").json()["images"]
        for body, status in (
            ({"md5": "0" * 32, "defective": True, "reviewer": "Ada"}, 404),
            ({"md5": "../../etc/passwd", "defective": True, "reviewer": "Ada"}, 400),
            ({"md5": "0" * 32, "defective": "yes", "reviewer": "Ada"}, 400),
            ({"md5": next(iter(said)), "defective": True, "reviewer": " "}, 400),
            ({"md5": next(iter(said)), "defective": True, "reviewer": "A\0"}, 400),
            ([], 400),
        ):
            assert ask("POST", "/feedback", json=body).status_code == status, body
        assert ask("POST", "/feedback", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    kept.close()
    seen = model.inspector.features([model.inspector.see(bad[0]).views]).pooled[0].mean(axis=0)
    assert np.array_equal(kept.features(md5[bad[0]]), seen)  # as it was scored, and not shown to the network again
    assert {row["md5"]: row["answer"] for row in rows if row["answer"] is not None} == said
    assert [row["answer"] is None for row in rows] == [True] * 8 + [False] * 8
    shares = [row["defective"] for row in rows[:8]]
    assert shares == sorted(shares, reverse=True)
    of_bad = np.mean([row["defective"] for row in rows[:8] if row["md5"] in {md5[content] for content in bad}])
    of_good = np.mean([row["defective"] for row in rows[:8] if row["md5"] in {md5[content] for content in good}])
    assert of_bad > of_good
    events = read_events(log)
    assert dict(zip(events["md5"], events["decision"] == "removed_by_review", strict=True)) == said
    assert set(events["run_id"]) == {f"served by {model.name}"}


def test_a_confirmed_defect_enters_no_training(model: LoadedModel, plant: Path, tiny: Params, tmp_path: Path) -> None:
    from tasks.feedback.answers import Answer
    from tasks.steps.prepare import standing_decisions

    content = next((plant / "test" / "good").iterdir()).read_bytes()
    kept = Kept(tmp_path / "kept")
    kept.consider(
        "new.png", content, model, {"md5": "a" * 32, "score": 2.0, "threshold": 1.0, "decision": "anomalous"}, PLAIN
    )
    wait_for(kept, 1)
    params = tiny.model_copy(
        update={
            "review": tiny.review.model_copy(update={"decisions": str(tmp_path / "decisions.csv")}),
            "run": tiny.run.model_copy(update={"directory": str(tmp_path / "runs")}),
        }
    )
    Feedback(kept, Path(str(params.review.decisions))).record(Answer(md5="a" * 32, defective=True, reviewer="Ada"))
    kept.close()
    manifest = pd.DataFrame({"image_id": ["day/new.png", "day/b.png"], "md5": ["a" * 32, "b" * 32], "split": "train"})
    found = standing_decisions(params, manifest)
    assert found[["md5", "decision"]].to_numpy().tolist() == [["a" * 32, "removed_by_review"]]


def test_what_is_kept_is_bounded_and_found_again(model: LoadedModel, plant: Path, tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in sorted((plant / "test" / "good").iterdir())][:5]
    kept = Kept(tmp_path / "kept", images=3, near=0.2)

    def consider(number: int, score: float | None) -> None:
        row = {"md5": f"{number:032d}", "score": score, "threshold": 1.0, "decision": "normal"}
        kept.consider(None, contents[number], model, row, PLAIN)

    consider(0, 0.7)
    consider(0, None)
    consider(0, 0.81)
    wait_for(kept, 1)
    kept.answer(f"{0:032d}")
    for number in (1, 2, 3, 4):
        consider(number, 1.5)
    kept.close()
    assert {row["md5"] for row in kept.rows()} == {f"{number:032d}" for number in (0, 3, 4)}  # the answered one stays
    files = sorted(path.name for path in (tmp_path / "kept").iterdir() if not path.name.startswith("."))
    assert files == [f"{number:032d}.{ending}" for number in (0, 3, 4) for ending in ("image", "json", "npy")]
    again = Kept(tmp_path / "kept", size=len(contents[0]))  # smaller now: nothing is added beyond it
    assert again.rows() == kept.rows()
    again.consider(
        None, contents[1] * 2, model, {"md5": "f" * 32, "score": 2.0, "threshold": 1.0, "decision": "x"}, PLAIN
    )
    again.close()
    assert len(again) == 3


def test_without_a_folder_nothing_is_kept(model: LoadedModel, tmp_path: Path) -> None:
    with asked(model) as ask:
        assert ask("GET", "/feedback").status_code == 404
        assert ask("POST", "/feedback", json={}).status_code == 404
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder, found none"):
        Kept(tmp_path / "file" / "kept")
