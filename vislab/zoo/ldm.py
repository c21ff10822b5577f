"""A small latent diffusion model: a caption of one or two things to a picture of 32 pixels.

An autoencoder is trained first; the U-Net then learns to denoise its latents, with the text tower of the zoo's CLIP, frozen.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vislab.nn.autoencoder import Autoencoder, drawn, gaussian_divergence
from vislab.nn.diffusion import add_noise, cumulative, guided, sample, scheduler
from vislab.nn.diffusion_unet import DiffusionUNet
from vislab.nn.text_transformer import TextEncoder, text_part
from vislab.ops import counter
from vislab.worlds.base import absolute
from vislab.worlds.shapes.captions import LENGTH, VOCABULARY, tokenize
from vislab.worlds.shapes.edits import describe, simple, simple_config
from vislab.worlds.shapes.scenes import STYLES, ScenesWorld
from vislab.zoo.base import Member

RECIPE = {
    "seed": 0, "image_size": 32, "latent_channels": 4, "autoencoder_width": 12, "autoencoder_multiples": [1, 2],
    "width": 16, "multiples": [1, 2, 4], "attention": [False, True, True], "heads": 4, "groups": 4,
    "text_width": 96, "text_layers": 2, "text_heads": 4, "vocabulary": len(VOCABULARY), "clip_version": 1,
    "items": 16_000, "autoencoder_steps": 2500, "autoencoder_batch": 32, "autoencoder_rate": 3e-3, "weight_divergence": 1e-6,
    "steps": 5000, "batch_size": 48, "learning_rate": 2e-3, "unsaid": 0.1,
}  # fmt: skip
SCHEDULE = "scaled_linear"
TOKENS = 16
"""Tokens that the text tower reads; the longest caption has as many."""
_STYLES = tuple(STYLES.index(s) for s in ("photo", "photo", "night", "sketch"))


class LatentDiffusion(nn.Module):
    """Text encoder, autoencoder and U-Net; `scale` brings latents to unit variance for the U-Net."""

    scale: Tensor

    def __init__(self, text: TextEncoder, autoencoder: Autoencoder, unet: DiffusionUNet):
        super().__init__()
        self.text, self.autoencoder, self.unet = text, autoencoder, unet
        self.register_buffer("scale", torch.ones(()))

    def decode(self, latent: Float[Tensor, "batch latent h w"]) -> Float[Tensor, "batch 3 height width"]:
        """A scaled latent to a picture in [0, 1]."""
        return (self.autoencoder.decode(latent / self.scale) / 2 + 0.5).clamp(0, 1)


def null_text(count: int, device: torch.device | str = "cpu") -> Int[Tensor, "count length"]:
    """The empty text."""
    return tokenize([""]).expand(count, -1).to(device)


def cut(text: Int[Tensor, "batch length"]) -> Int[Tensor, "batch tokens"]:
    """The first `TOKENS` tokens: all that a caption of two things needs, the same number for every text."""
    return text[:, :TOKENS]


@torch.no_grad()
def paint(
    model: LatentDiffusion,
    text: Int[Tensor, "batch length"],
    noise: Float[Tensor, "batch latent h w"],
    steps: int = 15,
    guidance: float = 3.0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Pictures of captions from given noise, by Euler's ancestral sampler."""
    context = model.text(cut(torch.cat([null_text(len(text), text.device), text])))

    def denoise(x: Tensor, time: Tensor) -> Tensor:
        both = model.unet(torch.cat([x, x]), time.expand(2 * len(x)).long(), context)
        return guided(*both.chunk(2), guidance)

    latent = sample(denoise, scheduler("euler_ancestral", SCHEDULE), noise, steps, generator)
    return model.decode(latent)


def build(recipe: Mapping[str, Any]) -> LatentDiffusion:
    """The untrained network."""
    latent = recipe["latent_channels"]
    with counter.scope(recipe["seed"], "init", "ldm"):
        return LatentDiffusion(
            TextEncoder(recipe["vocabulary"], LENGTH, recipe["text_width"], recipe["text_layers"], recipe["text_heads"]),
            Autoencoder(recipe["autoencoder_width"], recipe["autoencoder_multiples"], 1, latent, recipe["groups"]),
            DiffusionUNet(
                latent, latent, recipe["width"], recipe["multiples"], 1, recipe["attention"], recipe["heads"],
                recipe["text_width"], recipe["groups"],
            ),
        )  # fmt: skip


def _world(recipe: Mapping[str, Any], noise: float) -> ScenesWorld:
    return ScenesWorld(simple_config(recipe["image_size"], noise), recipe["seed"])


def train(recipe: Mapping[str, Any], device: torch.device, say: Callable[[str], None]) -> LatentDiffusion:
    """The autoencoder on pictures, then the U-Net on its latents with captions; both AdamW with a cosine."""
    from vislab.zoo.base import load

    model = build(recipe).to(device)
    with torch.no_grad():  # begin with nearly certain latents: the decoder has nothing to learn from otherwise
        model.autoencoder.to_moments.bias[recipe["latent_channels"] :] = -6.0
    model.text.load_state_dict(text_part(load("clip").state_dict()))
    model.text.requires_grad_(False)
    world, index = _world(recipe, 0.02), torch.arange(recipe["items"])
    named = simple(world, index, _STYLES)
    image = torch.cat([world.draw(named[part], part).image.half() for part in index.split(1000)]).to(device)
    text = describe(named).to(device)
    _train_autoencoder(model, recipe, image, say)
    with torch.no_grad():
        moments = [model.autoencoder.encode(2 * part.float() - 1) for part in image.split(500)]
        mean, spread = (torch.cat(group) for group in zip(*moments, strict=True))
        model.scale.fill_(1 / float(mean.std()))
    _train_unet(model, recipe, mean, spread, text, say)
    return model


def _rows(recipe: Mapping[str, Any], step: int, draw: str, count: int) -> Tensor:
    return counter.integers(recipe["seed"], "batches", torch.tensor([step]), draw, recipe["items"], (count,))[0]


def _optimizer(parameters: Any, rate: float, steps: int) -> tuple[Any, Any]:
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=0.01)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.05)


def _train_autoencoder(model: LatentDiffusion, recipe: Mapping[str, Any], image: Tensor, say: Callable) -> None:
    optimizer, schedule = _optimizer(
        model.autoencoder.parameters(), recipe["autoencoder_rate"], recipe["autoencoder_steps"]
    )
    for k in range(recipe["autoencoder_steps"]):
        target = 2 * image[_rows(recipe, k, "autoencoder", recipe["autoencoder_batch"])].float() - 1
        with counter.scope(recipe["seed"], "noise", f"autoencoder{k}"):
            mean, spread = model.autoencoder.encode(target)
            back = model.autoencoder.decode(drawn(mean, spread))
        loss = F.mse_loss(back, target) + recipe["weight_divergence"] * gaussian_divergence(mean, spread)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if k % 200 == 0:
            say(f"autoencoder step {k}: {float(loss.detach()):.4f}")


def _train_unet(
    model: LatentDiffusion, recipe: Mapping[str, Any], mean: Tensor, spread: Tensor, text: Tensor, say: Callable
) -> None:
    optimizer, schedule = _optimizer(model.unet.parameters(), recipe["learning_rate"], recipe["steps"])
    shares, batch = cumulative(SCHEDULE).to(mean.device), recipe["batch_size"]
    average = {name: value.detach().clone() for name, value in model.unet.state_dict().items()}
    for k in range(recipe["steps"]):
        rows = _rows(recipe, k, "unet", batch).to(mean.device)
        with counter.scope(recipe["seed"], "noise", f"unet{k}"):
            clean = model.scale * drawn(mean[rows], spread[rows])
            noise = torch.randn_like(clean)
            time = torch.randint(0, len(shares), (batch,), device=mean.device)
            silent = torch.rand(batch, device=mean.device) < recipe["unsaid"]
        said = cut(torch.where(silent[:, None], null_text(batch, mean.device), text[rows]))
        with torch.no_grad():
            context = model.text(said)
        loss = F.mse_loss(model.unet(add_noise(clean, noise, time, shares), time, context), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for name, value in model.unet.state_dict().items():
                average[name].lerp_(value, 1 - min(0.998, (k + 1) / (k + 10)))
        if k % 200 == 0:
            say(f"unet step {k}: {float(loss.detach()):.4f}")
    model.unet.load_state_dict(average)


def measure(model: nn.Module, recipe: Mapping[str, Any]) -> dict[str, float]:
    """PSNR of the autoencoder and the loss of the U-Net, on scenes of the test range."""
    world, index = _world(recipe, 0.0), absolute("test", torch.arange(256))
    named = simple(world, index, _STYLES)
    image = world.draw(named, index).image
    mean, _ = model.autoencoder.encode(2 * image - 1)
    psnr = -10 * torch.log10((model.decode(model.scale * mean) - image).square().mean())
    shares = cumulative(SCHEDULE)
    noise = counter.normal(recipe["seed"], "evaluate", index, "ldm", tuple(mean.shape[1:]))
    time = torch.linspace(0, len(shares) - 1, len(index)).long()
    said = cut(describe(named))
    noisy = add_noise(model.scale * mean, noise, time, shares)
    loss = F.mse_loss(model.unet(noisy, time, model.text(said)), noise)
    return {"psnr": float(psnr), "loss": 100 * float(loss)}


MEMBER = Member(
    name="ldm",
    says="a caption of one or two things to a picture, by latent diffusion",
    version=2,
    recipe=RECIPE,
    build=build,
    train=train,
    measure=measure,
    tolerance=0.2,
)
