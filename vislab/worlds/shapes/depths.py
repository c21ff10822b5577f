"""Recognition with cues at two depths: some look-alike pairs differ in the frequency of their texture, the others in their outline."""

import torch
from jaxtyping import Int
from torch import Tensor

from vislab.worlds.shapes.classes import ClassesWorld


class DepthsWorld(ClassesWorld):
    """As `ClassesWorld`, whose partners all differ in the same way; here in a way of the pair's own.

    Partners of even pairs have one outline and textures of different frequency, which a few layers can see.
    Partners of odd pairs have one texture and outlines with different notches, which takes the whole shape.
    """

    def local(self, label: Int[Tensor, " batch"]) -> Tensor:
        """(batch,) bool: whether the class is told from its partner by its texture."""
        return torch.minimum(label, self.config.classes - 1 - label) % 2 == 0

    def attributes(self, label: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        found = super().attributes(label)
        config, local = self.config, self.local(label)
        sign = torch.where(label < config.classes - 1 - label, 1.0, -1.0)
        pair = torch.minimum(label, config.classes - 1 - label)
        base = 0.55 + 0.15 * ((pair // 4) % 2).float()
        found["notch"] = (base * torch.where(local, 1.0, 1 + sign * config.gap)).clamp(0.2, 0.95)
        found["frequency"] = 1.2 * torch.where(local, 1 + sign * config.gap, 1.0)
        return found
