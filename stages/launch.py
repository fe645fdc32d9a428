"""Start a stage in several processes through Accelerate's launcher, and print once how it ended.

python -m stages.launch --processes 8 --machines 4 --machine 0 --master host:29500 --restarts 3 stages.train ARGUMENT...

When a process dies, the launcher (torch.distributed's elastic agent) restarts all of them, up to `--restarts` times,
and they continue from the last checkpoint. Several machines connect to `--master` and wait for each other there. If a
machine is lost, the others wait for it again.
"""

import argparse
import logging
import os
import tempfile
from pathlib import Path

from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError

from pipeline.plumbing.command import fail_clearly
from pipeline.plumbing.environment import report_removed
from pipeline.plumbing.errors import UserError
from pipeline.plumbing.exit_status import EXIT_FILE, FAILED, ExitStatus, recorded_exit

JOIN_SECONDS = 900  # how long a machine waits for the others, at the start and after a machine was lost


def main() -> None:
    parser = argparse.ArgumentParser(prog="stages.launch", description=__doc__)
    parser.add_argument("--processes", type=int, required=True, help="on each machine")
    parser.add_argument("--machines", type=int, default=1)
    parser.add_argument("--machine", type=int, default=0, help="number of this machine")
    parser.add_argument("--master", default="", help="host:port of machine 0")
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("stage", help="module of the stage")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    call = parser.parse_args()
    report_removed()
    fail_clearly(lambda: _launch(call))


def _launch(call: argparse.Namespace) -> None:
    if call.machine >= call.machines:
        raise UserError(
            f"NODE_RANK: got {call.machine}, expected at most {call.machines - 1} with NODES={call.machines}"
        )
    logging.disable(logging.ERROR)  # the agent would log every failure at length; the failure is printed below, once
    arguments = launch_command_parser().parse_args(_launcher_options(call))
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= _environment(call, Path(scratch) / "exit")
        try:
            launch_command(arguments)
        except (ChildFailedError, SignalException, RendezvousError) as error:
            ended = recorded_exit() or _exit_status(error)
        else:
            return
        finally:
            del os.environ[EXIT_FILE]  # this process prints its own message
    ended.end()


def _environment(call: argparse.Namespace, exit_file: Path) -> dict[str, str]:
    """Return variables for the environment of the processes."""
    cores = os.cpu_count() or 1
    return {
        EXIT_FILE: str(exit_file),
        "PIPELINE_NPROC": str(call.processes * call.machines),
        # The processes share the cores, and each has at least one. By default torchrun gives each process one thread.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(-(-cores // call.processes))),
        "PET_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",  # and pass on: USR1 would kill the launcher
        # With the static rendezvous of torch 2.13, processes would look for dead processes after a restart. So c10d is
        # used, even on one machine, with a new store for every attempt.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    } | ({"PET_STANDALONE": "1"} if call.machines == 1 else {})


def _launcher_options(call: argparse.Namespace) -> list[str]:
    options = ["--config_file", "accelerate.yaml", "--num_processes", str(call.processes * call.machines)]
    options += ["--max_restarts", str(call.restarts)]
    if call.machines == 1:
        options += ["--main_process_port", "0"]
    else:
        host, port = _endpoint(call.master)
        options += ["--num_machines", str(call.machines), "--machine_rank", str(call.machine)]
        options += ["--main_process_ip", host, "--main_process_port", port, "--rdzv_backend", "c10d"]
        joining = {"is_host": call.machine == 0, "join_timeout": JOIN_SECONDS, "read_timeout": JOIN_SECONDS}
        options += ["--rdzv_conf", ",".join(f"{name}={value}" for name, value in joining.items())]
    return [*options, "-m", "stages.elastic_worker", call.stage, *call.arguments]


def _endpoint(master: str) -> tuple[str, str]:
    host, _, port = master.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65536):
        raise UserError(f"MASTER: got {master!r}, expected host:port of machine 0, as in: MASTER=10.0.0.1:29500")
    return host, port


def _exit_status(error: Exception) -> ExitStatus:
    """Return the exit status for an error whose reason no process could record."""
    if isinstance(error, SignalException):
        return ExitStatus(128 + error.sigval, f"stopped by {error.sigval.name}")
    if isinstance(error, ChildFailedError):
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            return ExitStatus(
                FAILED, f"error: process {rank} was killed by {failure.signal_name()}; no restarts are left"
            )
        return ExitStatus(1, _traceback(failure) + f"\nerror: process {rank} failed")
    return ExitStatus(FAILED, f"error: the machines could not connect to each other: {error}; start all of them again")


def _traceback(failure: ProcessFailure) -> str:
    recorded = failure.error_file_data.get("message", failure.message)
    return str(recorded["extraInfo"]["py_callstack"] if isinstance(recorded, dict) else recorded).rstrip()


if __name__ == "__main__":
    main()
