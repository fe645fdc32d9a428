"""Remove the environment variables that would change a result, and set those that make computing faster.

A result depends on settings, code and inputs, which a stamp records. But Accelerate, torch and the libraries below them
read hundreds of variables, and some change numbers: `ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4` quarters gradients, and
`NVIDIA_TF32_OVERRIDE=1` lowers their precision. So all variables of these libraries are removed, except for those that
say

- where to compute: those in KEPT_PREFIXES, and others without a prefix below, such as CUDA_VISIBLE_DEVICES and RANK;
- how to reach servers and where to keep files: NCCL_SOCKET_IFNAME, MLFLOW_TRACKING_URI, HF_HOME, proxies;
- how fast to compute: OMP_NUM_THREADS and others. With another number of threads, numbers are added in another order,
  which changes rounding.
"""

import os
import sys

# Prefixes of variables that libraries read as settings.
PREFIXES = (
    *("ACCELERATE_", "FSDP_", "DEEPSPEED_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "PET_"),  # Accelerate, torchrun
    *("TORCH_", "PYTORCH_", "TORCHDYNAMO_", "TORCHINDUCTOR_", "ATEN_", "XLA_", "PJRT_", "PT_HPU_"),  # torch
    *("ONEDNN_", "DNNL_", "MKL_", "MKLDNN_", "OPENBLAS_", "BLIS_", "NPY_"),  # products of matrices on processors
    *("MIOPEN_", "ROCBLAS_", "HIPBLASLT_"),
    *("SACREBLEU_",),  # the seed of its confidence intervals
    *("CUBLAS_", "CUBLASLT_", "CUDNN_", "NVIDIA_TF32_OVERRIDE", "NCCL_ALGO", "NCCL_PROTO"),  # products on GPUs
)
# Prefixes of variables that are kept: devices, threads, memory, transport, messages.
KEPT_PREFIXES = (
    *("ACCELERATE_USE_CPU", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_LOG_LEVEL"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NVML_BASED_CUDA_CHECK"),
    *("TORCH_CPP_LOG_LEVEL", "TORCH_LOGS", "TORCH_SHOW_CPP_STACKTRACES", "TORCH_HOME", "TORCH_DISTRIBUTED_DEBUG"),
    *("TORCH_NCCL_", "TORCH_GLOO_", "TORCH_FR_", "TORCH_ELASTIC_", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"),
    *("TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR"),
    *("MKL_NUM_THREADS", "MKL_DYNAMIC", "MKL_VERBOSE", "MKL_SERVICE_FORCE_INTEL", "MKL_THREADING_LAYER"),
    *("OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "CUDNN_PATH", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"),
)

# Variables that are set, unless they are set already. After each operation, threads wait busily for the next one. By
# default they do so for milliseconds, so two trainings beside each other would have a quarter of the speed each; with
# 1000 turns they have half. oneDNN, and torch's layer above it, keep prepared operations for each shape of a batch with
# their memory, 1024 each by default. With 32 for each core, training in bf16 takes less than half the memory.
OPERATIONS = str(32 * (os.cpu_count() or 1))
FAST = {
    "GOMP_SPINCOUNT": "1000",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": OPERATIONS,
    "LRU_CACHE_CAPACITY": OPERATIONS,
}

removed: dict[str, str] = {}  # what this process removed from its environment


def prepare_environment() -> None:
    """Remove the variables that would change a result, and set those in FAST. Call this before importing torch."""
    for name in [name for name in os.environ if name.startswith(PREFIXES) and not name.startswith(KEPT_PREFIXES)]:
        removed[name] = os.environ.pop(name)
    for name, value in FAST.items():
        os.environ.setdefault(name, value)


def report_removed() -> None:
    """Print the removed variables on stderr, once. Processes that stages/launch.py has started print nothing."""
    if removed and os.environ.get("RANK", "0") == "0" and "PIPELINE_NPROC" not in os.environ:
        names = ", ".join(f"{name}={value:.40}" for name, value in sorted(removed.items()))
        print(f"ignored: {names}; results depend on params.yaml, not on these variables", file=sys.stderr)
