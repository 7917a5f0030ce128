"""A service under load whose alias moves and whose registry is killed: no request may fail, and MLflow's own server
must give the same scores. Real processes; a few minutes: `make torture-serving`."""

from __future__ import annotations

import argparse
import base64
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import tasks.runtime.environment  # noqa: F401
from irp_core.demo.plant import write_demo_plant
from tests.conftest import TINY

_NAME = "line3"
_PER_SECOND = 20
_PATIENCE = 600.0  # seconds, on a machine that is at work elsewhere, too
_MOST_BUSY = 60  # times that a request is sent again to a service that says that it is busy


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(command: list[str], folder: Path, ready: str, seconds: float = 240) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own, from when `ready` answers."""
    with (folder / f"{Path(command[2]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            until = time.monotonic() + seconds
            while not _answers(ready):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{command}: did not start; see {log.name}")
                time.sleep(0.3)
            yield process
        finally:
            _kill(process)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def _says(url: str, text: str) -> bool:
    return text in httpx.get(url, timeout=60).text


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def under_load(url: str, contents: list[bytes], count: int, at: dict[int, Callable[[], Any]]) -> list[dict[str, Any]]:
    """Send `count` requests at 20 a second, a row each as it was answered; `at` says what is done before which."""
    start = time.monotonic()
    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(32) as pool:

        def ask(number: int) -> dict[str, Any]:
            time.sleep(max(0.0, start + number / _PER_SECOND - time.monotonic()))
            sent, busy = time.monotonic(), 0
            while True:
                try:
                    answer = client.post(url, content=contents[number % len(contents)])
                except httpx.TransportError as error:
                    return {"status": type(error).__name__, "seconds": time.monotonic() - sent, "busy": busy}
                if answer.status_code != 503 or busy == _MOST_BUSY:
                    break
                busy += 1  # a machine that is at work elsewhere, too: as the answer says, ask again in a moment
                time.sleep(float(answer.headers["Retry-After"]))
            row = answer.json()["images"][0] if answer.status_code == 200 else {}
            facts = {"status": answer.status_code, "seconds": time.monotonic() - sent, "number": number, "busy": busy}
            return {**facts, **row}

        asked = [pool.submit(ask, number) for number in range(count)]
        for number, act in sorted(at.items()):
            time.sleep(max(0.0, start + number / _PER_SECOND - time.monotonic()))
            act()
        return [one.result() for one in asked]


def main() -> None:
    """Run it and say what came of it; the exit status is 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    count = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="irp-serving-") as name:
        folder = Path(name)
        plant = write_demo_plant(folder / "plant", size=64, train_good=24, test_good=8, defective=16, seed=1)
        port, mlflow_port = free_port(), free_port()
        store = f"http://127.0.0.1:{mlflow_port}"
        server = [
            sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(mlflow_port),
            "--workers", "1",
        ]  # fmt: skip
        with started(server, folder, f"{store}/health") as registry:
            for seed in (0, 1):
                settings = [*TINY, f"run.seed={seed}", f"tracking.uri={store}", f"tracking.registered_model={_NAME}"]
                refine = [sys.executable, "-m", "flows.cli", "refine", str(plant), "--no-dvc", "--no-prefect", "-q"]
                subprocess.run([*refine, *(part for one in settings for part in ("-S", one))], cwd=folder, check=True)
            from mlflow.tracking import MlflowClient

            client = MlflowClient(tracking_uri=store)
            client.set_registered_model_alias(_NAME, "champion", "1")
            serve = [
                sys.executable, "-m", "flows.cli", "serve", f"{_NAME}@champion", "--port", str(port), "--poll", "0.5",
                "-S", f"tracking.uri={store}",
            ]  # fmt: skip
            contents = [path.read_bytes() for path in sorted((plant / "test" / "good").iterdir())]
            url = f"http://127.0.0.1:{port}"
            with started(serve, folder, f"{url}/health"):
                move = {count // 4: lambda: client.set_registered_model_alias(_NAME, "champion", "2")}
                rows = under_load(f"{url}/score", contents, 3 * count // 4, move)
                until = time.monotonic() + _PATIENCE  # the load goes on until the new version has been loaded beside it
                while not _says(f"{url}/model", f'"{_NAME}/2"') and time.monotonic() < until:
                    rows += under_load(f"{url}/score", contents, _PER_SECOND, {})
                rows += under_load(f"{url}/score", contents, count - 3 * count // 4, {0: lambda: _kill(registry)})
                until = time.monotonic() + _PATIENCE  # the next look at the registry times out
                while not (gone := _says(f"{url}/metrics", "irp_registry_reached 0.0")) and time.monotonic() < until:
                    time.sleep(1)
                after = [httpx.post(f"{url}/score", content=one, timeout=60).json()["images"][0] for one in contents]
            _say(rows, gone, after[0]["model"])
            same = _by_mlflow(folder, contents, [row["score"] for row in after])
    print(f"mlflow models serve gives the same scores: {same}")
    failed = sum(row["status"] != 200 for row in rows)
    sys.exit(0 if not failed and gone and same and after[0]["model"] == f"{_NAME}/2" else 1)


def _say(rows: list[dict[str, Any]], gone: bool, model: str) -> None:
    failed = [row for row in rows if row["status"] != 200]
    seconds = np.array([row["seconds"] for row in rows])
    by_model = {name: sum(row.get("model") == name for row in rows) for name in (f"{_NAME}/1", f"{_NAME}/2")}
    print(f"{len(rows)} requests at {_PER_SECOND} a second: {len(failed)} failed {failed[:3]}")
    print(f"sent again because the service was busy: {sum(row['busy'] for row in rows)}")
    print(f"answered by {by_model}")
    print(f"p50 {1000 * np.quantile(seconds, 0.5):.0f} ms, p95 {1000 * np.quantile(seconds, 0.95):.0f} ms")
    print(f"registry killed: reported as gone {gone}, still answered by {model}", flush=True)


def _by_mlflow(folder: Path, contents: list[bytes], expected: list[float]) -> bool:
    """Whether `mlflow models serve` scores the images as `irp serve` did."""
    newest = max(folder.glob("artifacts/**/MLmodel"), key=lambda file: file.stat().st_mtime).parent
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", str(newest), "--env-manager", "local",
        "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with started(command, folder, f"http://127.0.0.1:{port}/ping"):
        images = [[base64.b64encode(content).decode()] for content in contents]
        body = {"dataframe_split": {"columns": ["image"], "data": images}}
        answer = httpx.post(f"http://127.0.0.1:{port}/invocations", json=body, timeout=120).raise_for_status().json()
    return [row["score"] for row in answer["predictions"]] == expected


if __name__ == "__main__":
    main()
