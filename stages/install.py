"""Install requirements.lock into .venv, once, even if several makes run at the same time. This needs only Python."""

import fcntl
import subprocess
import sys
import venv
from pathlib import Path
from typing import NoReturn

LOCK, PROJECT, ENVIRONMENT = Path("requirements.lock"), Path("pyproject.toml"), Path(".venv")
INSTALLED = ENVIRONMENT / ".installed"  # Make compares its time with that of LOCK


def main() -> None:
    version = sys.version_info[:2]
    if not (3, 11) <= version < (3, 15):
        found = ".".join(map(str, version))
        fail(f"{sys.executable} is Python {found}, expected 3.11 to 3.14; name one, as in: make PYTHON=/path/to/python")
    if ENVIRONMENT.is_symlink():
        fail(".venv is a symbolic link, and installing would delete the files behind it; remove the link")
    with open(".venv.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another make, which is installing .venv", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_fresh():
            install()


def is_fresh() -> bool:
    """Return whether .venv was installed while this process waited."""
    return INSTALLED.exists() and INSTALLED.stat().st_mtime_ns >= LOCK.stat().st_mtime_ns


def install() -> None:
    print(f"installing {LOCK} into {ENVIRONMENT}", file=sys.stderr)
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(ENVIRONMENT)
    # --no-deps: the lock is complete except for torch, which is installed last. pip would report it as missing here.
    pip_install(str(LOCK), "--require-hashes", "--no-deps", "-r", str(LOCK))
    pip_install(PROJECT.name, *torch())
    INSTALLED.touch()


def pip_install(what: str, *arguments: str) -> None:
    pip = [str(ENVIRONMENT / "bin/python"), "-m", "pip", "install", "-q", *arguments]
    if subprocess.run(pip, stdout=sys.stderr, check=False).returncode:
        fail(f"pip could not install {what}, see above; correct that and run make again")


def torch() -> list[str]:
    """Return the project's requirement of torch. It has no digest, because torch's build depends on the machine."""
    import tomllib  # missing in Pythons that main() refuses

    requirements = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [requirement for requirement in requirements if requirement.startswith("torch==")]


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
