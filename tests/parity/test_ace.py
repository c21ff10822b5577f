"""ACE against the authors' network, with homogeneous coordinates and without."""

import dataclasses

import pytest
import torch

from tests.parity.helper import Spec
from vislab.papers.geometry.ace.card import PROFILES
from vislab.papers.geometry.ace.model import build
from vislab.papers.geometry.ace.official import from_official, joined


@pytest.mark.parametrize(("name", "homogeneous"), [("ace", True), ("ace.euclidean", False)])
@torch.no_grad()
def test_network(name, homogeneous):
    spec = Spec(name)
    model = build(dataclasses.replace(PROFILES["paper"], homogeneous=homogeneous)).eval()
    model.load_state_dict(from_official(spec.state()))
    for case in range(len(spec.json["cases"])):
        (grey,) = spec.inputs(case).values()
        features = model.backbone(grey)
        spec.check(case, {"features": features, "scene_coordinates": model.head(features)})
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(spec.json["parameters"], abs=10)


def test_released_files_have_no_prefixes():
    state = joined({"conv1.bias": torch.zeros(1)}, {"fc3.bias": torch.zeros(4), "h_beta": torch.zeros(1)})
    assert set(from_official(state)) == {"backbone.stem.0.bias", "head.out.bias"}
    with pytest.raises(ValueError, match="neither"):
        from_official({"encoder.fc.bias": torch.zeros(1)})
