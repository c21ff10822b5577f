"""Device, precision and threads, through Accelerate."""

import os
from typing import TYPE_CHECKING

from vislab.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

DEVICES = ("auto", "cpu", "cuda")


def check_device(device: str) -> None:
    """Raise UserError for an unknown device, or for CUDA where there is none."""
    if device not in DEVICES:
        raise UserError(f"unknown device {device!r}; known: {', '.join(DEVICES)}")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise UserError(
                "device 'cuda' was asked for, but torch finds no CUDA device; use --device cpu or --device auto"
            )


def accelerator(device: str = "auto", precision: str = "no") -> "Accelerator":
    """An Accelerator for `device` ("auto", "cpu" or "cuda") and `precision` ("no", "fp16" or "bf16").

    CPU runs use one thread, or what OMP_NUM_THREADS says.
    Raises UserError when CUDA is asked for and there is none.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    check_device(device)
    cpu = device == "cpu" or not torch.cuda.is_available()
    if cpu:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if PartialState._shared_state and (PartialState().device.type == "cpu") != cpu:
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=cpu, mixed_precision=precision)
