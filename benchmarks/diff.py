"""Compare the speed of this working tree with another revision: REVISION BUILD_DIRECTORY PARAMS_FILE...

Both train and translate alternately, from the same artifacts and with the same settings and libraries. So a slowdown is
seen before it is merged, in spite of a machine whose speed varies.
"""

import subprocess
import sys
from pathlib import Path

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.params_file import read_params

from .__main__ import OUTPUT, ROOT, conditions, decode
from .experiment import TO_DECODE, Experiment
from .figures import Figure, asked_for, report
from .training import train

NEW, OLD = "this tree", "the revision"


def main() -> None:
    revision, build, *files = sys.argv[1:]
    experiment = Experiment(ROOT / build, read_params([Path(file) for file in files]))
    repeats, seconds = max(1, round(asked_for("REPEATS", 5))), asked_for("DURATION", 40)
    other = check_out(revision)
    experiment.check(TO_DECODE)
    trees = {NEW: ROOT, OLD: other}
    tokens: dict[str, list[float]] = {name: [] for name in trees}
    sentences: dict[str, dict[str, list[float]]] = {name: {"1": [], "5": []} for name in trees}
    those = experiment.test_sources()
    for turn in range(repeats):
        for name, root in trees.items():
            print(f"{turn + 1} of {repeats}: {name}", file=sys.stderr)
            speed = train(experiment.build, OUTPUT / "diff", experiment.params, {}, seconds, root)
            tokens[name] += [Figure("", "", speed.tokens_per_second).median]
            found = decode(experiment.artifact("model").directory, those, 1, root)
            for beam in sentences[name]:
                sentences[name][beam] += [len(those) / time for time in found["beams"][beam]["all"]]
    figures = compared("train", "target tokens/s", tokens[NEW], tokens[OLD])
    for beam, what in (("1", "greedy"), ("5", "beam 5")):
        figures += compared(f"translate, {what}", "sentences/s", sentences[NEW][beam], sentences[OLD][beam])
    title, about = f"Speed of {experiment.name}, and with the code of {revision}", conditions() | {"revision": revision}
    report(title, figures, about, OUTPUT / f"diff-{experiment.name}")


def compared(what: str, unit: str, new: list[float], old: list[float]) -> list[Figure]:
    """Return both speeds, and their ratio in each turn."""
    ratios = tuple(mine / its for mine, its in zip(new, old, strict=True))
    return [
        Figure(f"{what}, {NEW}", unit, tuple(new)),
        Figure(f"{what}, {OLD}", unit, tuple(old)),
        Figure(f"{what}, ratio", "times", ratios),
    ]


def check_out(revision: str) -> Path:
    """Check a revision out beside this tree, with the same libraries. Raise UserError if there is no such revision."""
    name = ["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    found = subprocess.run(name, capture_output=True, text=True, check=False)
    if found.returncode:
        raise UserError(f"REV: got {revision!r}, expected a commit, as in: make bench-diff REV=HEAD~1")
    directory = OUTPUT / "revisions" / found.stdout.strip()[:12]
    if not directory.exists():
        add = ["git", "worktree", "add", "--detach", str(directory), revision]
        subprocess.run(add, check=True, capture_output=True)
        for shared in (".venv", "build"):  # settings may name files in build/
            (directory / shared).symlink_to(ROOT / shared)
    return directory


if __name__ == "__main__":
    fail_clearly(main)
