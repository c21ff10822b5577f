"""Records: one JSON a run, keyed by everything that decides its numbers, written atomically, reused when the key is the same."""

import dataclasses
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vislab.cards import Paper
from vislab.engine.files import write_atomically
from vislab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
LIBRARIES = ("torch", "torchvision", "numpy", "accelerate", "torchmetrics")


class Record(BaseModel):
    """One run: an arm at a seed, or a room's `compare` (arm "compare")."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    key: str
    slug: str
    profile: str
    arm: str
    seed: int
    config: dict[str, Any]
    device: str
    device_name: str
    precision: str
    threads: int
    code_hash: str
    versions: dict[str, str]
    status: Literal["done", "failed"]
    metrics: dict[str, float | None]
    error: str = ""
    clean: bool = True
    seconds: float
    finished: float


class Published(BaseModel):
    """The judged runs of one paper at one profile, as shipped under `results/`."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA
    slug: str
    profile: str
    device: str
    device_name: str
    threads: int
    versions: dict[str, str]
    code_hash: str
    claims_hash: str
    seeds: list[int]
    config: dict[str, Any]
    arms: dict[str, dict[str, list[float | None]]]
    compare: dict[str, float] = {}
    claims: list[dict[str, Any]]
    cpu_seconds: float


def runs_folder() -> Path:
    """The folder of working records: $VISLAB_RUNS, else ./_runs."""
    return Path(os.environ.get("VISLAB_RUNS", "_runs"))


def results_folder() -> Path:
    """The folder of published records: $VISLAB_RESULTS, else results/ of this checkout."""
    return Path(os.environ.get("VISLAB_RESULTS", Path(__file__).resolve().parents[2] / "results"))


@cache
def versions() -> dict[str, str]:
    """Versions that are stored with a record (only torch's major.minor counts towards the key)."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def threads() -> int:
    """Threads that a CPU run uses."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def device_name(device: str) -> str:
    """The processor's or the card's name."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    # platform.processor() starts a process; its pipe would leak into workers forked meanwhile, and waiting for it could hang
    return platform.machine()


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, tuples as lists."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def record_key(
    slug: str,
    arm: str,
    config: Any,
    seed: int,
    device: str,
    code_hash: str,
    precision: str = "no",
    zoo: Mapping[str, str] | None = None,
    thread_count: int | None = None,
) -> str:
    """The contract's key: everything that decides a run's numbers."""
    content = {
        "slug": slug,
        "arm": arm,
        "config": dataclasses.asdict(config),
        "seed": seed,
        "device": device,
        "precision": precision,
        "threads": threads() if thread_count is None else thread_count,
        "torch": ".".join(versions()["torch"].split(".")[:2]),
        "zoo": dict(zoo or {}),
        "code": code_hash,
    }
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def record_path(slug: str, key: str) -> Path:
    return runs_folder() / slug / f"{key[:24]}.json"


def artifact_path(slug: str, key: str) -> Path:
    return runs_folder() / slug / f"{key[:24]}.safetensors"


def finite(metrics: Mapping[str, float]) -> bool:
    """Whether every metric is a finite number."""
    return all(value is not None and math.isfinite(value) for value in metrics.values())


def write_record(record: Record) -> Path:
    """Write one record atomically; non-finite metrics are stored as null and make the run failed."""
    if not finite(record.metrics):
        bad = sorted(n for n, v in record.metrics.items() if v is None or not math.isfinite(v))
        cleaned = {n: (None if n in bad else v) for n, v in record.metrics.items()}
        error = record.error or f"not finite: {', '.join(bad)}"
        record = record.model_copy(update={"metrics": cleaned, "status": "failed", "error": error})
    path = record_path(record.slug, record.key)
    write_atomically(path, (canonical(record.model_dump()) + "\n").encode())
    return path


def read_record(path: Path) -> Record | None:
    """The record at `path`, or None when there is none.

    Raises UserError naming the file and the fault when it is damaged; the file is left where it is.
    """
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"record {path} cannot be read ({error}); delete it to run again") from error
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"record {path} is damaged ({_fault(error)}); delete it to run again") from error


def _fault(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def find_record(slug: str, key: str) -> Record | None:
    """The record with this key under the runs folder, or None."""
    record = read_record(record_path(slug, key))
    return record if record is not None and record.key == key else None


def all_records(slug: str) -> list[Record]:
    """Every readable record of a paper under the runs folder, oldest first; damaged ones raise UserError."""
    found = [read_record(path) for path in sorted((runs_folder() / slug).glob("*.json"))]
    return sorted((r for r in found if r is not None), key=lambda r: r.finished)


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]") -> None:
    """Write tensors as safetensors, atomically."""
    from safetensors.torch import save

    write_atomically(path, save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}))


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Tensors of a safetensors file; raises UserError naming a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); delete it to compute it again") from error


def pack_picture(picture: "Tensor") -> "Tensor":
    """The WebP bytes, 1-D uint8, of a (height, width, 3) uint8 picture."""
    import io

    import torch
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture.numpy()).save(file, "WEBP", quality=80, method=6)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def unpack_picture(content: "Tensor") -> "Tensor":
    """The (height, width, 3) uint8 picture of WebP bytes."""
    import io

    import numpy as np
    import torch
    from PIL import Image

    return torch.from_numpy(np.array(Image.open(io.BytesIO(content.numpy().tobytes())).convert("RGB")))


def published_path(profile: str, slug: str) -> Path:
    return results_folder() / profile / f"{slug}.json"


def read_published(profile: str, slug: str) -> Published | None:
    """The published record, or None; raises UserError naming a damaged file."""
    path = published_path(profile, slug)
    try:
        return Published.model_validate_json(path.read_text())
    except FileNotFoundError:
        return None
    except (ValidationError, UnicodeDecodeError) as error:
        fault = _fault(error) if isinstance(error, ValidationError) else str(error)
        raise UserError(f"published record {path} is damaged ({fault}); restore it or publish again") from error


def new_record(
    card: Paper,
    profile: str,
    arm: str,
    seed: int,
    config: Any,
    key: str,
    device: str,
    precision: str,
    code_hash: str,
    metrics: Mapping[str, float],
    seconds: float,
    error: str = "",
    clean: bool = True,
) -> Record:
    """A record of a run that has just ended."""
    return Record(
        key=key,
        slug=card.slug,
        profile=profile,
        arm=arm,
        seed=seed,
        config=dataclasses.asdict(config),
        device=device,
        device_name=device_name(device),
        precision=precision,
        threads=threads(),
        code_hash=code_hash,
        versions=versions(),
        status="failed" if error else "done",
        metrics={name: float(value) for name, value in metrics.items()},
        error=error,
        clean=clean,
        seconds=seconds,
        finished=time.time(),
    )
