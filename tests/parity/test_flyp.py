"""FLYP against the authors' network and losses."""

import pytest
import torch
import torch.nn.functional as F

from tests.parity.helper import Spec
from vislab.papers.language.flyp import losses
from vislab.papers.language.flyp.card import PROFILES
from vislab.papers.language.flyp.model import build
from vislab.papers.language.flyp.official import from_official


@torch.no_grad()
def test_network_and_loss():
    spec = Spec("flyp")
    with torch.device("meta"):
        model = build(PROFILES["paper"])
    state = spec.state() | {"logit_scale": torch.tensor(spec.json["scalars"]["logit_scale"])}
    model.load_state_dict(from_official({f"model.{name}": value for name, value in state.items()}), assign=True)
    model.eval()
    inputs = spec.inputs(0)
    image, text, scale = model(inputs["image"], inputs["text"])
    loss = losses.flyp_loss(image, text, scale)
    found = {"image_features": image, "text_features": text, "logit_scale": scale[None], "flyp_loss": loss}
    found["raw_image_features"] = model.clip.visual(inputs["image"])
    spec.check(0, found, tuple(found))
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]


@pytest.mark.parametrize("case", [0, 1])
def test_losses(case):
    spec = Spec("flyp.loss")
    inputs = spec.inputs(case)
    image, text = F.normalize(inputs["image"], dim=-1), F.normalize(inputs["text"], dim=-1)
    label, scale = inputs["labels"], inputs["logit_scale"]
    found = {
        "flyp_loss": losses.flyp_loss(image, text, scale),
        "supervised_loss": losses.supervised_loss(image, text, scale, label),
        "masked_loss": losses.masked_loss(image, text, scale, label),
        "google_sup_loss": losses.pairwise_loss(image, text, scale, label),
    }
    spec.check(case, found)


def test_a_state_of_something_else_is_refused():
    with pytest.raises(ValueError, match="text_projection"):
        from_official({"conv1.weight": torch.zeros(1)})
