"""Models on the Hugging Face hub, through its own library: resumable, in the cache that other tools share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redline.errors import DownloadError, ModelNotFound
from redline.models.download import Progress

CHECKPOINT_FILES = ["*.json", "*.safetensors", "*.jinja"]  # never pickles
_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<file>[\w./ -]+))?")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A repository, or one file of it: org/name, org/name:file.gguf, org/name@revision:file.gguf."""

    repo_id: str
    revision: str | None = None
    filename: str | None = None

    @classmethod
    def parse(cls, name: str) -> HubModel | None:
        """The model that `name` stands for, None if it is not of that form."""
        match = _NAME.fullmatch(name)
        return cls(match["repo"], match["revision"], match["file"]) if match else None


def find_on_hub(model: HubModel) -> Path | None:
    """Where the model lies in the hub's cache, None when it is not there (in full)."""
    import huggingface_hub as hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    options: dict[str, Any] = {"revision": model.revision, "local_files_only": True}
    try:
        if model.filename is not None:
            return Path(hub.hf_hub_download(model.repo_id, model.filename, **options))
        folder = Path(str(hub.snapshot_download(model.repo_id, **options)))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    if list(folder.glob("*.safetensors")):
        return folder
    files = list(folder.rglob("*.gguf"))
    return files[0] if len(files) == 1 else None


def fetch_from_hub(model: HubModel, progress: Progress) -> Path:
    """Download the model. Raises ModelNotFound when there is no such thing, DownloadError when it fails."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        filename = model.filename or _only_gguf(
            model, hub.HfApi().list_repo_files(model.repo_id, revision=model.revision)
        )
        options: dict[str, Any] = {"revision": model.revision, "tqdm_class": _reporter(progress)}
        if filename is not None:
            return Path(hub.hf_hub_download(model.repo_id, filename, **options))
        return Path(str(hub.snapshot_download(model.repo_id, allow_patterns=CHECKPOINT_FILES, **options)))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise ModelNotFound(
            f"the hub has no {_shown(model)}, or it needs a login: {_first_line(error)}"
        ) from error
    except ModelNotFound:
        raise
    except Exception as error:  # the library's versions differ in what they let through
        raise DownloadError(
            f"fetching {_shown(model)} from the hub failed: {_first_line(error)}; pull again to go on"
        ) from error


def _only_gguf(model: HubModel, files: Sequence[str]) -> str | None:
    """The GGUF file to take; None for a repository of safetensors."""
    if any(file.endswith(".safetensors") for file in files):
        return None
    found = [file for file in files if file.endswith(".gguf")]
    if len(found) == 1:
        return found[0]
    if not found:
        raise ModelNotFound(
            f"{model.repo_id} has neither .safetensors nor .gguf files; Redline reads those two"
        )
    choice = ", ".join(sorted(found)[:12])
    raise ModelNotFound(
        f"{model.repo_id} has {len(found)} .gguf files; name one as {model.repo_id}:FILE of {choice}"
    )


def _reporter(progress: Progress) -> type[Any]:
    """A progress bar class for the hub's library that draws nothing and reports bytes."""
    from huggingface_hub.utils.tqdm import tqdm

    class Reporter(tqdm):
        def display(self, *args: Any, **kwargs: Any) -> None:
            if self.unit == "B" and self.total:
                progress(int(self.n), int(self.total))

    return Reporter


def _shown(model: HubModel) -> str:
    revision = f"@{model.revision}" if model.revision else ""
    return f"{model.repo_id}{revision}" + (f":{model.filename}" if model.filename else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
