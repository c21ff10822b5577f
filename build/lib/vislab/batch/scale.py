"""One training step of a paper at its paper profile: time, memory, parameters."""

import dataclasses
import time
from typing import Any

import torch

from vislab import registry
from vislab.engine.device import accelerator as make_accelerator
from vislab.engine.measure import parameters, peak_memory
from vislab.engine.run import method
from vislab.errors import UserError


def count(slug: str, profile: str = "paper") -> dict[str, Any]:
    """Parameters of the method's network at `profile`, built on the meta device, beside the reported number."""
    card = registry.card(slug)
    if not card.network:
        raise UserError(f"{slug} has no network to count")
    model_module = registry.module(slug, "model")
    config = card.profile(profile)
    with torch.device("meta"):
        model = model_module.build(config)
    counted = getattr(model_module, "counted", lambda network: network)(model)
    reported = card.reported_parameters()
    return {
        "slug": slug,
        "profile": profile,
        "parameters": counted if isinstance(counted, int) else parameters(counted),
        "reported": None if reported is None else int(reported),
    }


def paper_step(slug: str, device: str = "auto", repeats: int = 2) -> dict[str, Any]:
    """One training step on world data at the paper's shapes: median seconds after a first step, peak memory, parameters.

    Where a step of the paper's batch does not fit a CPU, the card's `BENCH` names the fields that are smaller there.
    Its `BENCH_WORLD` names those that the world cannot have at the paper's value, on any device.
    """
    card = registry.card(slug)
    accelerator = make_accelerator(device)
    train, data = registry.module(slug, "train"), registry.module(slug, "data")
    room = registry.module(slug, "card")
    smaller = dict(getattr(room, "BENCH_WORLD", {}))
    if accelerator.device.type == "cpu":
        smaller |= getattr(room, "BENCH", {})
    config = dataclasses.replace(card.profile("paper"), source="world", **smaller)
    state = train.begin(config, 0, accelerator)
    items = data.batch(config, "train", 0, torch.arange(config.batch_size), accelerator.device)
    memory = peak_memory(lambda: train.step(state, items))
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        train.step(state, items)
        times.append(time.perf_counter() - begin)
    numbers = count(slug) if card.network else {"parameters": None, "reported": None}
    return {
        "slug": slug,
        "arm": method(card),
        "device": accelerator.device.type,
        "seconds": sorted(times)[len(times) // 2],
        "peak_bytes": memory,
        "parameters": numbers["parameters"],
        "reported": numbers["reported"],
        "smaller": smaller,
    }
