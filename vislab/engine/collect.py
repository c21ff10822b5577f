"""The runs of a paper at a profile, put together and judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import Tensor

from vislab.cards import SEEDS, Paper, resolve
from vislab.engine.records import (
    Record,
    all_records,
    artifact_path,
    canonical,
    find_record,
    read_published,
    read_tensors,
    results_folder,
    unpack_picture,
)
from vislab.engine.run import COMPARE, Unit, as_dict, units
from vislab.engine.verdicts import Judged, judge


@dataclass(frozen=True)
class Collected:
    """Records of a paper at a profile, as {arm: {metric: [one a seed]}}, with the verdicts where all seeds are there."""

    card: Paper
    profile: str
    seeds: tuple[int, ...]
    wanted: tuple[Unit, ...]
    records: tuple[Record, ...]
    arms: dict[str, dict[str, list[float | None]]]
    compare: dict[str, float]
    judged: tuple[Judged, ...]

    @property
    def missing(self) -> tuple[Unit, ...]:
        """Units without a record."""
        keys = {r.key for r in self.records}
        return tuple(u for u in self.wanted if u.key not in keys)


def collect(
    card: Paper,
    experiment: ModuleType,
    profile: str,
    device: str = "auto",
    precision: str = "no",
    changes: Mapping[str, Any] | None = None,
) -> Collected:
    """Read the working records of the profile's own runs (its seeds) and judge them; with `changes` they are another experiment's."""
    wanted = units(card, experiment, profile, changes=changes, device=device, precision=precision)
    records = [r for u in wanted if (r := find_record(u.slug, u.key)) is not None]
    return put_together(card, profile, wanted, records, SEEDS[profile])


def put_together(
    card: Paper, profile: str, wanted: Sequence[Unit], records: Sequence[Record], seeds: Sequence[int]
) -> Collected:
    """Gather `records` by arm and seed; judge them when `seeds` are the profile's own and there is more than one."""
    seeds = tuple(seeds)
    arms = gather([r for r in records if r.arm != COMPARE], [a.name for a in card.arms], seeds)
    compare = next((r.metrics for r in records if r.arm == COMPARE and r.status == "done"), {})
    verdicts: tuple[Judged, ...] = ()
    if len(seeds) > 1 and seeds == SEEDS[profile]:
        ready = {a: m for a, m in arms.items() if all(len(v) == len(seeds) for v in m.values())}
        verdicts = judge(card, ready, len(seeds), profile, compare)
    return Collected(card, profile, seeds, tuple(wanted), tuple(records), arms, dict(compare), verdicts)


def gather(
    records: Sequence[Record], arms: Sequence[str], seeds: Sequence[int]
) -> dict[str, dict[str, list[float | None]]]:
    """{arm: {metric: [one a seed]}} from records; a failed run gives None for every metric of its arm."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for arm in arms:
        by_seed = {r.seed: r for r in records if r.arm == arm}
        present = [by_seed[s] for s in seeds if s in by_seed]
        if not present:
            continue
        names = sorted({n for r in present for n in r.metrics}) or ["loss"]
        found[arm] = {n: [r.metrics.get(n) if r.status == "done" else None for r in present] for n in names}
    return found


def find_artifact(
    card: Paper, arm: str, name: str, profile: str, changes: Mapping[str, Any] | None = None
) -> Tensor | None:
    """Artifact `name` of an arm's first seed: from the working records of this profile, else from results/, else None.

    With `changes` of the config, only from working records.
    """
    config = canonical(as_dict(resolve(card, profile, arm, changes))) if arm != COMPARE else None
    for record in reversed(all_records(card.slug)):
        mine = record.arm == arm and record.profile == profile and record.seed == SEEDS[profile][0]
        if mine and (config is None or canonical(record.config) == config):
            path = artifact_path(record.slug, record.key)
            tensors: Mapping[str, Any] = read_tensors(path) if path.exists() else {}
            if name in tensors:
                return tensors[name]
    for folder in () if changes else dict.fromkeys((profile, "tutorial")):
        path = results_folder() / folder / f"{card.slug}.safetensors"
        if path.exists():
            tensors = read_tensors(path)
            if f"{arm}/{name}" in tensors:
                return tensors[f"{arm}/{name}"]
            if f"{arm}/{name}.webp" in tensors:
                return unpack_picture(tensors[f"{arm}/{name}.webp"])
    return None


def published_or_none(card: Paper, profile: str):
    """The published record at `profile`, else the tutorial's, else None."""
    return read_published(profile, card.slug) or read_published("tutorial", card.slug)
