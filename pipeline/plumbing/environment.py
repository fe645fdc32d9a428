"""Which variables of the environment may steer a run. What would change its result is taken away.

Results follow from settings, code and inputs, which a stamp records. Accelerate, torch and the libraries beneath read
hundreds of variables, some of which change numbers: `ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4` quarters gradients,
`NVIDIA_TF32_OVERRIDE=1` their precision. So the variables of these families are removed, but for those listed here:

- where to compute: STEERING, and whatever has no family below, such as CUDA_VISIBLE_DEVICES, RANK and MASTER_ADDR;
- how to reach others, and where to keep files: NCCL_SOCKET_IFNAME, MLFLOW_TRACKING_URI, HF_HOME, proxies;
- how fast: OMP_NUM_THREADS and the like. Other numbers of threads add up in another order, which changes rounding.
"""

import os
import sys

# Beginnings of the names of variables that libraries take for settings.
FAMILIES = (
    *("ACCELERATE_", "FSDP_", "DEEPSPEED_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "PET_"),  # Accelerate, torchrun
    *("TORCH_", "PYTORCH_", "TORCHDYNAMO_", "TORCHINDUCTOR_", "ATEN_", "XLA_", "PJRT_", "PT_HPU_"),  # torch
    *("ONEDNN_", "DNNL_", "MKL_", "MKLDNN_", "OPENBLAS_", "BLIS_", "NPY_"),  # products on processors
    *("MIOPEN_", "ROCBLAS_", "HIPBLASLT_"),
    *("SACREBLEU_",),  # the seed of its intervals
    *("CUBLAS_", "CUBLASLT_", "CUDNN_", "NVIDIA_TF32_OVERRIDE", "NCCL_ALGO", "NCCL_PROTO"),  # and on GPUs
)
# Of these families: devices, threads, memory, transport, messages. They are left as they are.
STEERING = (
    *("ACCELERATE_USE_CPU", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_LOG_LEVEL"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NVML_BASED_CUDA_CHECK"),
    *("TORCH_CPP_LOG_LEVEL", "TORCH_LOGS", "TORCH_SHOW_CPP_STACKTRACES", "TORCH_HOME", "TORCH_DISTRIBUTED_DEBUG"),
    *("TORCH_NCCL_", "TORCH_GLOO_", "TORCH_FR_", "TORCH_ELASTIC_", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"),
    *("TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR"),
    *("MKL_NUM_THREADS", "MKL_DYNAMIC", "MKL_VERBOSE", "MKL_SERVICE_FORCE_INTEL", "MKL_THREADING_LAYER"),
    *("OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "CUDNN_PATH"),
)


removed: dict[str, str] = {}  # by this process, from its own environment


def remove_overrides() -> None:
    """Remove from this process's environment what would change a result. Before torch is imported, which reads it."""
    for name in [name for name in os.environ if name.startswith(FAMILIES) and not name.startswith(STEERING)]:
        removed[name] = os.environ.pop(name)


def tell_removed() -> None:
    """Say on stderr what was removed: the first process says it, and those that stages/launch.py starts do not."""
    if removed and os.environ.get("RANK", "0") == "0" and "PIPELINE_NPROC" not in os.environ:
        names = ", ".join(f"{name}={value:.40}" for name, value in sorted(removed.items()))
        print(f"ignored: {names}; a result would depend on it, and depends on params.yaml alone", file=sys.stderr)
