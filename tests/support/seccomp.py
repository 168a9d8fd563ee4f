"""`seccomp.py CALL ERROR COMMAND...`: run a command under a filter that denies one system call.

    CALL   the name of a system call, or `NAME:ARGUMENT=VALUE` for those calls alone whose argument
           (0 is the first) has this value
    ERROR  what a call of it fails with: EPERM, ENOSYS

The filter is inherited by everything that the command starts. Source: seccomp(2), and the kernel's
Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {
        "setitimer": 38,
        "fcntl": 72,
        "prctl": 157,
        "waitid": 247,
        "prlimit64": 302,
        "pidfd_send_signal": 424,
        "pidfd_open": 434,
    },
    "i386": {
        "setitimer": 104,
        "fcntl": 221,  # fcntl64, which glibc calls
        "prctl": 172,
        "waitid": 284,
        "prlimit64": 340,
        "pidfd_send_signal": 424,
        "pidfd_open": 434,
    },
    "aarch64": {
        "setitimer": 103,
        "fcntl": 25,
        "prctl": 167,
        "waitid": 95,
        "prlimit64": 261,
        "pidfd_send_signal": 424,
        "pidfd_open": 434,
    },
}
"""The numbers of the calls, by machine: asm/unistd.h."""

MACHINE = "i386" if sys.maxsize < 2**32 else platform.machine()
"""A 32-bit interpreter makes the calls of its own machine, also under a kernel of 64 bits."""

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000


def deny(call: str, error: int) -> None:
    """Have the kernel fail each such call of this process, and of what it starts, from now on."""
    name, _, condition = call.partition(":")
    program = [(_LOAD, 0, 0, 0), (_JUMP_IF_EQUAL, 0, 1, NUMBERS[MACHINE][name])]
    if condition:
        argument, _, value = condition.partition("=")
        # The lower half of a 64-bit argument; each of these machines is little-endian.
        program = [
            (_LOAD, 0, 0, 0),
            (_JUMP_IF_EQUAL, 0, 3, NUMBERS[MACHINE][name]),
            (_LOAD, 0, 0, 16 + 8 * int(argument)),
            (_JUMP_IF_EQUAL, 0, 1, int(value)),
        ]
    program += [(_RETURN, 0, 0, _ERROR | error), (_RETURN, 0, 0, _ALLOW)]
    code = b"".join(struct.pack("HBBI", *step) for step in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) or libc.prctl(
        _PR_SET_SECCOMP, ctypes.c_ulong(_FILTER), head, zero, zero
    ):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")


if __name__ == "__main__":
    _, call, error, *command = sys.argv
    deny(call, getattr(errno, error))
    os.execvp(command[0], command)
