"""Training the editor: predict the noise in the edited picture's latent, given the input picture and the instruction."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab import zoo
from vislab.datasets.base import require, root
from vislab.engine.fit import State, descend, fit, initialise, start
from vislab.nn.autoencoder import drawn
from vislab.nn.diffusion import add_noise, cumulative, dropped
from vislab.nn.diffusion_unet import widened
from vislab.papers.generation.instruct_pix2pix.card import DATASETS, Config
from vislab.papers.generation.instruct_pix2pix.data import batch, empty, pool, read_length
from vislab.papers.generation.instruct_pix2pix.model import Editor, build
from vislab.papers.generation.instruct_pix2pix.pairs import chosen

SCHEDULE = "scaled_linear"
FIRST = "down.0.0.weight"


def started(config: Config, seed: int) -> Editor:
    """The editor with the weights of the text-to-image model; the added channels as the config says (section 3.2)."""
    model = initialise(build, config, seed)
    if config.base == "zoo":
        base = zoo.load("ldm")
        state = {
            f"{part}.{n}": v
            for part in ("unet", "autoencoder", "text")
            for n, v in getattr(base, part).state_dict().items()
        }
        model.scale.copy_(base.scale)
    elif config.source == "released":
        state = released(config)
    else:
        return model
    own = model.unet.state_dict()
    unet = widened({n.removeprefix("unet."): v for n, v in state.items() if n.startswith("unet.")}, own[FIRST].shape[1])
    if config.new_channels == "random":
        unet[FIRST] = torch.cat(
            [unet[FIRST][:, : config.latent_channels], own[FIRST][:, config.latent_channels :]], dim=1
        )
    if config.initial == "base":
        model.unet.load_state_dict(unet)
    for part in ("autoencoder", "text"):
        weights = {n.removeprefix(f"{part}."): v for n, v in state.items() if n.startswith(f"{part}.")}
        getattr(model, part).load_state_dict(weights)
    return model


def released(config: Config) -> dict[str, Tensor]:
    """Stable Diffusion's tensors under our names; UserError when the file is missing."""
    from safetensors.torch import load_file

    from vislab.papers.generation.instruct_pix2pix.official import from_official

    return from_official(load_file(require(DATASETS[0], root() / config.checkpoint)))


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """The editor, AdamW on its U-Net at a constant rate, what every step needs of the schedule and the empty text."""
    model = started(config, seed).to(accelerator.device)
    kind = {"adamw": partial(torch.optim.AdamW, fused=True), "adafactor": torch.optim.Adafactor}[config.optimizer]
    optimizer = kind(model.unet.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    extra = {
        "shares": cumulative(SCHEDULE).to(accelerator.device),
        "null": model.read(read_length(config, empty(config)).to(accelerator.device)),
    }
    return start(config, seed, accelerator, model, optimizer, extra=extra)


@torch.no_grad()
def moments(
    model: Editor, source: Float[Tensor, "batch 3 h w"], target: Tensor
) -> Float[Tensor, "batch three_latent h w"]:
    """Mode of the input picture's latent, mean and log variance of the edited one's, along the channels."""
    mean, spread = model.autoencoder.encode(2 * torch.cat([source, target]) - 1)
    first, second = mean.chunk(2)
    return torch.cat([first, second, spread.chunk(2)[1]], dim=1)


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step on the error of the predicted noise; items lose the instruction, the picture, or both, at random.

    `items` holds pictures and the instruction, or, read already, "moments" (batch, 2, ...) of the pictures and of their mirror
    images and the instruction's "context".
    """
    config, network = state.config, state.accelerator.unwrap_model(state.model)
    count, device = len(next(iter(items.values()))), state.device
    mirrored = torch.rand(count, device=device) < 0.5
    if "moments" in items:
        found = items["moments"][torch.arange(count, device=device), mirrored.long()]
    else:
        flip = mirrored[:, None, None, None]
        pictures = [torch.where(flip, items[name].flip(-1), items[name]) for name in ("source", "target")]
        found = moments(network, *pictures)
    picture, mean, spread = found.chunk(3, dim=1)
    clean = network.scale * drawn(mean, spread)
    noise = torch.randn_like(clean)
    shares = state.extra["shares"]
    time = torch.randint(0, len(shares), (count,), device=device)
    no_text, no_picture = dropped(
        torch.rand(count, device=device), config.drop_text, config.drop_image, config.drop_both
    )
    context = items["context"] if "context" in items else network.read(read_length(config, items["instruction"]))
    context = torch.where(no_text[:, None, None], state.extra["null"], context)
    picture = picture * ~no_picture[:, None, None, None]
    predicted = state.model(add_noise(clean, noise, time, shares), time, picture, context)
    error = (predicted - noise).square().mean(dim=(1, 2, 3))
    return descend(state, {"loss": (weight(shares[time], config.least_noise) * error).mean()})


def weight(share: Float[Tensor, " batch"], least_noise: float) -> Float[Tensor, " batch"]:
    """min(SNR, limit) / SNR with SNR = a / (1 - a) and limit = 1 / `least_noise` (Min-SNR, Hang et al. 2023); 1 without a limit."""
    if least_noise == 0:
        return torch.ones_like(share)
    return ((1 - share) / (share * least_noise)).clamp(max=1)


def encoded(state: State, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """The chosen pairs of a pool as latents, both ways round, with their instructions as the text encoder reads them."""
    rows = chosen(state.config, found)
    network = state.accelerator.unwrap_model(state.model)
    sides = []
    for part in rows.split(64):
        pictures = [found[name][part].float() / 255 for name in ("source", "target")]
        ways = [moments(network, *(p.flip(-1) if flip else p for p in pictures)) for flip in (False, True)]
        sides.append(torch.stack(ways, dim=1))
    return {"moments": torch.cat(sides), "context": network.read(read_length(state.config, found["instruction"][rows]))}


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The loop; the world's pairs are painted once, filtered and encoded. What needs no editor is not trained."""
    state = begin(config, seed, accelerator, shared)
    if config.method != "editor":
        return state
    if config.source == "world":
        items = encoded(state, shared if shared is not None else pool(config, seed, accelerator.device))
        count = len(items["context"])

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: value[index] for name, value in items.items()}
    else:
        count = config.train_items

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, accelerator.device)

    return fit(state, step, load, items=count, checkpoint=checkpoint, progress=progress)
