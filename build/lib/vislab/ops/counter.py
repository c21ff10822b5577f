"""The one random generator: an integer hash of (seed, stream, index, draw).

Everything random in a world, a batch order or an initialisation comes from here.
The arithmetic is int64 with wrap-around, so that CPU and CUDA agree to the bit,
and an item's numbers depend on its own index alone, never on the batch it came in.
"""

import contextlib
import math
import zlib
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

STREAMS = ("world", "init", "batches", "noise", "evaluate")
_GOLDEN = 0x9E3779B97F4A7C15
_MIX1 = 0xBF58476D1CE4E5B9
_MIX2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _mix_int(x: int) -> int:
    x &= _MASK
    x = ((x ^ (x >> 30)) * _MIX1) & _MASK
    x = ((x ^ (x >> 27)) * _MIX2) & _MASK
    return x ^ (x >> 31)


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical right shift of int64 bits."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser of splitmix64 on int64 tensors."""
    x = (x ^ _shift(x, 30)) * _signed(_MIX1)
    x = (x ^ _shift(x, 27)) * _signed(_MIX2)
    return x ^ _shift(x, 31)


def key(seed: int, stream: str, draw: str = "") -> int:
    """A 64-bit key of (seed, stream, draw) as a signed integer.

    Raises ValueError for a stream that is not one of `STREAMS`.
    """
    if stream not in STREAMS:
        raise ValueError(f"stream {stream!r} is not one of {', '.join(STREAMS)}")
    state = _mix_int(seed * _GOLDEN + STREAMS.index(stream) + 1)
    return _signed(_mix_int(state ^ (zlib.crc32(draw.encode()) * _GOLDEN)))


def bits(
    seed: int, stream: str, index: Int[Tensor, "*batch"], draw: str, shape: Sequence[int] = ()
) -> Int[Tensor, "..."]:
    """64 random bits for every entry of `index` and every position of `shape`, int64."""
    count = math.prod(shape)
    base = _mix(index.to(torch.int64) * _signed(_GOLDEN) + key(seed, stream, draw))
    position = torch.arange(1, count + 1, dtype=torch.int64, device=index.device) * _signed(_GOLDEN)
    return _mix(base[..., None] + position).reshape(*index.shape, *shape)


def uniform(
    seed: int,
    stream: str,
    index: Int[Tensor, "*batch"],
    draw: str,
    shape: Sequence[int] = (),
    low: float = 0.0,
    high: float = 1.0,
) -> Float[Tensor, "..."]:
    """Uniform float32 in [low, high), from the top 24 bits of `bits`."""
    unit = _shift(bits(seed, stream, index, draw, shape), 40).to(torch.float32) * 2.0**-24
    return low + (high - low) * unit


def integers(
    seed: int, stream: str, index: Int[Tensor, "*batch"], draw: str, high: int, shape: Sequence[int] = ()
) -> Int[Tensor, "..."]:
    """Uniform int64 in [0, high)."""
    return _shift(bits(seed, stream, index, draw, shape), 1) % high


def normal(
    seed: int, stream: str, index: Int[Tensor, "*batch"], draw: str, shape: Sequence[int] = ()
) -> Float[Tensor, "..."]:
    """Standard normal float32 by Box-Muller in float64."""
    word = bits(seed, stream, index, draw, shape)
    first = (_shift(word, 32).to(torch.float64) + 0.5) * 2.0**-32
    second = (word & 0xFFFFFFFF).to(torch.float64) * 2.0**-32
    return (torch.sqrt(-2 * torch.log(first)) * torch.cos(2 * math.pi * second)).to(torch.float32)


def permutation(
    seed: int, stream: str, index: Int[Tensor, "*batch"], draw: str, count: int
) -> Int[Tensor, "*batch count"]:
    """A random order of range(count) for every entry of `index`, int64."""
    return torch.argsort(bits(seed, stream, index, draw, (count,)), dim=-1, stable=True)


def generator(seed: int, stream: str, draw: str = "", device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator seeded by name, for library calls that want one."""
    return torch.Generator(device=device).manual_seed(key(seed, stream, draw) & (2**63 - 1))


@contextlib.contextmanager
def scope(seed: int, stream: str, draw: str = "") -> Iterator[None]:
    """Seed torch's global generators by name inside the block and restore them after it.

    Layers initialise and drop out through the global generator; this is the one door to it.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    global _depth
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(key(seed, stream, draw) & (2**63 - 1))
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1


_depth = 0


def inside_scope() -> bool:
    """Whether a `scope` is open, that is, whether the global generator may be read."""
    return _depth > 0
