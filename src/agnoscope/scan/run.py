"""Scans: a whole collection passes through a network once, and every view of it is read from what that leaves.

    scan = scan_all(model, "photos/", "run/", layers=("block4", "block5"))

The collection is cut into shards. Each is computed alone, by whichever worker is free, and written whole or not at
all; what a shard holds depends on its images, the network and the plan alone. So a stop at any moment loses the shards
in work and nothing else, and a resumed scan has the bytes of one that was never stopped.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, final

from agnoscope.errors import ImageError, OptionError, WorkerError
from agnoscope.explainers.base import Progress, silent
from agnoscope.model import Model
from agnoscope.plugins import plugins
from agnoscope.runs import fingerprint
from agnoscope.scan.collection import EMPTY, Collection, Item, Labels, collection
from agnoscope.scan.engines import Engine
from agnoscope.scan.ledger import FORMAT, Ledger
from agnoscope.scan.plan import Plan, Settled
from agnoscope.scan.scan import Scan
from agnoscope.scan.shard import scan_shard
from agnoscope.targets.units import Neuron


@final
@dataclass(frozen=True)
class Loader:
    """How a worker gets the network: `Loader(function, *args, **options)` is called once in each process.

    Attributes:
        function: of a module, not a lambda: it travels by its name. Returns what `agnoscope.wrap` takes or returns.
        args: its arguments.
        options: its named arguments.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def model(self) -> Model:
        """The network, loaded once."""
        from agnoscope.api import wrap

        return wrap(self.function(*self.args, **self.options))

    def __getstate__(self) -> dict[str, Any]:
        """What travels: never the network itself."""
        return {"function": self.function, "args": self.args, "options": self.options}


def scan_all(
    model: Any,
    images: Any,
    folder: str | Path,
    *,
    layers: str | Sequence[str] = (),
    neurons: Sequence[Neuron] = (),
    maps: Sequence[str] = (),
    labels: Labels = None,
    keep: int = 64,
    shard: int = 256,
    size: int | tuple[int, int] | None = None,
    resume: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    engine: str | Engine | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Let a collection of images pass through a network, and keep what its layers make of each.

    Args:
        model: what `agnoscope.wrap` returned, a network that it can wrap by itself, the text by which the command line
            names one ("demo:honest"), or a `Loader`; workers need one of the last two.
        images: a folder of photos, the path of a `.npy` file, an array, a sequence or data set, or any iterable of
            images or batches, each perhaps with its label; see `agnoscope.scan.collection`.
        folder: where the results go; made if it is not there.
        layers: whose features are kept, and the images that excite their channels most; by default the end of the last
            convolutional stage.
        neurons: single units whose most exciting images are kept, too.
        maps: layers whose whole maps are kept, in half precision.
        labels: one per image, or "folders" for the names of the photos' folders.
        keep: images that each channel and neuron keeps.
        shard: images in a file; also what a stop loses at the most, for each worker.
        size: height and width at which the network sees them; by default its own.
        resume: whether to go on with what the folder holds; otherwise it must hold no scan.
        batch_size: images at once; by default as many as keep the largest activation below 32 MiB.
        workers: processes on this machine; by default this one alone.
        engine: where to compute: "local" (the default), "ray", the name of a plugin's, or an `Engine`, which has its
            own number of workers.
        progress: called with the images done and their number, which is 0 where the collection does not tell.

    Returns:
        The scan, ready to be read. Images that cannot be read, or for which the network gives NaN, are in `failures`.

    Raises:
        FileError: the folder cannot be written to (what is done is kept), or there is no such collection.
        ImageError: the collection is empty, or an array of another shape. Single images that cannot be read raise
            nothing.
        OptionError: the folder holds a scan already (and `resume` was not asked for), or one of another network, plan
            or collection (the message says what differs), or another scan writes to it; or a network that cannot
            be sent was given with workers.
        LayerError: there is no such layer.
        WorkerError: a worker died; what is done is kept.
    """
    if workers is not None and isinstance(engine, Engine):
        raise OptionError("An engine has its own number of workers: give the engine alone, or its name and workers.")
    where = engine if isinstance(engine, Engine) else plugins().engine(engine or "local", workers)
    loader = _loader(model, where)
    found = collection(images, labels)
    chosen = (layers,) if isinstance(layers, str) else tuple(layers)
    sides = (size, size) if isinstance(size, int) else size
    plan = Plan(chosen, tuple(neurons), tuple(maps), keep, shard, sides, batch_size)
    manifest = _manifest(loader.model, plan.settled(loader.model), found)
    ledger = Ledger(Path(folder).absolute())  # workers may stand elsewhere
    with ledger.held():
        done = ledger.begin(manifest, resume)
        work = Work(loader, plan, str(ledger.folder), manifest["network"])
        _follow(where.run(work, found.blocks(shard, done)), len(done) * shard, found.count, progress)
        if not ledger.shards():
            raise ImageError(EMPTY)
        ledger.finish()
    return Scan.open(folder, images=images, labels=labels)


@final
@dataclass(frozen=True)
class Work:
    """What a worker does with a block of images: it writes their shard."""

    loader: Loader
    plan: Plan
    folder: str
    network: str
    """Its fingerprint."""

    @cached_property
    def settled(self) -> Settled:
        """The plan, settled for the worker's network."""
        if fingerprint(self.loader.model) != self.network:
            raise WorkerError(
                f"{self.loader.function.__name__} gave a worker another network than it gave at first: a function that "
                "loads a network for workers must give the same weights each time."
            )
        return self.plan.settled(self.loader.model)

    def __call__(self, job: tuple[int, list[Item]]) -> int:
        """Write a shard.

        Returns:
            How many images it is about.
        """
        number, items = job
        scan_shard(self.loader.model, self.settled, items).save(Ledger(Path(self.folder)).path(number))
        return len(items)


def _loader(model: Any, engine: Engine) -> Loader:
    if isinstance(model, Loader):
        return model
    if isinstance(model, str):
        from agnoscope.sources import load_model

        return Loader(load_model, (model,))
    if not engine.local:
        raise OptionError(
            f"Workers load the network themselves, and a {type(model).__name__} cannot be sent to them: give the "
            "text that names it ('demo:honest'), or agnoscope.Loader(function) with a module's function that gives it."
        )
    return Loader(lambda: model)


def _manifest(model: Model, plan: Settled, images: Collection) -> dict[str, Any]:
    """What a scan is about; two scans with equal manifests give equal shards."""
    manifest = {
        "format": FORMAT,
        "network": fingerprint(model),
        "backend": model.backend,
        "versions": dict(model.versions),
        "plan": {
            "layers": [{"name": layer.name, "shape": layer.shape, "grid": layer.grid} for layer in plan.layers],
            "neurons": [
                {"layer": layer.name, "channel": channel, "place": place, "width": (layer.shape[:-1] or (1,))[-1]}
                for layer, channel, place in plan.neurons
            ],
            "maps": [layer.name for layer in plan.maps],
            "keep": plan.keep,
            "shard": plan.shard,
            "size": plan.size,
            "batch_size": plan.batch_size,
        },
        "input": asdict(model.spec),
        "images": images.about,
        "classes": model.labels,
    }
    told: dict[str, Any] = json.loads(json.dumps(manifest))
    return told


def _follow(answers: Iterator[int], done: int, total: int | None, progress: Progress | None) -> None:
    report, total = progress or silent, total or 0
    report(min(done, total) if total else done, total)
    for count in answers:
        done += count
        report(min(done, total) if total else done, total)
