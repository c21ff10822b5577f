"""Costs of a network: parameters, multiply-accumulates, time and memory, always side by side."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from vislab.ops import counter


def parameters(model: nn.Module) -> int:
    """Number of parameters, frozen ones included, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def macs(call: Callable[[], Any]) -> int:
    """Multiply-accumulates of the matrix products and convolutions that `call()` executes.

    Counted by dispatch, so sparse or skipped work is not counted; works on meta tensors.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        call()
    return flops.get_total_flops() // 2


def _synchronise() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def interleaved(sides: Mapping[str, Callable[[], Any]], repeats: int = 10, warmup: int = 2) -> dict[str, list[float]]:
    """Seconds of each side, the sides taking turns within every repeat, after `warmup` calls of each."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(warmup):
        for call in sides.values():
            call()
    gc.collect()
    gc.disable()
    try:
        for _ in range(repeats):
            for name, call in sides.items():
                _synchronise()
                begin = time.perf_counter()
                call()
                _synchronise()
                times[name].append(time.perf_counter() - begin)
    finally:
        gc.enable()
    return times


def ratio_interval(
    top: Sequence[float], bottom: Sequence[float], draws: int = 2000, level: float = 0.95
) -> tuple[float, float, float]:
    """Ratio of medians top / bottom and its bootstrap interval over paired repeats."""
    a, b = torch.tensor(top, dtype=torch.float64), torch.tensor(bottom, dtype=torch.float64)
    pick = counter.integers(0, "evaluate", torch.arange(draws), "bootstrap", len(a), (len(a),))
    ratios = a[pick].median(dim=1).values / b[pick].median(dim=1).values
    tail = (1 - level) / 2
    low, high = torch.quantile(ratios, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return float(a.median() / b.median()), low, high


def compared(name: str, top: Sequence[float], bottom: Sequence[float]) -> dict[str, float]:
    """`ratio_interval` as the three metrics `name`, `name_low`, `name_high` that a `compare` returns."""
    ratio, low, high = ratio_interval(top, bottom)
    return {name: ratio, f"{name}_low": low, f"{name}_high": high}


def peak_memory(call: Callable[[], Any]) -> int:
    """Bytes that `call()` adds at its peak on CUDA; 0 on a CPU, where torch keeps no such count."""
    if not torch.cuda.is_available():
        call()
        return 0
    _synchronise()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    _synchronise()
    return torch.cuda.max_memory_allocated() - before
