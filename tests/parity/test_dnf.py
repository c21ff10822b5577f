"""The authors' networks for Bayer and X-Trans, rule v1 weights, same outputs."""

import dataclasses

import pytest
import torch

from tests.parity.helper import Spec
from vislab.papers.restoration.dnf.card import PROFILES
from vislab.papers.restoration.dnf.model import build
from vislab.papers.restoration.dnf.official import from_official


@pytest.mark.parametrize(("name", "block_size"), [("dnf", 2), ("dnf.fuji", 3)])
def test_outputs_of_the_authors_network(name, block_size):
    spec = Spec(name)
    model = build(dataclasses.replace(PROFILES["paper"], block_size=block_size)).eval()
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]
    model.load_state_dict(from_official(spec.state()))
    for case in range(len(spec.json["cases"])):
        with torch.no_grad():
            spec.check(case, model(spec.inputs(case)["x"]))


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"backbone\.conv"):
        from_official({"backbone.conv.weight": torch.zeros(1)})
