"""Which hosts are this machine."""

from __future__ import annotations

import re
from ipaddress import ip_address

# What a Host header has: a name or an address, in brackets if it has colons, and maybe a port.
_HOST_HEADER = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::[0-9]*)?", re.ASCII)


def is_address(host: str) -> bool:
    """True for an IP address, False for a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """True for an address, and for what can be a name in the Host header."""
    return is_address(text) or (":" not in text and host_of(text) is not None)


def is_loopback(host: str) -> bool:
    """True when only programs of this machine reach `host`."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def host_of(header: str) -> str | None:
    """The host that a Host header names, as names are compared: in lower case, without the root's dot.

    None: there is none in it.
    """
    match = _HOST_HEADER.fullmatch(header)
    return None if match is None else canonical(match[1] or match[2])


def canonical(host: str) -> str:
    """A host as hosts are compared."""
    return host.lower().removesuffix(".")
