"""Owns how a stage's processes are set up: how many, on what device, in which precision.

Who starts them is Accelerate's launcher (see the Makefile); what they do is the trainer's and decoding's.
"""

import atexit
import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from .plumbing.errors import UserError

# Longer than what the main process does alone, with the others waiting: a checkpoint, a test set's scores
TIMEOUT = timedelta(minutes=10)  # of one exchange between processes: the longest that a lost one is waited for


def join_processes(precision: str, expected: int) -> Accelerator:
    """This process's Accelerator, one of `expected`.

    UserError if the launcher started another number, or if the machine has no GPU for each, or no such precision.
    """
    if precision == "auto":
        precision = "bf16" if has_bf16() else "fp32"
    if precision == "bf16" and not has_bf16():
        raise UserError(
            "train.precision: got bf16, which neither a GPU nor the processor here has; set it to auto or fp32"
        )
    _check_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
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


def machine(accelerator: Accelerator) -> dict[str, Any]:
    """What this process computes with, for an artifact's manifest."""
    return {
        "device": torch.cuda.get_device_name() if accelerator.device.type == "cuda" else accelerator.device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision),
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
    }


def add_in_one_order() -> None:
    """Have a GPU add up in the same order each time, as processors do. Before its first product."""
    if torch.cuda.is_available():
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)


def has_bf16() -> bool:
    """Whether this machine multiplies matrices in bf16 faster than in fp32: a GPU's or a processor's instructions."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _check_gpus(processes: int) -> None:
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        raise UserError(
            f"{processes} processes need a GPU each, and this machine has {gpus}; lower NPROC, or hide the GPUs with "
            "CUDA_VISIBLE_DEVICES= to run on the processor"
        )
