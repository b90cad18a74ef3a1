"""The folder of a scan: what was asked of which network, which shards are there, and that nobody else writes to it.

scan.json            the plan, the network, the collection
shards/000017.npz    the eighteenth shard, whole
finished.json        how many images there were; not there before all are done
.lock                held while a scan runs; the system lets go of it when a process ends in any way
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from agnoscope.archive import write_whole
from agnoscope.errors import FileError, OptionError
from agnoscope.scan.shard import Shard
from agnoscope.trees import flat

MANIFEST: Final = "scan.json"
FINISHED: Final = "finished.json"
SHARDS: Final = "shards"
FORMAT: Final = 1
LONGEST: Final = 60
"""Characters of a value that are shown where scans differ."""


@final
@dataclass(frozen=True)
class Ledger:
    """The folder of a scan."""

    folder: Path

    def path(self, number: int) -> Path:
        """Where a shard lies."""
        return self.folder / SHARDS / f"{number:06d}.npz"

    def shards(self) -> list[Path]:
        """The shards that are there, in their order."""
        return sorted((self.folder / SHARDS).glob("[0-9]*.npz"))

    def manifest(self) -> dict[str, Any]:
        """What was asked.

        Raises:
            FileError: there is no scan in the folder, it is damaged, or of a newer version.
        """
        path = self.folder / MANIFEST
        try:
            known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            version = known["format"]
        except FileNotFoundError:
            raise FileError(f"There is no scan in {str(self.folder)!r}: make one with `agnoscope scan`.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FileError(f"{str(path)!r} cannot be read, or is damaged: {error}.") from error
        if version > FORMAT:
            raise FileError(f"{str(path)!r} was written by a newer agnoscope: upgrade to read it.")
        return known

    def begin(self, manifest: Mapping[str, Any], resume: bool) -> frozenset[int]:
        """Begin a scan in the folder, or go on with the one that it holds.

        Args:
            manifest: what is asked, ready for JSON.
            resume: whether to go on where the same was asked before.

        Returns:
            Numbers of the shards that are there and whole; damaged ones are made again.

        Raises:
            FileError: the folder cannot be written to.
            OptionError: it holds a scan, of something else or not to be resumed; the message says what differs.
        """
        place, there = repr(str(self.folder)), self.shards()
        if there:
            known = self.manifest()
            different = [key for key in manifest if known.get(key) != manifest[key]]
            if different:
                raise OptionError(
                    f"The folder {place} holds a scan that differs in {', '.join(different)}: give another folder. "
                    f"{_differences(known, manifest)}"
                )
            if not resume:
                raise OptionError(f"The folder {place} holds this scan already: resume it, or give another folder.")
            return frozenset(int(path.stem) for path in there if _whole(path))
        write_whole(self.folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        return frozenset()

    def finish(self) -> None:
        """Note that all images are done.

        Raises:
            FileError: the folder cannot be written to.
        """
        write_whole(self.folder / FINISHED, json.dumps({"shards": len(self.shards())}).encode())

    @property
    def finished(self) -> bool:
        """Whether all images were done, and all shards are still there."""
        try:
            noted: int = json.loads((self.folder / FINISHED).read_bytes())["shards"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return noted == len(self.shards())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes to the folder meanwhile.

        Raises:
            FileError: the folder cannot be made or written to.
            OptionError: somebody else writes to it.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            (self.folder / SHARDS).mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise OptionError(
                f"Another scan writes to {str(self.folder)!r} at this moment: wait for it, or give another folder."
            ) from None
        except OSError as error:
            raise FileError(
                f"The folder {str(self.folder)!r} cannot be made or written to: {error.strerror or error}."
            ) from error
        try:
            for left in (*self.folder.glob(f".{MANIFEST}.*"), *(self.folder / SHARDS).glob(".*")):
                left.unlink(missing_ok=True)  # half-written by a process that was killed
            yield
        finally:
            lock.release()


def _whole(path: Path) -> bool:
    try:
        Shard.load(path)
    except FileError:
        return False
    return True


def _differences(known: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What was and what is now, of every entry that differs."""
    before, now = flat(known), flat(asked)
    return " ".join(
        f"{path.replace('/', '.')} was {_short(before.get(path))} and is {_short(now.get(path))}."
        for path in dict.fromkeys((*before, *now))
        if before.get(path) != now.get(path)
    )


def _short(value: Any) -> str:
    named = isinstance(value, list) and value and all(isinstance(one, dict) and "name" in one for one in value)
    text = ", ".join(one["name"] for one in value) if named else json.dumps(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
