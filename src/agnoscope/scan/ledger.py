"""The folder of a scan: what was asked of which network, which shards are there, and that nobody else writes to it.

scan.json            the plan, the network, the collection
shards/000017.npz    the eighteenth shard, whole
.lock                held while a scan runs; the system lets go of it when a process ends in any way
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from agnoscope.errors import FileError, OptionError
from agnoscope.explanation import write_whole
from agnoscope.scan.shard import Shard

MANIFEST: Final = "scan.json"
SHARDS: Final = "shards"
FORMAT: Final = 1


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
            FileError: the folder cannot be made or written to.
            OptionError: it holds a scan, of something else or not to be resumed; the message says what differs.
        """
        try:
            (self.folder / SHARDS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"The folder {str(self.folder)!r} cannot be made: {error.strerror or error}.") from error
        if (self.folder / MANIFEST).exists():
            known = self.manifest()
            different = [key for key in manifest if known.get(key) != manifest[key]]
            if different and self.shards():
                raise OptionError(
                    f"The folder {str(self.folder)!r} holds a scan that differs in {', '.join(different)}: "
                    f"give another folder. {_differences(known, manifest, different)}"
                )
            if not different and self.shards() and not resume:
                raise OptionError(
                    f"The folder {str(self.folder)!r} holds this scan already: resume it, or give another folder."
                )
            if not different:
                return frozenset(int(path.stem) for path in self.shards() if _whole(path))
        write_whole(self.folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        return frozenset()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes to the folder meanwhile.

        Raises:
            OptionError: somebody does.
        """
        from filelock import FileLock, Timeout

        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise OptionError(
                f"Another scan writes to {str(self.folder)!r} at this moment: wait for it, or give another folder."
            ) from None
        try:
            for left in (self.folder / SHARDS).glob(".*"):  # half-written by a process that was killed
                left.unlink(missing_ok=True)
            yield
        finally:
            lock.release()


def _whole(path: Path) -> bool:
    try:
        Shard.load(path)
    except FileError:
        return False
    return True


def _differences(known: Mapping[str, Any], asked: Mapping[str, Any], keys: list[str]) -> str:
    """The options that differ, with what they were and what is asked now."""
    plan = [
        f"{name} was {known['plan'].get(name)!r} and is {value!r}"
        for name, value in asked["plan"].items()
        if "plan" in keys and known.get("plan", {}).get(name) != value
    ]
    return f"In the plan, {'; '.join(plan)}." if plan else ""
