"""What the programs of this folder share. Each runs in the environment of one client, without Redline.

    program URL MODEL KEY LIMITED_KEY [CHECK...]

runs its checks (default: all) and writes a line of JSON for each. KEY has no limits; LIMITED_KEY may have one
request at a time.
"""

import asyncio
import http.client
import inspect
import json
import linecache
import math
import re
import sys
import threading
import time
import traceback
import urllib.parse
from contextlib import contextmanager
from pathlib import Path

URL, MODEL, KEY, LIMITED_KEY, *only = sys.argv[1:]
V1 = f"{URL}/v1"
CAPITAL = [{"role": "user", "content": "Tell me the capital of France."}]  # the model knows it: Paris
WEATHER = {  # the parameters of a function
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 30},
        "day": {"type": "string", "enum": ["today", "tomorrow"]},
    },
    "required": ["city", "day"],
    "additionalProperties": False,
}
LONG = 1900  # tokens that nobody waits for
PATIENCE_S = 30

_checks = []


def check(function):
    """Mark a function, or a coroutine function, as a check."""
    if not only or function.__name__ in only:
        _checks.append(function)
    return function


def main():
    """Run every check; the exit code is 1 when one failed."""
    failed = False
    for function in _checks:
        began, reason = time.monotonic(), None
        try:
            result = function()
            if inspect.isawaitable(result):
                asyncio.run(result)
        except Exception as error:  # noqa: BLE001  whatever a client raises is the result
            reason, failed = _reason(error), True
            traceback.print_exc()
        line = {"check": function.__name__, "seconds": round(time.monotonic() - began, 2), "reason": reason}
        print(json.dumps(line), flush=True)
    sys.exit(failed)


def _reason(error):
    """What went wrong, and at which line of the program."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).name == Path(sys.argv[0]).name
    ]
    place = f"line {frames[-1].lineno}" if frames else "?"
    said = " ".join(str(error).split())
    if not said and frames:
        said = linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
    return f"{type(error).__name__} at {place}: {said[:300]}"


@contextmanager
def raises(kind, **attributes):
    """What is inside must raise `kind`, with these attributes."""
    try:
        yield
    except kind as error:
        for name, value in attributes.items():
            assert getattr(error, name) == value, f"{name} is {getattr(error, name)!r}, not {value!r}"
        return
    raise AssertionError(f"no {kind.__name__}")


def is_weather(arguments):
    """Raises AssertionError unless the arguments, as an object or its text, fit WEATHER."""
    found = json.loads(arguments) if isinstance(arguments, str) else arguments
    assert found.keys() == {"city", "day"} and found["day"] in ("today", "tomorrow"), found


def is_unit(vector):
    """Raises AssertionError unless these numbers are an embedding of the model."""
    assert len(vector) == 576 and math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-3), vector[:4]


@contextmanager
def busy():
    """LIMITED_KEY has a request under way, until soon after: whoever uses it meets 429, and then does not."""
    body = {"model": MODEL, "prompt": "x", "max_tokens": LONG, "ignore_eos": True, "stream": True}
    connection = _connect()
    headers = {"authorization": f"Bearer {LIMITED_KEY}", "content-type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    assert response.status == 200 and response.read(1), response.status
    leave = threading.Timer(1.5, lambda: connection.sock.shutdown(2))
    leave.start()
    yield
    leave.join()


@contextmanager
def abandoned():
    """What is inside starts one answer and leaves it; the server must notice."""
    before = _metric("redline:requests_aborted_total")
    yield
    deadline = time.monotonic() + PATIENCE_S
    while not (_metric("redline:requests_aborted_total") == before + 1 and load() == 0):
        assert time.monotonic() < deadline, "the server went on with an answer that nobody waits for"
        time.sleep(0.05)


def load():
    """How many requests the server has."""
    return json.loads(get("/load"))["server_load"]


def get(path):
    """The body of an answer to KEY."""
    connection = _connect()
    connection.request("GET", path, headers={"authorization": f"Bearer {KEY}"})
    return connection.getresponse().read().decode()


def _metric(name):
    values = re.findall(rf"^{name}\S* ([\d.e+]+)$", get("/metrics"), re.MULTILINE)
    return sum(float(value) for value in values)


def _connect():
    return http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc, timeout=PATIENCE_S)
