"""Run a real SLURM cluster on loopback, in a temporary directory, with the installed programs."""

import getpass
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.mlflow_server import unused_port
from tests.project import ROOT, Project

SCRIPT = ROOT / "cluster/slurm.sh"
NODES = ("127.0.0.1", "127.0.0.2")  # both are this machine, and need no name server
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
# Changes of the script for this machine, which is small and has no GPU.
OPTIONS = ["--nodes=2", "--gpus-per-node=0", "--cpus-per-task=1", "--time=20", "--output=job.log"]
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}({address})
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={directory}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={directory}
SlurmdSpoolDir={directory}/%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1
ReturnToService=2
MailProg=/bin/true
NodeName={nodes[0]} NodeHostname={host} NodeAddr={address} Port={ports[1]} CPUs=2
NodeName={nodes[1]} NodeHostname={host} NodeAddr={address} Port={ports[2]} CPUs=2
PartitionName=all Nodes=ALL Default=YES
"""


class Slurm:
    """A running cluster of two nodes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def call(self, *command: str, **more: Any) -> str:
        """Return the output of a command, which must succeed."""
        environment = more.pop("env", os.environ) | {"SLURM_CONF": f"{self.directory}/slurm.conf"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, **more)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return str(done.stdout).strip()

    def submit(self, project: Project) -> str:
        """Submit cluster/slurm.sh in the project and return the job's number. Its output goes to job.log there."""
        command = ["sbatch", "--parsable", *OPTIONS, str(SCRIPT)]
        return self.call(*command, cwd=project.root, env=project.environment())

    def told(self, job: str) -> dict[str, str]:
        """Return SLURM's record of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.call("scontrol", "show", "job", job)))

    def wait(self, job: str) -> dict[str, str]:
        """Return SLURM's record of a job when it has ended. A job that is queued again is released at once."""
        deadline = time.monotonic() + 120
        while (told := self.told(job))["JobState"] not in ENDED:
            assert time.monotonic() < deadline, f"job {job} is {told['JobState']}"
            time.sleep(2)  # a node rejects a job that comes back within a second of its end
            if told["JobState"] == "PENDING" and told["Restarts"] != "0":
                with suppress(AssertionError):  # it may have just left the queue, or not have entered it yet
                    self.call("scontrol", "update", f"JobId={job}", "StartTime=now")
        return told


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    host, address = find_programs()
    directory = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has at most 107 characters
    ports = [unused_port() for _ in range(3)]
    settings = {"host": host, "address": address, "user": getpass.getuser(), "nodes": NODES, "ports": ports}
    (directory / "slurm.conf").write_text(CONFIGURATION.format(directory=directory, **settings), encoding="utf-8")
    (directory / "munge.key").write_bytes(secrets.token_bytes(64))
    os.chmod(directory / "munge.key", 0o600)
    for node in NODES:
        (directory / node).mkdir()
    slurm = Slurm(directory)
    try:
        files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        slurm.call("munged", "--force", *(f"--{option}={directory / name}" for option, name in files.items()))
        slurm.call("slurmctld")
        for node in NODES:
            slurm.call("slurmd", "-N", node)
        _wait_for_nodes(slurm)
        yield slurm
    finally:
        with suppress(AssertionError):
            slurm.call("scancel", f"--user={getpass.getuser()}")
        _stop(directory)
        shutil.rmtree(directory)


def find_programs() -> tuple[str, str]:
    """Return this machine's name and address; skip the test where SLURM is not installed or has no loopback."""
    for program in ("munged", "slurmctld", "slurmd", "sbatch"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} (Debian: apt-get install slurm-wlm munge)")
    host = socket.gethostname().partition(".")[0]
    with suppress(OSError):
        if (address := socket.gethostbyname(host)).startswith("127."):
            return host, address
    pytest.skip(f"{host} is no name of this machine's loopback: SLURM would listen to others")


def _wait_for_nodes(slurm: Slurm) -> None:
    deadline = time.monotonic() + 30
    while slurm.call("sinfo", "--noheader", "--format=%D %t") != "2 idle":
        assert time.monotonic() < deadline, (slurm.directory / "slurmctld.log").read_text(encoding="utf-8")
        time.sleep(0.2)


def _stop(directory: Path) -> None:
    """End the daemons, nodes first. Each removes its file with the process number when it ends."""
    files = [directory / f"{name}.pid" for name in (*NODES, "slurmctld", "munged")]
    for path in files:
        if not path.exists():
            continue
        process = int(path.read_text())
        os.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while Path(f"/proc/{process}").exists():
            if time.monotonic() > deadline:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.1)
