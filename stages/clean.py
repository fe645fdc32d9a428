"""Delete an experiment's outputs: EXPERIMENT_DIRECTORY. Ask before deleting work in progress, unless $FORCE is 1."""

import sys
from pathlib import Path

from pipeline.experiments.unfinished import unfinished_work
from pipeline.plumbing.artifacts import experiment_option
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.disk import remove_directory, size_of, told_size
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.lock import hold
from stages.answers import is_forced, says_yes

DOWNLOADS = ("wheels", "hub")


def clean() -> None:
    home, forced = Path(sys.argv[1]), is_forced()
    if not home.is_dir():
        print(f"nothing to remove: there is no {home}")
        return
    with hold(home, "clean"):
        size = told_size(size_of(home))
        if work := unfinished_work(home):
            check_answer(home, work, forced)
        parts = ", ".join(sorted(path.name for path in home.iterdir() if path.is_dir()))
        remove_directory(home)
    print(f"removed {home}: {size}{f' ({parts})' if parts else ''}")
    downloads = [f"{home.parent / name} ({told_size(size_of(home.parent / name))})" for name in DOWNLOADS]
    print(
        f"what stays: MLflow's runs and registered versions (make versions{experiment_option(home.name)}), and the "
        f"downloads that experiments share: {', '.join(downloads)}"
    )


def check_answer(home: Path, work: list[str], forced: bool) -> None:
    """Raise UserError if there is work in progress and the user does not agree to delete it."""
    for line in work:
        print(f"{home} has {line}", flush=True)
    option = experiment_option(home.name)
    if not forced and not (answer := says_yes(f"Remove {home} with it?")):
        remedy = "" if answer is False else f"; make clean FORCE=1{option} removes it with all"
        raise UserError(f"{home} has work in progress, and nothing was removed{remedy}")


if __name__ == "__main__":
    fail_clearly(clean)
