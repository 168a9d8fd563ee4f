"""Finds the processes that listen on a TCP port: for the error about a taken port, and for `ps`."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator

from .. import platform
from ..model.roles import CHILD
from ..untrusted import printable
from . import discovery, strays

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

Address: TypeAlias = "tuple[str, int]"
"""A host, and a TCP port."""


def listening(pids: Iterable[int]) -> dict[int, list[int]]:
    """The TCP ports on which each process listens, as far as this process may see them."""
    listeners = _listeners()
    return {
        pid: sorted({listeners[inode].port for inode in _sockets(pid) if inode in listeners})
        for pid in pids
    }


def holders(address: Address) -> list[int]:
    """The pids of the processes whose sockets keep others from listening on an address, as far as
    this process may inspect them."""
    inodes = set(_in_the_way(address))
    return [pid for pid in platform.table() if inodes & set(_sockets(pid))]


class Listener:
    """A listening socket.

    Args:
        address: its address, in 16 bytes.
        port: its port.
        uid: the user who created it.
    """

    def __init__(self, address: bytes, port: int, uid: int) -> None:
        self.address, self.port, self.uid = address, port, uid


def _in_the_way(address: Address) -> dict[str, Listener]:
    """The sockets that keep others from listening on an address, by inode.

    A socket on the same port of another address does not: 127.0.0.2 does not block 127.0.0.1. A
    socket on `::` blocks the port of each IPv4 address too, unless it is for IPv6 only
    (IPV6_V6ONLY, ipv6(7)), which nothing shows. So it counts only if there is no other socket.
    """
    found = {at: one for at, one in _listeners().items() if one.port == address[1]}
    wanted = _numeric(address)
    if wanted is None:
        return found
    same = {at: one for at, one in found.items() if _overlap(one.address, wanted)}
    return same or {at: one for at, one in found.items() if _ANY_OF_BOTH in (one.address, wanted)}


_ANY_OF_BOTH = bytes(16)
_IPV4 = bytes(10) + b"\xff\xff"
"""The prefix of an IPv4 address that is written as an IPv6 address (RFC 4291, 2.5.5.2)."""


def _overlap(one: bytes, other: bytes) -> bool:
    """Whether two addresses are the same, or one of them stands for all addresses of its family."""
    if one.startswith(_IPV4) is not other.startswith(_IPV4):
        return False
    every = _IPV4 + bytes(4) if one.startswith(_IPV4) else _ANY_OF_BOTH
    return one == other or every in (one, other)


def _numeric(address: Address) -> bytes | None:
    """An address in 16 bytes. The host can be a name. `None`: the name is unknown."""
    family, host = _family(address), address[0]
    try:
        packed = socket.inet_pton(family, host.partition("%")[0])
    except OSError:
        try:
            found = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
            packed = socket.inet_pton(family, str(found[0][4][0]))
        except (OSError, ValueError, LookupError):
            return None
    return packed if len(packed) == 16 else _IPV4 + packed


def _packed(words: str) -> bytes:
    """An address of /proc/net/tcp in 16 bytes. The file has words of 32 bits, in native order."""
    packed = b"".join(
        int(words[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(words), 8)
    )
    return packed if len(packed) == 16 else _IPV4 + packed


def _listeners() -> dict[str, Listener]:
    """All listening sockets of this network namespace, by inode.

    /proc/net/tcp has the address, the state (0A: listening), the user and the inode of each socket
    (proc(5)). `psutil.net_connections` would read every descriptor of every process as well.
    """
    found = {}
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path) as lines:
                for line in list(lines)[1:]:
                    fields = line.split()
                    if fields[3] == "0A":
                        words, _, port = fields[1].rpartition(":")
                        listener = Listener(_packed(words), int(port, 16), int(fields[7]))
                        found[fields[9]] = listener
        except OSError:
            continue
    return found


def _sockets(pid: int) -> Iterator[str]:
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def wait_until_free(address: Address, longest: float) -> bool:
    """Wait for an address, as long as a watchdog is killing the processes that listen on it.

    Args:
        address: where a server is to listen.
        longest: maximum seconds to wait.

    Returns:
        Whether the address is free now.
    """
    now = seen_at = time.monotonic()
    until = now + longest
    while now < until:
        if not is_taken(address):
            return True
        if pids := holders(address):
            if not _are_being_ended(pids):
                return False
            seen_at = now
        elif _strangers(address) or now > seen_at + UNKNOWN:
            return False
        time.sleep(0.1)
        now = time.monotonic()
    return not is_taken(address)


UNKNOWN = 1.0
"""Seconds to wait if the holder of the port can't be seen, or no longer: it may be just exiting. An
exiting process closes its descriptors one by one, and its socket may be released last."""


def _strangers(address: Address) -> list[int]:
    """The other users who listen on an address. Their processes can't be inspected, and no watchdog
    of this user's kills them."""
    own = os.geteuid()
    return sorted({one.uid for one in _in_the_way(address).values()} - {own})


def _are_being_ended(pids: list[int]) -> bool:
    servers = discovery.servers()
    # Read after the files: a watchdog removes them when the last process of its server is gone.
    table = platform.table()
    dying = {
        identity[0]
        for server in servers
        if not server.lives and server.watchdog_lives
        for identity in server.belongs(table)
    }
    living = {pid for pid in pids if pid in table and table[pid].alive}
    return living <= dying  # one that has just exited is in no table, and in nobody's way


def explain(address: Address) -> str:
    """Which processes have taken an address, in words for one line of the log."""
    found = [_describe(pid) for pid in holders(address)]
    what = " and ".join(found) if found else _unseen(address)
    return printable(f"{address[0]}:{address[1]} is taken by {what}")


def _unseen(address: Address) -> str:
    users = " and ".join(f"user {uid}" for uid in _strangers(address))
    return f"a process {f'of {users} ' if users else ''}that the Reaper may not inspect"


def _describe(pid: int) -> str:
    row = platform.row(pid)
    if row is None:
        return f"[{pid}], which has just exited"
    words = f"{_command(pid) or row.name} [{pid}], which runs for {platform.age(row.start):.0f} s"
    servers, table = discovery.servers(), platform.table()
    for server in servers:
        identity = row.identity
        if identity != server.main and identity not in server.belongs(table):
            continue
        member = server.members.get(identity)
        title = member.title if member is not None else CHILD
        if server.lives:
            return f"{words}: {title} of {server.app}, which runs in {server.fields['directory']}"
        return f"{words}: {title}, an orphan of {server.app}, whose main {server.main[0]} has died"
    for stray in strays.strays(table, [platform.uid(pid)], set()):
        if row.identity in stray.processes:
            return f"{words}: an orphan of {stray.app}, whose main {stray.main[0]} has died"
    return words


def _command(pid: int) -> str:
    """The first two words of a command line. The arguments after them can contain secrets."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as content:
            words = content.read(4096).decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    return " ".join(word for word in words[:2] if not word.startswith("-"))


def is_taken(address: Address) -> bool:
    """Whether a server can't listen on an address now, because another socket does.

    Binds as Sanic does (`sanic.server.socket.bind_socket`), so that Sanic will get the same answer.
    """
    try:
        with socket.socket(_family(address), socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
