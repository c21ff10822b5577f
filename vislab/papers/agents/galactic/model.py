"""The policy: a small residual network for the picture, a linear layer for the state, an LSTM, a Gaussian over actions and a value.

The sizes follow BPS-Nav's se_resnet9_fixup, which the released code carries; which of its networks the paper trained is unconfirmed.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vislab.engine.ppo import Memory
from vislab.papers.agents.galactic.card import Config
from vislab.papers.agents.galactic.task import CHANNELS, SKILLS, action_size, state_size

BEFORE = 32
"""Width of the embedding of the last action."""


class Excite(nn.Module):
    """Scale every channel by a number in (0, 1) that a small network makes of all channels' means."""

    def __init__(self, channels: int, squeeze: int):
        super().__init__()
        narrow = max(1, channels // squeeze)
        self.layers = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels), nn.Sigmoid())

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        return x * self.layers(x.mean(dim=(2, 3)))[..., None, None]


class Block(nn.Module):
    """Two convolutions beside a shortcut without any normalisation: scalar biases and a scale instead (Fixup).

    `first` scales the initial weights of the first convolution; those of the second are zero, so that a block begins as its shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, squeeze: int, first: float):
        super().__init__()
        self.biases = nn.Parameter(torch.zeros(4))
        self.scale = nn.Parameter(torch.ones(1))
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.excite = Excite(outputs, squeeze)
        pool = [nn.AvgPool2d(3, stride, 1)] if stride > 1 else []
        change = [nn.Conv2d(inputs, outputs, 1, bias=False)] if inputs != outputs else []
        self.shortcut = nn.Sequential(*pool, *change)
        nn.init.normal_(self.conv1.weight, std=first * math.sqrt(2 / (outputs * 9)))
        nn.init.zeros_(self.conv2.weight)
        for layer in change:
            nn.init.normal_(layer.weight, std=math.sqrt(2 / outputs))

    def forward(self, x: Float[Tensor, "batch inputs h w"]) -> Float[Tensor, "batch outputs h2 w2"]:
        a, b, c, d = self.biases
        inner = torch.relu(self.conv1(x + a) + b)
        inner = self.scale * self.conv2(inner + c) + d
        return torch.relu(self.excite(inner) + self.shortcut(x + a))


class Picture(nn.Module):
    """Folded pixels, one block a stage, halving from the second on, and a convolution to about `visual` numbers."""

    def __init__(self, channels: int, config: Config):
        super().__init__()
        planes, stages = config.planes, config.depth
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(config.patch), nn.Conv2d(channels * config.patch**2, planes, 1, bias=False), nn.ReLU()
        )
        widths = [planes] + [planes * 2**k for k in range(stages)]
        pairs = list(zip(widths, widths[1:], strict=False))
        self.blocks = nn.Sequential(
            *(Block(i, o, 2 if k else 1, config.squeeze, stages**-0.5) for k, (i, o) in enumerate(pairs))
        )
        side = math.ceil(config.image_size // config.patch / 2 ** (stages - 1))
        narrow = max(1, round(config.visual / side**2))
        self.compression = nn.Sequential(nn.Conv2d(widths[-1], narrow, 3, 1, 1), nn.ReLU(), nn.Flatten())
        self.outputs = narrow * side**2

    def forward(self, picture: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch outputs"]:
        return self.compression(self.blocks(self.stem(picture)))


class Net(nn.Module):
    """What it sees, its last action and its memory to the mean of an action and the value of the situation."""

    def __init__(self, config: Config):
        super().__init__()
        self.state = nn.Linear(state_size(config), config.width)
        self.before = nn.Linear(action_size(config), BEFORE)
        inputs = config.width + BEFORE
        self.picture = None
        if CHANNELS[config.sensors]:
            self.picture = Picture(CHANNELS[config.sensors], config)
            self.visual = nn.Sequential(
                nn.Linear(self.picture.outputs, config.width, bias=False), nn.LayerNorm(config.width), nn.ReLU()
            )
            inputs += config.width
        self.memory = Memory(inputs, config.width)
        self.action = nn.Linear(config.width, action_size(config))
        self.value = nn.Linear(config.width, 1)
        nn.init.orthogonal_(self.action.weight, 0.01)
        nn.init.zeros_(self.action.bias)

    def forward(
        self, seen: dict[str, Tensor], memory: Float[Tensor, "two batch width"], starts: Bool[Tensor, "time batch"]
    ) -> tuple[Float[Tensor, "time batch action"], Float[Tensor, "time batch"], Float[Tensor, "two batch width"]]:
        parts = [self.state(seen["state"]), self.before(seen["before"])]
        if self.picture is not None:
            features = self.visual(self.picture(rearrange(seen["picture"], "t b c h w -> (t b) c h w")))
            parts.append(rearrange(features, "(t b) f -> t b f", t=len(starts)))
        hidden, memory = self.memory(torch.cat(parts, dim=-1), memory, starts)
        return self.action(hidden).tanh(), self.value(hidden)[..., 0], memory


class Policy(nn.Module):
    """One `Net`, or one a skill of which seen["skill"] names the one in charge; a standard deviation for every action."""

    def __init__(self, config: Config):
        super().__init__()
        self.nets = nn.ModuleList(Net(config) for _ in range(SKILLS[config.skills]))
        self.log_std = nn.Parameter(torch.full((action_size(config),), math.log(config.first_std)))

    def forward(
        self, seen: dict[str, Tensor], memory: Float[Tensor, "two batch width"], starts: Bool[Tensor, "time batch"]
    ) -> tuple[Float[Tensor, "time batch action"], Float[Tensor, "time batch"], Float[Tensor, "two batch width"]]:
        """Mean action in [-1, 1], value, and memory after the last step; memory is cleared before steps in `starts`."""
        memories = memory.chunk(len(self.nets), dim=-1)
        found = [net(seen, m, starts) for net, m in zip(self.nets, memories, strict=True)]
        mean, value, memory = found[0][0], found[0][1], torch.cat([f[2] for f in found], dim=-1)
        for k, (other, worth, _) in enumerate(found[1:], 1):
            chosen = seen["skill"] == k
            mean, value = torch.where(chosen[..., None], other, mean), torch.where(chosen, worth, value)
        return mean, value, memory


def build(config: Config) -> Policy:
    """The policy with its value head."""
    return Policy(config)


def memory_size(config: Config) -> int:
    """Width of the memory of all skills together."""
    return SKILLS[config.skills] * config.width
