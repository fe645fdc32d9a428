"""Confine this process, then replace it by the program to run: python -I -S -B confine.py PLAN.

isolation.py writes the plan. With namespaces, the process gets its own file system, which has only what it may read and
a scratch directory of bounded size. It sees no other processes. The limits hold with and without namespaces. This
module imports only the standard library.
"""

import ctypes
import json
import os
import platform
import resource
import select
import signal
import sys
from glob import glob
from typing import Any

RDONLY, NOSUID, NODEV, BIND, REC, PRIVATE = 1, 2, 4, 4096, 16384, 1 << 18  # mount(2)
DETACH = 2  # umount2(2)
MOUNT_SETATTR, RECURSIVE = 442, 0x8000  # mount_setattr(2), since Linux 5.12; the same number on every machine
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
SET_PDEATHSIG, CAPBSET_DROP, SET_SECCOMP, SET_NO_NEW_PRIVS, LAST_CAPABILITY = 1, 24, 22, 38, 64  # prctl(2)
FILTER = 2  # of PR_SET_SECCOMP
JOIN_SESSION_KEYRING = 1  # keyctl(2)
KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
# Programs and libraries; devices that every program may use, and GPUs.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store", "/sys/devices/system")
SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*", "dxg", "kfd", "dri")

LIBC = ctypes.CDLL(None, use_errno=True)


def main(text: str) -> None:
    plan: dict[str, Any] = json.loads(text)
    for name, most in plan["limits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if plan["root"]:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")  # the kernel kills this process first when memory runs out
        LIBC.syscall(KEYCTL[platform.machine()], JOIN_SESSION_KEYRING, None)  # a new keyring: the user's holds secrets
        _enter(plan)
        _lose_privileges(plan["user"])
        _filter_calls(bytes.fromhex(plan["filter"]))
    os.chdir(plan["scratch"])
    if sys.platform == "linux":
        _call("prctl", SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # ends when its parent ends
    if _has_lost_its_parent():  # the parent ended before prctl, so no signal will come
        sys.exit(1)
    os.execvp(plan["command"][0], plan["command"])


def _enter(plan: dict[str, Any]) -> None:
    """Mount a file system with the paths that may be seen, make it the root, and unmount the old one."""
    root, scratch = plan["root"], plan["scratch"]
    os.umask(0o022)
    _call("mount", None, b"/", None, REC | PRIVATE, None)
    _mount_tmpfs(root, plan["scratch_bytes"])
    for path in (*SYSTEM, *SYSTEM_FILES):
        _show(path, root)
    for path in plan["hidden"]:  # the user's directories inside the directories that are shown
        if os.path.isdir(root + path):
            _mount_tmpfs(root + path, plan["scratch_bytes"])
    for path in (*plan["read"], *(path for device in DEVICES for path in glob(f"/dev/{device}"))):
        _show(path, root)
    for path in ("/proc", scratch):
        os.makedirs(root + path, exist_ok=True)
    _freeze(root)
    # Read-only for root too: /proc/sys and /proc/sysrq-trigger belong to the whole system.
    _call("mount", b"proc", (root + "/proc").encode(), b"proc", RDONLY | NOSUID | NODEV, None)
    _mount_tmpfs(root + scratch, plan["scratch_bytes"], mode="1777")
    os.chdir(root)
    _call("syscall", PIVOT_ROOT[platform.machine()], b".", b".")  # the old root is now mounted over the new one
    _call("umount2", b".", DETACH)


def _lose_privileges(user: int | None) -> None:
    """Become `user`, if one is given, and drop all capabilities. They are gone after the next exec."""
    for capability in range(LAST_CAPABILITY):
        LIBC.prctl(CAPBSET_DROP, capability, 0, 0, 0)  # fails for capabilities unknown to this kernel
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _call("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _filter_calls(steps: bytes) -> None:
    """Install the filter of system_calls.py. It cannot be removed."""

    class Program(ctypes.Structure):  # struct sock_fprog
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    if steps:
        _call("prctl", SET_SECCOMP, FILTER, ctypes.byref(Program(len(steps) // 8, steps)), 0, 0)


def _has_lost_its_parent() -> bool:
    """Return whether the other end of standard input is closed."""
    poll = select.poll()
    poll.register(0, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _show(path: str, root: str) -> None:
    """Bind-mount a file or a directory at the same path below `root`. A symbolic link stays a symbolic link."""
    inside = root + path
    if os.path.lexists(inside) or not os.path.exists(path):
        return
    os.makedirs(os.path.dirname(inside), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), inside)
        return
    if os.path.isdir(path):
        os.mkdir(inside)
    else:
        open(inside, "wb").close()
    _call("mount", path.encode(), inside.encode(), None, BIND | REC, None)


def _freeze(path: str) -> None:
    """Make the file systems at `path` and below read-only. Devices there still work."""
    attributes = (ctypes.c_uint64 * 4)(RDONLY | NOSUID, 0, 0, 0)  # to set, to clear, propagation, user namespace
    _call("syscall", MOUNT_SETATTR, -100, path.encode(), RECURSIVE, attributes, ctypes.c_size_t(32))


def _mount_tmpfs(path: str, size: int, mode: str = "755") -> None:
    options = f"size={size},nr_inodes=20000,mode={mode}"
    _call("mount", b"tmpfs", path.encode(), b"tmpfs", NOSUID | NODEV, options.encode())


def _call(name: str, *arguments: object) -> None:
    if getattr(LIBC, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name} {arguments}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1])
