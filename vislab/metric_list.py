"""The base names of all metrics, one list for all cards; it names results and changes none, so no code hash counts it."""

from typing import Literal

# name -> (unit, better, digits): the one list that every card takes its metrics from.
METRICS: dict[str, tuple[str, Literal["higher", "lower"], int]] = {
    "psnr": ("dB", "higher", 2),
    "ssim": ("", "higher", 3),
    "lpips": ("", "lower", 3),
    "delta_e": ("", "lower", 2),
    "noise_std": ("", "lower", 4),
    "accuracy": ("%", "higher", 1),
    "f1": ("%", "higher", 1),
    "ece": ("%", "lower", 1),
    "mce": ("%", "lower", 1),
    "nll": ("nat", "lower", 3),
    "map": ("%", "higher", 1),
    "miou": ("%", "higher", 1),
    "mpjpe": ("mm", "lower", 1),
    "parameters": ("", "lower", 0),
    "macs": ("", "lower", 0),
    "bytes": ("B", "lower", 0),
    "seconds": ("s", "lower", 3),
    "loss": ("", "lower", 4),
}
