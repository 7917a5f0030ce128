"""Weight downloads against a local server: verified, kept once, explained when they fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from irp_core.config import Features
from irp_core.errors import InputError
from tasks.fetch.weights import fetch_weights, resolve_weights

CONTENT = b"weights" * 1000
SHA = hashlib.sha256(CONTENT).hexdigest()


class Handler(SimpleHTTPRequestHandler):
    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "net-abc.pth").write_bytes(CONTENT)
    Handler.requests = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/net-abc.pth"
        server.shutdown()


def test_downloaded_once_and_verified(address: str, tmp_path: Path) -> None:
    for _ in range(2):
        path = fetch_weights(address, SHA[:8], tmp_path / "cache")
        assert path.read_bytes() == CONTENT
    assert Handler.requests == 1


def test_a_wrong_hash_is_refused_and_deleted(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file whose sha256 begins with 00000000, found"):
        fetch_weights(address, "00000000", tmp_path / "cache")
    assert not (tmp_path / "cache" / "net-abc.pth").exists()


def test_no_network_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"put the file on this machine and name it with -S features\.weights=FILE"):
        fetch_weights("http://127.0.0.1:9/net.pth", "00", tmp_path)


def test_the_bundled_backbone_takes_no_file() -> None:
    assert resolve_weights(Features()) is None
    assert resolve_weights(Features(backbone="resnet18", weights="x.pth")) == Path("x.pth")
    with pytest.raises(InputError, match=r"features\.weights must be null"):
        resolve_weights(Features(weights="x.pth"))
