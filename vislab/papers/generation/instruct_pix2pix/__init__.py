"""InstructPix2Pix: editing a picture by an instruction, learned from generated pairs (Brooks et al., CVPR 2023).

A language model writes instructions with captions before and after, a text-to-image model with shared attention paints both,
and a filter keeps the pairs whose pictures change as their captions do.
A diffusion model that reads the input picture and the instruction learns to paint the result; two guidance scales weigh the two.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"build": "model", "edit": "sampling", "Config": "card", "PROFILES": "card", "PAPER": "card"}
)
