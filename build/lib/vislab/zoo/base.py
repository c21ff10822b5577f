"""What a zoo member is, and how its weights are made, kept, loaded and checked.

A member is a module of this package with a `MEMBER`.
Its weights are a float16 safetensors file under data/zoo whose header holds the recipe and the metrics that they reached.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from vislab import registry
from vislab.engine.files import write_atomically
from vislab.engine.weights import weights_path
from vislab.errors import UserError


@dataclass(frozen=True)
class Member:
    """A small network trained once on a world, with all that is needed to train it again."""

    name: str
    says: str
    """What it does, one line."""
    version: int
    """Raised when the recipe changes; weights are retrained only then."""
    recipe: Mapping[str, Any]
    """World, sizes, steps, seed: plain values."""
    build: Callable[[Mapping[str, Any]], nn.Module]
    """recipe -> untrained network."""
    train: Callable[[Mapping[str, Any], torch.device, Callable[[str], None]], nn.Module]
    """recipe, device, a function that takes progress lines -> trained network."""
    measure: Callable[[nn.Module, Mapping[str, Any]], dict[str, float]]
    """Metrics of a network on the recipe's test items, the same numbers every time."""
    tolerance: float
    """How far a metric of the shipped weights may lie from the recorded one."""
    real: Callable[[str], Any] | None = None
    """source -> the real network of that name, through the library that has it."""
    sources: tuple[str, ...] = ()
    """Names that `real` is known to take."""


def member(name: str) -> Member:
    """The member called `name`; UserError with the nearest name otherwise."""
    return registry.zoo_member(name)


def load(name: str, source: str = "world") -> Any:
    """A member's network on the CPU, ready to evaluate, float32 and without gradients.

    `source="world"` reads the shipped weights; another source names a real network and goes through the member's library.
    Raises UserError for missing or damaged weights, for weights of another recipe, and for a real network that cannot be had.
    """
    found = member(name)
    if source != "world":
        if found.real is None:
            raise UserError(f"zoo member {name!r} has no real counterpart; its only source is 'world'")
        return found.real(source)
    state, header = read(name)
    if header["recipe"] != _plain(found.recipe):
        raise UserError(f"{weights_path(name)} was made by another recipe; make it anew with `vislab zoo train {name}`")
    network = found.build(found.recipe)
    try:
        network.load_state_dict(
            {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
        )
    except RuntimeError as error:
        raise UserError(
            f"{weights_path(name)} does not fit the network: {str(error).splitlines()[-1].strip()}"
        ) from error
    return network.eval().requires_grad_(False)


def read(name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors as stored and the header (version, recipe, metrics, parameters) of a member's file."""
    import safetensors

    path = weights_path(name)
    if not path.exists():
        raise UserError(f"zoo weights {name!r} are missing: {path}; make them with `vislab zoo train {name}`")
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["vislab"])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a mapping
    except Exception as error:
        raise UserError(f"{path} is damaged ({error}); make it anew with `vislab zoo train {name}`") from error
    return state, header


def make(name: str, device: torch.device | str = "cpu", say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train a member by its recipe, measure its float16 weights and write them; returns the header."""
    from safetensors.torch import save

    found = member(name)
    network = found.train(found.recipe, torch.device(device), say).cpu().eval().requires_grad_(False)
    state = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    network.load_state_dict(
        {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    )
    header = {
        "version": found.version,
        "recipe": _plain(found.recipe),
        "metrics": found.measure(network, found.recipe),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    content = save(
        {key: value.contiguous() for key, value in state.items()}, {"vislab": json.dumps(header, sort_keys=True)}
    )
    write_atomically(weights_path(name), content)
    return header


def check(name: str) -> dict[str, tuple[float, float, bool]]:
    """Metric -> (recorded, measured now, within the member's tolerance) of the shipped weights."""
    found = member(name)
    network = load(name)
    recorded = read(name)[1]["metrics"]
    now = found.measure(network, found.recipe)
    return {key: (recorded[key], now[key], abs(recorded[key] - now[key]) <= found.tolerance) for key in recorded}


def _plain(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(recipe)))
