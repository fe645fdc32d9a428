"""requirements.lock -> .venv, once, however many makes want it. Runs on the bare Python, with nothing installed yet."""

import fcntl
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

LOCK, PROJECT, ENVIRONMENT = Path("requirements.lock"), Path("pyproject.toml"), Path(".venv")
INSTALLED = ENVIRONMENT / ".installed"  # what Make compares in time with LOCK


def main() -> None:
    version = sys.version_info[:2]
    if not (3, 11) <= version < (3, 15):
        told = ".".join(map(str, version))
        fail(f"{sys.executable} is Python {told}, this needs 3.11 to 3.14; name one: make PYTHON=/path/to/it")
    if ENVIRONMENT.is_symlink():
        fail(".venv is a link; installing would empty what it leads to: remove it")
    with open(".venv.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another make, which installs .venv", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_fresh():
            install()


def is_fresh() -> bool:
    """Whether .venv was made while this process waited."""
    return INSTALLED.exists() and INSTALLED.stat().st_mtime_ns >= LOCK.stat().st_mtime_ns


def install() -> None:
    print(f"installing {LOCK} into {ENVIRONMENT}", file=sys.stderr)
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(ENVIRONMENT)
    # --no-deps: the lock is whole but for torch, which some of its packages require and pip then checks last of all.
    pip_install(str(LOCK), "--require-hashes", "--no-deps", "-r", str(LOCK))
    pip_install(PROJECT.name, *torch())
    INSTALLED.touch()


def pip_install(what: str, *arguments: str) -> None:
    pip = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "install", "-q", *arguments]
    if subprocess.run(pip, stdout=sys.stderr, check=False).returncode:
        fail(f"pip could not install {what}, see above; mend that and run make again")


def torch() -> list[str]:
    """Return the project's requirement of torch. It has no digest: which build fits is the machine's choice."""
    import tomllib  # not in the Pythons that main() refuses

    requirements = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [requirement for requirement in requirements if requirement.startswith("torch==")]


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
