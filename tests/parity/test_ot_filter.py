"""The authors' network on rule v1 weights, and their filter: barycentres, plans and the labels read from them."""

import pytest
import torch

from tests.parity.helper import Spec
from vislab.papers.recognition.ot_filter.filters import barycentre, grouped_plan, propagated
from vislab.papers.recognition.ot_filter.model import PreActResNet
from vislab.papers.recognition.ot_filter.official import from_official


def test_outputs_of_the_authors_network():
    spec = Spec("ot_filter")
    model = PreActResNet(64, 2, 128, 10, activated=True).eval()
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]
    counters = {n: v for n, v in model.state_dict().items() if n.endswith("num_batches_tracked")}
    model.load_state_dict(from_official(spec.state()) | counters)
    for case in range(len(spec.json["cases"])):
        with torch.no_grad():
            logits, feature = model(spec.inputs(case)["x"])
        spec.check(case, {"logits": logits, "feature": feature})


@pytest.mark.parametrize("case", range(len(Spec("ot_filter.filter").json["cases"])))
def test_the_authors_filter(case):
    spec = Spec("ot_filter.filter")
    facts, given = spec.json["cases"][case], spec.inputs(case)
    k, classes, entropy = facts["k"], facts["classes"], facts["lambd"]
    points = given["features"].double()
    points = 4 * points / points.norm(dim=1, keepdim=True)
    cost, group = 5 * given["cost"].double(), torch.arange(classes).repeat_interleave(k)
    found = {
        "barycenters": barycentre(points, points[facts["start_points"]], entropy).T,
        "plan_lambd": grouped_plan(cost, group, classes, entropy),
        "plan_five": grouped_plan(cost, group, classes, 5.0),
    }
    probability, label = propagated(found["plan_lambd"], group, classes)
    spec.check(case, found | {"propagated_probability": probability}, only=(*found, "propagated_probability"))
    assert label.tolist() == facts["outputs"]["propagated_label"]["values"]


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"head\.weight"):
        from_official({"head.weight": torch.zeros(1)})
