"""Kill real runs at random moments, damage what they left, start them again, and compare how they end.

    make torture                      # 20 kills, half of them with a fresh database: up to an hour on two cores
    make torture KILLS=4 SEED=7       # fewer, at moments that were drawn before
    python -m tests.torture --data path/to/images -S refinement.method=robust

Each kill is a `kill -9` of `irp refine`, in a workspace of its own: two of five at a random moment of its length
(imports and databases included), the others a moment after a random step. Before half of them are started again, a byte
of a random file that was left is flipped. Besides, one in ten kills the temporary Prefect server under a run. Every run
has to end, by the same command, with the tables and weights of the run that nobody killed, and to pass `irp audit
verify`.
"""

from __future__ import annotations

import argparse
import glob
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from irp_core.demo.plant import write_demo_plant
from tests.conftest import TINY, make_workspace
from tests.flows.harness import table_hashes

__all__ = ["main"]

# What a kill may leave in any state, and what is then made again or refused by name.
_DAMAGED = ("runs/*/iterations/**/*", "runs/*/operating/*", "runs/*/*.parquet", "runs/*/*.json", "runs/*/model/*",
            ".irp/features/*/*", "snapshots/**/*.dvc")  # fmt: skip


@dataclass(frozen=True)
class Command:
    """`irp refine` on one data set, in a workspace."""

    data: Path
    overrides: tuple[str, ...]

    def start(self, workspace: Path) -> subprocess.Popen[bytes]:
        options = [part for override in self.overrides for part in ("-S", override)]
        with open(workspace / "output.log", "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.cli", "refine", str(self.data), *options],
                cwd=workspace, stdout=output, stderr=output, env=_environment(),
            )  # fmt: skip

    def finish(self, workspace: Path) -> str | None:
        """Run it to its end; returns what went wrong."""
        (workspace / "output.log").unlink(missing_ok=True)
        code = self.start(workspace).wait()
        said = (workspace / "output.log").read_text(errors="replace")
        if code != 0 or "Traceback" in said:
            return f"exit code {code}: {said[-600:]}"
        return None


def _environment() -> dict[str, str]:
    left_out = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    root = str(Path(__file__).parents[1])
    return {**kept, "PYTHONPATH": root, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 where every run ended as the one that nobody killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, help="of the moments and the damages; default: drawn and printed")
    parser.add_argument("--data", type=Path, help="folder of images; default: a made plant")
    parser.add_argument("-S", dest="overrides", action="append", default=[], metavar="SECTION.KEY=VALUE")
    asked = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(2**31) if asked.seed is None else asked.seed
    print(f"seed {seed} (make torture SEED={seed} draws the same moments again)", flush=True)
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="irp-torture-") as temporary:
        folder = Path(temporary)
        data = asked.data.resolve() if asked.data else _plant(folder / "plant", rng)
        command = Command(data, (*TINY, *asked.overrides))
        return _torture(command, folder, asked.kills, rng)


def _plant(path: Path, rng: random.Random) -> Path:
    made: Path = write_demo_plant(path, size=64, train_good=24, test_good=8, defective=16, seed=rng.randrange(1000))
    return made


def _torture(command: Command, folder: Path, kills: int, rng: random.Random) -> int:
    began = time.monotonic()
    whole, lengths = _reference(command, folder)
    print(f"nobody killed: {lengths['fresh']:.0f} s with a fresh database, {lengths['ready']:.0f} s with a ready one")
    (run,) = whole.glob("runs/*")
    expected, counts, steps = table_hashes(run), Counter[str](), _steps(whole)
    for number in range(kills):
        kind = "fresh" if number % 2 == 0 else "ready"
        server = number % 10 == 5
        share, by_clock = rng.uniform(0.05, 0.98), number % 5 < 2
        for attempt in range(10):  # a machine that was busy before makes a run that ends too soon to be killed
            workspace = make_workspace(folder / f"kill-{number}-{attempt}")
            if kind == "ready":
                _make_ready(whole, workspace)
            process, started = command.start(workspace), time.monotonic()
            sooner = share * 0.7**attempt
            if by_clock:
                time.sleep(sooner * lengths[kind])
            else:
                while _steps(workspace) < sooner * steps and process.poll() is None:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 0.3))
            said = _killed_server(process) if server else _killed(process)
            if said is not None:
                break
            shutil.rmtree(workspace)
        if said is None:
            raise SystemExit(f"kill {number + 1}: the run ended before it, ten times")
        said += f" after {time.monotonic() - started:.1f} s, {_steps(workspace)} of {steps} steps"
        if number % 4 > 1 and not server and (name := _flip(workspace, rng)):
            said += f", {name} damaged"
        wrong = command.finish(workspace) or _differences(workspace, run.name, expected)
        counts[f"{kind}{', server' * server}: {'identical' if wrong is None else 'DIFFERENT'}"] += 1
        counts["damaged before it was started again"] += "damaged" in said
        print(f"kill {number + 1} of {kills}, {kind} database, {said}: {wrong or 'identical'}", flush=True)
        shutil.rmtree(workspace, ignore_errors=True)
    print("\n".join(f"{what}: {count}" for what, count in sorted(counts.items())))
    print(f"{time.monotonic() - began:.0f} s")
    return int(any("DIFFERENT" in what for what in counts))


def _reference(command: Command, folder: Path) -> tuple[Path, dict[str, float]]:
    """A workspace whose run nobody killed, and how long it takes with a fresh and with a ready database."""
    lengths = {}
    whole = make_workspace(folder / "whole")
    ready = make_workspace(folder / "ready")
    for kind, workspace in (("fresh", whole), ("ready", ready)):
        if kind == "ready":
            _make_ready(whole, workspace)
        started = time.monotonic()
        if wrong := command.finish(workspace):
            raise SystemExit(f"the run that nobody killed did not end: {wrong}")
        lengths[kind] = time.monotonic() - started
    return whole, lengths


def _make_ready(whole: Path, workspace: Path) -> None:
    """A workspace where both databases are, and nothing of the run."""
    from tasks.tracking.database import ensure_database

    ensure_database(f"sqlite:///{workspace}/mlflow.db")
    (workspace / ".irp").mkdir(exist_ok=True)
    for file in (whole / ".irp").glob("prefect.db*"):
        shutil.copy2(file, workspace / ".irp" / file.name)


def _steps(workspace: Path) -> int:
    """How far a run is: its finished steps and the segments of its features."""
    kinds = ("runs/*/*/step.json", "runs/*/iterations/*/*/step.json", ".irp/features/*/*.arrow")
    # Not pathlib's: where a folder goes meanwhile, that one ends with an error.
    return sum(len(glob.glob(str(workspace / files))) for files in kinds)  # noqa: PTH207


def _killed(process: subprocess.Popen[bytes]) -> str | None:
    """Kill a run; None where it had ended."""
    process.kill()
    return None if process.wait() >= 0 else "run"


def _killed_server(process: subprocess.Popen[bytes]) -> str | None:
    """Kill the Prefect server of a run that goes on, and wait for the run; None where there was none any more."""
    children = " ".join(file.read_text() for file in Path(f"/proc/{process.pid}/task").glob("*/children"))
    for child in children.split() if process.poll() is None else ():
        if b"prefect.server.api.server" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
            return f"server (the run ended with code {process.wait()})"
    process.kill()
    process.wait()
    return None


def _flip(workspace: Path, rng: random.Random) -> str | None:
    found = sorted({file for pattern in _DAMAGED for file in workspace.glob(pattern) if file.is_file()})
    found = [file for file in found if file.stat().st_size]
    if not found:
        return None
    file = rng.choice(found)
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.chmod(0o644)
    file.write_bytes(bytes(content))
    return str(file.relative_to(workspace))


def _differences(workspace: Path, run: str, expected: dict[str, str]) -> str | None:
    runs = [folder.name for folder in workspace.glob("runs/*")]
    if runs != [run]:
        return f"expected the run {run}, found {runs}"
    found = table_hashes(workspace / "runs" / run)
    if wrong := sorted(name for name in expected if found.get(name) != expected[name]):
        return f"other content: {', '.join(wrong)}"
    verified = subprocess.run(
        [sys.executable, "-m", "flows.cli", "audit", "verify", f"runs/{run}"],
        cwd=workspace, capture_output=True, text=True, check=False, env=_environment(),
    )  # fmt: skip
    return None if verified.returncode == 0 else f"irp audit verify: {verified.stdout[-600:]}{verified.stderr[-300:]}"


if __name__ == "__main__":
    sys.exit(main())
