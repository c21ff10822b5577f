"""What a batch will run: units, which of them are there already, and how long the rest takes."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from vislab import registry
from vislab.cards import CardError, parse, unknown
from vislab.engine.records import all_records, find_record, read_published
from vislab.engine.run import Unit, units


@dataclass(frozen=True)
class Planned:
    """A unit, whether its record exists, and the seconds it is expected to take (None when nothing like it ran before)."""

    unit: Unit
    done: bool
    seconds: float | None


def choose(slugs: Sequence[str], part: str | None, everything: bool) -> tuple[str, ...]:
    """The slugs that a command line names; raises CardError when it names none, or an unknown one."""
    if part is not None:
        known = registry.slugs(part)
        if not known:
            raise CardError(unknown(part, sorted(set(registry.places().values())), "part"))
        return known
    if everything:
        return registry.slugs()
    if not slugs:
        raise CardError("name at least one paper, or --part PART, or --all")
    for slug in slugs:
        registry.room(slug)
    return tuple(slugs)


CHAPTER = ("profile", "seed", "device")
"""What a chapter's parameters cell sets, beside changes of its config."""


def split_parameters(
    slugs: Sequence[str], given: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """The chapters' own parameters, and {slug: {config field: value}}, the fields of each paper that has them.

    Raises CardError for a name that no chosen chapter or config knows, listing what is known, and for a value of the wrong type.
    """
    own = {name: value for name, value in given.items() if name in CHAPTER}
    if "seed" in own and not own["seed"].lstrip("-").isdigit():
        raise CardError(f"parameter 'seed' wants an integer, got {own['seed']!r}")
    fields = {slug: [f.name for f in dataclasses.fields(registry.card(slug).config)] for slug in slugs}
    every = sorted({name for names in fields.values() for name in names})
    changes: dict[str, dict[str, Any]] = {}
    for name in set(given) - set(own):
        if name not in every:
            known = [*CHAPTER, *every]
            message = unknown(name, known, "parameter")
            raise CardError(message if "Known:" in message else f"{message} Known: {', '.join(known)}.")
        for slug in slugs:
            if name in fields[slug]:
                changes.setdefault(slug, {})[name] = parse(registry.card(slug).config, name, given[name])
    return own, changes


def plan(
    slugs: Sequence[str],
    profile: str,
    arms: tuple[str, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    device: str = "auto",
    precision: str = "no",
) -> list[Planned]:
    """Every unit of `slugs` at `profile`, with its state and its estimate from past records; `changes` by slug."""
    found = []
    for slug in slugs:
        card, experiment = registry.card(slug), registry.module(slug, "experiment")
        wanted = units(card, experiment, profile, arms, seeds, (changes or {}).get(slug), device, precision)
        past = estimates(slug, profile)
        for unit in wanted:
            record = find_record(slug, unit.key)
            done = record is not None and record.status == "done" and record.clean
            found.append(Planned(unit, done, past.get(unit.arm, past.get(""))))
    return found


def estimates(slug: str, profile: str) -> dict[str, float]:
    """Median seconds by arm of past runs at `profile`, and over all arms under ""; from the published record where there are none."""
    times: dict[str, list[float]] = {}
    for record in all_records(slug):
        if record.profile == profile and record.status == "done":
            times.setdefault(record.arm, []).append(record.seconds)
    if not times:
        published = read_published(profile, slug)
        if published is None:
            return {}
        runs = sum(len(next(iter(a.values()), [])) for a in published.arms.values())
        return {"": published.cpu_seconds / max(1, runs)}
    found = {arm: median(values) for arm, values in times.items()}
    found[""] = median(found.values())
    return found
