"""DNF (section 3) and its rivals: one encoder over RAW features, used once or twice, and decoders for each domain."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.nn.layers import ChannelNorm, pad_to_multiple
from vislab.nn.unet import UNet
from vislab.papers.restoration.dnf.card import Config

LEVELS = 4


def conv(inputs: int, outputs: int, size: int, groups: int = 1, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the size, padded by reflection."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, padding_mode="reflect", groups=groups, bias=bias)


class CID(nn.Module):
    """Channel-independent denoising block (section 3.2): each channel is filtered by itself before any mixing.

    In the RAW domain noise is independent between channels, so a 7x7 depthwise filter suffices to estimate it.
    """

    def __init__(self, width: int, heads: int = 1):
        super().__init__()
        self.depthwise = conv(width, width, 7, groups=width)
        self.expand = nn.Conv2d(width, 2 * width, 1)
        self.reduce = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Float[Tensor, "batch width h w"]) -> Float[Tensor, "batch width h w"]:
        return self.reduce(F.gelu(self.expand(self.depthwise(x))))


class MCC(nn.Module):
    """Matrixed colour correction block (section 3.3): a global matrix over channels, computed by attention between them.

    Colour conversion is one matrix for the whole picture, so the attention map is (channels x channels), not (pixels x pixels).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(width, eps=1e-6)
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Sequential(
            nn.Conv2d(width, 3 * width, 1, bias=False), conv(3 * width, 3 * width, 3, groups=3 * width, bias=False)
        )
        self.project = nn.Conv2d(width, width, 1, bias=False)
        self.feed = nn.Sequential(
            nn.Conv2d(width, width, 1, bias=False),
            nn.GELU(),
            conv(width, width, 3, groups=width, bias=False),
            nn.GELU(),
        )

    def matrix(self, x: Float[Tensor, "batch width h w"]) -> tuple[Tensor, Tensor]:
        """The softmaxed channel matrix (batch, head, c, c) and the values it mixes (batch, head, c, pixels)."""
        q, k, v = rearrange(self.qkv(self.norm(x)), "b (t n c) h w -> t b n c (h w)", t=3, n=self.heads)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return (q @ k.transpose(-2, -1) * self.temperature).softmax(dim=-1), v

    def forward(self, x: Float[Tensor, "batch width h w"]) -> Float[Tensor, "batch width h w"]:
        mix, v = self.matrix(x)
        mixed = rearrange(mix @ v, "b n c (h w) -> b (n c) h w", h=x.shape[-2])
        return self.feed(self.project(mixed) + x)


BLOCKS = {"cid": CID, "mcc": MCC}


class Switched(nn.Module):
    """The residual switch (section 3.2): y = block(x) + s x, so that one block estimates noise (s = 0) or signal (s = 1)."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, s: float) -> Tensor:
        return self.block(x) + s * x


class Fusion(nn.Module):
    """Decoder fusion with a skip: concatenation, 1x1, GELU, depthwise 3x3."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Conv2d(2 * width, width, 1)
        self.smooth = conv(width, width, 3, groups=width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.smooth(F.gelu(self.mix(torch.cat([x, skip], dim=1))))


class GatedFusion(nn.Module):
    """Gated fusion module (section 3.4): decides, pixel by pixel, how much of the denoising feature enters the encoder."""

    def __init__(self, width: int):
        super().__init__()
        self.expand = nn.Conv2d(2 * width, 4 * width, 1)
        self.depthwise = conv(4 * width, 4 * width, 3, groups=4 * width)
        self.reduce = nn.Conv2d(2 * width, width, 1)
        self.project = nn.Conv2d(width, width, 1)

    def gate(self, x: Tensor, feedback: Tensor) -> tuple[Tensor, Tensor]:
        """GELU gate and the signal that it multiplies, both (batch, 2 width, h, w)."""
        a, b = self.depthwise(self.expand(torch.cat([x, feedback], dim=1))).chunk(2, dim=1)
        return F.gelu(a), b

    def forward(self, x: Float[Tensor, "batch width h w"], feedback: Tensor) -> Float[Tensor, "batch width h w"]:
        gate, signal = self.gate(x, feedback)
        return self.project(self.reduce(gate * signal) + x)


class ConcatFusion(nn.Module):
    """Ablation: the same inputs through one 1x1 convolution, without a gate."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor, feedback: Tensor) -> Tensor:
        return self.mix(torch.cat([x, feedback], dim=1))


class AddFusion(nn.Module):
    """Ablation: plain addition."""

    def __init__(self, width: int):
        super().__init__()

    def forward(self, x: Tensor, feedback: Tensor) -> Tensor:
        return x + feedback


FEEDBACK = {"gated": GatedFusion, "concat": ConcatFusion, "add": AddFusion}


def stem(inputs: int, width: int) -> nn.Sequential:
    """Two 5x5 convolutions from the packed mosaic to features."""
    return nn.Sequential(conv(inputs, width, 5), nn.GELU(), conv(width, width, 5))


def head(width: int, outputs: int) -> nn.Sequential:
    """conv 3x3, GELU, 1x1 to an image."""
    return nn.Sequential(conv(width, width, 3), nn.GELU(), nn.Conv2d(width, outputs, 1))


def downs(widths: list[int]) -> nn.ModuleList:
    """Strided 2x2 convolutions that double the width."""
    return nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2, bias=False) for w in widths[:-1])


class Decoder(nn.Module):
    """From the deepest feature back to full width: block, up, fusion with the skip; it hands out every level's feature."""

    def __init__(self, widths: list[int], blocks: list[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2, bias=False) for w in widths[:-1])
        self.fusions = nn.ModuleList(Fusion(w) for w in widths[:-1])

    def forward(self, x: Tensor, skips: list[Tensor], *switch: float) -> list[Tensor]:
        """Features of all levels, full resolution first."""
        features = []
        for level in range(len(self.blocks) - 1, 0, -1):
            x = self.blocks[level](x, *switch)
            features.append(x)
            x = self.fusions[level - 1](self.ups[level - 1](x), skips[level - 1])
        features.append(self.blocks[0](x, *switch))
        return features[::-1]


class DNF(nn.Module):
    """The network family of the paper; `config.architecture` chooses what lies between the RAW encoder and the sRGB decoder.

    dnf     RAW decoder, its features fed back through gates, the same encoder run a second time
    single  nothing: the encoder's features go straight to the sRGB decoder
    multi   RAW decoder, its image re-encoded by a fresh stem and encoder of colour blocks
    """

    def __init__(self, config: Config):
        super().__init__()
        width = scaled_width(config)
        widths = [width * 2**k for k in range(LEVELS)]
        block = config.block_size
        self.architecture, self.block = config.architecture, block
        self.switches = {"paper": (0.0, 1.0), "on": (1.0, 1.0), "off": (0.0, 0.0)}[config.switch]

        def denoisers() -> list[nn.Module]:
            return [Switched(BLOCKS[config.denoising_block](w, 2**k)) for k, w in enumerate(widths)]

        def colourers() -> list[nn.Module]:
            return [BLOCKS[config.colour_block](w, 2**k) for k, w in enumerate(widths)]

        self.stem = stem(block * block, width)
        self.encoder = nn.ModuleList(denoisers())
        self.downs = downs(widths)
        self.colour_decoder = Decoder(widths, colourers())
        self.colour_head = head(width, 3 * block * block)
        if self.architecture != "single":
            self.raw_decoder = Decoder(widths, denoisers())
            self.raw_head = head(width, block * block)
        if self.architecture == "dnf":
            self.feedback = nn.ModuleList(FEEDBACK[config.feedback](w) for w in widths)
        if self.architecture == "multi":
            self.second_stem = stem(block * block, width)
            self.second_encoder = nn.ModuleList(colourers())
            self.second_downs = downs(widths)

    def encode(self, x: Tensor, s: float, feedback: list[Tensor] | None = None) -> list[Tensor]:
        """One pass of the shared RAW encoder with residual switch `s`; `feedback` enters each level through its fusion."""
        features = []
        for level, denoise in enumerate(self.encoder):
            if feedback is not None:
                x = self.feedback[level](x, feedback[level])
            x = denoise(x, s)
            features.append(x)
            if level < LEVELS - 1:
                x = self.downs[level](x)
        return features

    def forward(self, raw: Float[Tensor, "batch packed h w"]) -> dict[str, Tensor]:
        """{"rgb": (batch, 3, block h, block w), "raw": (batch, packed, h, w) where there is a RAW decoder}."""
        height, width = raw.shape[-2:]
        padded, (top, left) = pad_to_multiple(raw, 2 ** (LEVELS - 1))
        start = self.stem(padded)
        features = self.encode(start, self.switches[0])
        found = {}
        if self.architecture != "single":
            decoded = self.raw_decoder(features[-1], features[:-1], self.switches[1])
            clean = self.raw_head(decoded[0] + start)
            found["raw"] = clean[..., top : top + height, left : left + width]
        if self.architecture == "dnf":
            features = self.encode(start, self.switches[1], decoded)
        if self.architecture == "multi":
            features = self.re_encode(clean)
        rgb = self.colour_head(self.colour_decoder(features[-1], features[:-1])[0])
        rgb = F.pixel_shuffle(rgb, self.block)
        b = self.block
        found["rgb"] = rgb[..., b * top : b * (top + height), b * left : b * (left + width)]
        return found

    def re_encode(self, clean: Tensor) -> list[Tensor]:
        """The image-level hand-over of `multi`: the denoised RAW image through a second encoder."""
        x = self.second_stem(clean)
        features = []
        for level, block in enumerate(self.second_encoder):
            x = block(x)
            features.append(x)
            if level < LEVELS - 1:
                x = self.second_downs[level](x)
        return features


class SIDUNet(nn.Module):
    """The U-Net of "Learning to See in the Dark": packed mosaic in, sRGB out."""

    def __init__(self, config: Config):
        super().__init__()
        self.block = config.block_size
        self.unet = UNet(self.block**2, 3 * self.block**2, scaled_width(config))

    def forward(self, raw: Float[Tensor, "batch packed h w"]) -> dict[str, Tensor]:
        """{"rgb": (batch, 3, block h, block w)}."""
        height, width = raw.shape[-2:]
        padded, (top, left) = pad_to_multiple(raw, 2 ** (len(self.unet.encoders) - 1))
        rgb = self.unet(padded)[..., top : top + height, left : left + width]
        return {"rgb": F.pixel_shuffle(rgb, self.block)}


def scaled_width(config: Config) -> int:
    """`width` times `width_scale`, rounded half up."""
    return int(config.width * config.width_scale + 0.5)


def build(config: Config) -> nn.Module:
    """The network of `config.architecture`; with an `initial_gain` other than 1, weights are scaled by it and biases start at 0."""
    model = SIDUNet(config) if config.architecture == "unet" else DNF(config)
    if config.initial_gain != 1:
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.weight.data.mul_(config.initial_gain)
                if layer.bias is not None:
                    layer.bias.data.zero_()
    return model
