"""The pair factory of section 3.1.2: captions before and after an edit to two pictures, and the filter that judges them.

It works on words and on networks alone: no picture of the world is drawn here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab import zoo
from vislab.nn.clip import CLIP
from vislab.nn.diffusion import cumulative
from vislab.ops import counter
from vislab.papers.generation.instruct_pix2pix.card import Config
from vislab.papers.generation.instruct_pix2pix.sampling import own_noise, paired
from vislab.worlds.shapes.captions import END, PAD
from vislab.worlds.shapes.edits import describe, edits, simple_config
from vislab.worlds.shapes.scenes import ScenesWorld
from vislab.zoo.clip import picture_input
from vislab.zoo.ldm import RECIPE, SCHEDULE, LatentDiffusion, cut, null_text

ASKED = ("recolour", "swap", "background", "night", "sketch")
"""Edits that are generated and tested; what a removal leaves would stand in the middle, as every lone thing of this world does."""
_CHUNK = 64


def generate(
    config: Config,
    seed: int,
    index: Int[Tensor, " batch"],
    model: LatentDiffusion | None = None,
    clip: CLIP | None = None,
) -> dict[str, Tensor]:
    """Candidates by world index: `candidates` in a row share a prompt.

    {"source", "target": (batch, 3, 32, 32) in [0, 1], "instruction", "before", "after": tokens, and the filter's scores
    "similarity", "fit", "direction": (batch,)}.
    """
    model, clip = model or zoo.load("ldm"), clip or zoo.load("clip")
    model, clip = model.to(index.device), clip.to(index.device)
    prompt = index // config.candidates
    words = edits(ScenesWorld(simple_config(32), seed), prompt, held_out=False, kinds=ASKED)
    before, after = describe(words.before), describe(words.after)
    parts = [
        torch.stack(_painted(config, seed, where, before[rows], after[rows], model))
        for rows, where in zip(torch.arange(len(index)).split(_CHUNK), index.split(_CHUNK), strict=True)
    ]
    source, target = torch.cat(parts, dim=1)
    found = {"source": source, "target": target, "instruction": words.instruction, "before": before, "after": after}
    return found | scores(clip, source, target, before, after)


def _painted(
    config: Config, seed: int, index: Tensor, before: Tensor, after: Tensor, model: LatentDiffusion
) -> tuple[Tensor, Tensor]:
    """Both pictures of a few pairs; guidance and share of shared attention are drawn for every pair."""
    cells = RECIPE["image_size"] // 2 ** (len(RECIPE["autoencoder_multiples"]) - 1)
    fresh = own_noise(seed, "world", index, "pair", (RECIPE["latent_channels"], cells, cells))
    guidance = counter.uniform(seed, "world", index, "guidance", (), config.guidance_low, config.guidance_high)
    shared = counter.uniform(seed, "world", index, "shared", (), config.share_low, config.share_high)
    shared = shared if config.attention_sharing else torch.zeros_like(shared)
    with torch.no_grad():
        contexts = [model.text(cut(text)) for text in (before, after, null_text(1, index.device))]
        shares = cumulative(SCHEDULE).to(index.device)
        words = aligned(cut(before), cut(after)) if config.follow == "paper" else None
        latents = paired(model.unet, *contexts, fresh, config.pair_steps, shares, guidance, shared, words)
        return model.decode(latents[0]), model.decode(latents[1])


def aligned(before: Int[Tensor, "batch token"], after: Int[Tensor, "batch token"]) -> Int[Tensor, "batch token"]:
    """For every token of the second caption the one of the first that it stands for, or -1 for none.

    An edit changes one stretch; what comes before it is counted from the start, what comes after it from the end.
    A stretch of the same length stands for the old one word by word; one of another length stands for none, and neither does
    the end of the text, which holds the sense of the whole.
    """
    length = before.shape[1]
    place = torch.arange(length, device=before.device)
    head = (before == after).long().cumprod(dim=1).sum(dim=1, keepdim=True)
    longer = (after != PAD).sum(dim=1, keepdim=True) - (before != PAD).sum(dim=1, keepdim=True)
    behind = place - longer
    same = before.gather(1, behind.clamp(0, length - 1)) == after
    tail = same.long().flip(1).cumprod(dim=1).flip(1) > 0  # from the end, as far as the captions agree
    found = torch.where((longer == 0) | tail, behind.clamp(0, length - 1), torch.full_like(after, -1))
    return torch.where(place < head, place, found).masked_fill(after == END, -1)


@torch.no_grad()
def scores(
    clip: CLIP,
    source: Float[Tensor, "batch 3 h w"],
    target: Float[Tensor, "batch 3 h w"],
    before: Int[Tensor, "batch length"],
    after: Int[Tensor, "batch length"],
) -> dict[str, Float[Tensor, " batch"]]:
    """Cosines of the two pictures, of each picture and its caption (the lower one), and of both changes (Gal et al.)."""
    first, second = (clip.encode_image(picture_input(image)) for image in (source, target))
    told, retold = clip.encode_text(before), clip.encode_text(after)
    return {
        "similarity": (first * second).sum(dim=1),
        "fit": torch.minimum((first * told).sum(dim=1), (second * retold).sum(dim=1)),
        "direction": F.cosine_similarity(second - first, retold - told, dim=1),
    }


def passes(config: Config, found: dict[str, Tensor]) -> Bool[Tensor, " batch"]:
    """Which candidates pass the thresholds and are among the `keep` best of their prompt by direction.

    The candidates of a prompt follow one another; an incomplete prompt at the end counts as it is.
    """
    good = found["similarity"] > config.least_similarity
    good = good & (found["fit"] > config.least_fit) & (found["direction"] > config.least_direction)
    lack = -len(good) % config.candidates
    score = torch.where(good, found["direction"], torch.full_like(found["direction"], -torch.inf))
    table = F.pad(score, (0, lack), value=-torch.inf).reshape(-1, config.candidates)
    rank = table.argsort(dim=1, descending=True, stable=True).argsort(dim=1, stable=True).flatten()[: len(good)]
    return good & (rank < config.keep)


def chosen(config: Config, found: dict[str, Tensor]) -> Int[Tensor, " pairs"]:
    """The candidates that are trained on: those that pass, or as many by index, of which a share.

    Raises ValueError when no candidate passes.
    """
    kept = passes(config, found).nonzero()[:, 0]
    if len(kept) == 0:
        raise ValueError("no pair passes the filter: paint more candidates or lower the thresholds")
    if not config.filtered:
        every = torch.arange(len(found["direction"]), device=kept.device)
        kept = every[every % config.candidates < config.keep][: len(kept)]
    return kept[: max(1, round(config.pair_share * len(kept)))]
