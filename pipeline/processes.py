"""Set up the processes of a stage (their number, device and precision), and add numbers over all of them.

The Makefile starts the processes with Accelerate's launcher. The trainer and decoding divide the work among them.
"""

import atexit
import os
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor

from .plumbing.errors import UserError
from .plumbing.made_with import vendor

# How long an exchange between processes waits for a missing process. It must be longer than anything that the main
# process does alone while the others wait, such as writing a checkpoint or scoring a test set.
TIMEOUT = timedelta(minutes=10)


def join_processes(precision: str, expected: int) -> Accelerator:
    """Return the Accelerator of this process, which is one of `expected` processes.

    `precision` is auto, bf16 or fp32. Raise UserError if another number of processes was started, if this machine has
    fewer GPUs than processes, or if bf16 was requested and the machine does not support it.
    """
    if precision == "auto":
        precision = "bf16" if is_bf16_faster() else "fp32"
    if precision == "bf16" and not has_bf16():
        raise UserError("train.precision: got bf16, which this machine does not support; set it to auto or fp32")
    _check_gpus(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    accelerator = Accelerator(
        # Several processes on the CPU do not find each other without this. In the launcher's configuration it would
        # apply to machines with GPUs too.
        cpu=expected > 1 and not torch.cuda.is_available(),
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=TIMEOUT)],
    )
    atexit.register(accelerator.end_training)  # otherwise gloo's threads abort the process at its end
    if accelerator.num_processes != expected:
        raise UserError(
            f"{accelerator.num_processes} processes were started, {expected} expected; start them with make, "
            f"NPROC={expected}"
        )
    return accelerator


def sum_over_processes(accelerator: Accelerator, numbers: Tensor) -> Tensor:
    """Return the sum of `numbers` over all processes. Each process gives a tensor of the same shape."""
    if accelerator.num_processes == 1:
        return numbers
    total: Tensor = accelerator.reduce(numbers, "sum")
    return total


def machine(accelerator: Accelerator) -> dict[str, Any]:
    """Return the device, precision, threads and processes of this computation, for an artifact's manifest."""
    return {
        "device": torch.cuda.get_device_name() if accelerator.device.type == "cuda" else accelerator.device.type,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "precision": {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision),
        "threads": torch.get_num_threads(),
        "processes": accelerator.num_processes,
    }


def make_gpu_deterministic() -> None:
    """Make a GPU add numbers in the same order in every run, as CPUs do. Call this before its first operation."""
    if torch.cuda.is_available():
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)


def has_bf16() -> bool:
    """Return whether the GPU, or else the CPU, has instructions for bf16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def is_bf16_faster() -> bool:
    """Return whether the GPU, or else the CPU, multiplies matrices in bf16 faster than in fp32.

    Intel's processors are fast in bf16 only with AMX, which virtual machines often hide. Their other instructions for
    bf16 reached two thirds of the speed of fp32 (docs/performance.md), while AMD's reach a multiple. A rule decides and
    not a measurement, because the same machine must always train the same model.
    """
    if torch.cuda.is_available() or torch.cpu._is_amx_tile_supported():
        return has_bf16()
    return has_bf16() and vendor() != "GenuineIntel"


def _check_gpus(processes: int) -> None:
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        raise UserError(
            f"{processes} processes need one GPU each, but this machine has {gpus}; lower NPROC, or hide the GPUs with "
            "CUDA_VISIBLE_DEVICES= to run on the CPU"
        )
