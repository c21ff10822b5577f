"""DIaM: a strong baseline for generalised few-shot segmentation (Hajimiri et al., CVPR 2023).

The base network is trained with cross-entropy and knows nothing of novel classes; then it is a frozen extractor of features.
For every test picture a linear classifier, with prototypes of a few labelled pictures as its novel rows, is optimised:
sure of every pixel, true to the supports, its mean prediction near an estimate of the class proportions, and not far from
what the base network said before.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"build": "model", "adapt": "adapt", "Config": "card", "PROFILES": "card", "PAPER": "card"}
)
