"""DNF: decouple and feedback network for seeing in the dark (Jin et al., CVPR 2023).

A very dark RAW shot is denoised where its noise is simple, in the RAW domain, and developed where colour is simple, in sRGB.
One RAW encoder serves both: its first pass feeds a decoder that predicts the clean RAW,
and that decoder's features flow back through gates into a second pass, whose features an sRGB decoder finishes.
"""

from vislab.registry import exports

__getattr__, __dir__, __all__ = exports(
    __name__, {"DNF": "model", "build": "model", "Config": "card", "PROFILES": "card", "PAPER": "card"}
)
