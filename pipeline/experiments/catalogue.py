"""List the experiments of a project, and the files with the settings of each."""

from pathlib import Path

DEFAULT = "default"
SETTINGS = Path("params.yaml")


def all_experiments(root: Path) -> list[str]:
    """Return the names that EXP may have: the default one, then those of experiments/*.yaml."""
    named = {path.stem for path in (root / "experiments").glob("*.yaml")} - {DEFAULT}
    return [DEFAULT, *sorted(named)]


def settings_files(root: Path, name: str) -> list[Path]:
    """Return the files with an experiment's settings. Each replaces settings of the files before it."""
    return [root / SETTINGS, *([] if name == DEFAULT else [root / f"experiments/{name}.yaml"])]
