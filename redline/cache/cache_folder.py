"""CacheFolder: the folder with one block file per model, and the bytes that they may take together."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
from pathlib import Path

from redline.errors import ConfigError

_NAME = re.compile(r"[0-9a-f]{32}\.kvblocks")


class CacheFolder:
    """Files are named by the hash of a fingerprint: what the blocks depend on besides their tokens.

    Raises ConfigError when the folder cannot be made, read or written.
    """

    def __init__(self, folder: Path, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self._folder = folder
        try:
            # What lies in it reveals prompts, so it is for its owner alone.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError as error:
            raise _unusable(folder, "it is a file") from error
        except OSError as error:
            raise _unusable(folder, f"it cannot be created: {error.strerror}") from error
        mode = os.R_OK | os.W_OK | os.X_OK
        if not os.access(folder, mode, effective_ids=os.access in os.supports_effective_ids):
            raise _unusable(folder, "it cannot be read and written")

    def path_of(self, fingerprint: bytes) -> Path:
        return self._folder / f"{hashlib.sha256(fingerprint).hexdigest()[:32]}.kvblocks"

    def room_for(self, own: Path, num_bytes: int) -> int:
        """How many bytes the file `own` may take in all; it would like `num_bytes`. Raises OSError.

        Where these do not fit, files of others that nobody has open are deleted, the longest unused first.
        """
        others = self._others(own)
        taken = sum(size for _, size, _ in others)
        for _, size, path in sorted(others):
            if taken + num_bytes <= self.capacity_bytes:
                break
            if _delete_unlocked(path):
                taken -= size
        return self.capacity_bytes - taken

    def _others(self, own: Path) -> list[tuple[int, int, Path]]:
        """(time of the last write, bytes, path) of each block file but `own`. Other names are not ours."""
        found = []
        for path in self._folder.iterdir():
            if path.name == own.name or not _NAME.fullmatch(path.name):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    found.append((status.st_mtime_ns, status.st_size, path))
        return found


def _delete_unlocked(path: Path) -> bool:
    """Whether the file is gone. Whoever uses one holds its lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _unusable(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"cache_dir is {str(folder)!r}: {reason}; name a folder that you may write to, or switch it off"
    )
