"""Tuning: per judged arm, every point of its grid on seed 100, scored on the validation split, all trials kept."""

import itertools
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from vislab.cards import TUNING_SEED, Paper, resolve
from vislab.engine.code import code_hash
from vislab.engine.device import accelerator as make_accelerator
from vislab.engine.files import write_atomically
from vislab.engine.records import results_folder
from vislab.errors import UserError


def tuning_path(slug: str) -> Path:
    return results_folder() / "tuning" / f"{slug}.json"


def read_tuning(slug: str) -> dict[str, Any] | None:
    """The published trials, or None; raises UserError naming a damaged file."""
    path = tuning_path(slug)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"tuning record {path} is damaged ({error}); run: vislab tune {slug}") from error


def grid(fields: Mapping[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Every combination of the values of `fields`."""
    return [dict(zip(fields, values, strict=True)) for values in itertools.product(*fields.values())]


def best(trials: list[dict[str, Any]], better: str) -> dict[str, Any]:
    """The trial with the best finite score; raises ValueError when none is finite."""
    finite = [t for t in trials if t["score"] is not None and math.isfinite(t["score"])]
    if not finite:
        raise ValueError("no trial gave a finite score")
    return max(finite, key=lambda t: t["score"] if better == "higher" else -t["score"])


def tune(
    card: Paper,
    grids: Mapping[str, Mapping[str, tuple[Any, ...]]],
    metric: str,
    train: Callable[..., Any],
    experiment: ModuleType,
    arms: tuple[str, ...] | None = None,
    profile: str = "tutorial",
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Run the grids of `arms` (default: all), write results/tuning/<slug>.json and return its content.

    Trials that the file holds from the same code are kept, so that a grid can be widened; so are arms that are not named.
    """
    better = next(m.better for m in card.metrics if m.name == metric)
    accelerator = make_accelerator(device)
    code = code_hash(Path(experiment.__file__))
    content = read_tuning(card.slug) or {"slug": card.slug, "seed": TUNING_SEED, "split": "validation", "arms": {}}
    content |= {"metric": metric, "better": better, "profile": profile}
    shared: dict[tuple[Any, ...], Any] = {}
    for arm in arms or tuple(grids):
        before = content["arms"].get(arm, {})
        known = before.get("trials", []) if before.get("code") == code else []
        trials = []
        for values in grid(grids[arm]):
            plain = json.loads(json.dumps(values))
            kept = next((t for t in known if t["values"] == plain), None)
            if kept is not None:
                trials.append(kept)
                continue
            config = resolve(card, profile, arm, values)
            begin = time.process_time()
            try:
                state = train(config, TUNING_SEED, accelerator, _prepared(experiment, config, accelerator, shared))
                score = experiment.evaluate(state, config, TUNING_SEED, split="validation")[metric]
            except FloatingPointError:
                score = None
            if score is not None and not math.isfinite(score):
                score = None
            seconds = round(time.process_time() - begin, 2)
            trials.append(
                {"values": values, "score": None if score is None else float(f"{score:.6g}"), "seconds": seconds}
            )
            say(f"{arm} {values}: {metric} {score} in {seconds} s")
        content["arms"][arm] = {"trials": trials, "best": best(trials, better)["values"], "code": code}
        write_atomically(tuning_path(card.slug), (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    return content


def _prepared(experiment: ModuleType, config: Any, accelerator: Any, kept: dict[tuple[Any, ...], Any]) -> Any:
    compute = getattr(experiment, "prepare", None)
    if compute is None:
        return None
    key = tuple(getattr(config, name) for name in experiment.PREPARE_FIELDS)
    if key not in kept:
        kept[key] = compute(config, TUNING_SEED, accelerator)
    return kept[key]


def untuned(card: Paper, grids: Mapping[str, Mapping[str, tuple[Any, ...]]], content: Mapping[str, Any]) -> list[str]:
    """What is wrong between a card and its tuning record: missing arms, another grid, values that are not the best trial's."""
    wrong = []
    for arm, fields in grids.items():
        entry = content["arms"].get(arm)
        if entry is None:
            wrong.append(f"{arm} was not tuned")
            continue
        tried = [json.loads(json.dumps(v)) for v in grid(fields)]
        if sorted(map(str, tried)) != sorted(str(t["values"]) for t in entry["trials"]):
            wrong.append(f"{arm}: the trials are not the card's grid")
        config = resolve(card, content["profile"], arm)
        chosen = best(entry["trials"], content["better"])["values"]
        for name, value in chosen.items():
            if json.loads(json.dumps(getattr(config, name))) != value:
                wrong.append(f"{arm}: {name} is {getattr(config, name)}, its best trial has {value}")
    return wrong
