"""The task: hospitals outline one organ in slices of their own, each with its own scanner, its own number of slices, its own masks."""

import dataclasses
import itertools

import torch
from jaxtyping import Int
from torch import Tensor

from vislab.datasets import prostate_slices as slices
from vislab.datasets.base import locate
from vislab.papers.recognition.fedce.card import CLIENTS, DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.tissue.sites import SHIFTED, SITES, Site, SitesConfig, SitesWorld, between

(PROSTATE,) = DATASETS


def sites(config: Config) -> tuple[Site, ...]:
    """The site of each client; what is odd about a federation is the last one."""
    count = len(config.portions)
    usual = [SITES[0] if config.federation == "size" else SITES[k % len(SITES)] for k in range(count)]
    if config.federation == "domain":
        usual[-1] = between(usual[-1], SHIFTED, config.shift)
    if config.federation == "label":
        usual[-1] = dataclasses.replace(usual[-1], corruption=config.corruption)
    return tuple(usual)


def world(config: Config, seed: int) -> SitesWorld:
    """The procedural slices, one site a client."""
    return SitesWorld(SitesConfig(config.image_size, sites(config)), seed)


def holdings(config: Config) -> tuple[int, ...]:
    """Training items of each client."""
    if config.source == "world":
        total = sum(config.portions)
        ends = [round(config.train_items * part / total) for part in itertools.accumulate(config.portions, initial=0)]
        return tuple(b - a for a, b in itertools.pairwise(ends))
    root = locate(PROSTATE)
    return tuple(len(slices.listed(PROSTATE, root, client, "train")) for client in CLIENTS)


def owners(config: Config, split: str, index: Int[Tensor, " batch"]) -> tuple[Tensor, Tensor]:
    """(client, number among its items) of items: training items stand client by client, others take turns."""
    held = torch.tensor(holdings(config))
    if split != "train":
        return index % len(held), index // len(held)
    ends = held.cumsum(0)
    client = torch.bucketize(index % ends[-1], ends, right=True)
    return client, index % ends[-1] - (ends - held)[client]


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 1, h, w) in [0, 1], "mask" and "given": (batch, 1, h, w) of 0 and 1, "client": (batch,)} by index.

    `given` is what the client has drawn and all that training and contributions see; scores are taken on `mask`.
    Raises UserError when the real data set is asked for and is not there.
    """
    within = index.cpu()
    client, number = owners(config, split, within)
    if config.source == "world":
        found = world(config, seed).sample(absolute(split, within), site=client)
        image, mask, given = found.image, found.mask.float(), found.given.float()
    else:
        root, size = locate(PROSTATE), config.image_size
        pairs = [
            slices.read(PROSTATE, root, CLIENTS[k], split, n[None], size)
            for k, n in zip(client.tolist(), number, strict=True)
        ]
        image, mask = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        given = mask
    return {n: v.to(device) for n, v in (("image", image), ("mask", mask), ("given", given), ("client", client))}


def pools(config: Config, split: str, seed: int, device: torch.device | str, start: int = 0) -> list[dict[str, Tensor]]:
    """The items of each client in a split, made once; outside training, `validation_items` or `test_items` from `start`."""
    if split == "train":
        ends = list(itertools.accumulate(holdings(config), initial=0))
        index = [torch.arange(a, b) for a, b in itertools.pairwise(ends)]
    else:
        clients = len(holdings(config))
        count = config.validation_items if split == "validation" else config.test_items
        index = [torch.arange(start + k, start + count, clients) for k in range(clients)]
    return [batch(config, split, seed, part, device) for part in index]
