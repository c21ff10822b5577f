"""AGRoL's denoiser (section 3.3), the same MLP as a regressor, and the sequence models it is compared with."""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.papers.humans.agrol.card import Config

POSE, SPARSE = 132, 54


def sinusoid(place: Float[Tensor, "*batch"], width: int) -> Float[Tensor, "*batch width"]:
    """Sine at even and cosine at odd components, frequencies 10000^(-2i / width)."""
    frequency = torch.exp(torch.arange(0, width, 2, device=place.device) * (-math.log(10000.0) / width))
    angle = place[..., None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


class Block(nn.Module):
    """Mix over frames, then over features, each as a residual; with `timed` the time embedding is added first."""

    def __init__(self, frames: int, width: int, timed: bool, inputs: int | None = None):
        super().__init__()
        self.merge = nn.Linear(inputs, width) if inputs else nn.Identity()
        self.time = nn.Linear(width, width) if timed else None
        self.frame_norm, self.feature_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.frame_mix = nn.Conv1d(frames, frames, 1)
        self.feature_mix = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "batch frame inputs"], embedding: Float[Tensor, "batch 1 width"] | None = None
    ) -> Float[Tensor, "batch frame width"]:
        x = self.merge(x)
        if self.time is not None:
            x = x + self.time(F.silu(embedding))
        x = x + F.silu(self.frame_mix(self.frame_norm(x)))
        return x + F.silu(self.feature_mix(self.feature_norm(x)))


class MotionMLP(nn.Module):
    """The denoiser: noisy motion, time and trackers in, clean motion (or noise) out.

    `embedding` says where the time enters: in every block, once as a token beside the frames, or nowhere.
    """

    def __init__(self, frames: int, width: int, depth: int, embedding: str = "blocks"):
        super().__init__()
        self.embedding, self.width = embedding, width
        tokens = frames + (embedding == "input")
        self.pose_in, self.sparse_in = nn.Linear(POSE, width), nn.Linear(SPARSE, width)
        self.token = nn.Linear(width, 2 * width) if embedding == "input" else None
        timed = embedding == "blocks"
        self.blocks = nn.ModuleList(Block(tokens, width, timed, None if k else 2 * width) for k in range(depth))
        self.head = nn.Linear(width, POSE)

    def forward(
        self,
        noisy: Float[Tensor, "batch frame 132"],
        time: Int[Tensor, " batch"],
        sparse: Float[Tensor, "batch frame 54"],
    ) -> Float[Tensor, "batch frame 132"]:
        x = torch.cat([self.sparse_in(sparse), self.pose_in(noisy)], dim=-1)
        embedding = sinusoid(time.float(), self.width)[:, None]
        if self.token is not None:
            x = torch.cat([x, self.token(F.silu(embedding))], dim=1)
        for block in self.blocks:
            x = block(x, embedding)
        return self.head(x[:, : noisy.shape[1]])


class PureMLP(nn.Module):
    """The paper's own baseline: the same blocks without time, trackers in and motion out in one pass."""

    def __init__(self, frames: int, width: int, depth: int):
        super().__init__()
        self.sparse_in = nn.Linear(SPARSE, width)
        self.blocks = nn.ModuleList(Block(frames, width, timed=False) for _ in range(depth))
        self.head = nn.Linear(width, POSE)

    def forward(self, sparse: Float[Tensor, "batch frame 54"]) -> Float[Tensor, "batch frame 132"]:
        x = self.sparse_in(sparse)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def encoder(width: int, depth: int, heads: int) -> nn.TransformerEncoder:
    """A plain transformer encoder without dropout."""
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


class LastFrame(nn.Module):
    """A transformer after AvatarPoser: a window of past signals in, the pose of its last frame out."""

    def __init__(self, width: int, depth: int, heads: int):
        super().__init__()
        self.sparse_in = nn.Linear(SPARSE, width)
        self.encoder = encoder(width, depth, heads)
        self.head = nn.Linear(width, POSE)

    def forward(self, sparse: Float[Tensor, "batch frame 54"]) -> Float[Tensor, "batch 1 132"]:
        x = self.sparse_in(sparse)
        x = x + sinusoid(torch.arange(x.shape[1], device=x.device).float(), x.shape[-1])
        return self.head(self.encoder(x)[:, -1:])


class TransformerDenoiser(nn.Module):
    """The denoiser with attention over frames; time is added to every token once."""

    def __init__(self, width: int, depth: int, heads: int):
        super().__init__()
        self.pose_in, self.sparse_in = nn.Linear(POSE, width), nn.Linear(SPARSE, width)
        self.time = nn.Linear(width, width)
        self.encoder = encoder(width, depth, heads)
        self.head = nn.Linear(width, POSE)

    def forward(
        self,
        noisy: Float[Tensor, "batch frame 132"],
        time: Int[Tensor, " batch"],
        sparse: Float[Tensor, "batch frame 54"],
    ) -> Float[Tensor, "batch frame 132"]:
        x = self.pose_in(noisy) + self.sparse_in(sparse)
        x = x + sinusoid(torch.arange(x.shape[1], device=x.device).float(), x.shape[-1])
        x = x + self.time(F.silu(sinusoid(time.float(), x.shape[-1])))[:, None]
        return self.head(self.encoder(x))


class Recurrent(nn.Module):
    """Two GRU layers over the window, the pose of each frame from the frames before it."""

    def __init__(self, width: int):
        super().__init__()
        self.gru = nn.GRU(SPARSE, width, 2, batch_first=True)
        self.head = nn.Linear(width, POSE)

    def forward(self, sparse: Float[Tensor, "batch frame 54"]) -> Float[Tensor, "batch frame 132"]:
        return self.head(self.gru(sparse)[0])


def build(config: Config) -> nn.Module:
    """The denoiser of section 3.3, or the regressor that the config names."""
    if config.task == "diffusion":
        if config.network == "mlp":
            return MotionMLP(config.window, config.width, config.depth, config.embedding)
        return TransformerDenoiser(config.rival_width, config.rival_depth, config.rival_heads)
    if config.network == "mlp":
        return PureMLP(config.window, config.width, config.depth)
    if config.network == "gru":
        return Recurrent(config.rival_width)
    return LastFrame(config.rival_width, config.rival_depth, config.rival_heads)


def contexts(sparse: Float[Tensor, "batch frame 54"], length: int) -> Float[Tensor, "batch frame length 54"]:
    """For every frame the `length` signals up to it; before the clip's start its first frame repeats."""
    padded = torch.cat([sparse[:, :1].expand(-1, length - 1, -1), sparse], dim=1)
    return rearrange(padded.unfold(1, length, 1), "b t c l -> b t l c")
