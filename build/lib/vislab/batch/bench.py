"""The paper-scale step benchmark of many papers, one record a device."""

import json
import platform
from typing import Any

import torch

from vislab import registry
from vislab.batch.scale import paper_step
from vislab.engine.files import write_atomically
from vislab.engine.records import results_folder, versions
from vislab.engine.run import device_type
from vislab.errors import UserError


def bench(slugs: tuple[str, ...], device: str = "auto") -> list[dict[str, Any]]:
    """Measure each paper's step and merge the rows into results/bench/<device name>.json."""
    rows = [paper_step(s, device) for s in slugs if registry.card(s).trains]
    name = torch.cuda.get_device_name() if device_type(device) == "cuda" else f"cpu-{platform.machine()}"
    path = results_folder() / "bench" / f"{name.lower().replace(' ', '-')}.json"
    try:
        content = json.loads(path.read_text()) if path.exists() else {"device": name, "papers": {}}
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete it and measure again") from error
    content["versions"] = versions()
    for row in rows:
        content["papers"][row["slug"]] = {k: v for k, v in row.items() if k != "slug"}
    write_atomically(path, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    return rows
