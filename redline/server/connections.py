"""How many connections a server holds: always fewer than the files that it may open.

When a process has no descriptor left, asyncio goes on asking for connections that it cannot take, and logs a
traceback for each; a few hundred clients that connect and say nothing would be enough. So what is too much is
taken, told so, and closed, and a part of the descriptors is kept for what is on its way between the two.
"""

from __future__ import annotations

import resource

MOST_FILES = 65_536  # to which the soft limit is raised, where the hard one allows it
MOST_ACCEPTED = 128  # connections that asyncio takes before anything else gets its turn
TURNS = 4  # of the event loop from there to the end of a connection that is refused
FILES = 32  # logs, model, caches, keys


def raise_file_limit() -> None:
    """Let the process have more files open than shells allow by themselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(MOST_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def num_accepted_at_once() -> int:
    """How many connections may be taken in one turn of the event loop."""
    return max(1, min(MOST_ACCEPTED, _num_files() // 8))


def num_connections(wanted: int) -> int:
    """How many may be held: `wanted`, or what the limit of files leaves."""
    return max(1, min(wanted, _num_files() - TURNS * num_accepted_at_once() - FILES))


def _num_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft
