"""From working records to the published ones under results/, and the verdicts on the way."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from vislab import registry
from vislab.batch.book import make_thumbnail
from vislab.cards import claims_hash
from vislab.engine.collect import Collected, collect
from vislab.engine.files import write_atomically
from vislab.engine.records import (
    Published,
    artifact_path,
    canonical,
    pack_picture,
    published_path,
    read_tensors,
    results_folder,
    write_tensors,
)
from vislab.engine.run import as_dict
from vislab.errors import UserError

ARTIFACTS_LIMIT = 60_000
RECORD_LIMIT = 20_000


def round_six(value: Any) -> Any:
    """`value` with every float at six significant digits and infinities as None, through lists and dicts."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: round_six(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [round_six(v) for v in value]
    return value


def publish(slug: str, profile: str, device: str = "auto") -> Path:
    """Write results/<profile>/<slug>.json and its artifacts; raises UserError when runs are missing or a comparison is unclean."""
    found = collect(registry.card(slug), registry.module(slug, "experiment"), profile, device)
    if found.missing:
        names = ", ".join(sorted({u.arm for u in found.missing}))
        raise UserError(
            f"{slug} lacks {len(found.missing)} runs at {profile} ({names}); run: vislab reproduce {slug} --profile {profile}"
        )
    if any(not r.clean for r in found.records):
        raise UserError(f"the comparison of {slug} was measured under load; run it again on an idle machine")
    first = found.records[0]
    folder = profile if not (first.device == "cuda" and profile == "tutorial") else "gpu"
    content = Published(
        slug=slug,
        profile=profile,
        device=first.device,
        device_name=first.device_name,
        threads=first.threads,
        versions=first.versions,
        code_hash=first.code_hash,
        claims_hash=claims_hash(found.card),
        seeds=list(found.seeds),
        config=as_dict(found.card.profile(profile)),
        arms=found.arms,
        compare=found.compare,
        claims=[{k: v for k, v in dataclasses.asdict(j).items() if k != "says"} for j in found.judged],
        cpu_seconds=sum(r.seconds for r in found.records),
    )
    text = (canonical(round_six(content.model_dump())) + "\n").encode()
    if len(text) > RECORD_LIMIT:
        raise UserError(f"the published record of {slug} would weigh {len(text)} bytes; the limit is {RECORD_LIMIT}")
    _publish_artifacts(found, folder)
    path = published_path(folder, slug)
    write_atomically(path, text)
    picture = make_thumbnail(slug, profile)
    if picture is not None:
        write_atomically(path.with_suffix(".webp"), picture)
    return path


def _publish_artifacts(found: Collected, folder: str) -> None:
    tensors = {}
    for record in found.records:
        path = artifact_path(record.slug, record.key)
        if record.seed == found.seeds[0] and path.exists():
            for name, value in read_tensors(path).items():
                if value.ndim == 3 and value.shape[-1] == 3 and value.element_size() == 1:
                    tensors[f"{record.arm}/{name}.webp"] = pack_picture(value)
                else:
                    tensors[f"{record.arm}/{name}"] = value
    if not tensors:
        return
    size = sum(v.numel() * v.element_size() for v in tensors.values())
    if size > ARTIFACTS_LIMIT:
        raise UserError(
            f"the artifacts of {found.card.slug} weigh {size} bytes together; the limit is {ARTIFACTS_LIMIT}: store fewer or smaller ones"
        )
    write_tensors(results_folder() / folder / f"{found.card.slug}.safetensors", tensors)


def run_json(found: Collected) -> dict[str, Any]:
    """What `vislab run --json` prints."""
    return round_six(
        {
            "slug": found.card.slug,
            "profile": found.profile,
            "arms": found.arms,
            "compare": found.compare,
            "claims": [dataclasses.asdict(j) for j in found.judged],
        }
    )
