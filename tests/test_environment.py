"""No environment variable changes a result: variables that would are removed, and the others stay."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import accelerate
import pytest

from pipeline.plumbing.environment import FAST, KEPT_PREFIXES, PREFIXES
from tests.project import ROOT, Finished

HOSTILE = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_MIXED_PRECISION": "fp16",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "FSDP_OFFLOAD_PARAMS": "true",
    "PYTORCH_JIT": "0",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "TORCH_MKLDNN_MATMUL_MIN_DIM": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":16:8",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "OPENBLAS_CORETYPE": "Prescott",
    "SACREBLEU_SEED": "7",
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3",
}
# Variables that stay and have no effect: places of files, the language, the order of hashes.
ELSEWHERE = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    "PYTHONHASHSEED": "7",
    "LC_ALL": "C",
    "TZ": "Asia/Kathmandu",
    "HF_DATASETS_IN_MEMORY_MAX_SIZE": "1000000000",
}
# Variables that Accelerate reads and that stay: processes, devices, other machines; backends that are not used here.
KNOWN = {
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "NPROC"),
    *(
        "OMP_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "FOO",  # in an example
        "FORK_LAUNCHED",
        "PMI_SIZE",
        "ACCELERATE_USE_CPU",
    ),
    *("ACCELERATE_CPU_AFFINITY", "ACCELERATE_LOG_LEVEL", "HF_HOME", "XDG_CACHE_HOME"),
    *("NCCL_P2P_DISABLE", "NCCL_IB_DISABLE", "TRANSFORMERS_NO_ADVISORY_WARNINGS", "USE_TORCH_XLA", "TPU_NAME"),
    *("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"),  # SageMaker's launcher
    *("CLEARML_TASK", "CLEARML_PROJECT", "MLFLOW_RUN_ID", "MLFLOW_TAGS", "MLFLOW_NESTED_RUN", "MLFLOW_EXPERIMENT_NAME"),
}


def seen_by_a_stage(given: dict[str, str], program: str = "import stages") -> tuple[dict[str, str], str]:
    """Return the environment of a stage's process, and its stderr."""
    code = f"{program}; import json, os; print(json.dumps(dict(os.environ)))"
    run = subprocess.run([sys.executable, "-c", code], env=given, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(run.stdout), run.stderr


def test_variables_that_change_results_are_removed_and_others_stay() -> None:
    steering = {
        "PATH": os.environ["PATH"],
        "CUDA_VISIBLE_DEVICES": "",
        "RANK": "0",
        "MASTER_ADDR": "10.0.0.1",
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "3",
        "NCCL_SOCKET_IFNAME": "eth0",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TORCHELASTIC_RESTART_COUNT": "1",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "ACCELERATE_USE_CPU": "true",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
        "HF_HOME": "/tmp/hf",
        "https_proxy": "http://127.0.0.1:3128",
    }
    left, _ = seen_by_a_stage(steering | HOSTILE)
    left.pop("LC_CTYPE", None)  # set by Python
    assert left == steering | FAST


def test_variables_that_make_computing_faster_are_set_unless_they_are_set_already() -> None:
    assert seen_by_a_stage({"PATH": os.environ["PATH"]})[0].items() >= FAST.items()
    chosen = dict.fromkeys(FAST, "7")
    assert seen_by_a_stage(chosen)[0].items() >= chosen.items()


def test_the_first_process_reports_removed_variables_in_one_line() -> None:
    program = "import stages; from pipeline.plumbing.environment import report_removed; report_removed()"
    given = {"PATH": os.environ["PATH"], "ACCELERATE_USE_FSDP": "true", "MKL_CBWR": "AVX"}
    _, told = seen_by_a_stage(given, program)
    assert told.startswith("ignored: ACCELERATE_USE_FSDP=true, MKL_CBWR=AVX; ")
    assert told.count("\n") == 1
    for other in ({"RANK": "1"}, {"RANK": "0", "PIPELINE_NPROC": "2"}):
        assert seen_by_a_stage(given | other, program)[1] == ""
    assert seen_by_a_stage({"PATH": os.environ["PATH"]}, program)[1] == ""


def test_every_variable_that_accelerate_reads_is_removed_or_known() -> None:
    """This fails if a new version of Accelerate reads another variable."""
    library = Path(accelerate.__file__).parent
    files = [file for file in library.rglob("*.py") if not {"test_utils", "commands"} & set(file.parts)]
    reads = re.compile(r"(?:environ(?:\.get\(|\[|\.pop\()|getenv\(|_from_env\()\s*\[?\s*f?[\"\']([A-Z][A-Z0-9_]+)")
    names = {name for file in files for name in reads.findall(file.read_text(encoding="utf-8"))}
    assert len(names) > 50
    assert {name for name in names if not name.startswith(PREFIXES) and name not in KNOWN} == set()
    assert {name for name in names if name.startswith(KEPT_PREFIXES)} <= KNOWN


@pytest.mark.slow
def test_a_hostile_environment_gives_the_same_weights(finished: Finished, tmp_path: Path) -> None:
    project = finished.copy_to(tmp_path)
    (project.build / "model").rename(project.build / "undisturbed")
    run = project.make("train", **HOSTILE, **ELSEWHERE)
    assert run.returncode == 0, run.stderr
    assert "ignored: ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4, " in run.stderr
    assert project.has_the_weights_of("undisturbed")


@pytest.mark.slow
def test_two_processes_ignore_a_hostile_environment_and_other_configuration_of_accelerate(
    finished: Finished, tmp_path: Path
) -> None:
    project = finished.copy_to(tmp_path)
    shutil.rmtree(project.build / "model")
    assert project.make("train", "NPROC=2").returncode == 0
    (project.build / "model").rename(project.build / "undisturbed")
    home = tmp_path / "home/.cache/huggingface/accelerate"
    home.mkdir(parents=True)
    (home / "default_config.yaml").write_text(
        "{compute_environment: LOCAL_MACHINE, distributed_type: NO, mixed_precision: fp16, num_processes: 1}"
    )
    run = project.make("train", "NPROC=2", HOME=str(tmp_path / "home"), **HOSTILE, **ELSEWHERE)
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("ignored: ") == 1
    assert project.has_the_weights_of("undisturbed")
