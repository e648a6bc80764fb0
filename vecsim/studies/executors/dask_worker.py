"""A worker of a Dask cluster, for `vecsim worker`."""

import asyncio
import os
import platform
import socket
import sys

from distributed import Worker
from distributed.comm.addressing import parse_host_port
from distributed.utils import get_ip, get_ipv6

from vecsim import device
from vecsim.errors import JobKilled
from vecsim.studies.executors.dask_cluster import quiet_logs

_PATIENCE_S = 60  # for the scheduler to come: the parts of a cluster start in any order


def serve(address: str) -> int:
    """Compute what the scheduler at tcp://HOST:PORT sends, until it is gone; returns 0.

    One chunk at a time is computed, on all devices of this process. It listens on the address by
    which it reaches the scheduler, and nowhere else. JobKilled where no scheduler comes.
    """
    quiet_logs()

    async def live() -> None:
        host, port = parse_host_port(address.removeprefix("tcp://"))
        socket.getaddrinfo(host, port)  # an error, where Dask would only warn of an unknown host
        own = f"[{get_ipv6(host, port)}]" if ":" in host else get_ip(host, port)
        name = f"{platform.node()}/{os.getpid()}"
        # No limit of memory: a worker that is paused or restarted loses its compiled programs.
        options = {"nthreads": 1, "memory_limit": 0, "host": own, "name": name}
        worker = Worker(address, dashboard_address=f"{own}:0", death_timeout=_PATIENCE_S, **options)
        print(f"worker {name}: looking for {address}", flush=True)
        async with worker:
            print(f"worker {name}: {device.device_names()}, for {address}", flush=True)
            await worker.finished()

    try:
        asyncio.run(live())
    except (OSError, TimeoutError) as error:
        told = f"{address}: no scheduler within {_PATIENCE_S} s ({type(error).__name__})"
        raise JobKilled(f"{told}; start it with `dask scheduler --host ...`") from None
    print("the scheduler is gone", file=sys.stderr, flush=True)
    return 0
