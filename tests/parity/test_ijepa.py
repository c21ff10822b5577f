"""I-JEPA against the authors' ViT-H/14 and predictor; above 150 million parameters, so it runs under `make parity`."""

import dataclasses

import pytest
import torch

from tests.parity.helper import Spec
from vislab.nn.vit import PatchEncoder, PatchPredictor
from vislab.papers.representation.ijepa.card import PROFILES
from vislab.papers.representation.ijepa.model import build
from vislab.papers.representation.ijepa.official import flattened, from_official


@pytest.mark.slow
@torch.no_grad()
def test_network():
    spec = Spec("ijepa")
    state = from_official(spec.state())
    config = PROFILES["paper"]
    encoder = PatchEncoder(config.image_size, config.patch, config.width, config.depth, config.heads)
    encoder.load_state_dict({n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")})
    first = spec.inputs(0)
    spec.check(0, {"tokens": encoder(first["imgs"])})
    predictor = PatchPredictor(
        config.width, config.width, 16, config.predictor_width, config.predictor_depth, config.predictor_heads
    )
    predictor.load_state_dict({n.removeprefix("predictor."): v for n, v in state.items() if n.startswith("predictor.")})
    second = spec.inputs(1)
    visible = torch.as_tensor(second["masks_enc"])
    targets = torch.stack([torch.as_tensor(m) for m in second["masks_pred"]], dim=1)
    context = encoder(second["imgs"], visible)
    predictions = predictor(context, visible, targets)
    spec.check(1, {"context": context, "predictions": predictions.transpose(0, 1).flatten(0, 1)})


def test_names_and_shapes():
    """Every tensor of the authors' state finds its place in the network of the paper profile, with its shape."""
    spec = Spec("ijepa")
    mine = {name: torch.zeros(()).expand(shape) for name, shape in spec.json["state"].items()}
    mapped = from_official(mine)
    with torch.device("meta"):
        model = build(PROFILES["paper"])
    ours = {n: v.shape for n, v in model.state_dict().items() if not n.startswith("target.")}
    assert {n: v.shape for n, v in mapped.items()} == ours
    assert dataclasses.asdict(PROFILES["paper"])["width"] == 1280


def test_released_checkpoints_have_three_parts():
    checkpoint = {
        "encoder": {"module.pos_embed": torch.zeros(1), "module.patch_embed.proj.bias": torch.zeros(2)},
        "target_encoder": {"module.blocks.0.attn.qkv.bias": torch.zeros(3)},
        "predictor": {"module.predictor_proj.bias": torch.zeros(4), "module.mask_token": torch.zeros(5)},
    }
    assert set(from_official(flattened(checkpoint))) == {
        "encoder.patch_embed.bias", "target.blocks.0.attn.qkv.bias", "predictor.proj.bias", "predictor.mask_token",
    }  # fmt: skip
    with pytest.raises(ValueError, match="none of"):
        from_official({"head.weight": torch.zeros(1)})
