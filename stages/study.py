"""Train the model family on the data of one experiment, and write the page that compares its members.

Arguments: MAKE BUILD_DIRECTORY PARAMS_FILE...  Each member is trained and evaluated by Make, which does only what is
stale. So an interrupted study goes on where it stopped.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from signal import SIGINT, SIGTERM, SIGUSR1

from mlflow.exceptions import MlflowException

from pipeline.experiments.catalogue import experiment_of
from pipeline.plumbing.artifacts import experiment_option
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.lock import hold
from pipeline.plumbing.params_file import read_params
from pipeline.study.files import write_numbers
from pipeline.study.log import log_study
from pipeline.study.members import check_members, home_of, open_family, study_command
from pipeline.study.page import PAGE, write_page
from pipeline.study.results import Results, measure


def study() -> None:
    make, directory, *files = sys.argv[1:]
    home, paths = Path(directory), list(map(Path, files))
    data = experiment_of(paths)
    if "@" in data:
        raise UserError(f"study: lays each member over one experiment; type: make study EXP={data.split('@')[1]}")
    settings = read_params(paths).study
    names = check_members(paths, settings.experiments)
    for number, name in enumerate(names, 1):
        print(f"study: {number} of {len(names)}: {name}", flush=True)
        evaluate(make, home_of(name, data), study_command(data))
    family = open_family(home.parent, names, data)
    results = measure(family, data, settings, lambda part: print(f"study: {part}", flush=True))
    with hold(home, "study"):
        write_files(home / "study", results)
    print(f"study: wrote {home / 'study' / PAGE}, with its figures as PNG and its numbers as CSV and JSON")
    try:
        log_study(home.parent, family, results, home / "study")
    except (UserError, MlflowException) as error:  # the study itself is complete
        print(f"study: MLflow does not have it, because {first_line(error)}; to log it, run: {study_command(data)}")


def evaluate(make: str, experiment: str, command: str) -> None:
    """Bring a member's evaluation up to date. If that fails or is interrupted, exit with Make's status.

    A signal is for the training: it saves a checkpoint, which takes a moment, and ends. Ctrl-C reaches it from the
    terminal.
    """
    option = experiment_option(experiment)
    child = subprocess.Popen([make, "evaluate", *option.split()])
    handlers = {number: lambda received, frame: child.send_signal(received) for number in (SIGTERM, SIGUSR1)}
    handlers[SIGINT] = lambda received, frame: None
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    status = child.wait()
    for number, handler in before.items():
        signal.signal(number, handler)
    if status:
        print(f"study: make evaluate{option} ended with status {status}; to continue, run: {command}", flush=True)
        sys.exit(status if status > 0 else 128 - status)


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
