"""Writing files so that nothing is ever half there."""

import contextlib
import os
from pathlib import Path

from vislab.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside, fsync, rename; raises UserError when the folder cannot be written or the disk is full."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {error.strerror or error}; nothing already written was lost") from error
