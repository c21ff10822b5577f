"""The types of a paper's card: pure data, standard library only.

A card says what a paper is, what it reported, which arms stand for it and its rivals, and which claims are put to the test.
Nothing here imports torch, so that every card of the book can be listed in a fraction of a second.
"""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vislab.errors import UserError
from vislab.metric_list import METRICS

PROFILES = ("smoke", "tutorial", "gpu", "paper")
SEEDS = {"smoke": (0,), "tutorial": (0, 1, 2, 3, 4), "gpu": (0, 1, 2, 3, 4), "paper": (0,)}
TUNING_SEED = 100
SPLITS = {"train": 0, "validation": 10**6, "test": 2 * 10**6}
SPLIT_SIZE = 10**6
PARTS = {
    "restoration": "Restoration",
    "generation": "Generative models",
    "fields": "Neural fields",
    "humans": "Humans",
    "geometry": "Geometry",
    "perception": "Detection and perception",
    "segmentation": "Segmentation",
    "recognition": "Recognition",
    "representation": "Representation",
    "language": "Vision and language",
    "trust": "Robustness and trust",
    "agents": "Embodied agents",
}


class CardError(UserError, ValueError):
    """A card, an override or a request that names something the card does not have."""


@dataclass(frozen=True)
class Metric:
    """One column of results.

    `name` is `<metric>[_<subset>]` with the metric from `METRICS`; `better` is the direction of improvement.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    digits: int = 2


def metric(name: str, **changes: Any) -> Metric:
    """The `Metric` called `name`; its longest prefix in `METRICS` gives unit, direction and digits.

    Raises `CardError` when no entry of `METRICS` is a prefix of `name`.
    """
    words = name.split("_")
    for end in range(len(words), 0, -1):
        base = "_".join(words[:end])
        if base in METRICS:
            unit, better, digits = METRICS[base]
            return dataclasses.replace(Metric(name, unit, better, digits), **changes)
    raise CardError(f"metric {name!r} is not built on any of: {', '.join(sorted(METRICS))}")


@dataclass(frozen=True)
class Reported:
    """A number that the paper printed: `name` as in `metrics` (or `parameters`), for which setting, and how sure we are of it."""

    name: str
    value: float
    setting: str
    unit: str = ""
    confirmed: bool = True


@dataclass(frozen=True)
class Arm:
    """One way to train or evaluate: the method, a rival, or the method with one piece changed.

    `overrides` changes fields of `Config` and nothing else; no code may branch on an arm's name.
    `tuned` holds the values that tuning chose, which count at the tutorial profile alone, where they were tuned.
    `why` says why the arm is left out of some `profiles`.
    """

    name: str
    says: str
    role: Literal["method", "baseline", "ablation"]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    profiles: tuple[str, ...] = PROFILES
    why: str = ""
    tuned: Mapping[str, Any] = field(default_factory=dict)


Kind = Literal["difference", "ratio", "noninferior", "equivalent", "trend", "exact", "matched"]


@dataclass(frozen=True)
class Part:
    """One testable piece of a claim; it reduces the runs of one seed to one number, positive on the claimed side.

    difference    better direction of `metric`: arms[0] minus arms[1]; claimed > `margin` (default 0)
    ratio         log(arms[0] / arms[1]), signed by the better direction; claimed > log(`margin`) (default margin 1)
    noninferior   as difference; claimed > -`margin`
    equivalent    as difference; claimed within plus or minus `margin`
    trend         least-squares slope of `metric` over `x`, one value of x an arm; claimed > 0
    exact         a deterministic number, no interval: claimed when every seed's number is > 0
    matched       ratio of `metric` at quality no worse by more than `at[1]` in metric `at[0]`; both must hold

    `sense=-1` claims the opposite direction.
    `reduce` replaces the built-in reduction: it gets {arm: {metric: value}} of one seed.
    `arms=("compare",)` takes the interval that the room's `compare` measured: metrics `<metric>`, `<metric>_low`, `<metric>_high`.
    `smallest` is the smallest effect of interest: an interval wholly between 0 and it is right in direction, smaller than claimed.
    """

    kind: Kind
    metric: str
    arms: tuple[str, ...]
    says: str = ""
    margin: float | None = None
    x: tuple[float, ...] = ()
    at: tuple[str, float] | None = None
    sense: Literal[1, -1] = 1
    smallest: float | None = None
    reduce: Callable[[Mapping[str, Mapping[str, float]]], float] | None = None


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper and the parts by which it is judged: reproduced only if every part is."""

    id: str
    statement: str
    reported: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class DataSet:
    """A real data set: where it lies below `data/`, how its files are named, and the page to get it from."""

    name: str
    folder: str
    layout: str
    page: str
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paper:
    """Everything the house knows of one paper without loading torch."""

    slug: str
    part: str
    title: str
    first_author: str
    year: int
    summary: str
    links: Mapping[str, str]
    reported: tuple[Reported, ...]
    metrics: tuple[Metric, ...]
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    config: type
    profiles: Mapping[str, Any]
    datasets: tuple[DataSet, ...] = ()
    zoo: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    trains: bool = True
    network: bool = True
    compares: bool = False
    descends: str = "loss"

    def arm(self, name: str) -> Arm:
        """The arm called `name`; raises `CardError` naming the nearest."""
        return pick(name, {a.name: a for a in self.arms}, f"arm of {self.slug}")

    def profile(self, name: str) -> Any:
        """The `Config` of profile `name`; raises `CardError` naming the nearest."""
        return pick(name, self.profiles, "profile")

    def judged(self) -> tuple[str, ...]:
        """Arms that run on every seed: method, baselines, and ablations that a claim names."""
        named = {a for c in self.claims for p in c.parts for a in p.arms}
        return tuple(a.name for a in self.arms if a.role != "ablation" or a.name in named)

    def arms_at(self, profile: str) -> tuple[Arm, ...]:
        """Arms that are affordable at `profile`."""
        return tuple(a for a in self.arms if profile in a.profiles)

    def seeds_at(self, profile: str, arm: str) -> tuple[int, ...]:
        """Seeds that `arm` runs at `profile`: all for judged arms, the first for ablations at tutorial."""
        seeds = SEEDS[profile]
        return seeds if profile == "gpu" or arm in self.judged() else seeds[:1]

    def reported_parameters(self) -> float | None:
        """The parameter count that the paper or its released code gives, if any."""
        return next((r.value for r in self.reported if r.name == "parameters"), None)


def pick(name: str, known: Mapping[str, Any], what: str) -> Any:
    """`known[name]`; otherwise a `CardError` that suggests the nearest key and lists them all when they are few."""
    if name in known:
        return known[name]
    raise CardError(unknown(name, known, what))


def unknown(name: str, known, what: str) -> str:
    """The message for a name that is not among `known`."""
    import difflib

    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = f" Known: {', '.join(map(str, known))}." if 0 < len(known) <= 40 else ""
    return f"unknown {what} {name!r}{hint}." + listed


def resolve(paper: Paper, profile: str, arm: str, changes: Mapping[str, Any] | None = None) -> Any:
    """The `Config` of one arm at one profile: the profile's, then the arm's overrides, then `changes`.

    Values of `changes` may be strings; they are parsed by the field's type.
    Raises `CardError` for an unknown profile, arm or field, or a value of the wrong type.
    """
    config = paper.profile(profile)
    overrides = dict(paper.arm(arm).overrides)
    if profile == "tutorial":
        overrides |= paper.arm(arm).tuned
    for name, value in (changes or {}).items():
        overrides[name] = parse(paper.config, name, value)
    for name in overrides:
        pick(name, {f.name: f for f in dataclasses.fields(config)}, f"config field of {paper.slug}")
    return dataclasses.replace(config, **overrides)


def parse(config: type, name: str, value: Any) -> Any:
    """`value` as the type of field `name` of `config`; strings are read as the command line gives them."""
    hints = typing.get_type_hints(config)
    hint = pick(name, hints, "config field")
    try:
        return _coerce(hint, value)
    except (ValueError, TypeError) as error:
        raise CardError(f"config field {name!r} wants {_type_name(hint)}, got {value!r}") from error


def _coerce(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        for option in args:
            if value == option or str(value) == str(option):
                return option
        raise ValueError(value)
    if origin is tuple:
        items = [v for v in value.strip("()[]").split(",") if v.strip()] if isinstance(value, str) else list(value)
        kinds = [args[0]] * len(items) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(kinds) != len(items):
            raise ValueError(value)
        return tuple(_coerce(k, v.strip() if isinstance(v, str) else v) for k, v in zip(kinds, items, strict=True))
    if hint is bool:
        if isinstance(value, bool):
            return value
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(value).lower() not in words:
            raise ValueError(value)
        return words[str(value).lower()]
    if hint is int:
        if isinstance(value, (bool, float)):
            raise ValueError(value)
        return int(value)
    if hint is float:
        if isinstance(value, bool):
            raise ValueError(value)
        return float(value)
    if hint is str:
        if not isinstance(value, str):
            raise ValueError(value)
        return value
    raise TypeError(f"a config field may not be of type {hint}")


def _type_name(hint: Any) -> str:
    return getattr(hint, "__name__", None) if typing.get_origin(hint) is None else str(hint).replace("typing.", "")


def claims_hash(paper: Paper) -> str:
    """A digest of what the claims commit to (kinds, metrics, arms, margins), compared with the published record's."""
    names = ("kind", "metric", "arms", "margin", "x", "at", "sense", "smallest")
    content = [[c.id, [[getattr(p, n) for n in names] for p in c.parts]] for c in paper.claims]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
