"""List the experiments of a project, and the files with the settings of each.

An experiment is named after its file in experiments/. `name@data` is experiments/name.yaml laid over
experiments/data.yaml: make EXP=name DATA=data.
"""

from collections.abc import Sequence
from pathlib import Path

DEFAULT = "default"
SETTINGS = Path("params.yaml")


def all_experiments(root: Path, build: Path) -> list[str]:
    """Return the default experiment, those of experiments/*.yaml, and each `name@data` that has outputs in `build`."""
    named = {path.stem for path in (root / "experiments").glob("*.yaml") if "@" not in path.stem} - {DEFAULT}
    laid = {path.name for path in build.glob("*@*/") if named.issuperset(path.name.split("@"))}
    return [DEFAULT, *sorted(named | laid)]


def settings_files(root: Path, name: str) -> list[Path]:
    """Return the files with an experiment's settings. Each replaces settings of the files before it."""
    layers = [] if name == DEFAULT else reversed(name.split("@"))
    return [root / SETTINGS, *(root / f"experiments/{layer}.yaml" for layer in layers)]


def experiment_of(files: Sequence[Path]) -> str:
    """Return the name of the experiment with the settings in `files`, as `settings_files` returns them."""
    return "@".join(file.stem for file in reversed(files[1:])) or DEFAULT
