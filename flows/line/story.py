"""A recorded story of a line, on made images: what a plant lives through in its first nights.

`irp line demo` tells it, and a test holds it to what it says.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flows.line.retrain import retrain
from irp_core.config.lines import Inbox, Line, PromotionPolicy
from irp_core.demo.line import Batch, deliver, write_line_plant
from irp_core.hashing import file_md5
from irp_core.line.definition import line_params, write_line
from irp_core.refinement.reviews import KEPT_BY_REVIEW, REMOVED_BY_REVIEW, append_events, event
from irp_core.run.directory import RunDirectory
from tasks.promotion.deciding import roll_back_line
from tasks.promotion.registry import open_registry

__all__ = ["NIGHTS", "Chapter", "tell_story"]

NIGHTS = [Batch(200, 0), Batch(160, 40), Batch(0, 60), Batch(60, 0)]
GOLDEN = Batch(60, 40)
_SIZE = 128  # pixels: the story is to take minutes


@dataclass(frozen=True)
class Chapter:
    """One thing that happened.

    Attributes:
        title: what was done.
        said: what came of it.
        seconds: how long it took.
        facts: for the test: `outcome`, `aliases`, `misses` of the feature store, `told` by the webhook.
    """

    title: str
    said: str
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


def tell_story(folder: Path, tracking_uri: str | None = None) -> Iterator[Chapter]:
    """Live through the nights of a line in `folder`, a git and DVC repository; a chapter as soon as it has happened.

    Args:
        tracking_uri: of MLflow's store; None: the default.
    """
    folder = folder.resolve()  # the story goes on inside it
    made, inbox = folder / "made", folder / "inbox"
    started = time.perf_counter()
    write_line_plant(made, NIGHTS, golden=GOLDEN, size=_SIZE, seed=3)
    with _receiver() as (address, told), contextlib.chdir(folder):
        inbox.mkdir(exist_ok=True)
        line = _line(made, inbox, address, tracking_uri)
        write_line(line, Path())
        said = f"{GOLDEN.good} good and {GOLDEN.defective} defective images with labels; an empty inbox"
        yield Chapter("A line is defined", said, time.perf_counter() - started)
        here = _Telling(line, told)
        deliver(made, 1, inbox)
        yield here.round("Night 1: 200 images")
        judged = _judged(made, 2)
        deliver(made, 2, inbox)
        append_events(Path("decisions.csv"), judged)
        yield here.round("Night 2: 200 images; the end-of-line inspection scrapped 40 of the parts")
        deliver(made, 3, inbox)
        yield here.round("Night 3: 60 images, nothing but defects")
        yield here.round("The same event again")
        yield here.rollback("Morning: the version in service raises false alarms")
        deliver(made, 4, inbox)
        yield here.round("Night 4: 60 images; the version that was taken back stays away")


def _line(made: Path, inbox: Path, address: str, tracking_uri: str | None) -> Line:
    small: dict[str, dict[str, Any]] = {
        "images": {"size": _SIZE},
        "views": {"train": 2, "score": 2},
        "features": {"scales": [_SIZE, _SIZE // 2], "cell_scale": _SIZE},
        # The inspection says which parts are defective: there is nothing to find for a method that asks.
        "refinement": {"method": "vanilla"},
    }
    return Line(
        name="line3",
        inbox=str(inbox.resolve()),
        golden=str((made / "golden").resolve()),
        cron="0 2 * * *",
        min_new=50,
        taking=Inbox(settle=0.1),
        promotion=PromotionPolicy(mode="golden"),
        webhook=address,
        params=small | ({"tracking": {"uri": tracking_uri}} if tracking_uri else {}),
    )


@dataclass(frozen=True)
class _Telling:
    line: Line
    told: list[dict[str, Any]]

    def round(self, title: str) -> Chapter:
        self.told.clear()
        started = time.perf_counter()
        result: dict[str, Any] = retrain(self.line.name, ".")
        seconds = time.perf_counter() - started
        facts = self._facts(result["outcome"])
        said = "Nothing new; no version was made."
        if "version" in result:
            features = RunDirectory(Path(result["run"])).features()
            misses = sum(features[split]["misses"] for split in ("train", "rest") if split in features)
            facts |= {"version": result["version"], "misses": misses, "images": result["images"]}
            words = {"promoted": "in service", "refused": "refused", "waits": "waits for a person"}
            known = f"{misses} of {result['images']} images went through the network"
            said = f"line3/{result['version']} {words[result['outcome']]}; {known}. {result['why']}"
        return Chapter(title, said, seconds, facts)

    def rollback(self, title: str) -> Chapter:
        self.told.clear()
        started = time.perf_counter()
        record = roll_back_line(self.line, self._params(), "shift leader", "false alarms since six o'clock")
        seconds = time.perf_counter() - started
        said = f"line3/{record.replaced} in service again, line3/{record.version} taken back."
        return Chapter(title, said, seconds, self._facts("rolled back"))

    def _facts(self, outcome: str) -> dict[str, Any]:
        with open_registry(self.line, self._params()) as registry:
            aliases = registry.aliases()
            versions = len(registry.client.search_model_versions(f"name='{self.line.name}'"))
        told = [message["event"] for message in self.told]
        return {"outcome": outcome, "aliases": aliases, "versions": versions, "told": told}

    def _params(self) -> Any:
        return line_params(self.line, Path())


def _judged(made: Path, night: int) -> list[dict[str, str | None]]:
    """What the end-of-line inspection says of a night's parts: decisions like a reviewer's, by content."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    scrapped = json.loads((made / "nights.json").read_text(encoding="utf-8"))[str(night)]
    return [
        event(
            REMOVED_BY_REVIEW if image.name in scrapped else KEPT_BY_REVIEW,
            image_id=image.name,
            md5=file_md5(image),
            reviewer="end-of-line inspection",
            reviewed_at=at,
            note="",
            run_id="",
        )
        for image in sorted((made / f"night-{night}").iterdir())
    ]


@contextmanager
def _receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook on this machine: its address, and what it was told so far."""
    told: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        log_message: Callable[..., None] = lambda *_: None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/events", told
    finally:
        server.shutdown()
        server.server_close()
