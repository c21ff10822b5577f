"""A chapter's door to its paper: card, configuration, device, and the sections printed from records."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vislab import registry
from vislab.cards import Paper, resolve
from vislab.errors import UserError
from vislab.viz import sections
from vislab.viz.show import show

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor

_opened: dict[str, tuple[str, Mapping[str, Any]]] = {}
"""Profile and changes of the chapters that this process has opened."""


@dataclass(frozen=True)
class Chapter:
    """One paper at one profile, seed and device, with config fields changed where the reader asks for it."""

    slug: str
    profile: str
    seed: int
    device: "torch.device"
    changes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def card(self) -> Paper:
        """The paper's card."""
        return registry.card(self.slug)

    @cached_property
    def accelerator(self) -> "Accelerator":
        """Accelerate's door to the device, as `train` takes it."""
        from vislab.engine.device import accelerator

        return accelerator(self.device.type)

    def config(self, arm: str | None = None) -> Any:
        """The `Config` of an arm at the chapter's profile; of the paper's method when no arm is named."""
        if arm is None:
            arm = next(a.name for a in self.card.arms if a.role == "method")
        return resolve(self.card, self.profile, arm, self.changes)

    def badges(self) -> None:
        """One badge a claim with its verdict, and the measured run times."""
        self._section("badges")

    def results(self) -> None:
        """Every arm's metrics over the seeds, beside the numbers that the paper printed."""
        self._section("results")

    def verdicts(self) -> None:
        """Every part of every claim: effect, interval, verdict, why."""
        self._section("verdicts")

    def scale(self) -> None:
        """The paper's own scale: parameters beside the reported count, one measured training step, the real data sets."""
        self._section("scale")

    def _section(self, name: str) -> None:
        what = {"slug": self.slug, "profile": self.profile, "device": self.device.type, "changes": dict(self.changes)}
        html, plain = sections.render(name, **what)
        show(html, plain, {"section": name, **what})


def open(
    slug: str,
    profile: str = "tutorial",
    seed: int = 0,
    device: str = "auto",
    changes: Mapping[str, Any] | None = None,
) -> Chapter:
    """The chapter of paper `slug`; sets the look of figures and, on the CPU, one thread.

    `changes` are config fields with other values than the profile's, such as {"steps": 200}.
    Raises UserError for an unknown paper, profile, device or config field.
    """
    import os

    import torch

    from vislab.viz.look import style

    card = registry.card(slug)
    changes = dict(changes or {})
    resolve(card, profile, card.arms[0].name, changes)
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {device!r}; known: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for, but torch finds no CUDA device; use 'cpu' or 'auto'")
    cuda = device != "cpu" and torch.cuda.is_available()
    if not cuda:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    style()
    _opened[slug] = profile, changes
    return Chapter(slug, profile, seed, torch.device("cuda" if cuda else "cpu"), changes)


def artifact(slug: str, arm: str, name: str, profile: str | None = None) -> "Tensor | None":
    """What a run of `arm` left for figures: from the working records of the chapter's profile, else from `results/`.

    Says plainly that the run is missing and gives None where there is neither.
    """
    from vislab.engine.collect import find_artifact

    card = registry.card(slug)
    card.arm(arm)
    opened, changes = _opened.get(slug, ("tutorial", {}))
    profile = profile or opened
    found = find_artifact(card, arm, name, profile, changes)
    if found is None:
        print(f"The run of arm {arm} at {profile} is missing: vislab run {slug} --profile {profile} --arms {arm}")
    return found
