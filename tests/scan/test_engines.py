"""Engines: the same bytes wherever shards are computed, clear errors where workers fail, and nothing held in memory."""

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest

import agnoscope as ag
from agnoscope import Loader, OptionError
from agnoscope.errors import WorkerError
from agnoscope.plugins import EngineSpec, Plugins, hookimpl, plugins
from agnoscope.scan.engines import Engine, Here, Processes, limited_threads, local, thread_limits
from agnoscope.scan.run import scan_all
from agnoscope.scan.scan import Scan
from agnoscope.sources import load_model
from agnoscope.testing import deep_network, rectified_network
from tests.frameworks import FRAMEWORKS
from tests.scan.test_resuming import contents

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 5, 7, 3), dtype=np.uint8)
OPTIONS: dict[str, Any] = {"layers": ("relu1", "relu2"), "keep": 5, "shard": 4, "batch_size": 2}


def network() -> Any:
    return ag.wrap(deep_network(), input_size=(5, 7))


def another_in_a_worker() -> Any:
    return network() if multiprocessing.parent_process() is None else ag.wrap(rectified_network(), input_size=(5, 7))


def missing_in_a_worker() -> Any:
    if multiprocessing.parent_process() is None:
        return network()
    raise FileNotFoundError("the weights are not here")


def kill_at_four(number: int) -> int:
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def square(number: int) -> int:
    return number * number


def fail_at_two(number: int) -> int:
    if number == 2:
        raise OptionError("two is refused")
    return number


def slow(number: int, folder: str) -> int:
    Path(folder, f"begun{number}").touch()
    time.sleep(0.2)
    return number


def ignores_ctrl_c(_: int) -> bool:
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def threads_of(framework: str) -> int:
    """How many threads a framework computes with; of JAX all that it started, since it does not tell."""
    if framework == "torch":
        import torch

        return torch.get_num_threads()
    import jax

    before = len(list(Path("/proc/self/task").iterdir()))
    float(jax.jit(lambda a: (a @ a).sum())(np.ones((256, 256), np.float32)))
    return len(list(Path("/proc/self/task").iterdir())) - before


# -- any engine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [Here(), Processes(1), Processes(2), Processes(3, threads=1)])
def test_an_engine_does_every_job_once(engine: Engine) -> None:
    assert sorted(engine.run(square, iter(range(9)))) == [n * n for n in range(9)]
    assert list(engine.run(square, iter(()))) == []


@pytest.mark.parametrize("engine", [Here(), Processes(2)])
def test_an_engine_takes_jobs_only_as_workers_are_free(engine: Engine) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(10**9):
            taken.append(number)
            yield number

    answers = engine.run(square, jobs())
    assert {next(answers) for _ in range(3)} <= {n * n for n in range(7)}
    assert len(taken) <= 7
    answers.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", [Here(), Processes(2)])
def test_what_work_raises_is_raised_as_it_is(engine: Engine) -> None:
    with pytest.raises(OptionError, match="two is refused"):
        list(engine.run(fail_at_two, range(5)))


def test_numbers_of_workers_are_whole() -> None:
    for wrong in (0, -1, 1.5):
        with pytest.raises(OptionError, match="workers"):
            Processes(wrong)  # type: ignore[arg-type]
    assert local() == Here()
    assert local(3) == Processes(3)


# -- processes -----------------------------------------------------------------------------------------------------


def test_two_workers_write_the_bytes_of_one_process(tmp_path: Path) -> None:
    scan_all(network(), PIXELS, tmp_path / "here", **OPTIONS)
    scan = scan_all(Loader(network), PIXELS, tmp_path / "two", **OPTIONS, workers=2)
    assert scan.finished
    assert contents(tmp_path / "two") == contents(tmp_path / "here")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_workers_with_other_numbers_of_threads_write_the_same_bytes(framework: str, tmp_path: Path) -> None:
    pytest.importorskip({"jax": "flax"}.get(framework, framework))
    loader = Loader(load_model, ("demo:honest",), {"backend": framework})
    photos = np.random.default_rng(0).integers(0, 256, (12, 96, 96, 3), dtype=np.uint8)
    options: dict[str, Any] = {"layers": ("relu3", "relu5"), "shard": 6, "batch_size": 4}
    scan_all(loader, photos, tmp_path / "here", **options)
    scan_all(loader, photos, tmp_path / "worker", **options, engine=Processes(1, threads=2))
    assert contents(tmp_path / "worker") == contents(tmp_path / "here")


def test_a_worker_that_is_killed_is_told_and_the_scan_goes_on(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"A worker died.*resume"):
        list(Processes(2).run(kill_at_four, range(20)))

    def kill_one(done: int, total: int) -> None:
        if done >= 8:
            for process in multiprocessing.active_children():
                os.kill(process.pid, signal.SIGKILL)

    with pytest.raises(WorkerError, match="A worker died"):
        scan_all(Loader(network), PIXELS, tmp_path / "run", **OPTIONS, workers=1, progress=kill_one)
    assert len(Scan.open(tmp_path / "run")) >= 8
    scan_all(Loader(network), PIXELS, tmp_path / "run", **OPTIONS, resume=True)
    scan_all(Loader(network), PIXELS, tmp_path / "whole", **OPTIONS)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_worker_must_get_the_network_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="another network"):
        scan_all(Loader(another_in_a_worker), PIXELS, tmp_path / "one", shard=4, workers=1)
    with pytest.raises(FileNotFoundError, match="weights are not here"):
        scan_all(Loader(missing_in_a_worker), PIXELS, tmp_path / "two", shard=4, workers=1)


def test_what_cannot_be_sent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be sent"):
        scan_all(Loader(lambda: network()), PIXELS, tmp_path, workers=2)
    with pytest.raises(OptionError, match=r"agnoscope\.Loader"):
        scan_all(network(), PIXELS, tmp_path, workers=2)
    with pytest.raises(OptionError, match="own number of workers"):
        scan_all(Loader(network), PIXELS, tmp_path, workers=2, engine=Processes(2))
    assert not list(tmp_path.glob("shards/*"))


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the shell that runs the tests in its background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_workers_leave_ctrl_c_to_the_main_process_which_waits_for_them(tmp_path: Path, ctrl_c: None) -> None:
    assert all(Processes(1).run(ignores_ctrl_c, range(2)))
    endless = Processes(1).run(functools.partial(slow, folder=str(tmp_path)), iter(range(10**6)))
    assert next(endless) == 0
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        max(endless)
    assert not multiprocessing.active_children()
    assert len(list(tmp_path.iterdir())) < 20


def test_the_environment_of_workers_limits_threads_and_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # the user's word stays
    monkeypatch.delenv("NPROC", raising=False)
    before = dict(os.environ)
    with limited_threads(3):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["NPROC"]) == ("7", "3")
    assert dict(os.environ) == before
    assert "eigen" in thread_limits(1)["XLA_FLAGS"]
    assert "XLA_FLAGS" not in thread_limits(2)


@pytest.mark.parametrize("framework", FRAMEWORKS[:2])
def test_frameworks_keep_to_the_threads_of_their_worker(framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(framework)
    for name in (*thread_limits(2), "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    one, two = (next(iter(Processes(1, threads).run(threads_of, [framework]))) for threads in (1, 2))
    if framework == "torch":
        assert (one, two) == (1, 2)
    assert one < two


# -- Ray -----------------------------------------------------------------------------------------------------------

FORKS = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # Ray starts its servers beside any framework


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Ray, started once for all tests of it, as a user may have done."""
    ray = pytest.importorskip("ray")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()


@FORKS
def test_ray_starts_here_does_the_work_and_is_left_again(tmp_path: Path) -> None:
    started = pytest.importorskip("ray")
    assert not started.is_initialized()
    scan_all(network(), PIXELS, tmp_path / "here", **OPTIONS)
    scan_all(Loader(network), PIXELS, tmp_path / "ray", **OPTIONS, engine="ray", workers=2)
    assert not started.is_initialized()
    assert contents(tmp_path / "ray") == contents(tmp_path / "here")


@FORKS
def test_ray_that_runs_already_is_used_and_stays(ray: Any) -> None:
    from agnoscope.scan.ray_engine import Ray

    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(10**9):
            taken.append(number)
            yield number

    answers = Ray(1).run(square, jobs())
    assert [next(answers) for _ in range(3)] == [0, 1, 4]
    assert len(taken) <= 5
    answers.close()  # type: ignore[attr-defined]
    assert ray.is_initialized()
    with pytest.raises(OptionError, match="two is refused"):
        list(Ray().run(fail_at_two, range(5)))
    with pytest.raises(WorkerError, match="worker of Ray died"):
        list(Ray(2).run(kill_at_four, range(9)))


def test_options_of_ray_are_checked() -> None:
    pytest.importorskip("ray")
    from agnoscope.scan.ray_engine import Ray

    for wrong in ({"workers": 0}, {"cores": 1.5}, {"gpus": -1}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            Ray(**wrong)
    with pytest.raises(OptionError, match="cannot be sent"):
        list(Ray(1).run(lambda n: n, range(2)))


# -- plugins -------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Backwards(Engine):
    """A third party's engine: four jobs at a time, the last one first."""

    workers: int | None = None
    local = True

    def run(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        for job in reversed(list(jobs)):
            yield work(job)


class TheirPlugin:
    @staticmethod
    @hookimpl
    def agnoscope_engines() -> Iterator[EngineSpec]:
        yield EngineSpec("backwards", "tests.scan.test_engines:Backwards")


def test_an_engine_comes_as_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Plugins.discover(())
    found.add(TheirPlugin, "theirs 1.0")
    assert {"local", "ray", "backwards"} <= set(found.names("engine"))
    monkeypatch.setattr("agnoscope.scan.run.plugins", lambda: found)
    scan_all(network(), PIXELS, tmp_path / "here", **OPTIONS)
    scan_all(network(), PIXELS, tmp_path / "theirs", **OPTIONS, engine="backwards")
    assert contents(tmp_path / "theirs") == contents(tmp_path / "here")


def test_engines_of_ours_are_known_by_name() -> None:
    assert plugins().engine("local") == Here()
    assert plugins().engine("local", 2) == Processes(2)
    with pytest.raises(OptionError, match="local"):
        plugins().engine("nowhere")
