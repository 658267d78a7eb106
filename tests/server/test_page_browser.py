"""The built-in page in a real browser: on the real model, and on a fake one where answers must be chosen."""

import json
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx
import pytest

from tests.model_file import smollm2
from tests.server.fake_engine import FakeEngine
from tests.server.running_server import RunningServer, eventually, post_bytes

playwright = pytest.importorskip("playwright.sync_api", reason="scripts/install dev installs playwright")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="scripts/install dev installs it")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt install chromium)"),
]
KEY = "sk-page-key-1"
HOSTILE = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"
EXPECTED = re.compile(r"Failed to load resource: the server responded with a status of (401|403|404|429|503)")


@pytest.fixture(scope="module")
def url():
    """A server process with the real model."""
    flags = ["--port", "0", "--kv-memory", "32MiB", "--max-context", "1024", "--max-batch", "4"]
    command = [sys.executable, "-m", "redline.cli.main", "serve", "--model", str(smollm2()), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        try:
            assert found, "the server did not start"
            yield found[0]
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def visit(browser):
    """Opens pages, and says at the end that none of them erred or asked anyone but its own server."""
    contexts, problems = [], []

    def opened(url, path="/", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda each: problems.append(each.text) if _is_bad(each) else None)
        page.on("dialog", lambda each: problems.append(each.message))
        page.on("request", lambda each: None if _is_own(each.url, url) else problems.append(each.url))
        page.goto(url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def _is_bad(message):
    return message.type in ("error", "warning") and not EXPECTED.match(message.text)


def _is_own(asked, url):
    return asked.startswith((f"{url}/", "blob:"))


@contextmanager
def fake(**config):
    with RunningServer(FakeEngine(step_s=0.001), **config) as server:
        yield server


def send(page, text, **fields):
    """Send a message once the model is known."""
    page.wait_for_selector("#model option", state="attached")
    for name, value in fields.items():
        page.fill(f"#{name}", str(value))
    page.fill("#prompt", text)
    page.keyboard.press("Enter")


def answered(page, place=1):
    page.locator(".facts").nth(place - 1).wait_for()
    return page.locator(".facts").nth(place - 1).inner_text()


def numbers(url):
    return httpx.get(f"{url}/v1/redline/live").json()["counts"]


def test_an_answer_shows_its_tokens_and_says_what_it_took(visit, url):
    page = visit(url)
    send(page, "Count from one to ten.", max_tokens=16, temperature=0)
    facts = answered(page)
    assert re.match(r"\d+ tokens · first after \S+ m?s · \S+ tokens/s · prompt of \d+, 0 cached", facts)
    tokens = page.locator(".message.assistant .token:not(.end)").all_text_contents()
    content = page.locator(".message.assistant .text").evaluate(
        "each => [...each.childNodes].filter(node => !node.classList?.contains('end'))"
        ".map(node => node.textContent).join('')"
    )
    assert len(tokens) > 8 and "".join(tokens) == content
    page.click("text=Why?")
    assert "queued with a prompt of" in page.inner_text(".why")
    page.get_by_role("button", name="Regenerate: message 2").click()
    page.wait_for_selector(".facts", state="detached")
    assert re.search(r", [1-9]\d* cached", answered(page))
    page.get_by_role("button", name="Edit: message 1").click()
    page.fill(".edit", "Say hello.")
    page.click("text=Save and send")
    page.wait_for_selector("text=Say hello.")
    answered(page)
    assert page.locator(".message").count() == 2


def test_an_answer_comes_token_by_token_and_can_be_stopped_until_its_end(visit):
    with fake() as server:
        server.engine.step_s = 0.02
        page = visit(server.url)
        send(page, f"SAY:{'word ' * 40}")
        page.locator(".writing .token").nth(2).wait_for()
        server.engine.held = True
        assert page.is_visible("#stop") and not page.is_visible("#send")
        assert page.locator(".token").count() < 200
        server.engine.step_s, server.engine.held = 0.0, False
        answered(page)
        assert page.is_visible("#send") and not page.is_visible("#stop")
        assert page.locator(".token:not(.end)").count() == 200


def test_stop_ends_the_request_on_the_server(visit, url):
    page = visit(url)
    before = numbers(url)
    send(page, "Write a very long story about the sea.", max_tokens=900, temperature=1, seed=3)
    page.locator(".token").nth(3).wait_for()
    page.click("#stop")
    assert "stopped" in answered(page)
    eventually(lambda: numbers(url)["aborted"] == before["aborted"] + 1, "it is aborted")
    eventually(lambda: numbers(url)["running"] == 0, "nothing runs")


def test_the_keyboard_reaches_every_token_and_its_alternatives(visit, url):
    page = visit(url)
    send(page, "Name three colours.", max_tokens=12, temperature=0)
    answered(page)
    page.keyboard.press("Shift+Tab")  # from the message box back to the tools of the answer
    while page.evaluate("!document.activeElement.classList.contains('token')"):
        page.keyboard.press("Shift+Tab")
    first = page.evaluate("document.activeElement.textContent")
    told = page.locator("#inspector .choice-value").all_text_contents()
    assert page.is_visible("#inspector") and len(told) >= 6
    assert sum(float(each.split()[0]) for each in told) == pytest.approx(100, abs=1)
    chosen = page.inner_text("#inspector .chosen .choice-name")
    assert first.strip() in chosen and page.get_attribute(":focus", "aria-describedby") == "inspector"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.previousSibling.textContent") == first
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.nextSibling") is None
    page.keyboard.press("Escape")
    assert not page.is_visible("#inspector")


def test_the_live_view_shows_a_request_while_it_runs(visit, url):
    page = visit(url, "/#live")
    page.wait_for_selector("#requests >> text=Nothing runs or waits.")
    body = {"model": "SmolLM2-135M-Instruct.Q4_1", "prompt": "The sea", "max_tokens": 900, "ignore_eos": True}
    asking = threading.Thread(
        target=httpx.post, args=(f"{url}/v1/completions",), kwargs={"json": body, "timeout": 60}
    )
    asking.start()
    page.wait_for_selector("#requests .state.decode")
    playwright.expect(page.locator(".tile", has_text="Running").locator(".value")).to_have_text("1")
    used = re.compile(r"[1-9]\d* used")
    playwright.expect(page.locator("#caches canvas")).to_have_attribute("aria-label", used)
    page.locator("#batches rect").nth(5).wait_for()
    page.click("#batches summary")
    page.locator("#batches tbody tr").nth(5).wait_for()
    asking.join()
    page.wait_for_selector("#requests >> text=Nothing runs or waits.")
    assert "ended (length) after 900 output tokens" in page.inner_text("#decisions")
    assert page.locator("#ttft rect").count() >= 1
    with page.expect_event("requestfailed", lambda each: "stream=true" in each.url):  # the page gives it up
        page.click("#to-chat")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anyone(visit, url, scheme):
    """axe on both views, and no sideways scrolling on a narrow phone."""
    page = visit(url, color_scheme=scheme, viewport={"width": 360, "height": 740})
    page.click("#settings > summary")
    send(page, "Hi", max_tokens=5)
    answered(page)
    page.locator(".token").first.focus()
    for view in ("chat", "live"):
        page.click(f"#to-{view}")
        page.wait_for_selector("#chat:not([hidden]) .token, #live:not([hidden]) .tile")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
        ends = page.locator(".tile, .card, .message, button, input, select, textarea").evaluate_all(
            "all => all.map(each => each.getBoundingClientRect().right)"
        )
        assert max(ends) <= 360, view
        found = axe.Axe().run(page).response["violations"]
        assert not found, [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def test_the_theme_is_that_of_the_system_until_it_is_chosen(visit, url):
    page = visit(url, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.click("#theme-button")
    assert page.inner_text("#theme-button") == "Theme: light" and page.evaluate(ground) != dark
    page.reload()
    assert page.inner_text("#theme-button") == "Theme: light" and page.evaluate(ground) != dark
    page.click("#theme-button")
    assert page.evaluate(ground) == dark


def test_what_a_model_or_a_request_says_stays_text(visit):
    with fake(aliases=(HOSTILE,)) as server:
        page = visit(server.url)
        send(page, f"SAY:{HOSTILE}")
        answered(page)
        text = page.locator(".message.assistant .text").text_content()
        assert text.startswith(HOSTILE)
        assert page.locator("#messages img, #messages script, #model img").count() == 0
        page.locator(".token").nth(1).focus()
        page.select_option("#model", HOSTILE)
        page.get_by_role("button", name="Edit: message 2").click()
        page.click("text=Cancel")
        page.reload()  # what was said comes back from the tab's own storage
        page.wait_for_selector(".message.assistant")
        page.click("#curl")
        assert HOSTILE.replace("'", "'\\''") in json.loads(
            json.dumps(page.input_value("#curl-text")).replace('\\\\\\"', '\\"')
        )
        assert page.title() == "Redline"


def test_a_key_is_asked_for_kept_in_the_tab_and_sent(visit):
    with fake(api_keys=(KEY,)) as server:
        page = visit(server.url)
        page.wait_for_selector("#key-dialog[open]")
        page.fill("#key", "sk-wrong-key")
        page.keyboard.press("Enter")
        page.wait_for_selector("text=does not accept the key")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        send(page, "SAY:let in")
        answered(page)
        assert "let in" in page.inner_text(".message.assistant .text")
        assert page.evaluate(
            "[localStorage, document.cookie].every(each => !JSON.stringify(each).includes('sk-'))"
        )
        page.click("#curl")
        assert "$REDLINE_API_KEY" in (command := page.input_value("#curl-text")) and KEY not in command
        page.click("#curl-close")
        page.click("#to-live")
        page.wait_for_selector(".tile")


def test_failures_are_told_and_can_be_tried_again(visit):
    with fake(max_waiting=1) as server:
        page = visit(server.url)
        page.wait_for_selector("#model option", state="attached")
        server.engine.capacity, server.engine.held = 0, True
        with server.connect() as waiting:
            content = json.dumps({"model": "fake-model", "prompt": "x"}).encode()
            waiting.sendall(post_bytes("/v1/completions", content))
            eventually(lambda: server.engine.waiting, "one waits")
            send(page, "SAY:hello")
            page.wait_for_selector("text=The server is full (429, queue_full)")
            assert re.search(r"in \d+ s", page.inner_text("#problem button"))
        server.engine.capacity, server.engine.held = 8, False
        eventually(lambda: not server.engine.waiting, "the queue is empty")
        page.click("#problem button")
        answered(page)
        assert not page.is_visible("#problem") and "hello" in page.inner_text(".message.assistant")
        server.server._readiness._engine = None
        send(page, "SAY:again")
        page.wait_for_selector("text=The model is still loading (503, loading)")


def test_a_conversation_can_be_exported(visit, tmp_path):
    with fake() as server:
        page = visit(server.url)
        page.click("#system-box > summary")
        page.fill("#system", "Be brief.")
        page.click(".more > summary")
        send(page, "SAY:hi", temperature=0.5, stop_text="zzz")
        answered(page)
        with page.expect_download() as download:
            page.click("#export")
        saved = json.loads(download.value.path().read_text())
    assert [each["role"] for each in saved["messages"]] == ["system", "user", "assistant"]
    assert saved["messages"][2]["content"] == "hi" and len(saved["messages"][2]["logprobs"]) == 3
    assert (saved["request"]["temperature"], saved["request"]["stop"]) == (0.5, "zzz")
