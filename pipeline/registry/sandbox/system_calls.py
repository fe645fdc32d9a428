"""Build a filter of system calls for seccomp(2). It prevents what namespaces and limits do not prevent.

A filtered program cannot make a user namespace, in which it could mount file systems. It cannot use memory that counts
for none of its processes. It cannot open sockets that a network namespace does not confine, such as AF_VSOCK, which
reaches the host of a virtual machine.
"""

import errno
import platform
import struct
from collections.abc import Sequence

# For each architecture: its number in the kernel's audits, then the numbers of clone, socket, socketpair, unshare,
# setns, memfd_create, shmget and msgget.
MACHINES = {
    "x86_64": (0xC000003E, 56, 41, 53, 272, 308, 319, 29, 68),
    "aarch64": (0xC00000B7, 220, 198, 199, 97, 268, 279, 194, 186),
}
# clone3 (libraries fall back to clone, whose flags a filter can read), io_uring_setup, memfd_secret.
EVERYWHERE = 435, 425, 447
OTHER_NUMBERS = 0x40000000  # numbers from here on stand for the same calls again (x32)
NEW_USER = 0x10000000  # a flag of clone
SOCKET_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # operations of classic BPF
CALL, MACHINE, FIRST = 0, 4, 16  # offsets in struct seccomp_data; FIRST is the lower half of the first argument
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000


def system_call_filter() -> bytes:
    """Return the filter for this machine, eight bytes for each step; empty if MACHINES lacks this architecture."""
    if platform.machine() not in MACHINES:
        return b""
    audit, clone, *sockets, unshare, setns, memfd_create, shmget, msgget = MACHINES[platform.machine()]
    families = [step for family in SOCKET_FAMILIES for step in _when(EQUAL, family, [_end(ALLOW)])]
    steps = [_step(LOAD, MACHINE), _step(EQUAL, audit, then=1), _end(KILL), _step(LOAD, CALL)]
    steps += _when(AT_LEAST, OTHER_NUMBERS, [_end(REFUSE | errno.ENOSYS)])
    for call in (*EVERYWHERE, unshare, setns, memfd_create, shmget, msgget):
        steps += _when(EQUAL, call, [_end(REFUSE | errno.ENOSYS)])
    for call in sockets:
        steps += _when(EQUAL, call, [_step(LOAD, FIRST), *families, _end(REFUSE | errno.EAFNOSUPPORT)])
    new_user = _when(ANY_BIT, NEW_USER, [_end(REFUSE | errno.EPERM)])
    steps += _when(EQUAL, clone, [_step(LOAD, FIRST), *new_user, _end(ALLOW)])
    return b"".join([*steps, _end(ALLOW)])


def _when(operation: int, value: int, steps: Sequence[bytes]) -> list[bytes]:
    """Return steps that run `steps` if `operation` holds for the loaded value and `value`, or else skip them."""
    return [_step(operation, value, otherwise=len(steps)), *steps]


def _end(answer: int) -> bytes:
    return _step(RETURN, answer)


def _step(operation: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    """Return a `struct sock_filter`. `then` and `otherwise` say how many steps to skip."""
    return struct.pack("=HBBI", operation, then, otherwise, value)
