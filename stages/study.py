"""Train the model family on the data of one experiment, and write the page that compares its members.

Arguments: MAKE BUILD_DIRECTORY PARAMS_FILE...  Each member is trained and evaluated by Make, which does only what is
stale. So an interrupted study goes on where it stopped.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.experiments.catalogue import experiment_of
from pipeline.plumbing.artifacts import experiment_option
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params_file import read_params
from pipeline.study.files import write_numbers
from pipeline.study.log import log_study
from pipeline.study.members import check_members, home_of, open_family
from pipeline.study.page import PAGE, write_page
from pipeline.study.results import measure


def study() -> None:
    make, directory, *files = sys.argv[1:]
    home, paths = Path(directory), list(map(Path, files))
    data = experiment_of(paths)
    if "@" in data:
        raise UserError(f"study: lays each member over one experiment; type: make study EXP={data.split('@')[1]}")
    settings = read_params(paths).study
    check_members(paths, settings.experiments)
    command = "make study" + ("" if data == "study" else f" EXP={data}")
    for number, name in enumerate(settings.experiments, 1):
        print(f"study: {number} of {len(settings.experiments)}: {name}", flush=True)
        evaluate(make, home_of(name, data), command)
    family = open_family(home.parent, settings.experiments, data)
    results = measure(family, data, settings, lambda part: print(f"study: {part}", flush=True))
    output = home / "study"
    home.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="study.", suffix=".tmp", dir=home) as scratch:
        written = Path(scratch) / "study"
        written.mkdir()
        write_numbers(written, results)
        write_page(written, results)
        shutil.rmtree(output, ignore_errors=True)
        written.rename(output)
    print(f"study: wrote {output / PAGE}, with its figures as PNG and its numbers as CSV and JSON")
    log_study(home.parent, family, results, output)


def evaluate(make: str, experiment: str, command: str) -> None:
    """Bring a member's evaluation up to date. Exit with Make's status if that fails or is interrupted."""
    option = experiment_option(experiment)
    done = subprocess.run([make, "evaluate", *option.split()])
    if done.returncode:
        print(f"study: make evaluate{option} ended with status {done.returncode}; to continue, run: {command}")
        sys.exit(done.returncode)


if __name__ == "__main__":
    fail_clearly(study)
