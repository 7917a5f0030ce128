"""Many processes, here or on many machines: a function of many arguments, by Dask (`runtime.cluster`).

The user's own cluster (`dask scheduler`, `dask worker`) is named by its address; `local` starts worker processes on
this machine for as long as they are needed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from irp_core.errors import InputError

if TYPE_CHECKING:  # a worker imports this module
    from irp_core.config import Params
    from irp_core.features.pipeline import StoredFeatures

__all__ = ["Workers", "on_workers"]

_Result = TypeVar("_Result")
_RETRIES = 2  # of a task that fails; one whose worker died goes to another worker besides
_WAIT = 10  # seconds for an answer of the scheduler


class Workers:
    """The workers of a cluster, reached or started when they are first needed, until the context ends.

    Args:
        cluster: `local`, or a scheduler's address.
        threads: that each task uses, the last bit of a result may depend on it: as many workers start here as
            processors allow.
        shard: how many images are a task.
    """

    def __init__(self, cluster: str, threads: int, shard: int) -> None:
        self.shard = shard
        self._cluster, self._threads = cluster, threads
        self._client: Any = None
        self._open = ExitStack()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *failure: object) -> None:
        self._client = None
        self._open.close()

    def each(self, function: Callable[..., _Result], arguments: Sequence[tuple[Any, ...]]) -> Iterator[_Result]:
        """`function(*one)` of each of `arguments`, in their order.

        A worker that dies costs the task that it was at, which another one does again.

        Args:
            function: that the workers can import, with what is bound to it; it travels once.

        Raises:
            InputError: Dask is not installed, nobody answers at the address, no worker is left that survives a task.
            Exception: what `function` raised, after two more tries.
        """
        try:
            from distributed import KilledWorker
        except ImportError:
            raise InputError(
                "runtime.cluster: expected Dask to be installed, found none (pip install 'irp-refine[cluster]')."
            ) from None
        if self._client is None:
            self._client = self._open.enter_context(_client(self._cluster, self._threads))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
            # As a task of its own: what one worker lost another one asks for again, unlike data that was scattered.
            shared = self._client.submit(_same, function, pure=False)
            futures = self._client.map(
                _call, arguments, function=shared, threads=self._threads, retries=_RETRIES, pure=False
            )
        try:
            for future in futures:
                yield future.result()
        except KilledWorker as error:
            raise InputError(
                f"runtime.cluster: expected workers that survive a shard of images, found that "
                f"{error.allowed_failures + 1} died over one; see their logs (often memory: a smaller runtime.shard)."
            ) from None


def _same(function: Callable[..., _Result]) -> Callable[..., _Result]:
    return function


def _call(arguments: tuple[Any, ...], function: Callable[..., _Result], threads: int) -> _Result:
    """In a worker."""
    import torch

    torch.set_num_threads(threads)
    return function(*arguments)


@contextmanager
def on_workers(features: StoredFeatures, params: Params) -> Iterator[StoredFeatures]:
    """The same features, whose sets are scored by the workers of `runtime.cluster`, where there is one."""
    if params.runtime.cluster is None:
        yield features
        return
    import torch

    with Workers(params.runtime.cluster, torch.get_num_threads(), params.runtime.shard) as workers:
        yield replace(features, spread=workers)


@contextmanager
def _client(cluster: str, threads: int) -> Iterator[Any]:
    from dask.distributed import Client, LocalCluster

    if cluster == "local":
        workers = max(1, (os.cpu_count() or 1) // threads)
        with (
            # A free port: another run of this machine may have the dashboard's own.
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as here,
            Client(here) as client,
        ):
            yield client
        return
    try:
        client = Client(cluster, timeout=_WAIT)
    except (OSError, ValueError) as error:  # the latter of an address that is none
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"runtime.cluster: expected a Dask scheduler at {cluster}, found none ({said}).") from None
    with client:
        yield client
