"""The task: generated pairs to train on, drawn scenes with their true edits to test on, and the released set."""

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from vislab.datasets import ip2p_pairs
from vislab.datasets.base import locate
from vislab.papers.generation.instruct_pix2pix.card import DATASETS, Config
from vislab.papers.generation.instruct_pix2pix.pairs import ASKED, generate
from vislab.worlds.base import absolute
from vislab.worlds.shapes.captions import tokenize
from vislab.worlds.shapes.edits import Edits, describe, edits, simple_config
from vislab.worlds.shapes.scenes import ScenesWorld

FILTERED, RANDOM = DATASETS
WORLD_SIZE = 32
_CHUNK = 128


def world(seed: int) -> ScenesWorld:
    """Scenes of one or two things."""
    return ScenesWorld(simple_config(WORLD_SIZE), seed)


def wanted(split: str, seed: int, index: Int[Tensor, " batch"]) -> tuple[Edits, Int[Tensor, " batch"]]:
    """The edits of a test or validation split and their world indices; every second one is worded as training never is."""
    where = absolute(split, index)
    return edits(world(seed), where, held_out=index % 2 == 1, kinds=ASKED), where


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"source", "target": (batch, 3, h, w) in [0, 1], "instruction", "before", "after": (batch, length) tokens}.

    Training items are candidates of the pair factory with its scores; the others are drawn scenes with their true edits.
    Raises UserError when the released set is asked for and is not there.
    """
    if config.source == "released":
        dataset = FILTERED if config.filtered else RANDOM
        images, texts = ip2p_pairs.read(dataset, locate(dataset), split, index.cpu(), config.image_size)
        found = dict(zip(("source", "target"), images, strict=True))
        found |= {
            name: tokens(config, list(said))
            for name, said in zip(("before", "instruction", "after"), texts, strict=True)
        }
        return {name: value.to(device) for name, value in found.items()}
    if split == "train":
        found = generate(config, seed, absolute(split, index).to(device))
    else:
        words, where = wanted(split, seed, index)
        scenes = world(seed)
        found = {
            "source": scenes.draw(words.before, where).image, "target": scenes.draw(words.after, where).image,
            "instruction": words.instruction, "before": describe(words.before), "after": describe(words.after),
        }  # fmt: skip
    if config.image_size != WORLD_SIZE:
        for name in ("source", "target"):
            found[name] = F.interpolate(found[name], size=(config.image_size,) * 2, mode="bilinear")
    return {name: value.to(device) for name, value in found.items()}


def read_length(config: Config, text: Int[Tensor, "batch length"]) -> Int[Tensor, "batch read"]:
    """Tokens cut or padded to the number that the text encoder reads."""
    return F.pad(text, (0, max(0, config.text_length - text.shape[1])))[:, : config.text_length]


def tokens(config: Config, texts: list[str]) -> Int[Tensor, "text length"]:
    """Words of the world, or real sentences by CLIP's tokenizer, padded with the last token as the released code does."""
    if config.source == "world":
        return tokenize(texts)
    import open_clip

    found = open_clip.get_tokenizer("ViT-L-14")(texts)
    ends = found.argmax(dim=1)
    return torch.where(torch.arange(found.shape[1]) > ends[:, None], found.max(), found)


def empty(config: Config) -> Int[Tensor, "1 length"]:
    """The empty instruction."""
    return tokens(config, [""])


def pool(
    config: Config, seed: int, device: torch.device | str = "cpu", index: Int[Tensor, " batch"] | None = None
) -> dict[str, Tensor]:
    """Training candidates, all of them or those at `index`, pictures as uint8."""
    index = torch.arange(config.train_items) if index is None else index
    parts = [batch(config, "train", seed, rows, device) for rows in index.split(_CHUNK)]
    found = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return found | {name: (255 * found[name]).round().to(torch.uint8) for name in ("source", "target")}
