"""The authors' GFL head with sparse convolutions, rule v1 weights: outputs with and without noise, and every loss."""

import pytest
import torch

from tests.parity.helper import Spec
from vislab.nn.detection import expected_distance, flatten_levels
from vislab.papers.perception.ceasc.card import PROFILES
from vislab.papers.perception.ceasc.losses import detection_losses, masking_loss
from vislab.papers.perception.ceasc.model import SparseHead
from vislab.papers.perception.ceasc.official import from_official

CONFIG = PROFILES["paper"]


@pytest.fixture(scope="module")
def loaded():
    spec = Spec("ceasc.head")
    with torch.device("meta"):
        head = SparseHead(CONFIG)
    assert sum(p.numel() for p in head.parameters()) == spec.json["parameters"]
    state = spec.state() | {name: torch.tensor(value) for name, value in spec.json["scalars"].items()}
    head.load_state_dict(from_official(state), assign=True)
    return spec, head


@pytest.mark.parametrize("case", [0, 1])
def test_outputs_and_losses_of_the_authors_head(loaded, case):
    spec, head = loaded
    inputs = spec.inputs(case)
    features = [inputs[f"feat_{k}"] for k in range(5)]
    head.eval()
    with torch.no_grad():
        found = head(features)
    outputs = {f"cls_{k}": found.scores[k] for k in range(5)} | {f"reg_{k}": found.sides[k] for k in range(5)}
    outputs["active_ratio_eval"] = torch.stack([m.mean(dim=(0, 2, 3)) for m in found.masks]).flatten()
    outputs["integral"] = expected_distance(flatten_levels(found.sides[:1])[0], CONFIG.reg_max + 1)
    spec.check(case, outputs, only=tuple(outputs))

    head.train()
    with torch.no_grad():
        trained = head(features, noise=[inputs[f"noise_{k}"] for k in range(5)])
    height, width = (8 * side for side in features[0].shape[-2:])
    u = inputs["boxes"]
    middle = u[..., :2] * torch.tensor([width, height])
    size = 8 + 56 * u[..., 2:4]
    boxes = torch.cat([middle - size / 2, middle + size / 2], dim=-1)
    losses = detection_losses(CONFIG, trained, boxes, (10 * u[..., 4]).floor().long())
    active = torch.stack([m.sum(dim=(0, 2, 3)) for m in trained.masks])
    positions = torch.cat([active[:, :1].expand(-1, 4), active[:, 1:].expand(-1, 4), active], dim=1)
    totals = sum(10 * m[:, 0].numel() for m in trained.masks)
    cost = masking_loss(trained.masks, losses["shares"])
    outputs = {f"train_cls_{k}": trained.scores[k] for k in range(2)}
    outputs |= {f"train_reg_{k}": trained.sides[k] for k in range(2)}
    outputs |= {
        "active_positions": positions,
        "normalisation_mse": trained.mismatch,
        "loss_cls": losses["classes"],
        "loss_bbox": 2 * losses["boxes"],
        "loss_dfl": 0.25 * losses["sides"],
        "loss_sparsity_gn_cost": torch.stack([cost, 10 * trained.mismatch.mean(), positions.sum() / totals]),
    }
    spec.check(case, outputs, only=tuple(outputs))


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"neck\.weight"):
        from_official({"neck.weight": torch.zeros(1)})
