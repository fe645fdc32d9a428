"""List the files that no experiment needs, and delete them after a yes or with $FORCE=1: BUILD_DIRECTORY"""

import shutil
import sys
from collections import defaultdict
from contextlib import nullcontext, suppress
from pathlib import Path

from pipeline.experiments.catalogue import all_experiments, settings_files
from pipeline.experiments.garbage import Garbage, experiment_directories, find_garbage
from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.disk import remove_directory, size_of, told_size
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.lock import hold
from pipeline.plumbing.params import DownloadSettings
from pipeline.plumbing.params_file import read_params
from pipeline.plumbing.text_table import aligned
from stages.answers import is_forced, says_yes


def gc() -> None:
    build, forced = Path(sys.argv[1]), is_forced()
    found = look(build)
    print("\n".join(describe(found)), flush=True)
    if not found.free:
        return
    answer = forced or says_yes("Remove all of it?")
    if answer:
        remove(build, found)
    else:
        print("nothing was removed" + ("" if answer is False else "; make gc FORCE=1 removes it"))


def look(build: Path) -> Garbage:
    """Find the files that nothing needs. Raise UserError if settings or MLflow's store cannot be read."""
    root = Path()
    experiments: dict[str, DownloadSettings] = {}
    for name in all_experiments(root, build):
        # An experiment that can no longer be laid over another one is treated as one without a file.
        with suppress(UserError) if "@" in name else nullcontext():
            experiments[name] = read_params(settings_files(root, name)).download
    without_file = [home.name for home in experiment_directories(build) if home.name not in experiments]
    return find_garbage(build, experiments, registered(build) if without_file else {})


def registered(build: Path) -> dict[str, list[str]]:
    """Return the registered versions of each experiment, found by their tags and by their runs."""
    from pipeline.plumbing.tracking.local_store import sqlite_path  # these import MLflow, which is slow
    from pipeline.plumbing.tracking.store import open_store, tracking_uri
    from pipeline.registry.versions import makers

    database = sqlite_path(tracking_uri(build))
    if database and not database.exists():
        return {}
    found: dict[str, list[str]] = defaultdict(list)
    for version, names in makers(open_store(build)):
        for name in names:
            found[name].append(version)
    return found


def describe(found: Garbage) -> list[str]:
    """Return a list of the files that would be deleted, with sizes, and of the files that stay."""
    lines = []
    if found.free:
        sizes = {path: size_of(path) for path in found.free}
        lines += [f"nothing needs these, {told_size(size_of(*found.free))}:"]
        lines += aligned([(told_size(sizes[path]), str(path), why) for path, why in found.free.items()])
    else:
        lines += ["nothing to free"]
    if found.kept:
        lines += ["kept:", *aligned([(str(path), why) for path, why in found.kept.items()])]
    return lines


def remove(build: Path, listed: Garbage) -> None:
    """Delete the listed files that are still not needed. Hold the lock of each experiment meanwhile."""
    free = [path for path in look(build).free if path in listed.free]
    homes = experiment_directories(build)
    for path in free:
        home = next((home for home in homes if path.is_relative_to(home)), None)
        with hold(home, "gc") if home else nullcontext():
            if path == home:
                remove_directory(path)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    print(f"removed {len(free)} of {len(listed.free)}")


if __name__ == "__main__":
    fail_clearly(gc)
