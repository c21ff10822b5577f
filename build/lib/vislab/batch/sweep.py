"""Grids over config fields: `--set steps=200,400,800` asks for each value, several such options for every combination."""

import itertools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from vislab import registry
from vislab.cards import Paper, pick, resolve
from vislab.engine.code import code_hash
from vislab.engine.records import Record, all_records, canonical
from vislab.engine.run import COMPARE, as_dict


def combinations(card: Paper, changes: Mapping[str, str]) -> list[dict[str, str]]:
    """Every combination of the values that `changes` lists; a comma separates values except in a field that holds a tuple.

    Raises CardError for an unknown field.
    """
    hints = typing.get_type_hints(card.config)
    options = []
    for name, text in changes.items():
        kind = pick(name, hints, f"config field of {card.slug}")
        whole = typing.get_origin(kind) is tuple
        options.append([(name, value) for value in ([text] if whole else text.split(","))])
    return [dict(chosen) for chosen in itertools.product(*options)]


@dataclass(frozen=True)
class Point:
    """Runs of one arm that differ in their seeds alone: what was changed, and each metric's values."""

    arm: str
    changes: dict[str, Any]
    seeds: tuple[int, ...]
    metrics: dict[str, list[float]]


def points(slug: str, profile: str) -> list[Point]:
    """What the working records of today's code hold, by arm and by how their config differs from the arm's own.

    Only arms of which some run was changed are listed; their unchanged runs stand beside them.
    """
    card = registry.card(slug)
    code = code_hash(registry.room(slug) / "experiment.py")
    found: dict[tuple[str, str], list[Record]] = {}
    for record in all_records(slug):
        usual = record.profile == profile and record.code_hash == code and record.status == "done"
        if usual and record.arm != COMPARE and record.arm in {a.name for a in card.arms}:
            found.setdefault((record.arm, canonical(_changed(card, profile, record))), []).append(record)
    swept = {arm for arm, text in found if text != "{}"}
    return [_point(card, profile, records) for (arm, _), records in sorted(found.items()) if arm in swept]


def _changed(card: Paper, profile: str, record: Record) -> dict[str, Any]:
    own = as_dict(resolve(card, profile, record.arm))
    return {name: value for name, value in as_dict_of(record).items() if name in own and own[name] != value}


def as_dict_of(record: Record) -> dict[str, Any]:
    """A record's config with tuples as lists, as they are compared."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in record.config.items()}


def _point(card: Paper, profile: str, records: Sequence[Record]) -> Point:
    by_seed = {r.seed: r for r in records}  # the newest record of a seed
    seeds = tuple(sorted(by_seed))
    names = [m.name for m in card.metrics if all(m.name in by_seed[s].metrics for s in seeds)]
    values = {n: [float(by_seed[s].metrics[n]) for s in seeds] for n in names}
    return Point(records[0].arm, _changed(card, profile, records[0]), seeds, values)


def table(found: Sequence[Point], metrics: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: the arm, every field that varies, the number of seeds, the mean of each metric."""
    fields = sorted({name for point in found for name in point.changes})
    rows = [
        [p.arm, *(str(p.changes.get(f, "")) for f in fields), str(len(p.seeds)),
         *(f"{mean(p.metrics[m]):.4g}" if p.metrics.get(m) else "-" for m in metrics)]
        for p in found
    ]  # fmt: skip
    return ["arm", *fields, "seeds", *metrics], rows


def curves(
    found: Sequence[Point], usual: Mapping[str, Mapping[str, Any]], metric: str
) -> dict[str, dict[str, tuple[list, list]]]:
    """{field: {arm: (values, means)}} for every numeric field that varies alone; `usual` is each arm's own config.

    A field enters when an arm has at least two values of it with nothing else changed.
    """
    lines: dict[str, dict[str, tuple[list, list]]] = {}
    fields = sorted({name for point in found for name in point.changes})
    for field in fields:
        for arm in dict.fromkeys(p.arm for p in found):
            here = [p for p in found if p.arm == arm and set(p.changes) <= {field} and p.metrics.get(metric)]
            pairs = [(p.changes.get(field, usual[arm][field]), mean(p.metrics[metric])) for p in here]
            pairs = sorted((x, y) for x, y in pairs if isinstance(x, (int, float)) and not isinstance(x, bool))
            if len(pairs) > 1:
                lines.setdefault(field, {})[arm] = tuple(map(list, zip(*pairs, strict=True)))
    return lines
