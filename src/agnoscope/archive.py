"""Files of ours: arrays and a JSON header in one `.npz`, written whole or not at all. Nothing in them is executed."""

import io
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agnoscope.errors import FileError


def write_archive(
    path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, packed: bool = True
) -> Path:
    """Write a file, whole or not at all.

    Args:
        path: where to.
        header: ready for JSON, but for NumPy's numbers; "kind" says what the file is, "format" its version.
        arrays: name to array; no name is "header".
        packed: whether to compress them, which takes time.

    Raises:
        FileError: the file cannot be written.
    """
    text = json.dumps(header, default=lambda value: value.tolist())
    buffer = io.BytesIO()
    write = np.savez_compressed if packed else np.savez
    write(buffer, allow_pickle=False, header=np.array(text), **arrays)
    return write_whole(path, buffer.getvalue())


def read_archive(
    path: str | Path, kind: str, newest: int, only: Sequence[str] | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Header and arrays of a file that `write_archive` wrote.

    Args:
        path: of the file.
        kind: what it must be.
        newest: version that this agnoscope knows.
        only: arrays that are wanted; the others are not read. By default all.

    Raises:
        FileError: the file is missing, damaged, of another kind, or of a newer version.
    """
    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            header = json.loads(str(stored["header"]))
            wanted = [name for name in stored.files if name != "header"] if only is None else only
            arrays = {name: stored[name] for name in wanted}
        found, version = header.get("kind", "explanation"), int(header["format"])  # the oldest files are explanations
    except FileNotFoundError:
        raise FileError(f"There is no file {str(path)!r}.") from None
    except Exception as error:  # whatever a damaged archive makes of itself
        # Not NumPy's own words, which advise to allow pickles.
        raise FileError(f"{str(path)!r} is no {kind} that agnoscope saved, or is damaged.") from error
    if found != kind:
        raise FileError(f"{str(path)!r} is no {kind} that agnoscope saved: it is of the kind {found!r}.")
    if version > newest:
        raise FileError(f"{str(path)!r} was written by a newer agnoscope: upgrade to read it.")
    return header, arrays


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file beside its place and move it there, so that nothing half-written is ever seen.

    Raises:
        FileError: the folder does not exist or cannot be written to.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise FileError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes files private; a picture should be as readable as any other new file
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FileError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
        raise
    return path
