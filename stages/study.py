"""Train the model family on the data of one experiment, and write the page that compares its members.

Arguments: MAKE BUILD_DIRECTORY PARAMS_FILE...  Each member is trained and evaluated by Make, which does only what is
stale. So an interrupted study goes on where it stopped.
"""

import shutil
import sys
from pathlib import Path

from mlflow.exceptions import MlflowException

from pipeline.experiments.catalogue import experiment_of
from pipeline.plumbing.artifacts import experiment_option
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.lock import hold
from pipeline.plumbing.params_file import read_params
from pipeline.study.files import write_numbers
from pipeline.study.log import log_study
from pipeline.study.members import check_members, home_of, open_family, study_command, work
from pipeline.study.page import PAGE, write_page
from pipeline.study.results import Results, measure
from pipeline.study.trainings import Trainings


def study() -> None:
    make, directory, *files = sys.argv[1:]
    home, paths = Path(directory), list(map(Path, files))
    data = experiment_of(paths)
    if "@" in data:
        raise UserError(f"study: lays each member over one experiment; type: make study EXP={data.split('@')[1]}")
    settings = read_params(paths).study
    names = check_members(paths, settings.experiments)
    longest_first = sorted(names, key=lambda name: work(paths, name), reverse=True)  # the last should not run alone
    trainings = Trainings(make, {name: experiment_option(home_of(name, data)) for name in longest_first})
    if status := trainings.run():
        print(f"study: {trainings.told or 'stopped'}; to continue, run: {study_command(data)}", flush=True)
        sys.exit(status)
    family = open_family(home.parent, names, data)
    results = measure(family, data, settings, lambda part: print(f"study: {part}", flush=True))
    with hold(home, "study"):
        write_files(home / "study", results)
    print(f"study: wrote {home / 'study' / PAGE}, with its figures as PNG and its numbers as CSV and JSON")
    try:
        log_study(home.parent, family, results, home / "study")
    except (UserError, MlflowException) as error:  # the study itself is complete
        print(f"study: MLflow does not have it, because {first_line(error)}; to log it, run: {study_command(data)}")


def write_files(output: Path, results: Results) -> None:
    """Write the page, figures and numbers into a scratch directory, and put it in the place of `output`."""
    scratch, old = output.with_name("study.tmp"), output.with_name("study.old")
    for path in (scratch, old):
        shutil.rmtree(path, ignore_errors=True)
    scratch.mkdir()
    write_numbers(scratch, results)
    write_page(scratch, results)
    if output.exists():
        output.rename(old)
    scratch.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


if __name__ == "__main__":
    fail_clearly(study)
