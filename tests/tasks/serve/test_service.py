"""A real server on a real socket: equal scores, exchange under load, a registry that is gone, hostile requests."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from PIL import Image

from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.detectors import Gaussian
from irp_core.detectors.cells.patch_gaussian import PatchGaussian
from irp_core.errors import InputError
from irp_core.features.cells import cell_grid
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, SavedMaps, save_inspector
from irp_core.serving import ServedInspector
from tasks.scoring import score_images
from tasks.serve.door import Limits
from tasks.serve.model import LoadedModel, ServedModel, load_model
from tasks.serve.service import Service

LIMITS = Limits(body=200_000, together=2_000_000, images=4, maps=3, pixels=100_000, seconds=2.0)
TOKEN = "a-token-of-the-test"


def make_model(folder: Path, params: Params, seed: int, threshold: float) -> Path:
    (folder / "trained").mkdir(parents=True)
    detector = Gaussian(torch.device("cpu"))
    detector.fit(FeatureSet(np.random.default_rng(seed).normal(size=(8, 2, 512)).astype(np.float32)))
    detector.save(folder / "trained")
    maps = None
    if seed == 0:  # one of them says where
        cells = np.random.default_rng(seed).normal(size=(8, *cell_grid(params.features, params.images), 64))
        beside = PatchGaussian(params.patch_gaussian, torch.device("cpu"))
        beside.fit(FeatureSet(np.zeros((8, 1, 2), dtype=np.float32), cells=cells.astype(np.float16)))
        (folder / "beside").mkdir()
        beside.save(folder / "beside")
        scale = {"low": 0.5, "threshold": 1.0, "high": 1.5, "false_alarm_rate": 0.05, "images": 8, "basis": "quantile"}
        maps = SavedMaps("patch_gaussian", scale, folder / "beside")
    save_inspector(folder, folder / "trained", load_backbone("bundled", None), params, {"threshold": threshold}, maps)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [make_model(root / name, tiny, seed, 1.0 + seed) for seed, name in enumerate(("first", "second"))]


@pytest.fixture(scope="module")
def service(models: list[Path], tiny: Params) -> Iterator[Service]:
    made = Service(str(models[0]), tiny, port=0, limits=LIMITS)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    for _ in range(100):
        try:
            httpx.get(f"http://127.0.0.1:{made.port}/health")
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield made
    made.stop()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", timeout=10, trust_env=False) as made:
        yield made


@pytest.fixture(scope="module")
def pictures(plant: Path) -> list[Path]:
    return sorted((plant / "test" / "good").iterdir())[:4]


def test_service_mlflow_and_files_score_the_same(
    client: httpx.Client, models: list[Path], pictures: list[Path]
) -> None:
    of_files = Inspector(models[0]).score(pictures).drop(columns="path").to_dict("records")
    contents = [path.read_bytes() for path in pictures]
    together = client.post("/score", files=[("images", (p.name, c)) for p, c in zip(pictures, contents, strict=True)])
    rows = together.json()["images"]
    assert [row["name"] for row in rows] == [path.name for path in pictures]
    alone = [client.post("/score", content=content).json()["images"][0] for content in contents]
    for found in (rows, alone, ServedInspector(models[0]).predict(contents).to_dict("records")):
        assert [{key: row[key] for key in of_files[0]} for row in found] == of_files


def test_a_map_has_the_same_bytes_wherever_it_is_asked_for(
    client: httpx.Client, models: list[Path], pictures: list[Path], tiny: Params, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(pictures[0]).crop((0, 0, 64, 40)).save(folder / "turned.jpg", exif=exif)
    (folder / "plain.png").write_bytes(pictures[1].read_bytes())
    scored = score_images(str(models[0]), folder, tiny, maps=tmp_path / "out").set_index("path")
    written = pd.read_csv(tmp_path / "out" / "maps.csv").set_index("path")
    images = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    for kind, column in (("png", "overlay"), ("raw", "map")):
        files = [("images", (path.name, content)) for path, content in images.items()]
        answer = client.post(f"/score?map={kind}", files=[*files, ("images", ("text", b"none"))])
        served = ServedInspector(models[0]).predict([*images.values(), b"none"], params={"map": kind})
        rows = answer.json()["images"]
        assert rows[2]["map"] is None and rows[2]["error"] and pd.isna(served["map"][2])
        for place, path in enumerate(map(str, images)):
            expected = (tmp_path / "out" / written.loc[path, column]).read_bytes()
            assert base64.b64decode(rows[place]["map"]["png"]) == base64.b64decode(served["map"][place]) == expected
            assert (
                rows[place]["map"]["boxes"] == json.loads(served["boxes"][place]) == json.loads(written["boxes"][path])
            )
            assert rows[place]["score"] == served["score"][place] == scored["score"][path]
    pixels = np.asarray(Image.open(pictures[1]))
    (of_pixels,) = ServedInspector(models[0]).predict(pixels, params={"map": "png"})["map"]
    assert base64.b64decode(of_pixels) == (tmp_path / "out" / "plain.png.overlay.png").read_bytes()


def test_a_map_that_cannot_be_had_is_refused_in_words(
    client: httpx.Client, models: list[Path], pictures: list[Path]
) -> None:
    content = pictures[0].read_bytes()
    for address, count, status, said in (
        ("/score?map=gif", 1, 400, "png, raw"),
        ("/score?path=/etc/passwd", 1, 400, "no parameter but map"),
        ("/score?map=png", 4, 413, "at most 3 images"),
    ):
        answer = client.post(address, files=[("images", (f"{n}.png", content)) for n in range(count)])
        assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    for folder, kind, said in ((models[0], "gif", "none, png, raw"), (models[1], "png", "makes no maps")):
        with pytest.raises(InputError, match=said):
            ServedInspector(folder).predict([content], params={"map": kind})


def test_an_unreadable_image_is_an_answer_beside_the_others(client: httpx.Client, pictures: list[Path]) -> None:
    content = pictures[0].read_bytes()
    answer = client.post("/score", files=[("a", content), ("b", content[:200]), ("c", b"text")])
    assert answer.status_code == 200
    assert [row["error"] is None for row in answer.json()["images"]] == [True, False, False]
    assert [row["decision"] is None for row in answer.json()["images"]] == [False, True, True]


def test_the_figures_count_what_was_scored(client: httpx.Client, service: Service, pictures: list[Path]) -> None:
    def count() -> float:
        lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith("irp_images_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    before = count()
    client.post("/score", content=pictures[0].read_bytes())
    assert count() == before + 1
    text = client.get("/metrics").text
    for name in (
        "irp_score_over_threshold_bucket",
        "irp_latency_seconds_bucket",
        "irp_model{",
        "irp_registry_reached 1.0",
    ):
        assert name in text
    assert client.get("/model").json()["model"] == service.model.current.name
    assert client.get("/health").json()["status"] == "ok"


def test_the_model_is_exchanged_under_load_without_a_lost_request(
    service: Service, client: httpx.Client, models: list[Path], tiny: Params, pictures: list[Path]
) -> None:
    pointed = [str(models[0])]
    old = service.model
    service.model = ServedModel(
        "line@champion", lambda name: load_model(name, tiny, max_pixels=LIMITS.pixels), lambda _: pointed[0]
    )
    content = pictures[0].read_bytes()
    expected = {str(model): Inspector(model).score(pictures[:1])["score"][0] for model in models}
    answers: list[dict] = []
    starts = [time.monotonic() + number / 20 for number in range(100)]

    def ask(at: float) -> None:
        time.sleep(max(0.0, at - time.monotonic()))
        (row,) = client.post("/score", content=content).raise_for_status().json()["images"]
        answers.append(row)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, at) for at in starts]
        time.sleep(1.0)
        pointed[0] = str(models[1])
        assert service.model.look()
        for one in asked:
            one.result()
    assert len(answers) == 100
    assert {row["model"] for row in answers} == set(expected)
    assert all(row["score"] == expected[row["model"]] for row in answers)
    assert answers[-1]["model"] == str(models[1])
    service.model = old


def test_the_last_good_model_goes_on(models: list[Path], tiny: Params) -> None:
    answers: list[str | Exception] = []
    loaded: list[str] = []

    def resolve(_: str) -> str:
        if isinstance(answers[0], Exception):
            raise answers[0]
        return str(answers[0])

    def load(name: str) -> LoadedModel:
        loaded.append(name)
        return load_model(name, tiny, max_pixels=LIMITS.pixels)

    answers[:] = [str(models[0])]
    model = ServedModel("line@champion", load, resolve)
    for gone in (InputError("the alias is gone"), ConnectionError("no route"), OSError("database is locked")):
        answers[0] = gone
        assert not model.look()
        assert (model.current.name, model.registry_reached) == (str(models[0]), False)
    answers[0] = "nothing-of-the-kind"
    assert not model.look()
    assert not model.look()
    assert loaded == [str(models[0]), "nothing-of-the-kind"]  # a version that cannot be loaded is tried once
    assert (model.current.name, model.registry_reached) == (str(models[0]), True)
    answers[0] = str(models[1])
    assert model.look()
    assert model.current.name == str(models[1])


def bomb() -> bytes:
    """A PNG of 60000 x 60000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def large() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (400, 400)).save(buffer, "PNG")
    return buffer.getvalue()


def head(**headers: str) -> bytes:
    lines = {"Host": "localhost", "Connection": "close", **{name.replace("_", "-"): v for name, v in headers.items()}}
    return b"POST /score HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()).encode("latin-1") + b"\r\n"


FORM = "multipart/form-data; boundary=B"
PART = b'--B\r\nContent-Disposition: form-data; name="a"; filename="%s"\r\n\r\n%s\r\n'
HOSTILE: dict[str, tuple[bytes, int]] = {
    "no image": (head(Content_Length="4") + b"text", 200),
    "one byte": (head(Content_Length="1") + b"\0", 200),
    "a bomb": (head(Content_Length=str(len(bomb()))) + bomb(), 200),
    "too many pixels": (head(Content_Length=str(len(large()))) + large(), 200),
    "truncated": (head(Content_Length="60") + large()[:60], 200),
    "no body": (head(Content_Length="0"), 400),
    "a body that is too large": (head(Content_Length="200001"), 413),
    "a length beyond all numbers": (head(Content_Length="9" * 19), 413),
    "a length that is none": (head(Content_Length="many"), 400),
    "a negative length": (head(Content_Length="-1"), 400),
    "two lengths": (head(Content_Length="4\r\nContent-Length: 5") + b"texts", 400),
    "chunks that add up": (head(Transfer_Encoding="chunked") + (b"8000\r\n" + b"x" * 0x8000 + b"\r\n") * 8, 413),
    "a chunk that is none": (head(Transfer_Encoding="chunked") + b"zz\r\n", 400),
    "JSON": (head(Content_Type="application/json", Content_Length="2") + b"{}", 415),
    "a path as text": (head(Content_Type="text/plain", Content_Length="11") + b"/etc/passwd", 415),
    "a form without a boundary": (head(Content_Type="multipart/form-data", Content_Length="2") + b"{}", 400),
    "a form that is none": (head(Content_Type=FORM, Content_Length="6") + b"nothin", 400),
    "a form without a file": (
        head(Content_Type=FORM, Content_Length="57")
        + b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--B--\r\n',
        400,
    ),
    "more files than may be": (
        head(Content_Type=FORM, Content_Length="500") + (PART % (b"n", b"c")) * 5 + b"--B--" + b" " * 500,
        400,
    ),
    "a file name that climbs": (
        head(Content_Type=FORM, Content_Length=str(len(PART % (b"../../etc/passwd", b"x")) + 7))
        + PART % (b"../../etc/passwd", b"x")
        + b"--B--\r\n",
        200,
    ),
    "a parameter that is none": (head(Content_Length="1").replace(b"/score", b"/score?path=/etc/passwd") + b"x", 400),
    "another host": (head(Host="evil.example", Content_Length="1") + b"x", 421),
    "a host with our name in it": (head(Host="localhost.evil.example", Content_Length="1") + b"x", 421),
    "a host with a user": (head(Host="localhost@evil.example", Content_Length="1") + b"x", 421),
    "a host that is none": (head(Host="[::1", Content_Length="1") + b"x", 421),
    "no host": (b"POST /score HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", 400),
    "another method": (head().replace(b"POST", b"DELETE"), 405),
    "another path": (head().replace(b"/score", b"/../../etc/passwd"), 404),
    "a path with a null": (head().replace(b"/score", b"/score%00"), 404),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "a header without end": (b"POST /score HTTP/1.1\r\nX: " + b"x" * 100_000, 400),
    "a body that does not come": (head(Content_Length="9") + b"x", 408),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_request_gets_its_status_and_the_service_lives(
    name: str, service: Service, client: httpx.Client
) -> None:
    sent, status = HOSTILE[name]
    before = psutil.Process().memory_info().rss
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        with suppress(ConnectionError):  # answered before the end
            connection.sendall(sent)
        answer = b""
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer and status != 200:
                    break
    assert int(answer.split(b" ", 2)[1]) == status, answer[:300]
    if status == 200:
        assert b'"error":"' in answer
    assert psutil.Process().memory_info().rss - before < 300_000_000
    assert client.get("/health").status_code == 200


def test_many_at_once_are_answered_or_refused(service: Service, client: httpx.Client, pictures: list[Path]) -> None:
    content = pictures[0].read_bytes()
    with ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda _: client.post("/score", content=content).status_code, range(120)))
    assert set(found) <= {200, 503}
    assert found.count(200) > 20
    assert client.post("/score", content=content).status_code == 200


@pytest.mark.parametrize(
    ("given", "status"), [({}, 401), ({"Authorization": "Bearer no"}, 401), ({"Authorization": f"Bearer {TOKEN}"}, 404)]
)
def test_a_token_is_asked_for(given: dict[str, str], status: int) -> None:
    from starlette.applications import Starlette

    from tasks.serve.door import Door

    transport = httpx.ASGITransport(Door(Starlette(), LIMITS, TOKEN, None))

    async def ask(path: str) -> int:
        async with httpx.AsyncClient(transport=transport, base_url="http://plant") as asking:
            return (await asking.get(path, headers=given)).status_code

    import asyncio

    assert asyncio.run(ask("/model")) == status
    assert asyncio.run(ask("/health")) == 404  # let through, to an application that has none


def refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_what_cannot_be_served_is_said(models: list[Path], tiny: Params, service: Service, tmp_path: Path) -> None:
    model = str(models[0])
    refused(lambda: Service(model, tiny, host="0.0.0.0"), "expected a token")
    refused(lambda: Service(model, tiny, token="short"), "at least 16")
    refused(lambda: Service(model, tiny, port=service.port), "cannot be had")
    store = tiny.model_copy(update={"tracking": tiny.tracking.model_copy(update={"uri": f"sqlite:///{tmp_path}/m.db"})})
    refused(lambda: Service("nobody@champion", store), "found neither")
