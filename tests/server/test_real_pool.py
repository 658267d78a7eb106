"""Several real models behind the real server: the swaps show in no answer."""

import json
import re
import signal
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from redline.cli.main import main
from redline.cli.model_pool import model_entries
from redline.cli.model_settings import ModelSetting
from redline.server.config import ServerConfig
from redline.server.pool.config import PoolConfig
from tests.model_file import smollm2
from tests.server.pooled_server import PooledServer
from tests.server.running_server import RunningServer, eventually, post_bytes
from tests.server.test_lifecycle import error_of
from tests.server.test_pool import send
from tests.server.tiny_models import write_tiny_model

PATH = "/v1/completions"
NUM_REQUESTS = 200
FRANCE = {"prompt": "The capital of France is", "max_tokens": 2, "temperature": 0}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Three small models by name."""
    folder = tmp_path_factory.mktemp("tiny")
    return {name: write_tiny_model(folder / f"{name}.gguf", seed) for seed, name in enumerate("abc")}


@contextmanager
def served(files, *, memory_bytes=2**30, max_loaded=None, residency_s=0.0, **options):
    settings = [ModelSetting(model=str(path), name=name, options=options) for name, path in files.items()]
    limits = PoolConfig(memory_bytes=memory_bytes, max_loaded=max_loaded, residency_s=residency_s)
    entries, _ = model_entries(settings, limits, ServerConfig())
    with PooledServer(entries, limits=limits) as server:
        yield server


def asked(number):
    """Of every kind: greedy, seeded, several answers, streams, log-probabilities."""
    kinds = (
        {"temperature": 0},
        {"seed": number, "n": 2},
        {"seed": 3, "stream": True},
        {"seed": 5, "logprobs": 2},
    )
    prompt = "The quick brown fox " * (1 + number % 7) + str(number % 5)
    return {"prompt": prompt, "max_tokens": 4 + number % 9, "ignore_eos": True, **kinds[number % 4]}


def answer(server, model, request):
    status, _, content = server.post(PATH, {"model": model, **request})
    assert status == 200, content
    if not request.get("stream"):
        return json.loads(content)["choices"]
    events = [line.removeprefix(b"data: ") for line in content.split(b"\n\n") if line.startswith(b"data: {")]
    return "".join(choice["text"] for event in events for choice in json.loads(event)["choices"])


@pytest.mark.parametrize("room", [1, 2])
def test_a_storm_of_swaps_changes_no_answer_fails_no_request_and_keeps_no_model(tiny, room):
    jobs = [("abc"[number * 7 % 3], asked(number)) for number in range(NUM_REQUESTS)]
    alone = {}
    for name, path in tiny.items():
        with served({name: path}) as server:
            alone |= {json.dumps(job): answer(server, *job) for job in jobs if job[0] == name}
    with served(tiny, max_loaded=room) as server, ThreadPoolExecutor(24) as pool:
        decoders = watch_decoders(server)
        found = list(pool.map(lambda job: answer(server, *job), jobs))
        eventually(lambda: not server.pool.moving, "the last model is there")
        assert sum(loads(server, name) for name in tiny) == len(decoders) > 2 * len(tiny), "nothing swapped"
        assert sum(decoder() is not None for decoder in decoders) <= room
        assert max(server.pool.most) == room
    assert found == [alone[json.dumps(job)] for job in jobs]


def loads(server, name):
    pattern = rb'redline:model_load_seconds_count{model_name="%s"} (\d+)' % name.encode()
    return int(re.search(pattern, server.get("/metrics")[2])[1])


def watch_decoders(server):
    """Weak references to what holds the weights of each model that is loaded from now on. The pool's `most`
    gets how many models were in memory at each of them."""
    decoders, server.pool.most = [], []

    def watch(model, opened):
        async def open_():
            engine = await opened()
            decoders.append(weakref.ref(engine._engine.model.decoder))
            server.pool.most.append(sum(each.in_memory for each in server.pool.models))
            return engine

        replace_open(model, open_)

    for model in server.pool.models:
        watch(model, model.entry.source.open)
    return decoders


def replace_open(model, open_):
    source = model.entry.source
    replaced = SimpleNamespace(open=open_, close=source.close, give_back=source.give_back)
    object.__setattr__(model.entry, "source", replaced)


@pytest.mark.model
def test_a_model_goes_on_streaming_while_another_loads(tiny):
    """Bytes of one model arrive between the beginning and the end of loading the other."""
    files = {"small": tiny["a"], "large": smollm2()}
    with served(files, max_context=512, kv_memory="16MiB") as server, ThreadPoolExecutor(1) as pool:
        answer(server, "small", asked(0))
        loading, loaded, num_reads = threading.Event(), threading.Event(), 0
        large = server.pool.find("large")
        opened = large.entry.source.open

        async def open_():
            loading.set()
            engine = await opened()
            loaded.set()
            return engine

        replace_open(large, open_)
        with send(server, "small", stream=True, max_tokens=480, ignore_eos=True) as stream:
            assert stream.recv(1)
            wants_large = pool.submit(answer, server, "large", FRANCE)
            assert loading.wait(20)
            while not loaded.is_set() and stream.recv(65536):
                num_reads += 1
            assert wants_large.result()[0]["text"] == " Paris."
        assert num_reads > 3


@contextmanager
def process(*arguments):
    """`redline serve` on a port of its own, and a RunningServer that talks to it."""
    from redline.server.listening import listening_socket

    with listening_socket(ServerConfig(port=0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "redline.cli.main", "serve", *map(str, arguments), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            server = RunningServer()
            server._announce(f"http://127.0.0.1:{port}")
            yield child, server
        finally:
            child.kill()


@pytest.mark.model
def test_serve_swaps_models_of_a_file_and_of_the_command_line_and_ends_well(tiny, tmp_path):
    file = tmp_path / "models.toml"
    file.write_text(f'[models.other]\nmodel = "{tiny["b"]}"\naliases = ["o"]\nmax_context = 64\n')
    shared = ("--models-file", file, "--max-models", 1, "--kv-memory", "32MiB", "--residency", 0)
    with process(f"main={smollm2()}", "--max-context", 512, *shared) as (child, server):
        assert child.stdout.readline().startswith("Redline listens on")
        cards = json.loads(server.get("/v1/models")[2])["data"]
        assert [(card["id"], card["max_model_len"], card["state"]) for card in cards] == [
            ("main", 512, "loaded"),
            ("other", 64, "unloaded"),
            ("o", 64, "unloaded"),
        ]
        assert answer(server, "main", FRANCE)[0]["text"] == " Paris."
        assert answer(server, "o", asked(0)) == answer(server, "other", asked(0))
        assert error_of(server.post(PATH, {"model": str(smollm2()), **FRANCE}))[0] == 404
        with server.connect() as waiting:
            waiting.sendall(post_bytes(PATH, json.dumps({"model": "main", **FRANCE}).encode()))
            gone = b'model_loaded{model_name="other"} 0.0'
            eventually(lambda: gone in server.get("/metrics")[2], "the other one goes")
            child.send_signal(signal.SIGTERM)
            received = b""
            while data := waiting.recv(65536):
                received += data
        assert b" Paris." in received
        assert child.wait(20) == 0
        log = child.stderr.read()
    assert "main: " in log and "unloaded main: evicted" in log and "unloaded main: shutdown" in log


def test_what_serve_cannot_do_is_said_in_one_line(tiny, tmp_path, capsys):
    unknown, twice = tmp_path / "unknown.toml", tmp_path / "twice.json"
    unknown.write_text(f'[models.a]\nmodel = "{tiny["a"]}"\nmax_contxt = 64\n')
    twice.write_text(json.dumps({"models": {"b": {"model": str(tiny["a"]), "threads": 3}}}))
    a, b = f"a={tiny['a']}", f"b={tiny['b']}"
    for arguments, told in (
        ((a, a), "two models are called 'a'"),
        ((a, b, "--models-memory", "5MiB"), "a can never be loaded: .*not fit in memory: weights .* = .*"),
        ((a, b, "--models-memory", "5"), "--models-memory is 5 bytes; it must be between"),
        ((a, b, "--preload", "3"), "--preload is 3; it must be 0 to 2"),
        ((a, b, "--max-models", "0"), "max_loaded is 0"),
        ((a, b, "--trace", tmp_path / "x"), "--trace writes the decisions of one model"),
        ((a, "--model", "smollm2"), "--model is 'smollm2', and .* is given too"),
        ((tiny["a"], "--max-models", "1"), "--max-models is for several models"),
        (("--models-file", unknown), "models.a: unknown option 'max_contxt'; did you mean 'max_context'"),
        (("--models-file", twice), "models.b: threads is for all models"),
        (("--models-file", tmp_path / "none"), "cannot be read"),
    ):
        assert main(["serve", *map(str, arguments), "--port", "0"]) == 2, arguments
        error = capsys.readouterr().err.splitlines()[-1]
        assert re.search(f"redline: error: .*{told}", error), error
