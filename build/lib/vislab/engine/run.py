"""Running one unit of a paper: a prepared part, one arm at one seed, or a comparison; the record is reused when it exists."""

import dataclasses
import hashlib
import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import psutil
from filelock import FileLock

from vislab.cards import SEEDS, Paper, resolve
from vislab.engine.code import code_hash
from vislab.engine.device import accelerator as make_accelerator
from vislab.engine.device import check_device
from vislab.engine.records import (
    Record,
    artifact_path,
    canonical,
    find_record,
    new_record,
    read_tensors,
    record_key,
    runs_folder,
    write_record,
    write_tensors,
)
from vislab.engine.weights import weights_hashes
from vislab.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from vislab.engine.outcome import Outcome

COMPARE = "compare"
ARTIFACT_LIMIT = 300_000
LOAD_LIMIT = 0.35


@dataclass(frozen=True)
class Unit:
    """One run to do: what decides its record's key, in plain values, so that it travels to a worker."""

    slug: str
    profile: str
    arm: str
    seed: int
    config: Any
    device: str
    precision: str
    code: str
    zoo: tuple[tuple[str, str], ...] = ()
    """Names and hashes of the zoo's weights that the card names."""

    @property
    def key(self) -> str:
        zoo = dict(self.zoo)
        return record_key(self.slug, self.arm, self.config, self.seed, self.device, self.code, self.precision, zoo)

    @property
    def name(self) -> str:
        return f"{self.slug} {self.profile} {self.arm} seed {self.seed}"


def device_type(device: str = "auto") -> str:
    """The type that `device` resolves to on this machine: "cpu" or "cuda".

    Raises UserError for an unknown device, or for CUDA where there is none.
    """
    check_device(device)
    if device != "auto":
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def units(
    card: Paper,
    experiment: ModuleType,
    profile: str,
    arms: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    changes: Mapping[str, Any] | None = None,
    device: str = "auto",
    precision: str = "no",
    compare: bool = True,
) -> list[Unit]:
    """The runs of a paper at a profile: its arms and their seeds, then the comparison.

    `arms` and `seeds` limit them; arms asked for by name run even where the profile leaves them out.
    """
    code = code_hash(Path(experiment.__file__))
    zoo = tuple(sorted(weights_hashes(card.zoo).items()))
    chosen = [card.arm(a) for a in arms] if arms is not None else card.arms_at(profile)
    found = []
    for arm in chosen:
        config = resolve(card, profile, arm.name, changes)
        for seed in seeds if seeds is not None else card.seeds_at(profile, arm.name):
            found.append(Unit(card.slug, profile, arm.name, seed, config, device_type(device), precision, code, zoo))
    if compare and card.compares and arms is None:
        config = resolve(card, profile, method(card), changes)
        seed = SEEDS[profile][0]
        found.append(Unit(card.slug, profile, COMPARE, seed, config, device_type(device), precision, code, zoo))
    return found


def method(card: Paper) -> str:
    """The name of the paper's own arm: the first with role "method"."""
    return next(a.name for a in card.arms if a.role == "method")


def prepared_path(unit: Unit, fields: tuple[str, ...]) -> Path:
    """Where the prepared part of a unit lies: keyed by the config fields that decide it, seed, device and code."""
    values = {name: getattr(unit.config, name) for name in fields}
    content = {
        "config": values,
        "seed": unit.seed,
        "device": unit.device,
        "precision": unit.precision,
        "code": unit.code,
        "zoo": dict(unit.zoo),
    }
    digest = hashlib.sha256(canonical(content).encode()).hexdigest()[:24]
    return runs_folder() / unit.slug / f"prepared-{digest}.safetensors"


def prepare(unit: Unit, experiment: ModuleType) -> "dict[str, Tensor] | None":
    """What arms of one seed share, computed once and stored beside the records; None where the room has none."""
    compute: Callable | None = getattr(experiment, "prepare", None)
    if compute is None:
        return None
    path = prepared_path(unit, experiment.PREPARE_FIELDS)
    with _lock(path):
        if not path.exists():
            write_tensors(path, compute(unit.config, unit.seed, make_accelerator(unit.device, unit.precision)))
    return {name: value.to(unit.device) for name, value in read_tensors(path).items()}


def execute(unit: Unit, card: Paper, experiment: ModuleType, fresh: bool = False, debug: bool = False) -> Record:
    """The record of `unit`: the stored one, or a new run (always a new one with `fresh`).

    A run that raises is recorded as failed, with the last lines of its traceback; a UserError or an interrupt passes through.
    A failed record is not reused: the next call runs again.
    """
    with _lock(runs_folder() / unit.slug / unit.key[:24]):
        stored = None if fresh else find_record(unit.slug, unit.key)
        if stored is not None and stored.status == "done" and stored.clean:
            return stored
        accelerator = make_accelerator(unit.device, unit.precision)
        exclusive = unit.arm == COMPARE
        # nothing is published from smoke, so its times need no idle machine
        clean = not exclusive or unit.profile == "smoke" or idle()
        shared = prepare(unit, experiment)
        begin = time.process_time() if unit.device == "cpu" else time.perf_counter()
        metrics: Mapping[str, float] = {}
        error = ""
        try:
            if exclusive:
                outcome: "Outcome" = experiment.compare(unit.config, accelerator, shared)
            else:
                outcome = experiment.run(unit.config, unit.seed, accelerator, shared)
            metrics = outcome.metrics
            if outcome.artifacts:
                _write_artifacts(unit, outcome)
        except (KeyboardInterrupt, UserError):
            raise
        except Exception as fault:
            if debug:
                raise
            error = "".join(traceback.format_exception(fault)[-6:])[-2000:]
        end = time.process_time() if unit.device == "cpu" else time.perf_counter()
        record = new_record(
            card, unit.profile, unit.arm, unit.seed, unit.config, unit.key, unit.device, unit.precision, unit.code,
            metrics, end - begin, error, clean,
        )  # fmt: skip
        write_record(record)
        return find_record(unit.slug, unit.key) or record


def _write_artifacts(unit: Unit, outcome: "Outcome") -> None:
    size = sum(v.numel() * v.element_size() for v in outcome.artifacts.values())
    if size > ARTIFACT_LIMIT:
        raise ValueError(f"artifacts of {unit.name} weigh {size} bytes; the limit is {ARTIFACT_LIMIT}")
    write_tensors(artifact_path(unit.slug, unit.key), outcome.artifacts)


def _lock(path: Path) -> FileLock:
    """A lock file for one unit; the system lets go of it when its holder dies."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write below {path.parent}: {error.strerror or error}") from error
    return FileLock(path.with_name(path.name + ".lock"))


def idle(interval: float = 0.5) -> bool:
    """Whether nothing else keeps the machine busy, so that a time may be published."""
    return psutil.cpu_percent(interval) / 100 * (os.cpu_count() or 1) < LOAD_LIMIT


def as_dict(config: Any) -> dict[str, Any]:
    """A config as plain JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}
