"""The task: labelled pictures of one domain to train on, the same classes in shifted domains, and sentences for labels."""

from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor

from vislab.datasets import class_folders, wilds
from vislab.datasets.base import locate
from vislab.nn.clip import normalise
from vislab.papers.language.flyp.card import DATASETS, DOMAINS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes import captions
from vislab.worlds.shapes.domains import DomainsConfig, DomainsWorld
from vislab.worlds.shapes.scenes import SHAPES

IMAGENET, IWILDCAM, FMOW = DATASETS
WORLD_TEMPLATES = (
    "a photo of a {}", "a picture of a {}", "an image with a {}", "there is a {}", "a view of a {}", "one can see a {}",
    "here is a {}", "a {}",
)  # fmt: skip
WILDS_TEMPLATES = {
    "iwildcam": ("a photo of {}.", "{} in the wild."),
    "fmow": (
        "satellite photo of a {}.",
        "aerial photo of a {}.",
        "satellite photo of a {} in africa.",
        "satellite photo of a {} in asia.",
    ),
}


def batch(
    config: Config,
    split: str,
    seed: int,
    index: Int[Tensor, " batch"],
    device: torch.device | str = "cpu",
    domain: str | None = None,
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) as the towers expect it, "label": (batch,)}, of the in-distribution domain unless `domain` names another.

    Raises UserError when a real data set is asked for and is not there.
    """
    domain = domain or DOMAINS[config.source][0]
    if config.source == "world":
        world = DomainsWorld(
            DomainsConfig(config.classes, min(config.image_size, 64), config.spurious, noise=config.noise), seed
        )
        found = world.sample(absolute(split, index.cpu()), device, domain)
        image = found.image
        if image.shape[-1] != config.image_size:
            image = torch.nn.functional.interpolate(image, size=config.image_size, mode="bilinear")
        return {"image": 2 * image - 1, "label": found.label}
    if config.source == "imagenet":
        place = locate(IMAGENET)
        image, label = class_folders.read(IMAGENET, place, domain, split, index.cpu(), config.image_size)
    else:
        dataset = IWILDCAM if config.source == "iwildcam" else FMOW
        where = "ood" if domain == "ood" else split
        image, label, _ = wilds.read(dataset, locate(dataset), config.source, where, index.cpu(), config.image_size)
    return {"image": normalise(image).to(device), "label": label.to(device)}


@cache
def class_names(config: Config) -> tuple[str, ...]:
    """What the classes are called."""
    if config.source == "world":
        return tuple(SHAPES)[: config.classes]
    if config.source == "imagenet":
        from open_clip import IMAGENET_CLASSNAMES

        return tuple(IMAGENET_CLASSNAMES)
    dataset = IWILDCAM if config.source == "iwildcam" else FMOW
    return wilds.names(dataset, locate(dataset))


@cache
def prompts(config: Config) -> Int[Tensor, "classes template length"]:
    """Every class's name in every template, as tokens."""
    if config.source == "world":
        chosen = WORLD_TEMPLATES[: config.templates]
        texts = [t.format(name) for name in class_names(config) for t in chosen]
        tokens = captions.tokenize(texts, config.context)
        tokens = tokens[:, : int((tokens > 0).sum(dim=1).max())]
        if config.vocabulary != len(captions.VOCABULARY):  # the step benchmark: <end> must be the highest token
            tokens = torch.where(tokens == captions.END, config.vocabulary - 1, tokens)
            tokens = torch.nn.functional.pad(tokens, (0, config.context - tokens.shape[1]))
    else:
        import open_clip

        every = open_clip.OPENAI_IMAGENET_TEMPLATES if config.source == "imagenet" else WILDS_TEMPLATES[config.source]
        filled = [
            t(name) if callable(t) else t.format(name)
            for name in class_names(config)
            for t in every[: config.templates]
        ]
        tokens = open_clip.get_tokenizer("ViT-B-16", context_length=config.context)(filled)
    return tokens.unflatten(0, (len(class_names(config)), -1))


def sentences(config: Config, label: Int[Tensor, " batch"]) -> Int[Tensor, "batch length"]:
    """A sentence for each label, its template drawn inside the step's scope."""
    every = prompts(config).to(label.device)
    return every[label, torch.randint(0, every.shape[1], label.shape, device=label.device)]
