"""Installation happens once, even if several makes run, and needs a Python without packages."""

import hashlib
import os
import re
import subprocess
import sys
import time
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipeline.plumbing.imports import imported_modules
from tests.project import ROOT

# The Python that this environment was made with; it cannot import what pip installed.
BARE = [sys._base_executable, "stages/install.py"]  # type: ignore[attr-defined]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A project without requirements."""
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").write_text(
        "[project]\ndependencies = ['torch==0; sys_platform == \"none\"']\n", encoding="utf-8"
    )
    (tmp_path / "stages").symlink_to(ROOT / "stages")
    return tmp_path


def run(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(BARE, cwd=directory, capture_output=True, text=True)


@pytest.mark.slow
def test_of_two_installations_at_once_one_waits_for_the_other(directory: Path) -> None:
    both = [subprocess.Popen(BARE, cwd=directory, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = "".join(process.communicate()[1] for process in both)
    assert [process.returncode for process in both] == [0, 0], told
    assert told.count("installing requirements.lock") == 1
    assert subprocess.run([directory / ".venv/bin/python", "-m", "pip", "--version"], check=False).returncode == 0


@pytest.mark.slow
def test_an_interrupted_installation_is_repeated_and_a_complete_one_is_not(directory: Path) -> None:
    process = subprocess.Popen(BARE, cwd=directory)
    while not (directory / ".venv/bin").exists():
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (directory / ".venv/.installed").exists()
    assert run(directory).returncode == 0
    made = (directory / ".venv/.installed").stat().st_mtime_ns
    assert run(directory).stderr == ""
    assert (directory / ".venv/.installed").stat().st_mtime_ns == made
    os.utime(directory / "requirements.lock", ns=(made + 10**9, made + 10**9))
    assert "installing requirements.lock" in run(directory).stderr


def test_the_target_of_a_link_is_not_deleted(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "kept").touch()
    (directory / ".venv").symlink_to(elsewhere)
    done = run(directory)
    assert (done.returncode, done.stderr.count("error: .venv is a symbolic link")) == (2, 1)
    assert (elsewhere / "kept").exists()


def test_an_error_of_pip_is_reported_and_the_next_make_tries_again(directory: Path) -> None:
    (directory / "requirements.lock").write_text("./not-there\n", encoding="utf-8")
    done = run(directory)
    assert done.returncode == 2
    assert "error: pip could not install requirements.lock" in done.stderr
    assert not (directory / ".venv/.installed").exists()


@pytest.mark.slow
def test_a_package_with_another_sha256_is_refused(directory: Path) -> None:
    wheel = directory / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing.py", "")
        archive.writestr("thing-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1\n")
        archive.writestr("thing-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nTag: py3-none-any\n")
        archive.writestr("thing-1.dist-info/RECORD", "")
    lock = directory / "requirements.lock"
    lock.write_text(f"--no-index\n--find-links {directory}\nthing==1 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    done = run(directory)
    assert (done.returncode, "error: pip could not install requirements.lock" in done.stderr) == (2, True)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(lock.read_text(encoding="utf-8").replace("0" * 64, digest), encoding="utf-8")
    assert run(directory).returncode == 0


def test_every_locked_requirement_has_its_digests() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    requirements = [line for line in lines if not line.startswith("#")]
    assert len(requirements) > 100
    assert [line for line in requirements if not re.search(r"==\S+( +--hash=sha256:[0-9a-f]{64})+$", line)] == []


def test_the_lock_holds_what_the_project_requires() -> None:
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [Requirement(line) for line in project["project"]["dependencies"] + project["dependency-groups"]["dev"]]
    pinned = {canonicalize_name(it.name): str(it.specifier).removeprefix("==") for it in declared}
    assert pinned.pop(canonicalize_name("torch"))
    assert pinned.items() <= locked.items()


def test_every_imported_package_is_a_requirement() -> None:
    """No import works only because another package requires the imported one. Peers are installed for benchmarks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    dependencies, development = project["project"]["dependencies"], project["dependency-groups"]["dev"]
    optional = [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    peers = [
        line
        for file in (ROOT / "benchmarks/peers").glob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    owners = metadata.packages_distributions()
    for folders, declared in (
        (("pipeline", "stages"), dependencies + optional),
        (("tests", "benchmarks"), dependencies + optional + development + peers),
    ):
        files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
        modules = {module for file in files for module in imported_modules(file)} - {
            "pipeline",
            "stages",
            "tests",
            "benchmarks",
        }
        names = {canonicalize_name(Requirement(line).name) for line in declared}
        assert [
            module
            for module in sorted(modules)
            if not names & {canonicalize_name(o) for o in owners.get(module, [module])}
        ] == []
