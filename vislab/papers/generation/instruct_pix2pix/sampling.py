"""Sampling: Euler's ancestral steps with noise of each item's own, edits with two guidance scales, SDEdit, optimised embeddings."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.nn.diffusion import add_noise, guided, guided_twice
from vislab.nn.diffusion_unet import shared_attention
from vislab.ops import counter

# noise of step k, the size of the latents
Fresh = Callable[[int], Tensor]


def own_noise(seed: int, stream: str, index: Int[Tensor, " batch"], draw: str, shape: tuple[int, ...]) -> Fresh:
    """Noise that depends on the item's index alone, so that an item comes out the same in every batch; step -1 is the start."""
    return lambda k: counter.normal(seed, stream, index, f"{draw} {k}", shape)


def ancestral(
    denoise: Callable[[Tensor, Tensor, int], Tensor],
    fresh: Fresh,
    steps: int,
    shares: Float[Tensor, " times"],
    first: int = 0,
    clean: Tensor | None = None,
) -> Float[Tensor, "batch latent h w"]:
    """Euler's ancestral sampler over `steps` of the discrete noise levels, from step `first` (there from `clean` plus noise).

    `denoise(x, time, k)` gives the noise in x, which has unit variance; here x is kept as clean + sigma noise (Karras et al. 2022).
    """
    time = torch.linspace(len(shares) - 1, 0, steps).round().long()
    sigma = torch.cat([((1 - shares) / shares).sqrt().cpu()[time], torch.zeros(1)]).tolist()
    x = fresh(-1) * sigma[first]
    x = x if clean is None else x + clean
    for k in range(first, steps):
        now, after = sigma[k], sigma[k + 1]
        noise = denoise(x / (1 + now**2) ** 0.5, time[k].to(x.device), k)
        up = min(after, (after**2 * (now**2 - after**2) / now**2) ** 0.5)
        down = (after**2 - up**2) ** 0.5
        x = x + (down - now) * noise
        if up > 0:
            x = x + up * fresh(k)
    return x


def _times(time: Tensor, count: int) -> Int[Tensor, " count"]:
    return time.expand(count)


@torch.no_grad()
def edit(
    model,
    picture: Float[Tensor, "batch latent h w"],
    context: Float[Tensor, "batch token context"],
    null: Float[Tensor, "1 token context"],
    fresh: Fresh,
    steps: int,
    shares: Tensor,
    image_scale: float,
    text_scale: float,
) -> Float[Tensor, "batch latent h w"]:
    """Edited latents (section 3.2.1): three evaluations a step, with neither condition, with the picture, and with both."""
    count = len(picture)
    pictures = torch.cat([torch.zeros_like(picture), picture, picture])
    contexts = torch.cat([null.expand(2 * count, -1, -1), context])

    def denoise(x: Tensor, time: Tensor, k: int) -> Tensor:
        none, first, both = model(torch.cat([x, x, x]), _times(time, 3 * count), pictures, contexts).chunk(3)
        return guided_twice(none, first, both, image_scale, text_scale)

    return ancestral(denoise, fresh, steps, shares)


@torch.no_grad()
def painted(
    unet,
    context: Float[Tensor, "batch token context"],
    null: Float[Tensor, "1 token context"],
    fresh: Fresh,
    steps: int,
    shares: Tensor,
    guidance: float,
    strength: float = 1.0,
    clean: Tensor | None = None,
) -> Float[Tensor, "batch latent h w"]:
    """Latents of captions; with `strength` below 1, SDEdit from `clean`: that share of the steps, from its noisy version."""
    count = len(context)
    contexts = torch.cat([null.expand(count, -1, -1), context])

    def denoise(x: Tensor, time: Tensor, k: int) -> Tensor:
        return guided(*unet(torch.cat([x, x]), _times(time, 2 * count), contexts).chunk(2), guidance)

    first = min(steps - 1, round((1 - strength) * steps))
    return ancestral(denoise, fresh, steps, shares, first, clean if first else None)


@torch.no_grad()
def paired(
    unet,
    before: Float[Tensor, "batch token context"],
    after: Float[Tensor, "batch token context"],
    null: Float[Tensor, "1 token context"],
    fresh: Fresh,
    steps: int,
    shares: Tensor,
    guidance: Float[Tensor, " batch"],
    shared: Float[Tensor, " batch"],
    words: Int[Tensor, "batch token"] | None = None,
) -> tuple[Float[Tensor, "batch latent h w"], Float[Tensor, "batch latent h w"]]:
    """Two latents for two captions, from the same noise throughout (section 3.1.2).

    In the first `shared` of the steps the second takes its self-attention maps from the first; with `words` those of the text
    as well, where `words[i, j]` is the token of the first caption that token j of the second one stands for.
    """
    count = len(before)
    empty = null.expand(2 * count, -1, -1)
    contexts = torch.cat([empty, before, after])
    rows = torch.arange(count, device=before.device)
    scale = guidance.repeat(2)[:, None, None, None]
    straight = torch.arange(before.shape[1], device=before.device).expand(count, -1)

    def denoise(x: Tensor, time: Tensor, k: int) -> Tensor:
        now = k < shared * steps
        second = torch.where(now, rows, rows + count)
        source = torch.cat([rows, second, rows + 2 * count, second + 2 * count])
        places = None
        if words is not None:
            places = torch.cat([straight, straight, straight, torch.where(now[:, None], words, straight)])
        with shared_attention(unet, source, places):
            none, told = unet(torch.cat([x, x]), _times(time, 4 * count), contexts).chunk(2)
        return none + scale * (told - none)

    return ancestral(denoise, lambda k: fresh(k).repeat(2, 1, 1, 1), steps, shares).chunk(2)


def optimised(
    unet,
    clean: Float[Tensor, "batch latent h w"],
    context: Float[Tensor, "batch token context"],
    fresh: Fresh,
    steps: int,
    shares: Tensor,
    learning_rate: float,
    network_too: bool = False,
) -> Float[Tensor, "batch token context"]:
    """An embedding for every picture, from its target caption's, that explains the picture (Imagic, Kawar et al., first stage).

    With `network_too`, the weights of `unet` then follow for as many steps (second stage), which serves one picture.
    """
    found = context.clone().requires_grad_(True)
    stages = [[found]] + ([list(unet.parameters())] if network_too else [])
    for stage, weights in enumerate(stages):
        optimizer = torch.optim.Adam(weights, learning_rate if stage == 0 else 1e-3 * learning_rate)
        for k in range(steps):
            noise = fresh(1000 * (stage + 1) + k)
            time = torch.full((len(clean),), (617 * (k + 1)) % len(shares), device=clean.device)
            error = (
                (unet(add_noise(clean, noise, time, shares), time, found) - noise).square().mean(dim=(1, 2, 3)).sum()
            )
            gradients = torch.autograd.grad(error, weights)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            optimizer.step()
    return found.detach()
