"""Engines: where the shards of a scan are computed. Another one can come as a plugin.

An engine hands jobs to workers and gives back what they answer, in whatever order they are ready. It takes a job
from the iterator only when a worker is free, so that a long collection is never held in memory. It knows nothing
of scans: what makes a stopped scan resumable is the folder, which every worker writes to.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any, Final, TypeVar, final

from agnoscope.errors import OptionError, WorkerError

Job = TypeVar("Job")
Answer = TypeVar("Answer")

THREADS: Final = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC"),
)
"""Environment variables by which frameworks are told how many threads to use; read when they are first imported.

NPROC is what XLA takes for the number of cores.
"""


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
        yield from map(work, jobs)


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
        pool = ProcessPoolExecutor(self.workers, context, initializer=_take, initargs=(packed(work),))
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
                    "smaller batch_size. A script that asks for workers must do so below `if __name__ == '__main__':`."
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def packed(work: Callable[..., Any]) -> bytes:
    """The work, ready to be sent to workers.

    Raises:
        OptionError: it holds what cannot be sent.
    """
    try:
        return pickle.dumps(work)
    except Exception as error:  # objects raise what they like when they refuse
        raise OptionError(
            f"This cannot be sent to workers: {error}. Give agnoscope.Loader a function of a module, and arguments "
            "that can be pickled."
        ) from error


def local(workers: int | None = None) -> Engine:
    """This machine: this process where no workers are asked for, else as many others."""
    return Here() if workers is None else Processes(workers)


_packed = b""
"""What this process, a worker, does with its jobs."""


def _take(work: bytes) -> None:
    """Begin as a worker: leave Ctrl-C to the process that hands out the jobs, and end when it ends in any way."""
    global _packed
    _packed = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


@cache
def _unpacked() -> Callable[[Any], Any]:
    work: Callable[[Any], Any] = pickle.loads(_packed)  # noqa: S301  # our own parent's
    return work


def _do(job: Any) -> Any:
    return _unpacked()(job)


def available_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_limits(threads: int) -> dict[str, str]:
    """Environment variables by which a worker's frameworks keep to so many threads; what the user has set stays."""
    limits = {name: os.environ.get(name, str(threads)) for name in THREADS}
    if threads == 1:
        limits["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    return limits


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """The environment for workers that start meanwhile."""
    limits = thread_limits(threads)
    before = {name: os.environ.get(name) for name in limits}
    os.environ |= limits
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
