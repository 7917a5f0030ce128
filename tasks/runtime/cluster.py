"""Many processes, here or on many machines: a function over shards, by Dask (`runtime.cluster`).

The user's own cluster (`dask scheduler`, `dask worker`) is named by its address; `local` starts worker processes on
this machine for as long as they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from irp_core.errors import InputError

__all__ = ["over_shards"]

_Shard = TypeVar("_Shard")
_Result = TypeVar("_Result")
_RETRIES = 2  # of a shard that fails; one whose worker died goes to another worker besides
_WAIT = 10  # seconds for an answer of the scheduler


def over_shards(
    cluster: str, function: Callable[[_Shard], _Result], shards: Sequence[_Shard], threads: int
) -> Iterator[_Result]:
    """The results of `function` on each shard, in the order in which they are done.

    A worker that dies costs the shard that it was at, which another one does again.

    Args:
        cluster: `local`, or a scheduler's address.
        function: of a module that the workers can import.
        threads: that each call uses: as many workers start here as processors allow.

    Raises:
        InputError: Dask is not installed, nobody answers at the address, no worker is left that survives a shard.
        Exception: what `function` raised, after two more tries.
    """
    try:
        from dask.distributed import as_completed
        from distributed import KilledWorker
    except ImportError:
        raise InputError(
            "runtime.cluster: expected Dask to be installed, found none (pip install 'irp[cluster]')."
        ) from None
    with _client(cluster, threads) as client:
        futures = client.map(function, shards, retries=_RETRIES, pure=False)
        try:
            for future in as_completed(futures):
                yield future.result()
        except KilledWorker as error:
            raise InputError(
                f"runtime.cluster: expected workers that survive a shard of images, found that "
                f"{error.allowed_failures + 1} died over one; see their logs (often memory: a smaller runtime.shard)."
            ) from None


@contextmanager
def _client(cluster: str, threads: int) -> Iterator[Any]:
    from dask.distributed import Client, LocalCluster

    if cluster == "local":
        workers = max(1, (os.cpu_count() or 1) // threads)
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as here,
            Client(here) as client,
        ):
            yield client
        return
    try:
        client = Client(cluster, timeout=_WAIT)
    except (OSError, TimeoutError) as error:
        raise InputError(
            f"runtime.cluster: expected a Dask scheduler at {cluster}, found none ({str(error).splitlines()[0]})."
        ) from None
    with client:
        yield client
