"""The papers' own speed and size claims: each room's `compare` at tutorial scale, both sides interleaved in this process."""

from common import table

from vislab import registry
from vislab.cards import resolve
from vislab.engine.device import accelerator as make_accelerator
from vislab.engine.run import idle, method


def main() -> None:
    accelerator = make_accelerator("auto")
    if not idle():
        print("the machine is busy: these numbers are not clean")
    rows = []
    for slug in registry.slugs():
        card = registry.card(slug)
        if card.compares:
            experiment = registry.module(slug, "experiment")
            outcome = experiment.compare(resolve(card, "tutorial", method(card)), accelerator, None)
            rows += [[slug, name, f"{value:.4g}"] for name, value in outcome.metrics.items()]
    table(f"Speed and size, {accelerator.device.type}", ["paper", "what", "value"], rows)


if __name__ == "__main__":
    main()
