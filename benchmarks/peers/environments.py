"""Install each peer in an environment of its own, which also sees the libraries of this project, such as torch."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from pipeline.plumbing.errors import UserError

REQUIREMENTS = Path(__file__).parent


def python_of(peer: str, directory: Path) -> Path:
    """Return the Python of the environment of `peer` in `directory`. Install the environment first if it is missing."""
    requirements, home = REQUIREMENTS / f"{peer}.txt", directory / peer
    python, installed = home / "bin" / "python", home / "installed.txt"
    if installed.exists() and installed.read_bytes() == requirements.read_bytes():
        return python
    print(f"installing {peer} into {home}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    venv.EnvBuilder(symlinks=True, with_pip=True).create(home)
    install = [str(python), "-m", "pip", "install", "-q", "--no-deps", "-r", str(requirements)]
    if subprocess.run(install, stdout=sys.stderr, check=False).returncode:
        raise UserError(f"PEERS: pip could not install {peer}, see above")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    ours = home / "lib" / version / "site-packages" / "libraries_of_this_project.pth"
    ours.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    shutil.copyfile(requirements, installed)
    return python
