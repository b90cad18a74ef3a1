"""What a scan costs, beside the bare network in the same run; and what it would cost for more images.

    python -m benchmarks.scan cost [torch|jax|tensorflow] [--threads 1] [--rounds 5] [--images 20000]
    python -m benchmarks.scan memory [torch|jax|tensorflow]
    python -m benchmarks.scan workers [torch|jax|tensorflow]
    python -m benchmarks.scan photos [torch|jax|tensorflow] --folder FOLDER [--network resnet50]
    python -m benchmarks.scan estimate --images 1300000 --ms 25 --channels 1280 [--processes 8] [--maps 7x7]

Synthetic images are 64 × 64 pixels, uint8, in a `.npy` file; the network is the demo's. A scan is all that a user waits
for, from the name of the file to the open `Scan`. There are two yardsticks, in batches of the same length: the bare
network, which gets its batches ready-made ("bare"), and a loop by hand that reads them from the same file, scales and
normalises them and throws the scores away ("loop"). All take turns, round by round, and medians of the rounds' ratios
count: of CPU time, which other processes disturb little, and of wall time. Each measurement runs in a process of its
own.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cost import FRAMEWORKS, NETWORKS

SIDE, BATCH = 64, 64
LAYER = "relu5"
KINDS = ("cost", "memory", "workers", "photos", "estimate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("frameworks", nargs="*", choices=[*FRAMEWORKS, []], help="by default all three")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="of photos")
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0], help="of `photos`, with random weights")
    parser.add_argument("--ms", type=float, help="of one image in one process, as `photos` finds them")
    parser.add_argument("--channels", type=int, default=1280, help="of the layer that is kept")
    parser.add_argument("--keep", type=int, default=64)
    parser.add_argument("--shard", type=int, default=256)
    parser.add_argument("--maps", default="", help="height x width of the layer, where it is kept whole: 7x7")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--megabytes", type=float, default=0, help="of memory that one process takes")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    args = parser.parse_args()
    if args.kind == "estimate":
        print(estimate(args))
        return
    measure: Callable[[str, Any], dict[str, Any]] = globals()[f"measure_{args.kind}"]
    if args.here:
        print(json.dumps(measure(args.frameworks[0], args)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for framework in args.frameworks or FRAMEWORKS:
            for images in (args.images // 10, args.images) if args.kind == "memory" else (args.images,):
                if args.kind != "photos":
                    synthetic(Path(folder), images)  # here, so that no measured process has it in its memory
                words = [args.kind, framework, "--rounds", args.rounds, "--threads", args.threads, "--images", images]
                words += ["--folder", args.folder or folder, "--network", args.network, "--here"]
                command = [sys.executable, "-m", "benchmarks.scan", *map(str, words)]
                done = subprocess.run(command, env=environment(args.threads), stdout=subprocess.PIPE, check=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


def environment(threads: int) -> dict[str, str]:
    """In which frameworks compute with so many threads."""
    from agnoscope.scan.engines import THREADS

    limits = {name: str(threads) for name in THREADS} | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads == 1:
        limits["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return {**os.environ, **limits}


def measure_cost(framework: str, args: Any) -> dict[str, Any]:
    """A scan of synthetic images beside the bare passes."""
    from agnoscope import scan_all
    from agnoscope.demo.architecture import MEAN, STD

    network, forward, prepare = demo(framework)
    pixels = synthetic(args.folder, args.images)
    rng = np.random.default_rng(1)
    some = [prepare(rng.normal(size=(BATCH, SIDE, SIDE, 3)).astype(np.float32)) for _ in range(16)]

    def bare() -> None:
        for number in range(-(-args.images // BATCH)):
            forward(some[number % len(some)])

    def loop() -> None:
        opened = np.load(pixels, mmap_mode="r")
        for start in range(0, args.images, BATCH):
            batch = opened[start : start + BATCH]
            batch = (
                np.concatenate([batch, batch[-1:].repeat(BATCH - len(batch), axis=0)]) if len(batch) < BATCH else batch
            )
            forward(prepare((batch.astype(np.float32) / 255 - MEAN) / STD))

    def scan() -> None:
        shutil.rmtree(args.folder / "run", ignore_errors=True)
        scan_all(network, pixels, args.folder / "run", layers=LAYER, batch_size=BATCH)

    calls = [bare, loop, scan]
    for call in calls:
        call()
    rounds = []
    for turn in range(args.rounds):
        order = calls[turn % 3 :] + calls[: turn % 3]
        taken = {call: timed(call) for call in order}
        rounds.append([taken[call] for call in calls])
    told: dict[str, Any] = {"framework": framework, "threads": args.threads, "images": args.images}
    for which, clock in enumerate(("cpu", "wall")):
        for number, yardstick in enumerate(("bare", "loop")):
            ratios = [times[2][which] / times[number][which] for times in rounds]
            told[f"{clock} / {yardstick}"] = round(statistics.median(ratios), 3)
    for number, name in enumerate(("bare", "loop", "scan")):
        told[f"{name} ms"] = round(1000 * statistics.median(times[number][0] for times in rounds) / args.images, 4)
    return told


def measure_memory(framework: str, args: Any) -> dict[str, Any]:
    """The most memory that a scan ever takes."""
    from agnoscope import scan_all

    network, _, _ = demo(framework)
    pixels = synthetic(args.folder, args.images)
    scan = scan_all(network, pixels, args.folder / f"{framework}{args.images}", layers=LAYER, batch_size=BATCH)
    for _ in scan.chunks():
        continue
    scan.top()
    return {"framework": framework, "images": args.images, "peak MiB": peak()}


def measure_workers(framework: str, args: Any) -> dict[str, Any]:
    """Two workers beside one, each in one thread; without the time to start them.

    Only where two cores are free does the clock tell what two workers are good for. The CPU time of an image, in all
    processes together, tells elsewhere what they lose to one another: with two free cores the ratio would be twice
    that of one worker over that of two.
    """
    from agnoscope import Loader, scan_all
    from agnoscope.scan.engines import Processes
    from benchmarks.scan import demo_network

    pixels, speeds, costs = synthetic(args.folder, args.images), [], []
    for workers in (1, 2):
        marks: list[tuple[float, float, int]] = []
        scan_all(
            Loader(demo_network, (framework,)),
            pixels,
            args.folder / f"{framework}{workers}",
            layers=LAYER,
            batch_size=BATCH,
            engine=Processes(workers, threads=1),
            progress=lambda done, _, marks=marks: marks.append((time.perf_counter(), cpu_of_all(), done)),
        )
        # From where all workers have done something to the last shards but as many, since these finish alone.
        first, last = marks[2 * workers], marks[-workers]
        speeds.append((last[2] - first[2]) / (last[0] - first[0]))
        costs.append(1000 * (last[1] - first[1]) / (last[2] - first[2]))
    told = {"framework": framework, "images": args.images, "cores": len(os.sched_getaffinity(0))}
    told |= {"load before": round(os.getloadavg()[0], 1), "images/s": [round(speed) for speed in speeds]}
    told |= {"ratio": round(speeds[1] / speeds[0], 2), "cpu ms": [round(cost, 3) for cost in costs]}
    return told | {"by cpu": round(2 * costs[0] / costs[1], 2)}


def cpu_of_all() -> float:
    """Seconds of CPU that this process and its workers have taken so far."""
    workers = [Path(f"/proc/{child.pid}/stat").read_text().split() for child in multiprocessing.active_children()]
    return time.process_time() + sum(int(one[13]) + int(one[14]) for one in workers) / os.sysconf("SC_CLK_TCK")


def measure_photos(framework: str, args: Any) -> dict[str, Any]:
    """Networks at 224 pixels over real photos: what an image costs with everything, and the parts alone."""
    import benchmarks.bare
    from agnoscope import scan_all, wrap
    from agnoscope.images import InputSpec, load_array

    bare = getattr(benchmarks.bare, framework)(args.network)
    network = wrap(*bare.network, input_size=224)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        scan_all(network, args.folder, run, batch_size=16)  # compiles
        shutil.rmtree(run)
        scans = []
        for _ in range(args.rounds):
            shutil.rmtree(run, ignore_errors=True)
            scans.append(timed(lambda: scan_all(network, args.folder, run, batch_size=16)))
        names = [str(path) for path in sorted(args.folder.rglob("*")) if path.suffix in (".jpg", ".png")]
        spec = InputSpec(size=(224, 224))
        read = timed(lambda: [load_array(name, spec) for name in names])
        ready = bare.prepare(np.random.default_rng(0).uniform(size=(16, 224, 224, 3)).astype(np.float32))
        bare.forward(ready)
        passes = timed(lambda: [bare.forward(ready) for _ in range(-(-len(names) // 16))])
        disk = sum(path.stat().st_size for path in run.rglob("*.npz"))
    count = len(names)
    cpu, wall = (round(1000 * statistics.median(one) / count, 1) for one in zip(*scans, strict=True))
    told = {
        "framework": framework,
        "network": args.network,
        "threads": args.threads,
        "photos": count,
        "cpu ms": cpu,
        "wall ms": wall,
    }
    told |= {"read cpu ms": round(1000 * read[0] / count, 1), "bare cpu ms": round(1000 * passes[0] / count, 1)}
    return told | {"KiB each": round(disk / count / 1024, 1), "peak MiB": peak()}


def estimate(args: Any) -> str:
    """Hours, memory and disk of a scan, from what one image and one shard were measured to take."""
    if args.ms is None:
        sys.exit("benchmarks.scan: --ms is what one image takes in one process: see `photos`.")
    shards = -(-args.images // args.shard)
    height, _, width = args.maps.partition("x")
    places = int(height) * int(width) if args.maps else 0
    each = args.channels * 4 + args.channels * places * 2 + 5 * 8 + 8  # mean, maps, answers, number
    peaks = args.channels * min(args.keep, args.shard) * (4 + 8 + 4)
    disk = args.images * each + shards * peaks
    hours = args.images * args.ms / 1000 / 3600 / args.processes
    memory = f", {args.megabytes * args.processes / 1024:.1f} GiB of memory" if args.megabytes else ""
    return (
        f"{args.images:,} images in {args.processes} process(es): {hours:.1f} h{memory}, {disk / 1e9:.1f} GB on disk "
        f"in {shards:,} shards of {disk / shards / 1e6:.2f} MB"
    )


def demo(framework: str) -> tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]:
    """The demo's network at 64 pixels, wrapped; its bare forward, and what that takes made of an array."""
    from agnoscope import wrap
    from agnoscope.demo import networks
    from agnoscope.demo.architecture import CLASS_NAMES, MEAN, STD, load_weights
    from agnoscope.demo.models import BUILDERS

    networks.INPUT_SIZE = (SIDE, SIDE)  # which Keras builds in
    network, variables = BUILDERS[framework](load_weights("honest"))
    model = wrap(network, variables, input_size=SIDE, mean=MEAN, std=STD, labels=CLASS_NAMES)
    if framework == "torch":
        import torch

        @torch.inference_mode()
        def forward(x: Any) -> Any:
            return network(x).numpy()

        return model, forward, lambda a: torch.from_numpy(np.ascontiguousarray(a.transpose(0, 3, 1, 2)))
    if framework == "jax":
        import jax

        compiled = jax.jit(network.apply)
        return model, lambda x: np.asarray(compiled(variables, x)), jax.numpy.asarray
    import tensorflow as tf

    graph = tf.function(lambda x: network(x, training=False))
    return model, lambda x: graph(x).numpy(), tf.constant


def demo_network(framework: str) -> Any:
    """For workers."""
    return demo(framework)[0]


def synthetic(folder: Path, count: int) -> Path:
    """A file of noise, made once."""
    path = folder / f"pixels{count}.npy"
    if not path.exists():
        shape = (count, SIDE, SIDE, 3)
        pixels = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        rng = np.random.default_rng(0)
        for start in range(0, count, 1000):
            pixels[start : start + 1000] = rng.integers(0, 256, pixels[start : start + 1000].shape, dtype=np.uint8)
            pixels.flush()
    return path


def peak() -> int:
    """MiB of memory that this process has had at the most; `ru_maxrss` counts the process that started it, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of CPU and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main()
