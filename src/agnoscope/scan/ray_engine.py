"""Ray Core as an engine: the shards of a scan are computed by actors, on this machine or all over a cluster.

    ag.scan_all("demo:honest", "photos/", "run/", engine=Ray(workers=8, gpus=0.5))

Each worker is an actor that loads the network once and then writes one shard after the other; only numbers of images
travel back. The workers write to the scan's folder and read the images themselves: on a cluster both must lie on a
file system that all its machines share, under the same path, and agnoscope must be installed everywhere.

Source: Moritz et al., Ray: A Distributed Framework for Emerging AI Applications, OSDI 2018.
"""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Final, final

from agnoscope.errors import OptionError, WorkerError
from agnoscope.scan.engines import Answer, Engine, Job, available_cores, packed, thread_limits

STORE: Final = 256 * 2**20
"""Bytes of the object store where Ray is started here: jobs travel through it, results do not."""


@final
@dataclass(frozen=True)
class Ray(Engine):
    """Actors of Ray.

    Ray is used as it runs where it was started or joined before; otherwise the cluster at `address` is joined, or Ray
    is started on this machine, and left at the end.

    Attributes:
        workers: how many; by default one for each `cores` that Ray has, on a machine with GPUs of which each worker
            takes some as many as these suffice for.
        cores: that each worker takes, and threads that it computes with, at least 1; by default, where Ray is started
            here, the cores divided by the workers, else 1.
        gpus: that each worker takes; a fraction, such as 0.5, lets workers share one.
        address: of a cluster, for example "ray://head:10001" or "auto"; by default what the environment variable
            RAY_ADDRESS says.
    """

    workers: int | None = None
    cores: int | None = None
    gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "cores"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name}={value!r} must be a whole number from 1.")
        if self.gpus < 0:
            raise OptionError(f"gpus={self.gpus!r} must be 0 or more.")

    def run(self, work: Callable[[Job], Answer], jobs: Iterable[Job]) -> Iterator[Answer]:
        import ray

        text, jobs = packed(work), iter(jobs)
        with _joined(self.address or os.environ.get("RAY_ADDRESS")) as here:
            share = max(1, available_cores() // (self.workers or available_cores())) if here else 1
            cores = self.cores or share
            limits = {"env_vars": thread_limits(cores)}
            remote = ray.remote(num_cpus=cores, num_gpus=self.gpus, max_restarts=0, runtime_env=limits)(_Worker)
            workers = [remote.remote(text) for _ in range(self.workers or self._fitting(ray, cores))]
            try:
                # Each has a job and the next one, and no more: a long collection is never held in memory.
                at_work = {worker.do.remote(job): worker for worker, job in zip(workers * 2, jobs, strict=False)}
                while at_work:
                    (done,), _ = ray.wait(list(at_work), num_returns=1)
                    worker = at_work.pop(done)
                    yield ray.get(done)
                    at_work |= {worker.do.remote(job): worker for job in islice(jobs, 1)}
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError) as error:
                raise WorkerError(
                    "A worker of Ray died, perhaps for want of memory. What is done is kept: resume with fewer workers "
                    f"or a smaller batch_size. Ray says: {str(error).splitlines()[0]}"
                ) from error
            finally:
                for worker in workers:
                    ray.kill(worker)

    def _fitting(self, ray: Any, cores: int) -> int:
        """How many workers the machines that Ray has can hold."""
        there = ray.cluster_resources()
        bounds = [there.get("CPU", 1) / cores] + ([there.get("GPU", 0) / self.gpus] if self.gpus else [])
        return max(1, int(min(bounds)))


@dataclass(frozen=True)
class _Worker:
    """What an actor is: it keeps the work, and with it the network."""

    text: bytes

    @cached_property
    def work(self) -> Callable[[Any], Any]:
        work: Callable[[Any], Any] = pickle.loads(self.text)  # noqa: S301  # our own process's
        return work

    def do(self, job: Any) -> Any:
        return self.work(job)


@contextmanager
def _joined(address: str | None) -> Iterator[bool]:
    """Ray as it runs already, or joined, or started on this machine; what is started or joined here is left again.

    Yields:
        Whether it was started here.
    """
    import ray

    if ray.is_initialized():
        yield False
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of this is anybody else's business
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        ray.init(address=address, **quiet)
    else:
        options = {"num_cpus": available_cores(), "object_store_memory": STORE, "include_dashboard": False}
        ray.init(address="local", **options, **quiet)
    try:
        yield address is None
    finally:
        ray.shutdown()
