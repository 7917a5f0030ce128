"""The runs of a cell, spread over processes of one thread each.

Training a flow on a few hundred feature vectors scales badly over threads and well over runs. A run starts as
soon as those it builds on are done: all methods share vanilla's detector, two controls copy IRP.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from irp_core.errors import InputError
from irp_core.methods import METHODS

__all__ = ["Job", "longest_first", "processors", "run_jobs"]

Job = tuple[int, str]
"""(seed, method)"""


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def run_jobs(
    methods: list[str],
    settings: dict[int, dict[str, Any]],
    roots: dict[int, tuple[str, str]],
    ready: Callable[[], None],
    report: Callable[[Job, int], None],
) -> dict[Job, str]:
    """Run every method for every seed; returns the run directory of each.

    Args:
        methods: in the order of `irp_core.methods.in_order`.
        settings: parameters by seed.
        roots: (folder of images, folder of the contaminated manifest) by seed.
        ready: called when the processes are starting, to wait for what they need.
        report: called with a job and the number of those done, when one is done.

    Raises:
        InputError, RuntimeError: of the first run that failed; those at work are finished before.
    """
    workers = min(processors(), 2 * len(settings))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, processors() // workers)))
    waiting = [(seed, method) for method in longest_first(methods) for seed in settings]
    done: dict[Job, str] = {}
    running: dict[Future[str], Job] = {}
    with _executor(workers) as pool:
        try:
            pool.submit(int)  # starts all processes: their imports take as long as Prefect's server does
            ready()
            while waiting or running:
                for job in [job for job in waiting if _ready(job, methods, done)][: workers - len(running)]:
                    waiting.remove(job)
                    seed, method = job
                    before = {name: done[seed, name] for name in methods if (seed, name) in done}
                    running[pool.submit(_run, settings[seed], roots[seed], method, before)] = job
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    job = running.pop(future)
                    done[job] = _result(future, job)
                    report(job, len(done))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return done


class _Here(Executor):
    """Runs at once and in this process what is submitted: one processor is no reason for a second process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _executor(workers: int) -> Executor:
    if workers == 1:
        return _Here()
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)


def _ready(job: Job, methods: list[str], done: dict[Job, str]) -> bool:
    """Whether the runs that the job builds on are done, where they are run at all."""
    seed, method = job
    needed = METHODS[method].builds_on
    return needed not in methods or (seed, needed) in done


def longest_first(methods: list[str]) -> list[str]:
    """The order in which runs start: first those that others wait for, then those that train for long."""
    behind = {name: sum(METHODS[other].builds_on == name for other in methods) for name in methods}
    return sorted(methods, key=lambda name: (-behind[name], not METHODS[name].trains_long))


def _result(future: Future[str], job: Job) -> str:
    try:
        return future.result()
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"seed {job[0]}, method {job[1]}: {type(error).__name__}: {error}") from error


def _begin() -> None:
    """End with the parent, even where it is killed: a pool's idle worker would wait for ever. Draw no bars."""
    sys.dont_write_bytecode = False  # as in `__main__`, which a spawned process does not import
    os.environ["TTY_COMPATIBLE"] = "0"  # several processes cannot share a terminal's last line
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_it, daemon=True).start()
    import flows.compare  # noqa: F401


def _run(settings: dict[str, Any], roots: tuple[str, str], method: str, before: dict[str, str]) -> str:
    from flows.compare import options_of
    from flows.refine import refine
    from tasks.runtime.prefect_server import without_heartbeats

    plain = {**settings, "refinement": {**settings["refinement"], "method": method}}
    with without_heartbeats():
        return str(Path(refine(roots[0], plain, roots[1], **options_of(method, before))))
