"""A chapter's door to its paper: card, configuration, device, and the sections printed from records."""

from dataclasses import dataclass
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

_profiles: dict[str, str] = {}


@dataclass(frozen=True)
class Chapter:
    """One paper at one profile, seed and device."""

    slug: str
    profile: str
    seed: int
    device: "torch.device"

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
        return resolve(self.card, self.profile, arm)

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
        html, plain = sections.render(name, self.slug, self.profile, self.device.type)
        show(html, plain, {"section": name, "slug": self.slug, "profile": self.profile, "device": self.device.type})


def open(slug: str, profile: str = "tutorial", seed: int = 0, device: str = "auto") -> Chapter:
    """The chapter of paper `slug`; sets the look of figures and, on the CPU, one thread.

    Raises UserError for an unknown paper, profile or device.
    """
    import os

    import torch

    from vislab.viz.look import style

    card = registry.card(slug)
    card.profile(profile)
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {device!r}; known: auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' was asked for, but torch finds no CUDA device; use 'cpu' or 'auto'")
    cuda = device != "cpu" and torch.cuda.is_available()
    if not cuda:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    style()
    _profiles[slug] = profile
    return Chapter(slug, profile, seed, torch.device("cuda" if cuda else "cpu"))


def artifact(slug: str, arm: str, name: str, profile: str | None = None) -> "Tensor | None":
    """What a run of `arm` left for figures: from the working records of the chapter's profile, else from `results/`.

    Says plainly that the run is missing and gives None where there is neither.
    """
    from vislab.engine.collect import find_artifact

    card = registry.card(slug)
    card.arm(arm)
    profile = profile or _profiles.get(slug, "tutorial")
    found = find_artifact(card, arm, name, profile)
    if found is None:
        print(f"The run of arm {arm} at {profile} is missing: vislab run {slug} --profile {profile} --arms {arm}")
    return found
