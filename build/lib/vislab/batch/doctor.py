"""What a machine needs to run vislab, and whether it has it."""

import importlib.util
import os
import shutil
import sys
from dataclasses import dataclass

from vislab.datasets.base import root
from vislab.engine.records import runs_folder


@dataclass(frozen=True)
class Check:
    """One finding; `needed` says whether vislab cannot run without it."""

    what: str
    ok: bool
    found: str
    advice: str = ""
    needed: bool = True


def checks() -> list[Check]:
    """Every check, in the order in which a user would mend things."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = [Check("Python", sys.version_info[:2] in ((3, 11), (3, 12)), version, "use Python 3.11 or 3.12")]
    import torch
    import torchvision

    pair = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    try:
        kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([0.9, 0.8]), 0.5)
        works = kept.tolist() == [0]
    except (RuntimeError, AttributeError) as error:
        works, pair = False, f"{pair}: {error}"
    advice = "install both in one call: pip install --force-reinstall torch torchvision"
    found.append(Check("torchvision operators", works, pair, advice))
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: everything runs on the CPU"
    found.append(Check("CUDA device", torch.cuda.is_available(), cuda, needed=False))
    for extra, modules in {
        "book": ("jupyter_book", "jupytext", "papermill", "jupyter_cache"),
        "test": ("pytest", "nbval", "playwright"),
        "raw": ("rawpy",),
        "lpips": ("lpips",),
        "ray": ("ray",),
    }.items():
        lacking = [m for m in modules if importlib.util.find_spec(m) is None]
        text = f"lacks {', '.join(lacking)}" if lacking else "all there"
        found.append(Check(f"extra [{extra}]", not lacking, text, f"pip install 'vislab[{extra}]'", needed=False))
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    found.append(Check("browser for the book's tests", browser is not None, browser or "none", needed=False))
    runs = runs_folder()
    place = next(p for p in (runs, *runs.absolute().parents) if p.exists())
    writable = os.access(place, os.W_OK)
    found.append(Check("runs folder", writable, str(runs), f"make {place} writable or set VISLAB_RUNS"))
    found.append(Check("data folder", root().is_dir(), str(root()), needed=False))
    return found
