"""InstructPix2Pix against the authors' U-Net and autoencoder; the U-Net is above 150 million parameters: `make parity`."""

import pytest
import torch

from tests.parity.helper import Spec
from vislab.nn.autoencoder import Autoencoder
from vislab.nn.diffusion_unet import DiffusionUNet
from vislab.papers.generation.instruct_pix2pix.card import PROFILES
from vislab.papers.generation.instruct_pix2pix.model import build, counted
from vislab.papers.generation.instruct_pix2pix.official import from_official


def part(state, name):
    return {n.removeprefix(f"{name}."): v for n, v in state.items() if n.startswith(f"{name}.")}


@pytest.mark.slow
@torch.no_grad()
def test_unet():
    spec = Spec("instruct_pix2pix")
    model = DiffusionUNet(8)
    model.load_state_dict(part(from_official(spec.state()), "unet"))
    given = spec.inputs(0)
    spec.check(0, {"eps": model(given["x"], given["timesteps"], given["context"])})


@torch.no_grad()
def test_autoencoder():
    spec = Spec("instruct_pix2pix.autoencoder")
    model = Autoencoder()
    model.load_state_dict(part(from_official(spec.state()), "autoencoder"))
    given = spec.inputs(0)
    mean, spread = model.encode(given["x"])
    spec.check(0, {"posterior_mean": mean, "posterior_logvar": spread, "decoded": model.decode(given["z"])})


def test_names_and_shapes():
    """Every tensor of the released checkpoint finds its place, with its shape."""
    named = {"model.diffusion_model.": "instruct_pix2pix", "first_stage_model.": "instruct_pix2pix.autoencoder"}
    theirs = {
        prefix + name: torch.zeros(()).expand(shape)
        for prefix, file in named.items()
        for name, shape in Spec(file).json["state"].items()
    }
    theirs |= {"model_ema.decay": torch.zeros(()), "betas": torch.zeros(1000)}
    mapped = {n: v.shape for n, v in from_official(theirs).items()}
    with torch.device("meta"):
        model = build(PROFILES["paper"])
    ours = {n: v.shape for n, v in model.state_dict().items() if n.startswith(("unet.", "autoencoder."))}
    assert mapped == ours
    assert sum(p.numel() for p in counted(model).parameters()) == Spec("instruct_pix2pix").json["parameters"]
    with pytest.raises(KeyError, match="no tensor"):
        from_official({"head.weight": torch.zeros(1)})


def test_text_encoder_names():
    prefix = "cond_stage_model.transformer.text_model."
    width = 4
    theirs = {
        f"{prefix}encoder.layers.0.self_attn.{k}_proj.bias": torch.full((width,), float(i)) for i, k in enumerate("qkv")
    }
    theirs[f"{prefix}encoder.layers.0.self_attn.out_proj.bias"] = torch.zeros(width)
    theirs[f"{prefix}embeddings.position_ids"] = torch.zeros(1)
    found = from_official(theirs)
    assert set(found) == {
        "text.transformer.resblocks.0.attn.in_proj_bias",
        "text.transformer.resblocks.0.attn.out_proj.bias",
    }
    assert found["text.transformer.resblocks.0.attn.in_proj_bias"].tolist() == [0.0] * 4 + [1.0] * 4 + [2.0] * 4
