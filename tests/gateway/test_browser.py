"""The chat page in a real browser."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.gateway.running import Gateway
from tests.gateway.upstream import Upstream, event, hang, piece, refusing, streaming

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, gateway: Gateway) -> Iterator[Page]:
    """The page, open; a test ends with no error in its console but those it expects in `page.expected`."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(15_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    # A browser reports each status of 400 and above by itself.
    assert [text for text in said if not text.startswith("Failed to load resource")] == []


def hook(page: Page | Locator, name: str) -> Locator:
    return page.locator(f'[data-testid="{name}"]')


def ask(page: Page, question: str) -> Locator:
    """Type and send a question; returns its turn on the page."""
    hook(page, "question").fill(question)
    hook(page, "send").click()
    return page.locator("article").last


def answered(turn: Locator) -> str:
    answer = hook(turn, "answer")
    answer.and_(turn.page.locator('[aria-busy="false"]')).wait_for()
    return answer.inner_text()


def test_from_a_question_to_feedback(page: Page, gateway: Gateway) -> None:
    page.goto(gateway.url)
    hook(page, "route").select_option("assistant")
    turn = ask(page, "When does the library open?")
    assert answered(turn).startswith("The library opens at nine in the morning")
    inference_id = turn.get_attribute("data-inference-id")
    assert inference_id is not None

    citation = hook(turn, "citation").first
    citation.click()
    passage = hook(page, "passage")
    cited = gateway.trace(inference_id)
    chunks = next(span.output for span in cited.spans if span.station == "pack")
    (first,) = (item["chunk_id"] for item in chunks if item["number"] == 1)
    hits = gateway.http.post("/v1/search", json={"query": "When does the library open?", "route": "assistant"})
    text = next(hit["text"] for hit in hits.json()["hits"] if hit["chunk_id"] == first)
    assert passage.locator("blockquote").inner_text() == text
    page.keyboard.press("Escape")
    passage.wait_for(state="hidden")
    citation.click()
    hook(page, "passage-close").click()
    passage.wait_for(state="hidden")

    hook(turn, "thumb-down").click()
    hook(turn, "comment").fill("It opens later in winter.")
    hook(turn, "correction").fill("At ten in winter.")
    hook(turn, "feedback-send").click()
    hook(turn, "feedback-done").wait_for()
    (row,) = gateway.workspace.feedback.of(inference_id)
    assert (row["name"], row["value"]) == ("thumb", False)
    assert (row["comment"], row["correction"]) == ("It opens later in winter.", "At ten in winter.")


def test_a_conversation_goes_on_and_begins_anew(page: Page, gateway: Gateway, upstream: Upstream) -> None:
    page.goto(gateway.url)
    hook(page, "route").select_option("rag")
    answered(ask(page, "When does the library open?"))
    page.keyboard.type("And on Sundays?")
    page.keyboard.press("Enter")
    turn = page.locator("article").nth(1)
    assert "It opens at nine" in answered(turn)
    sent = [message["content"] for message in upstream.requests[-1].body["messages"]]
    assert sent[1:3] == ["When does the library open?", "It opens at nine [1]."]
    assert sent[-1].endswith("Question: And on Sundays?")
    hook(turn, "thumb-up").click()
    hook(turn, "feedback-send").click()
    hook(turn, "feedback-done").wait_for()
    inference_id = turn.get_attribute("data-inference-id")
    assert [row["value"] for row in gateway.workspace.feedback.of(str(inference_id))] == [True]
    hook(page, "new-conversation").click()
    assert page.locator("article").count() == 0


def test_an_example_asks_itself(page: Page, gateway: Gateway) -> None:
    page.goto(gateway.url)
    hook(page, "route").select_option("assistant")
    hook(page, "example").first.click()
    turn = page.locator("article").last
    assert turn.locator(".question").inner_text() == "What is this workspace?"
    answered(turn)


def test_an_endpoint_that_fails_is_named_and_can_be_tried_again(
    page: Page, gateway: Gateway, upstream: Upstream
) -> None:
    page.goto(gateway.url)
    hook(page, "route").select_option("rag")
    working = upstream.handler
    upstream.handler = refusing(500, "boom")
    turn = ask(page, "When does the library open?")
    assert "(500): boom; look at its log" in hook(turn, "error").inner_text()
    upstream.handler = streaming(event(piece("It op")))
    hook(turn, "retry").click()
    page.locator("text=The answer was cut off").wait_for()
    assert answered(turn) == "It op"
    upstream.handler = working
    hook(turn, "retry").click()
    hook(turn, "citation").wait_for()
    assert answered(turn).startswith("It opens at nine")


def test_an_answer_can_be_stopped(page: Page, gateway: Gateway, upstream: Upstream) -> None:
    upstream.handler = streaming(event(piece("It opens")), then=hang)
    page.goto(gateway.url)
    hook(page, "route").select_option("forward")
    turn = ask(page, "When does the library open?")
    hook(turn, "answer").locator("text=It opens").wait_for()
    hook(page, "stop").click()
    page.locator("text=You stopped this answer.").wait_for()
    inference_id = turn.get_attribute("data-inference-id")
    assert gateway.trace(str(inference_id)).status == "cancelled"


def test_a_key_is_asked_for_when_there_is_one(page: Page, keyless: Gateway) -> None:
    _, secret = keyless.workspace.keys.create("someone", role="app", principals=[])
    page.goto(keyless.url)
    field = hook(page, "api-key")
    field.fill("lk-wrong")
    page.keyboard.press("Enter")
    page.locator("text=The gateway did not accept that key").wait_for()
    field.fill(secret)
    page.keyboard.press("Enter")
    hook(page, "route").select_option("assistant")
    turn = ask(page, "When does the library open?")
    assert answered(turn).startswith("The library opens")
    assert keyless.trace(str(turn.get_attribute("data-inference-id"))).caller == "someone"
    assert not field.is_visible()


def test_what_a_model_writes_never_becomes_html(page: Page, gateway: Gateway, upstream: Upstream) -> None:
    attack = '<img src=x onerror="document.title=1"> <script>document.title=2</script> [1](javascript:alert(1))'
    upstream.handler = streaming(event(piece(attack)), event(piece(finish="stop")), b"data: [DONE]\n\n")
    page.goto(gateway.url)
    hook(page, "route").select_option("forward")
    turn = ask(page, "<b>x</b>")
    assert "<script>document.title=2</script>" in answered(turn)
    assert hook(turn, "answer").locator("img, script, a").count() == 0
    assert turn.locator(".question").inner_text() == "<b>x</b>"
    assert page.title() == "llmops"
