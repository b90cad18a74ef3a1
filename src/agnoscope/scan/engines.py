"""Engines: where the shards of a scan are computed. Another one can come as a plugin.

An engine hands jobs to workers and gives back what they answer, in whatever order they are ready. It takes a job
from the iterator only when a worker is free, so that a long collection is never held in memory. It knows nothing
of scans: what makes a stopped scan resumable is the folder, which every worker writes to.
"""

import multiprocessing
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar, final

from agnoscope.errors import OptionError, WorkerError

Job = TypeVar("Job")
Answer = TypeVar("Answer")

THREADS: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
"""Environment variables by which frameworks are told how many threads to use; read when they are first imported."""


class Engine(ABC):
    """Somewhere to compute.

    Attributes:
        local: whether jobs run in this process, one after the other, so that they may hold what cannot be sent.
    """

    local: bool = False

    @abstractmethod
    def run(self, work: Callable[[Job], Answer], jobs: Iterable[Job]) -> Iterator[Answer]:
        """Do the work.

        Args:
            work: to be called with each job; for engines that are not local it can be sent, as can jobs and answers.
            jobs: taken one by one, as workers are free.

        Yields:
            The answers, as they are ready.

        Raises:
            WorkerError: a worker died.
        """


@final
@dataclass(frozen=True)
class Here(Engine):
    """This process, one job after the other; the framework uses as many cores as it likes."""

    local = True

    def run(self, work: Callable[[Job], Answer], jobs: Iterable[Job]) -> Iterator[Answer]:
        return map(work, jobs)


@final
@dataclass(frozen=True)
class Processes(Engine):
    """Several processes of this machine, which share its cores.

    Attributes:
        workers: how many, at least 1.
        threads: of each; by default the cores divided by the workers.
    """

    workers: int = 2
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if not (value is None and name == "threads") and (not isinstance(value, int) or value < 1):
                raise OptionError(f"{name}={value!r} must be a whole number from 1.")

    def run(self, work: Callable[[Job], Answer], jobs: Iterable[Job]) -> Iterator[Answer]:
        threads = self.threads or max(1, available_cores() // self.workers)
        # Spawned, not forked: a framework's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        waiting, jobs = set[Future[Answer]](), iter(jobs)
        # The work is sent once to each worker, which keeps the network that it loads.
        pool = ProcessPoolExecutor(self.workers, context, initializer=_take, initargs=(work,))
        with limited_threads(threads), pool:
            try:
                waiting |= {pool.submit(_do, job) for job in islice(jobs, self.workers + 1)}
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
                    waiting |= {pool.submit(_do, job) for job in islice(jobs, len(done))}
            except BrokenProcessPool as error:
                raise WorkerError(
                    "A worker died, perhaps for want of memory. What is done is kept: resume with fewer workers or a "
                    "smaller batch_size."
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def local(workers: int | None = None) -> Engine:
    """This machine: this process where no workers are asked for, else as many others."""
    return Here() if workers is None else Processes(workers)


_work: Callable[[Any], Any] | None = None
"""What this process, a worker, does with its jobs."""


def _take(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work


def _do(job: Any) -> Any:
    assert _work is not None  # noqa: S101
    return _work(job)


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """The environment for workers that start meanwhile; what the user has set stays."""
    limits = {name: str(threads) for name in THREADS}
    if threads == 1:
        limits["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    before = {name: os.environ.get(name) for name in limits}
    os.environ |= {name: value for name, value in limits.items() if name == "XLA_FLAGS" or before[name] is None}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
