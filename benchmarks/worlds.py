"""World throughput against the training step that consumes it: how much of a step goes into making its data."""

import statistics

import torch
from common import table, timed

from vislab import registry
from vislab.cards import resolve
from vislab.engine.device import accelerator as make_accelerator
from vislab.engine.run import method
from vislab.ops import counter


def main() -> None:
    accelerator = make_accelerator("auto")
    rows = []
    for slug in registry.slugs():
        card = registry.card(slug)
        if not card.trains:
            continue
        config = resolve(card, "tutorial", method(card))
        data, train, experiment = (registry.module(slug, n) for n in ("data", "train", "experiment"))
        shared = experiment.prepare(config, 0, accelerator) if hasattr(experiment, "prepare") else None
        state = train.begin(config, 0, accelerator, shared)
        index = torch.arange(config.batch_size)
        items = data.batch(config, "train", 0, index, accelerator.device)

        def step(train=train, state=state, items=items):
            with counter.scope(0, "noise", "bench"):
                train.step(state, items)

        def world(data=data, config=config, index=index):
            data.batch(config, "train", 0, index, accelerator.device)

        times = {k: statistics.median(v) for k, v in timed({"world": world, "step": step}).items()}
        ratio = times["world"] / times["step"]
        rows.append([slug, f"{1e3 * times['world']:.1f}", f"{1e3 * times['step']:.1f}", f"{ratio:.2f}"])
    table(
        f"A batch from the world against a training step, {accelerator.device.type}, tutorial profile",
        ["paper", "batch ms", "step ms", "batch / step"],
        rows,
    )


if __name__ == "__main__":
    main()
