"""Where the zoo's weights lie and what identifies them; the records' keys need no more of the zoo than this."""

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from vislab.errors import UserError


def zoo_folder() -> Path:
    """`VISLAB_ZOO`, or data/zoo in the project."""
    return Path(os.environ.get("VISLAB_ZOO", Path(__file__).resolve().parents[2] / "data" / "zoo"))


def weights_path(name: str) -> Path:
    """The file of a zoo member's weights."""
    return zoo_folder() / f"{name}.safetensors"


def weights_hashes(names: Iterable[str]) -> dict[str, str]:
    """SHA-256 (16 hex digits) of each member's file; UserError where one is missing."""
    found = {}
    for name in names:
        path = weights_path(name)
        if not path.exists():
            raise UserError(f"zoo weights {name!r} are missing: {path}; make them with `vislab zoo train {name}`")
        found[name] = _digest(path, path.stat().st_mtime_ns)
    return found


@lru_cache(maxsize=64)
def _digest(path: Path, changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
