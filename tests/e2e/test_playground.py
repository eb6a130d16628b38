"""The page at / in a real browser: chatting, constraints, colours, the live view, the keyboard."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .server import ServerProcess, running_server

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium"),
]
ANSWERED = ".turn.assistant .facts:not(:empty)"
SECONDS = 60_000.0
FOCUSED = "(e => e.id || e.name || e.tagName)(document.activeElement)"


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running_server("--api-key", "sesame") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(server: ServerProcess, browser: Browser) -> Iterator[Page]:
    """The page with the key given; fails if anything was written to the console as an error."""
    page = browser.new_page()
    page.set_default_timeout(SECONDS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.url)
    page.get_by_text("System prompt and key").click()
    page.get_by_label("API key", exact=True).fill("sesame")
    page.wait_for_selector(".dot.up")
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Most tokens").fill("48")
    yield page
    assert errors == []
    page.close()


def ask(page: Page, text: str) -> str:
    """The answer, once it is whole."""
    answers = page.locator(ANSWERED)
    before = answers.count()
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(answers).to_have_count(before + 1, timeout=SECONDS)
    return page.locator(".turn.assistant .said").last.text_content() or ""


def test_a_conversation_streams_and_says_what_it_cost(page: Page) -> None:
    assert ask(page, "Say hello.").strip()
    facts = page.locator(ANSWERED).last.text_content() or ""
    assert re.fullmatch(
        r"\d+ tokens · \d+ tok/s · first after \d+ ms · \d+ of \d+ prompt tokens cached", facts
    )
    ask(page, "And again.")
    cached = re.search(r"(\d+) of \d+ prompt", page.locator(ANSWERED).last.text_content() or "")
    assert cached is not None and int(cached[1]) > 30  # the first turn is in the cache


def test_an_answer_follows_the_schema_and_shows_what_was_forced(page: Page) -> None:
    page.get_by_label("Kind of constraint").select_option("json_schema")
    person = json.loads(ask(page, "Invent a person."))
    assert set(person) == {"name", "age", "hobbies"}
    page.get_by_text("Origin", exact=True).click()
    expect(page.locator("#legend")).to_contain_text("forced by the constraint")
    forced = page.locator(".token.forced").all_text_contents()
    assert "hobbies" in "".join(forced)


def test_a_schema_that_is_no_json_is_told_beside_it(page: Page) -> None:
    page.get_by_label("Kind of constraint").select_option("json_schema")
    page.get_by_label("Schema or pattern").fill("{")
    page.get_by_label("Message", exact=True).fill("Go")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not JSON")
    expect(page.locator(".turn")).to_have_count(0)


def test_what_the_server_refuses_is_shown_in_its_words(page: Page) -> None:
    page.get_by_label("Kind of constraint").select_option("regex")
    page.get_by_label("Schema or pattern").fill("(")
    page.get_by_label("Message", exact=True).fill("Go")
    page.keyboard.press("Enter")
    expect(page.locator(".turn.error .said")).to_contain_text("regex")


def test_escape_stops_an_answer(page: Page) -> None:
    page.get_by_label("Most tokens").fill("2000")
    page.get_by_label("Message", exact=True).fill("Count to a thousand.")
    page.keyboard.press("Enter")
    expect(page.locator(".token")).not_to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator(ANSWERED)).to_have_text("stopped")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_tokens_tell_their_probability(page: Page) -> None:
    ask(page, "Say hello.")
    page.get_by_text("Probability", exact=True).click()
    title = page.locator(".token").first.get_attribute("title") or ""
    assert re.match(r"\d+(\.\d+)? % \".*\"\n\d+(\.\d+)? % ", title)


def test_the_prompt_is_shown_with_its_cached_part(page: Page) -> None:
    ask(page, "Say hello.")
    ask(page, "Say it twice.")
    page.locator(".turn.assistant summary").last.click()
    expect(page.locator(".prompt .cached").last).to_contain_text("Say hello.")


def test_the_live_view_draws_the_cache(page: Page) -> None:
    ask(page, "A lighthouse keeper sings.")
    expect(page.locator("#tree li").first).to_be_visible()
    expect(page.locator("#cached")).to_contain_text(re.compile(r"\d+ tokens, \d+ nodes"))
    expect(page.locator("#hits")).to_contain_text("%")


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    reached: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate(FOCUSED))
    wanted = {"message", "send", "temperature", "top_p", "max_tokens", "seed", "constraint"}
    assert wanted | {"colour", "clear", "system", "key"} <= reached


def test_nothing_comes_from_elsewhere(server: ServerProcess, browser: Browser) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    page.wait_for_load_state("load")
    assert len(asked) > 4 and all(url.startswith(server.url) for url in asked)
    page.close()


def test_dark_follows_the_system(server: ServerProcess, browser: Browser) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(server.url)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    light, dark = (int(re.findall(r"\d+", colour)[0]) for colour in colours)
    assert light > 200 and dark < 60
