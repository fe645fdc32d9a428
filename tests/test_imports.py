"""Check which stage imports which slow library, and in which direction packages import each other."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.plumbing.imports import imported_files

# Seconds each, warm: 0.9, 0.9, 0.5, 1.4, 0.8 and 1.1.
HEAVY = ("accelerate", "datasets", "matplotlib", "mlflow", "sklearn", "torch")
NEEDED = {
    "download": set(),
    "tokenizer": set(),
    "encode": set(),
    "train": {"accelerate", "mlflow", "torch"},
    "evaluate": {"accelerate", "matplotlib", "sklearn", "torch"},
    "register": {"mlflow"},
    "translate": {"torch"},
    "attention": {"matplotlib", "torch"},
    "export": {"torch"},
    "launch": {"accelerate", "torch"},
    "elastic_worker": set(),
    "sync": {"mlflow"},
    "server": {"mlflow"},
    "serve": {"mlflow"},
    "review": {"mlflow", "matplotlib"},
    "promote": {"mlflow"},
    "rollback": {"mlflow"},
    "versions": {"mlflow"},
    "clean": set(),
    "compare": set(),
    "gc": set(),
    "experiments": set(),
    "install": set(),
    "stamp": set(),
    "study": {"matplotlib", "mlflow", "torch"},
    "status": set(),
    "summary": set(),
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", NEEDED)
def test_a_stage_imports_only_the_slow_libraries_that_it_needs(stage: str) -> None:
    code = f"import sys, stages.{stage}; print(*(m for m in {HEAVY} if m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert set(run.stdout.split()) == NEEDED[stage]


def test_a_package_imports_only_those_before_it() -> None:
    """plumbing, which cannot change a result, comes first."""
    order = [
        "plumbing",
        "data",
        "seq2seq",
        "scoring",
        "training",
        "registry",
        "reviews",
        "service",
        "export",
        "experiments",
        "study",
    ]
    library = Path(__file__).parent.parent / "pipeline"
    for file in library.rglob("*.py"):
        directory = file.relative_to(library).parts[0]
        known = order[: order.index(directory) + 1] if directory in order else [directory, "plumbing"]
        needed = {f.relative_to(library).parts[0] for f in imported_files(file)}
        assert {name for name in needed if not name.endswith(".py")} <= set(known), file


def test_every_script_in_stages_is_checked() -> None:
    scripts = {
        path.stem
        for path in (Path(__file__).parent.parent / "stages").glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert scripts == set(NEEDED)
