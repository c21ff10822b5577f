"""The editor of section 3.2: Stable Diffusion whose U-Net has extra input channels for the picture that is edited."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vislab.nn.autoencoder import Autoencoder
from vislab.nn.diffusion_unet import DiffusionUNet
from vislab.nn.text_transformer import TextEncoder
from vislab.papers.generation.instruct_pix2pix.card import Config


class Editor(nn.Module):
    """The trained U-Net with its frozen companions: autoencoder and text encoder.

    `scale` brings a noisy latent to unit variance; the latent of the input picture is not scaled (released code).
    """

    scale: Tensor

    def __init__(self, unet: DiffusionUNet, autoencoder: Autoencoder, text: TextEncoder, scale: float):
        super().__init__()
        self.unet = unet
        self.autoencoder = autoencoder.requires_grad_(False)
        self.text = text.requires_grad_(False)
        self.register_buffer("scale", torch.full((), scale))

    def forward(
        self,
        noisy: Float[Tensor, "batch latent h w"],
        time: Int[Tensor, " batch"],
        picture: Float[Tensor, "batch latent h w"],
        context: Float[Tensor, "batch token context"],
    ) -> Float[Tensor, "batch latent h w"]:
        """The noise in `noisy`, given the latent of the input picture and the instruction's tokens."""
        return self.unet(torch.cat([noisy, picture], dim=1), time, context)

    @torch.no_grad()
    def encode(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch latent h w"]:
        """A picture in [0, 1] to the mode of its latent, unscaled."""
        return self.autoencoder.encode(2 * image - 1)[0]

    @torch.no_grad()
    def decode(self, latent: Float[Tensor, "batch latent h w"]) -> Float[Tensor, "batch 3 height width"]:
        """A scaled latent to a picture in [0, 1]."""
        return (self.autoencoder.decode(latent / self.scale) / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def read(self, text: Int[Tensor, "batch length"]) -> Float[Tensor, "batch token context"]:
        """The text encoder's vectors."""
        return self.text(text)


def build(config: Config) -> Editor:
    """The untrained editor at the config's sizes."""
    latent = config.latent_channels
    unet = DiffusionUNet(
        2 * latent, latent, config.width, config.multiples, config.blocks, config.attention, config.heads,
        config.text_width, config.groups,
    )  # fmt: skip
    autoencoder = Autoencoder(
        config.autoencoder_width, config.autoencoder_multiples, config.autoencoder_blocks, latent, config.groups
    )
    text = TextEncoder(config.vocabulary, config.text_places, config.text_width, config.text_depth, config.text_heads)
    return Editor(unet, autoencoder, text, config.latent_scale)


def counted(model: Editor) -> nn.Module:
    """The part that the paper trains."""
    return model.unet
