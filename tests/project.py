"""Copies of this project, in which tests run Make and the real stages on the toy language."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.plumbing.artifacts import open_artifact
from pipeline.plumbing.command import TARGETS
from pipeline.plumbing.stamps import SECTIONS
from tests.toy_corpus import sentence_pairs, write_tsv

ROOT = Path(__file__).parent.parent
# Train for seconds, not until the language is learned, and with the cell and the precision of most experiments.
SHORTER = {"epochs: 6": "epochs: 3", "precision: fp32": "precision: auto", "cell: gru": "cell: lstm"}
FILES = [
    "Makefile",
    "accelerate.yaml",
    "params.yaml",
    "requirements.lock",
    "benchmarks",
    "experiments",
    "pipeline",
    "stages",
    "tests",
]
# A file in build/smoke that exists in the middle of each stage.
MIDDLE = {
    "download": "corpus.tmp",
    "tokenizer": "tokenizer.tmp",
    "encode": "encoded.tmp",
    "train": "model.training/checkpoints/*[0-9]/manifest.json",  # a whole checkpoint: scratch directories end in .tmp
    "evaluate": "evaluation.tmp/*.beam.txt",
    "register": "../mlartifacts/**/MLmodel",
}
NOTHING = "make: Nothing to be done for 'all'.\n"  # what `make` prints then
DIRECTORIES = {stage: directory for directory, stage in TARGETS.items()}
# Variables that `make test`, or the person who runs it, would pass on to the copy.
FOREIGN = (
    "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "EXP", "NPROC", "NODES", "NODE_RANK", "MASTER", "RESTARTS", "PYTHON", "TEXT",
    "DEBUG", "MLFLOW_TRACKING_URI", "PYTHONPATH",
)  # fmt: skip


@dataclass(frozen=True)
class Project:
    """A copy of the project with the smoke experiment, trained briefly. Its path has a space."""

    root: Path
    experiment: str = field(default="smoke", kw_only=True)
    data: str = field(default="", kw_only=True)  # the experiment under it
    devices: str = field(default="", kw_only=True)  # visible GPUs; none, so that all machines compute the same

    @property
    def build(self) -> Path:
        return self.root / "build" / "@".join(filter(None, (self.experiment, self.data)))

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
        ours = {"EXP": self.experiment, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return kept | ours | {"CUDA_VISIBLE_DEVICES": self.devices} | more

    def command(self, *arguments: str) -> list[str]:
        """Return the command `make ARGUMENTS` for the experiment, which is to run in `environment`."""
        return ["make", *([f"DATA={self.data}"] if self.data else []), *arguments]

    def make(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `make ARGUMENTS` for the experiment."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(**environment),
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=600,
        )

    def planned(self, target: str = "all") -> list[str]:
        """Return the stages that `make -n` would run."""
        return stages_in(self.make("-n", target).stdout)

    def told_stale(self) -> list[str]:
        """Return the stages that `make status` does not call fresh."""
        lines = self.make("status").stdout.splitlines()[1:]
        assert [line.split()[0] for line in lines] == list(SECTIONS)
        return [line.split()[0] for line in lines if line.split()[1] != "fresh"]

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file and make it newer than all others, also on file systems that store whole seconds."""
        self.age()
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text, f"{name} has no {old!r}"
        (self.root / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    def age(self) -> None:
        """Make every file two seconds older. Make sees no difference."""
        for path in self.root.rglob("*"):
            if path.is_file() and not path.is_symlink() and ".venv" not in path.parts:
                earlier = path.stat().st_mtime_ns - 2 * 10**9
                os.utime(path, ns=(earlier, earlier))

    def wait_for_checkpoint(self) -> None:
        """Wait until training, in another process, has saved a checkpoint."""
        deadline = time.monotonic() + 120
        while not any(self.build.glob(MIDDLE["train"])):
            assert time.monotonic() < deadline, "no checkpoint was saved"
            time.sleep(0.05)

    def has_the_weights_of(self, other: str) -> bool:
        """Return whether the model equals the one in the directory `other`, byte for byte."""
        model, others = ((self.build / name / "weights.safetensors").read_bytes() for name in ("model", other))
        return model == others

    def manifest(self, stage: str) -> Path:
        return self.build / DIRECTORIES[stage] / "manifest.json"

    def copy_to(self, directory: Path) -> "Project":
        return Project(Path(shutil.copytree(self.root, directory / "a copy", symlinks=True)))


def stages_in(output: str) -> list[str]:
    """Return the stages whose command lines are in Make's output."""
    return [stage for stage in re.findall(r" stages\.(\w+)", output) if stage in SECTIONS]


def new_project(directory: Path) -> Project:
    root = directory / "a project"
    root.mkdir()
    for name in FILES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / name)
    # A virtual environment for the copy, which shares the libraries of the one that runs the tests.
    (root / ".venv").mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (root / ".venv" / part).symlink_to(Path(sys.prefix) / part)
    project = Project(root)
    project.age()
    (root / ".venv/.installed").touch()
    experiment = root / "experiments/smoke.yaml"
    text = experiment.read_text(encoding="utf-8")
    for old, new in SHORTER.items():
        assert old in text
        text = text.replace(old, new)
    experiment.write_text(text, encoding="utf-8")
    write_tsv(root / "build/smoke-corpus/train.tsv", sentence_pairs(2400))
    return project


@dataclass(frozen=True)
class Kill:
    """A `make` that was killed in the middle of a stage, and the artifacts that it left."""

    stage: str
    log: str
    whole: dict[str, int]  # stage -> time of its artifact's manifest, for those that exist
    planned: list[str]
    status: str


@dataclass(frozen=True)
class Finished(Project):
    """A project in which `make -j2` was killed in training and then ran to its end. To change it, use `copy_to`."""

    kill: Kill
    log: str  # output of the last make


def finish(project: Project) -> Finished:
    kill = kill_in(project, "train")
    run = project.make("-j2")
    assert run.returncode == 0, run.stdout + run.stderr
    return Finished(project.root, kill, run.stdout + run.stderr)


def kill_in(project: Project, stage: str, sign: str | None = None) -> Kill:
    """Start `make -j2`. Kill it with all its processes when a file shows that `stage` has begun and not ended."""
    log = project.root / "killed.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(
            project.command("-j2"),
            cwd=project.root,
            env=project.environment(),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    while process.poll() is None:
        if any(project.build.glob(sign or MIDDLE[stage])) or project.manifest(stage).exists():
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.001)
    assert process.wait() == -signal.SIGKILL, f"make ended before it was killed in {stage}"
    whole = {s: project.manifest(s).stat().st_mtime_ns for s in SECTIONS if project.manifest(s).exists()}
    for made in whole:
        open_artifact(project.build / DIRECTORIES[made], made)  # checks the digest of every file
    return Kill(stage, log.read_text(encoding="utf-8"), whole, project.planned(), project.make("status").stdout)
