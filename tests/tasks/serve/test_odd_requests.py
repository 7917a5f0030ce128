"""Odd requests on a real socket: formats that are bombs, half a protocol, forms that lie."""

from __future__ import annotations

import gzip
import io
import pickle
import socket
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress

import httpx
import psutil
import pytest
from PIL import Image

from irp_core.config import Params
from tasks.serve.service import Service
from tests.tasks.serve.test_service import FORM, LIMITS, PART, head, make_model


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> Iterator[Service]:
    made = Service(str(make_model(tmp_path_factory.mktemp("odd") / "model", tiny, 0, 1.0)), tiny, port=0, limits=LIMITS)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    for _ in range(200):
        with suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{made.port}/health")
            break
        time.sleep(0.05)
    yield made
    made.stop()
    thread.join(30)
    assert not thread.is_alive()


def gif_bomb() -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0)
    )


def bmp_bomb() -> bytes:
    head_ = struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head_


def tiff_bomb() -> bytes:
    sizes = [(256, 4, 60_000), (257, 4, 60_000), (278, 4, 60_000)]
    tags = sorted([*sizes, (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 9)])
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)


def picture(**options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (90, 90, 90)).save(buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def text_bomb() -> bytes:
    """A small PNG with a text of 100 MB in 100 kB."""
    data = b"zTXt" + b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    png = picture(format="PNG")
    return png[:33] + chunk + png[33:]


def frames() -> bytes:
    buffer = io.BytesIO()
    one, *others = [Image.new("L", (40, 40), level) for level in range(200)]
    one.save(buffer, "GIF", save_all=True, append_images=others)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(10_000_000))
    return buffer.getvalue()


def sent(content: bytes, path: bytes = b"/score", **headers: str) -> bytes:
    return head(Content_Length=str(len(content)), **headers).replace(b"/score", path, 1) + content


def form(body: bytes, kind: str = FORM) -> bytes:
    return sent(body, Content_Type=kind)


def lines(*rows: bytes) -> bytes:
    return b"\r\n".join(rows) + b"\r\n\r\n"


PNG = picture(format="PNG")
LOCAL = b"Host: localhost\r\nConnection: close"
ODD: dict[str, tuple[bytes, int]] = {
    "a GIF bomb": (sent(gif_bomb()), 200),
    "a BMP bomb": (sent(bmp_bomb()), 200),
    "a TIFF bomb": (sent(tiff_bomb()), 200),
    "a text bomb in a PNG": (sent(text_bomb()), 200),
    "two hundred frames": (sent(frames()), 200),
    "a zip as PNG": (sent(zipped(), Content_Type="image/png"), 200),
    "a pickle": (sent(pickle.dumps({"a": 1})), 200),
    "entities": (sent(b'<!DOCTYPE a [<!ENTITY b "bb">]><svg>&b;</svg>', Content_Type="image/svg+xml"), 200),
    "a PNG in GZIP": (sent(gzip.compress(PNG), Content_Encoding="gzip"), 415),
    "a coding that is none": (sent(PNG, Content_Encoding="zip-bomb"), 415),
    "chunks without end": (head(Transfer_Encoding="chunked") + b"5\r\nabcde\r\n", 408),
    "chunks with a flood of extensions": (head(Transfer_Encoding="chunked") + b"1;" + b"a" * 100_000, 400),
    "chunks in GZIP": (head(Transfer_Encoding="gzip, chunked") + b"0\r\n\r\n", 400),
    "a length and chunks": (head(Transfer_Encoding="chunked", Content_Length="3") + b"1\r\nx\r\n0\r\n\r\n", 200),
    "a length with a sign": (head(Content_Length="+1") + b"x", 400),
    "a length in other digits": (head(Content_Length="\xb2") + b"x", 400),
    "many parts": (form((PART % (b"n", b"c")) * 500 + b"--B--\r\n"), 400),
    "many fields": (form(b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' * 9 + b"--B--\r\n"), 400),
    "another boundary": (form((PART % (b"n", b"c")).replace(b"--B", b"--C") + b"--C--\r\n"), 400),
    "a boundary of a thousand letters": (form(PART % (b"n", b"c"), "multipart/form-data; boundary=" + "B" * 1000), 400),
    "a form that ends early": (form(PART % (b"n", b"c")), 400),
    "a form in a form": (form(PART % (b"n", PART % (b"m", PNG)) + b"--B--\r\n"), 200),
    "a part with a flood of headers": (form(b"--B\r\n" + b"X-A: b\r\n" * 9000 + b"\r\n\r\n--B--\r\n"), 400),
    "a name of a hundred thousand letters": (form(PART % (b"n" * 100_000, b"c") + b"--B--\r\n"), 400),
    "a name with a null": (form(PART % (b"a\0b.png", b"c") + b"--B--\r\n"), 200),
    "a map of nothing": (sent(b"x", b"/score?map=png"), 200),
    "a map that climbs": (sent(PNG, b"/score?map=../../etc/passwd"), 400),
    "a map without a kind": (sent(PNG, b"/score?map="), 400),
    "a map with a null": (sent(PNG, b"/score?map=png%00"), 400),
    "a flood of headers": (head(**{f"X-{number}": "a" * 90 for number in range(2000)}), 400),
    "a null in a header": (head(X_A="a\0b", Content_Length="0"), 400),
    "a header without a name": (lines(b"POST /score HTTP/1.1", LOCAL, b": x"), 400),
    "a space before the colon": (lines(b"POST /score HTTP/1.1", LOCAL, b"Content-Length : 4"), 400),
    "HTTP/1.0": (lines(b"GET /health HTTP/1.0", LOCAL), 200),
    "HTTP/1.0 without a host": (b"GET /health HTTP/1.0\r\n\r\n", 421),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 421),
    "HTTP/9.9": (lines(b"GET /health HTTP/9.9", LOCAL), 200),
    "two hosts": (lines(b"GET /health HTTP/1.1", LOCAL, b"Host: localhost"), 400),
    "HEAD": (lines(b"HEAD /score HTTP/1.1", LOCAL), 405),
    "OPTIONS": (lines(b"OPTIONS /score HTTP/1.1", LOCAL, b"Origin: http://evil.example"), 405),
    "TRACE": (lines(b"TRACE /score HTTP/1.1", LOCAL), 405),
    "CONNECT": (lines(b"CONNECT evil.example:443 HTTP/1.1", LOCAL), 404),
    "another's address": (lines(b"GET http://evil.example/health HTTP/1.1", LOCAL), 404),
    "a path that climbs in code": (lines(b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1", LOCAL), 404),
    "a path with two slashes": (lines(b"GET //health HTTP/1.1", LOCAL), 404),
    "a path that is no UTF-8": (lines(b"GET /%ff%fe HTTP/1.1", LOCAL), 404),
    "a part of the answer": (sent(b"x", Range="bytes=0-3"), 200),
    "an expectation of what is too large": (head(Content_Length="200001", Expect="100-continue"), 413),
    "an upgrade": (
        lines(b"GET /health HTTP/1.1", b"Host: localhost", b"Connection: Upgrade", b"Upgrade: websocket"),
        200,
    ),
}


def answer_to(service: Service, content: bytes, until: bytes = b"\r\n\r\n") -> bytes:
    """What comes back until the connection is closed, or `until` is in it."""
    answer = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        with suppress(ConnectionError):  # answered before the end
            connection.sendall(content)
        with suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
                if until in answer:
                    break
    return answer


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_gets_its_status_and_the_service_lives(name: str, service: Service) -> None:
    content, status = ODD[name]
    before = psutil.Process().memory_info().rss
    scored = status == 200 and b"/score" in content  # what is no image has an error in its row
    answer = answer_to(service, content, b'"error":"' if scored else b"\r\n\r\n")
    assert int(answer.split(b" ", 2)[1]) == status, answer[:300]
    assert (b'"error":"' in answer) == scored
    assert psutil.Process().memory_info().rss - before < 300_000_000
    assert httpx.get(f"http://127.0.0.1:{service.port}/health", timeout=30).status_code == 200


def test_requests_in_a_row_are_answered_in_their_order(service: Service) -> None:
    one = lines(b"GET /health HTTP/1.1", b"Host: localhost")
    answer = answer_to(service, one * 20 + lines(b"GET /nothing HTTP/1.1", LOCAL), b"Not Found")
    assert answer.count(b"HTTP/1.1 200") == 20 and b"HTTP/1.1 404" in answer


def test_who_waits_to_be_told_to_go_on_is(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(head(Content_Length=str(len(PNG)), Expect="100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(PNG)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "given", ["Bearer \xff\xfe", "bearer a-token-of-the-test", "Bearer " + "a" * 9000, "Basic YTpi"]
)
def test_a_token_with_odd_letters_is_none(given: str) -> None:
    import asyncio

    from starlette.applications import Starlette

    from tasks.serve.door import Door

    door = Door(Starlette(), LIMITS, "a-token-of-the-test", None)
    said: list[int] = []

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            said.append(int(str(message["status"])))

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    headers = [(b"host", b"plant"), (b"authorization", given.encode("latin-1"))]
    scope = {"type": "http", "path": "/model", "method": "GET", "headers": headers, "query_string": b""}
    asyncio.run(door(scope, receive, send))  # type: ignore[arg-type]
    assert said == [401]
