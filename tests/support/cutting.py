"""cut_connections(): a network fault, for one process alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket

import psutil


def cut_connections(pid: int) -> int:
    """Shut down every TCP connection of the process from outside; say how many there were.

    All are duplicated first, for the first cut that the process notices makes it close the others.
    """
    copies = []
    for connection in psutil.Process(pid).net_connections(kind="tcp"):
        if connection.raddr:
            with contextlib.suppress(OSError):  # closed already, over there
                copies.append(socket.socket(fileno=_descriptor_of(pid, connection.fd)))
    for copy in copies:
        with copy, contextlib.suppress(OSError):
            copy.shutdown(socket.SHUT_RDWR)
    return len(copies)


def _descriptor_of(pid: int, fd: int) -> int:
    """pidfd_getfd(2): the same open socket as that process has."""
    libc = ctypes.CDLL(None, use_errno=True)
    copy = libc.syscall(438, os.pidfd_open(pid), fd, 0)
    if copy < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(copy)
