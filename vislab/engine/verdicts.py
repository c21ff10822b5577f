"""From runs to verdicts: one number a seed, a 95% t interval, a word."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from vislab.cards import Claim, Metric, Paper, Part

REPRODUCED = "reproduced"
SMALLER = "reproduced in direction, smaller than claimed"
CONTRADICTED = "contradicted"
INCONCLUSIVE = "inconclusive"
FAILED = "failed"
NOT_TESTED = "not tested here"
VERDICTS = (REPRODUCED, SMALLER, INCONCLUSIVE, CONTRADICTED, FAILED, NOT_TESTED)

Runs = Mapping[str, Mapping[str, Sequence[float | None]]]


@dataclass(frozen=True)
class Judged:
    """One part with its effect (as a plain difference, ratio or slope), interval, numbers by seed and verdict."""

    id: str
    part: int
    kind: str
    says: str
    effect: float | None
    low: float | None
    high: float | None
    per_seed: tuple[float, ...]
    verdict: str
    why: str = ""


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and t interval of `values`; with one value, or no variance, the interval is what the data say: open or a point."""
    data = np.asarray(values, dtype=float)
    mean = float(data.mean())
    if len(data) < 2:
        return mean, -math.inf, math.inf
    half = float(stats.t.ppf((1 + level) / 2, len(data) - 1) * stats.sem(data))
    return mean, mean - half, mean + half


def bootstrap(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and percentile bootstrap interval over independent items; needs at least 200 of them."""
    if len(values) < 200:
        raise ValueError(f"a bootstrap over items needs at least 200 of them, got {len(values)}")
    data = np.asarray(values, dtype=float)
    pick = np.random.default_rng(0).integers(0, len(data), (2000, len(data)))
    low, high = np.quantile(data[pick].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(data.mean()), float(low), float(high)


def reduce_seed(part: Part, metric: Metric, seed: Mapping[str, Mapping[str, float]]) -> float:
    """The part's number for one seed, positive on the claimed side; ratios are logarithms."""
    if part.reduce is not None:
        return part.sense * float(part.reduce(seed))
    sign = _sign(part, metric)
    values = [seed[arm][part.metric] for arm in part.arms]
    if part.kind in ("difference", "noninferior", "equivalent"):
        return sign * (values[0] - values[1])
    if part.kind in ("ratio", "matched"):
        return sign * (math.log(values[0]) - math.log(values[1]))
    if part.kind == "trend":
        return sign * float(np.polyfit(part.x, values, 1)[0])
    raise ValueError(f"a part of kind {part.kind!r} needs its own reduce")


def _word(part: Part, mean: float, low: float, high: float) -> str:
    """The verdict of an interval on the oriented scale (claimed side positive)."""
    margin = part.margin
    if part.kind == "equivalent":
        if -margin < low and high < margin:
            return REPRODUCED
        return CONTRADICTED if low > margin or high < -margin else INCONCLUSIVE
    bound = 0.0
    if part.kind == "noninferior":
        bound = -margin
    elif part.kind in ("ratio", "matched"):
        bound = math.log(margin) if margin is not None else 0.0
    elif margin is not None:
        bound = margin
    if low > bound:
        if part.smallest is not None and high < _scale(part, part.smallest):
            return SMALLER
        return REPRODUCED
    return CONTRADICTED if high < bound else INCONCLUSIVE


def _scale(part: Part, value: float) -> float:
    return math.log(value) if part.kind in ("ratio", "matched") else value


def _shown(part: Part, metric: Metric, *values: float) -> list[float]:
    """Oriented numbers as they are shown: ratios as plain arms[0] / arms[1], whatever direction is better."""
    if part.kind not in ("ratio", "matched"):
        return list(values)
    sign = 1.0 if part.reduce is not None else _sign(part, metric)
    return [math.exp(sign * value) for value in values]


def _sign(part: Part, metric: Metric) -> float:
    return part.sense * (1.0 if metric.better == "higher" else -1.0)


def judge_part(
    paper: Paper,
    claim: Claim,
    index: int,
    runs: Runs,
    seeds: int,
    profile: str,
    compare: Mapping[str, float] | None = None,
) -> Judged:
    """Judge one part from `runs` {arm: {metric: [one a seed, None where it failed]}}."""
    part = claim.parts[index]
    metrics = {m.name: m for m in paper.metrics}

    def result(verdict, effect=None, low=None, high=None, per_seed=(), why=""):
        return Judged(claim.id, index, part.kind, part.says, effect, low, high, tuple(per_seed), verdict, why)

    if part.arms == ("compare",):
        return _judge_compare(part, metrics[part.metric], compare, result)
    for arm in part.arms:
        if profile not in paper.arm(arm).profiles:
            return result(NOT_TESTED, why=paper.arm(arm).why or f"arm {arm} does not run at {profile}")
    missing = [a for a in part.arms if a not in runs]
    if missing:
        return result(NOT_TESTED, why=f"no runs of {', '.join(missing)} yet")
    by_seed = []
    for k in range(seeds):
        seed = {a: {m: v[k] for m, v in runs[a].items() if k < len(v)} for a in part.arms}
        if any(value is None or not math.isfinite(value) for arm in seed.values() for value in arm.values()):
            return result(FAILED, why="a judged run failed or gave a number that is not finite")
        if part.reduce is None and any(part.metric not in arm for arm in seed.values()):
            return result(NOT_TESTED, why=f"metric {part.metric} is missing from a run of {', '.join(part.arms)}")
        by_seed.append(seed)
    numbers = [reduce_seed(part, metrics[part.metric], seed) for seed in by_seed]
    if not all(math.isfinite(n) for n in numbers):
        return result(FAILED, per_seed=numbers, why="the effect is not finite")
    shown = _shown(part, metrics[part.metric], *numbers)
    if part.kind == "exact":
        held = all(n > 0 for n in numbers)
        return result(REPRODUCED if held else CONTRADICTED, shown[0], None, None, shown)
    mean, low, high = interval(numbers)
    verdict = _word(part, mean, low, high)
    why = ""
    if part.kind == "matched":
        quality, margin = part.at
        guard = Part("noninferior", quality, part.arms, margin=margin)
        q_mean, q_low, q_high = interval([reduce_seed(guard, metrics[quality], s) for s in by_seed])
        word = _word(guard, q_mean, q_low, q_high)
        why = f"{quality} differs by {q_mean:.3g} [{q_low:.3g}, {q_high:.3g}], allowed -{margin:g}: {word}"
        verdict = worst([verdict, word])
    effect, *ends = _shown(part, metrics[part.metric], mean, low, high)
    return result(verdict, effect, min(ends), max(ends), shown, why)


def _judge_compare(part: Part, metric: Metric, compare: Mapping[str, float] | None, result) -> Judged:
    if not compare or part.metric not in compare:
        return result(NOT_TESTED, why="the comparison has not been measured")
    value = compare[part.metric]
    low, high = compare.get(f"{part.metric}_low", value), compare.get(f"{part.metric}_high", value)
    if not all(math.isfinite(v) for v in (value, low, high)):
        return result(FAILED, why="the measured comparison is not finite")
    bound = part.margin if part.margin is not None else (1.0 if part.kind == "ratio" else 0.0)
    higher = (metric.better == "higher") == (part.sense == 1)
    inside, outside = (low > bound, high < bound) if higher else (high < bound, low > bound)
    if part.kind == "exact":
        inside, outside = (value > bound if higher else value < bound), False
        outside = not inside
    verdict = REPRODUCED if inside else CONTRADICTED if outside else INCONCLUSIVE
    if inside and part.smallest is not None and (high < part.smallest if higher else low > part.smallest):
        verdict = SMALLER
    return result(verdict, value, low, high, (value,))


def standing(part: Part, metric: Metric, row: Mapping[str, float | None]) -> tuple[float, float, float] | None:
    """Where an interval stands to the bound of its claim: low end, effect, high end, positive on the claimed side.

    `row` holds "effect", "low" and "high" as they are shown; the unit is half the width of the interval, so that parts of
    every kind can stand on one axis.
    None where there is no interval, or one without width.
    """
    shown = [row["effect"], row["low"], row["high"]]
    if any(v is None or not math.isfinite(v) for v in shown):
        return None
    ratio = part.kind in ("ratio", "matched")
    sign = 1.0
    if part.arms == ("compare",):
        sign = 1.0 if (metric.better == "higher") == (part.sense == 1) else -1.0
        bound = part.margin if part.margin is not None else float(ratio)
        bound = sign * (math.log(bound) if ratio else bound)
    elif ratio:
        sign = 1.0 if part.reduce is not None else _sign(part, metric)
        bound = math.log(part.margin) if part.margin is not None else 0.0
    else:
        bound = -part.margin if part.kind == "noninferior" else part.margin or 0.0
    if ratio and min(shown) <= 0:
        return None
    numbers = [sign * (math.log(v) if ratio else v) for v in shown]
    effect, low, high = numbers[0], min(numbers[1:]), max(numbers[1:])
    half = (high - low) / 2
    if half <= 0:
        return None
    if part.kind == "equivalent":
        nearest = part.margin - abs(effect)
        return nearest / half - 1, nearest / half, nearest / half + 1
    return (low - bound) / half, (effect - bound) / half, (high - bound) / half


def worst(verdicts: Sequence[str]) -> str:
    """The verdict of a compound: failed if any failed, contradicted if any is, reproduced only if all are."""
    for word in (FAILED, CONTRADICTED, NOT_TESTED, INCONCLUSIVE, SMALLER):
        if word in verdicts:
            return word
    return REPRODUCED


def judge(
    paper: Paper, runs: Runs, seeds: int, profile: str, compare: Mapping[str, float] | None = None
) -> tuple[Judged, ...]:
    """Every part of every claim, in the card's order."""
    return tuple(
        judge_part(paper, claim, index, runs, seeds, profile, compare)
        for claim in paper.claims
        for index in range(len(claim.parts))
    )


def overall(parts: Sequence[Judged], claim_id: str) -> str:
    """The verdict of a claim from its judged parts."""
    return worst([p.verdict for p in parts if p.id == claim_id])


def chance(parts: Sequence[Judged]) -> float:
    """How many "reproduced" verdicts chance alone would give: 2.5% of the parts judged by an interval."""
    return 0.025 * sum(p.low is not None and p.verdict not in (FAILED, NOT_TESTED) for p in parts)
