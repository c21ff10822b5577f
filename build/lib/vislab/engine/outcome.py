"""What one run hands back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """Metrics of one arm and seed, and small artifacts for figures.

    `artifacts` are uint8 images (height, width, 3) or short float curves, for the first seed only, at most 300 KB together.
    """

    metrics: Mapping[str, float]
    artifacts: Mapping[str, Tensor] = field(default_factory=dict)
