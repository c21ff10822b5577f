"""The task: labels and styles spread unevenly over clients, a balanced test of every class in every style."""

import json
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vislab.datasets import cifar, mnist
from vislab.datasets.base import damaged, locate
from vislab.engine import federated
from vislab.errors import UserError
from vislab.ops import counter
from vislab.ops.longtail import labels_of
from vislab.papers.recognition.fedfusion.card import DATASETS, Config
from vislab.worlds.base import absolute
from vislab.worlds.shapes.classes import ClassesConfig, ClassesWorld

STYLES = ("palette", "weave", "fog")
"""The hidden domains, each a style of the whole picture."""
FOLDERS = {"cifar10": 0, "cifar100": 1, "mnist": 2, "fashion_mnist": 3}
"""Place in `DATASETS` of every real source."""


def world(config: Config, seed: int) -> ClassesWorld:
    """The procedural classes."""
    size, jitter = config.image_size, config.pose_jitter
    shapes = ClassesConfig(config.classes, "joint", config.gap, size, config.noise, pose_jitter=jitter)
    return ClassesWorld(shapes, seed)


def styled(image: Float[Tensor, "batch 3 h w"], domain: Int[Tensor, " batch"]) -> Float[Tensor, "batch 3 h w"]:
    """Pictures in the style of their domain: red, green and blue in turn; a screen of fine lines; a light fog."""
    lines = 1.0 - 0.4 * (torch.arange(image.shape[3], device=image.device) % 4 < 2).float()
    styles = image.roll(1, dims=1), image * lines, 0.85 * image + 0.12
    return torch.stack(styles)[domain % len(STYLES), torch.arange(len(image), device=image.device)]


def even_counts(config: Config) -> Int[Tensor, " classes"]:
    """Training items of each class of a CIFAR set, all alike."""
    return torch.full((config.classes,), config.train_items // config.classes)


def labels(config: Config) -> Int[Tensor, " items"]:
    """Class of every training item."""
    if config.source == "world":
        return torch.arange(config.train_items) % config.classes
    dataset = DATASETS[FOLDERS[config.source]]
    if config.source in ("cifar10", "cifar100"):
        return labels_of(even_counts(config), torch.arange(config.train_items))
    return mnist.read(dataset, locate(dataset), "train", torch.arange(config.train_items))[1]


@lru_cache(maxsize=4)
def partition(config: Config, seed: int) -> tuple[Int[Tensor, " held"], ...]:
    """The training items of each client, by `config.partition`; of a real data set, by its `partition.json` if there is one."""
    if config.source != "world":
        file = locate(DATASETS[FOLDERS[config.source]]) / "partition.json"
        if file.exists():
            return read_partition(config, file)
    if config.partition == "dirichlet":
        found = federated.dirichlet(labels(config), config.clients, config.concentration, seed, least=config.least)
    elif config.partition == "quantity":
        shares = [2.0 ** (-k / 2) for k in range(config.clients)]
        found = federated.by_size(config.train_items, shares, seed)
    elif config.partition == "even":
        found = federated.by_size(config.train_items, [1.0] * config.clients, seed)
    else:
        found = shards(labels(config), config.clients, config.classes_each, seed)
    return tuple(found)


def shards(label: Int[Tensor, " items"], clients: int, classes_each: int, seed: int) -> list[Int[Tensor, " held"]]:
    """Items sorted by class, cut into clients x classes_each equal shards, which are dealt out at random (McMahan et al. 2017)."""
    parts = torch.argsort(label, stable=True).tensor_split(clients * classes_each)
    order = counter.permutation(seed, "world", torch.tensor([0]), "shards", len(parts))[0].tolist()
    return [
        torch.cat([parts[s] for s in order[k * classes_each : (k + 1) * classes_each]]).sort().values
        for k in range(clients)
    ]


def read_partition(config: Config, file) -> tuple[Int[Tensor, " held"], ...]:
    """{"0": [items], "1": ...} for every client.

    Raises UserError when it cannot be read, names other clients, or gives an item twice or outside the data set.
    """
    dataset = DATASETS[FOLDERS[config.source]]
    try:
        content = json.loads(file.read_text())
        held = tuple(torch.tensor(content[str(k)], dtype=torch.int64) for k in range(config.clients))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise damaged(dataset, file, f"no list of items for each of {config.clients} clients ({error})") from error
    items = torch.cat(held)
    if not len(items) or items.min() < 0 or items.max() >= config.train_items or len(items.unique()) < len(items):
        raise damaged(dataset, file, f"items must lie in [0, {config.train_items}) and belong to one client each")
    return held


def client_domain(config: Config) -> Int[Tensor, " clients"]:
    """The hidden domain of each client."""
    return torch.arange(config.clients) % config.domains


@lru_cache(maxsize=4)
def _owner(config: Config, seed: int) -> Int[Tensor, " items"]:
    owner = torch.zeros(config.train_items, dtype=torch.int64)
    for client, held in enumerate(partition(config, seed)):
        owner[held] = client
    return owner


def domains(config: Config, split: str, seed: int, index: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Domain of items: their client's in training (any, when clients are alike), all evenly in the other splits."""
    if split != "train":
        return (index // config.classes) % config.domains
    if config.partition == "even":
        return counter.integers(seed, "world", index, "domain", config.domains)
    return client_domain(config)[_owner(config, seed)[index]]


def batch(
    config: Config, split: str, seed: int, index: Int[Tensor, " batch"], device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """{"image": (batch, 3, h, w) standardised, "label": (batch,), "domain": (batch,)} by index.

    Real data sets have one domain.
    Raises UserError when one is asked for and is not there.
    """
    within = index.cpu()
    if config.source == "world":
        label, domain = within % config.classes, domains(config, split, seed, within)
        image = world(config, seed).sample(absolute(split, within), "cpu", label).image
        if config.domains > 1:
            image = styled(image, domain)
        image = (image - 0.5) / 0.25
    else:
        if config.domains != 1:
            raise UserError(f"{config.source} has one domain, set domains=1 instead of {config.domains}")
        domain = torch.zeros_like(within)
        dataset = DATASETS[FOLDERS[config.source]]
        if config.source in ("cifar10", "cifar100"):
            image, label = cifar.read(dataset, locate(dataset), split, within, even_counts(config))
            image = cifar.standardise(image, config.classes)
        else:
            image, label = mnist.read(dataset, locate(dataset), split, within)
            image = ((image - 0.5) / 0.5).expand(-1, 3, -1, -1)
    return {"image": image.to(device), "label": label.to(device), "domain": domain.to(device)}
