"""Owns how a stage's processes are set up: how many, on what device, in which precision.

Who starts them is Accelerate's launcher (see the Makefile); what they do is the trainer's and decoding's.
"""

import atexit
from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from .errors import UserError

# Longer than what the main process does alone, with the others waiting: a checkpoint, a test set's scores
TIMEOUT = timedelta(minutes=10)  # of one exchange between processes: the longest that a lost one is waited for


def join_processes(precision: str, expected: int) -> Accelerator:
    """This process's Accelerator, one of `expected`; UserError if the launcher started another number."""
    if precision == "auto":
        precision = "bf16" if has_bf16() else "fp32"
    accelerator = Accelerator(
        # Said by the launcher's configuration, it would hold for machines with GPUs too; unsaid, each process is alone.
        cpu=expected > 1 and not torch.cuda.is_available(),
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=TIMEOUT)],
    )
    atexit.register(accelerator.end_training)  # gloo's threads abort a process that ends without it
    if accelerator.num_processes != expected:
        raise UserError(
            f"{accelerator.num_processes} processes were started, {expected} expected; start them with make, "
            f"NPROC={expected}"
        )
    return accelerator


def has_bf16() -> bool:
    """Whether this machine multiplies matrices in bf16 faster than in fp32: a GPU's or a processor's instructions."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
