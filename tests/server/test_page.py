"""The files of the built-in page: who gets them, and what a browser is told of them."""

import re

import pytest

from redline.server.page import FOLDER, files
from tests.server.running_server import RunningServer

PATHS = sorted(files())
BANNED = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|\son\w+=\"|style=\""
)
TEXTS = {path.name: path.read_text() for path in FOLDER.iterdir()}


def ask(server, path, method="GET", **headers):
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return server.raw(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n".encode()
    )


def test_every_file_comes_with_its_type_and_its_rules(server):
    assert {"/", "/page/app.js", "/page/base.css", "/page/icon.svg"} <= set(PATHS)
    for path in PATHS:
        status, headers, body = ask(server, path)
        assert (status, body) == (200, files()[path][0])
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert ask(server, "/")[1]["content-type"] == "text/html; charset=utf-8"
    assert ask(server, "/page/app.js")[1]["content-type"] == "text/javascript; charset=utf-8"


def test_a_browser_that_has_it_gets_no_second_copy(server):
    _, headers, _ = ask(server, "/page/app.js")
    assert ask(server, "/page/app.js", if_none_match=headers["etag"])[::2] == (304, b"")
    assert ask(server, "/page/app.js", if_none_match='"another"')[0] == 200
    head = ask(server, "/", method="HEAD")
    assert (head[0], head[2]) == (200, b"") and int(head[1]["content-length"]) == len(TEXTS["index.html"])


@pytest.mark.parametrize(
    "path", ["/page", "/page/", "/page/index.html", "/page/../page.py", "/page/%2e%2e/page.py"]
)
def test_nothing_else_lies_there(server, path):
    assert ask(server, path)[0] == 404


def test_only_reading_is_answered(server):
    assert ask(server, "/", method="POST", content_length=0)[0] == 404
    assert ask(server, "/", method="DELETE")[0] == 404


def test_the_page_needs_no_key_and_what_it_shows_does():
    """It is the same for every server; numbers of this one are for those who bring the key."""
    with RunningServer(api_keys=("sk-some-key",)) as server:
        assert all(ask(server, path)[0] == 200 for path in PATHS)
        for path in ("/v1/redline/live", "/v1/models", "/v1/redline/requests/x", "/page/other.js"):
            assert ask(server, path)[0] == 401
        assert server.post("/", b"")[0] == 401


def test_it_is_there_while_the_model_loads():
    with RunningServer() as server:
        server.server._loading.ready(server.server._loading._not_yet)
        server.server._readiness._engine = None
        assert ask(server, "/")[0] == 200 and ask(server, "/v1/models")[0] == 503


def test_it_can_be_left_out():
    with RunningServer(page=False) as server:
        assert {ask(server, path)[0] for path in PATHS} == {404}


def test_the_files_ask_nobody_else_and_make_no_html_of_text():
    assert len(PATHS) == len(TEXTS)
    for name, text in TEXTS.items():
        found = set(re.findall(r"\bhttps?://[^\"'\s)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not found, f"{name}: {found}"
        assert not BANNED.search(text), name
    html = TEXTS["index.html"]
    assert "<style" not in html and not re.search(r"<script(?![^>]* src=)", html)
    for linked in re.findall(r'(?:src|href)="(page/[^"]+)"', html):
        assert f"/{linked}" in files()
    for name, text in TEXTS.items():
        for imported in re.findall(r'from "\./([^"]+)"', text):
            assert imported in TEXTS, f"{name} imports {imported}"
