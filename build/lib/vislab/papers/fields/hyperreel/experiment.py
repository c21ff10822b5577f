"""One run of an arm, its evaluation on held-out cameras, and the comparison of rendering time."""

import dataclasses
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vislab.engine.fit import State, initialise
from vislab.engine.measure import compared, interleaved
from vislab.engine.metrics import lpips, psnr, ssim
from vislab.engine.outcome import Outcome
from vislab.papers.fields.hyperreel.card import Config
from vislab.papers.fields.hyperreel.data import batch, ray_count
from vislab.papers.fields.hyperreel.model import HyperReel, build
from vislab.papers.fields.hyperreel.train import train


@torch.no_grad()
def render(model: HyperReel, items: dict[str, Tensor], chunk: int) -> Float[Tensor, "ray 3"]:
    """Colours of rays, `chunk` at a time."""
    model.eval()
    names = ("origin", "direction", "time")
    parts = zip(*(items[n].split(chunk) for n in names), strict=True)
    return torch.cat([model(*part)["rgb"] for part in parts])


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """PSNR and SSIM on held-out cameras, PSNR inside the reflector and from outside the rig, bytes of the model a frame."""
    rgb, items = rendered(state, config, seed, split)
    found = {"psnr": float(psnr(*views(config, rgb, items)).mean()), "bytes": stored_bytes(state.network, config)}
    found["ssim"] = float(ssim(*views(config, rgb, items)).mean())
    if items["reflector"].any():
        error = (rgb - items["rgb"])[items["reflector"]].square().mean()
        found["psnr_reflector"] = float(-10 * torch.log10(error))
    if config.source == "world" and config.special != "none":
        outside, truth = rendered(state, config, seed, "outside")
        found["psnr_outside"] = float(psnr(*views(config, outside, truth)).mean())
    if config.source != "world":
        found["lpips"] = float(lpips(*views(config, rgb, items)).mean())
    return found


def rendered(state: State, config: Config, seed: int, split: str) -> tuple[Float[Tensor, "ray 3"], dict[str, Tensor]]:
    """All rays of a split as rendered, and their truth."""
    count = ray_count(config, split) if config.source == "world" else config.test_items
    items = batch(config, split, seed, torch.arange(count), state.device)
    return render(state.network, items, config.eval_batch_size), items


def views(config: Config, rgb: Tensor, items: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Rendered and true rays as images (view, 3, height, width)."""
    side = config.image_size
    return tuple(x.view(-1, side, side, 3).permute(0, 3, 1, 2) for x in (rgb, items["rgb"]))


def stored_bytes(model: HyperReel, config: Config) -> float:
    """Bytes of all parameters in fp32 over the number of frames."""
    return 4 * sum(p.numel() for p in model.parameters()) / config.frames


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps a held-out view, its truth, and the loss curve."""
    state = train(config, seed, accelerator, shared)
    metrics = evaluate(state, config, seed)
    return Outcome(metrics, artifacts(state, config, seed) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int) -> dict[str, Tensor]:
    """The first held-out view (of the middle frame) as rendered, and the loss curve in 40 points."""
    items = first_view(config, seed, state.device)
    shown, _ = views(config, render(state.network, items, config.eval_batch_size), items)
    curve = torch.tensor([h["colour"] for h in state.history])
    width = max(1, len(curve) // 40)
    return {
        "view": (255 * shown[0].clamp(0, 1)).round().byte().permute(1, 2, 0).cpu(),
        "curve": curve[: len(curve) // width * width].reshape(-1, width).mean(dim=1),
    }


def first_view(config: Config, seed: int, device: torch.device | str = "cpu", split: str = "test") -> dict[str, Tensor]:
    """The rays of the first held-out camera in the middle frame."""
    pixels = config.image_size**2
    first = config.frames // 2 * 4 * pixels
    return batch(config, split, seed, torch.arange(first, first + pixels), device)


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Seconds to render one view: predicted samples over 256 stratified ones, same volume, same chunk, in turns."""
    grown = dataclasses.replace(config, grid_first=config.grid_last)
    rival = dataclasses.replace(grown, sampler="stratified", samples=256)
    sides = {
        n: initialise(build, c, 0).to(accelerator.device) for n, c in (("predicted", grown), ("stratified", rival))
    }
    items = batch(config, "test", 0, torch.arange(config.image_size**2), accelerator.device)
    chunk = 1024 if accelerator.device.type == "cpu" else config.eval_batch_size
    times = interleaved({n: lambda m=m: render(m, items, chunk) for n, m in sides.items()}, repeats=10)
    return Outcome(compared("seconds_ratio", times["predicted"], times["stratified"]))
