"""Environments of peers: complete or not there, and a failure says what pip said."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from redline.bench.peers import environments
from redline.bench.peers.environments import PeerFailed, environment_python
from redline.bench.peers.process import WORKERS
from redline.bench.peers.registry import PEERS, TILES, Peer, peers_named
from redline.errors import ConfigError

PEER = Peer(name="fake", version="1", worker="fake.py", pip=(("install", "no-such==9"),), reads="itself")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("REDLINE_CACHE", str(tmp_path))
    return tmp_path / "peers"


def test_a_failed_command_gives_its_last_line_and_keeps_the_rest(tmp_path: Path) -> None:
    told: list[str] = []
    script = "print('compiling\\n', flush=True); raise SystemExit('no compiler')"
    with pytest.raises(PeerFailed, match=r"could not be installed: no compiler \(see .*/x.log\)"):
        environments._run([sys.executable, "-c", script], {}, tmp_path / "x.log", told.append)
    assert told[1:] == ["compiling", "compiling", "no compiler"]
    assert (tmp_path / "x.log").read_text() == "compiling\n\nno compiler\n"


def test_what_a_failed_installation_left_is_not_taken(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bool] = []

    def install(peer: Peer, isa: str, directory: Path, tell: object) -> None:
        tried.append(directory.exists())
        directory.mkdir()
        raise PeerFailed("no compiler")

    monkeypatch.setattr(environments, "_install", install)
    for _ in range(2):
        with pytest.raises(PeerFailed, match="no compiler"):
            environment_python(PEER, "native", print)
    assert tried == [False, False]


def test_pip_is_called_in_the_environment_with_what_the_build_needs(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[list[str], str | None]] = []
    monkeypatch.setattr(
        environments,
        "_run",
        lambda command, variables, log, tell: ran.append((command, variables.get("CMAKE_ARGS"))),
    )
    cache.mkdir()
    environments._install(replace(PEER, build={"avx2": "-DB"}), "avx2", cache / "fake", print)
    (venv, _), (pip, cmake) = ran
    assert venv[1:] == ["-m", "venv", str(cache / "fake")] and cmake == "-DB"
    assert pip[1:] == ["-m", "pip", "install", "no-such==9"]
    assert pip[0] == str(cache / "fake" / "bin" / "python")


def test_a_complete_environment_is_not_made_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def install(peer: Peer, isa: str, directory: Path, tell: object) -> None:
        directory.mkdir()
        made.append(directory)

    monkeypatch.setattr(environments, "_install", install)
    threads = [threading.Thread(target=environment_python, args=(PEER, "native", print)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert environment_python(PEER, "native", print) == cache / "fake-1" / "bin" / "python"
    assert made == [cache / "fake-1"]


def test_what_is_compiled_has_an_environment_per_instruction_set() -> None:
    built = replace(PEER, build={"native": "-DA", "avx2": "-DB"})
    assert [built.directory(isa) for isa in ("native", "avx2")] == ["fake-1", "fake-1-avx2"]
    assert PEER.directory("avx2") == "fake-1", "the same binaries, held back by variables"


def test_the_registry_names_files_that_exist() -> None:
    assert all((WORKERS / peer.worker).exists() for peer in PEERS.values()) and TILES.exists()
    assert all("avx2" in {**peer.build, **peer.limits} for peer in PEERS.values())


def test_unknown_peers_are_refused() -> None:
    assert [peer.name for peer in peers_named(" openvino,llama.cpp,openvino")] == ["openvino", "llama.cpp"]
    with pytest.raises(ConfigError, match="--against names 'ollama'; the peers are llama.cpp, openvino"):
        peers_named("llama.cpp,ollama")
    with pytest.raises(ConfigError, match="--against names no peer"):
        peers_named(",")
