"""Confluence's storage format as HTML: what a reader sees on the page is in the document."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.ingestion.parsing import parse
from llmops.ingestion.sources.confluence_storage import html_of_storage


def text(storage: str) -> str:
    made = html_of_storage(storage, "Title", lambda account: {"acc-1": "Ann"}.get(account, ""))
    return parse(made.encode(), uri="page.html").text


def macro(name: str, *inner: str) -> str:
    return f'<ac:structured-macro ac:name="{name}">{"".join(inner)}</ac:structured-macro>'


def parameter(name: str, value: str) -> str:
    return f'<ac:parameter ac:name="{name}">{value}</ac:parameter>'


def link(*inner: str) -> str:
    return f"<p><ac:link>{''.join(inner)}</ac:link></p>"


def rich(*inner: str) -> str:
    return f"<ac:rich-text-body>{''.join(inner)}</ac:rich-text-body>"


PAGE = '<ri:page ri:content-title="Roll back"/>'


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ("<p>Caf&eacute;&nbsp;&amp; bar &lt;x&gt; &unknown; &#8364;</p>", "Café & bar <x> &unknown; €"),
        ("<h2>Steps</h2><ol><li>One</li><li>Two</li></ol>", "Steps\n\n1. One\n2. Two"),
        (link('<ri:user ri:account-id="acc-1"/>') + link('<ri:user ri:account-id="x"/>'), "@Ann\n\n@someone"),
        (link(PAGE), "Roll back"),
        (link('<ri:attachment ri:filename="a.pdf"/>'), "a.pdf"),
        (link(PAGE, "<ac:link-body>the <b>page</b></ac:link-body>"), "the page"),
        (link("<ac:plain-text-link-body><![CDATA[a < b]]></ac:plain-text-link-body>"), "a < b"),
        ('<p><a href="https://x.example">out</a></p>', "out"),
        ('<p><ac:image ac:alt="A plan"><ri:attachment ri:filename="p.png"/></ac:image></p>', "A plan"),
        ('<p><ac:image><ri:attachment ri:filename="p.png"/></ac:image></p>', "p.png"),
        (f"<p>Is {macro('status', parameter('title', 'DONE'))}</p>", "Is DONE"),
        (f"<p>{macro('jira', parameter('key', 'OPS-7'))}</p>", "OPS-7"),
        (macro("toc", parameter("maxLevel", "3")) + "<p>x</p>", "x"),
        (macro("include", PAGE), "Roll back"),
        (macro("warning", parameter("title", "Mind"), rich("<p>the gap</p>")), "Mind\n\nthe gap"),
        (macro("expand", rich(macro("info", rich("<p>deep</p>")))), "deep"),
        (
            "<ac:layout><ac:layout-section><ac:layout-cell><p>left</p></ac:layout-cell>"
            "<ac:layout-cell><p>right</p></ac:layout-cell></ac:layout-section></ac:layout>",
            "left\n\nright",
        ),
        (
            "<ac:task-list><ac:task><ac:task-id>1</ac:task-id><ac:task-status>complete</ac:task-status>"
            "<ac:task-body>done</ac:task-body></ac:task><ac:task><ac:task-status>incomplete</ac:task-status>"
            "<ac:task-body>open</ac:task-body></ac:task></ac:task-list>",
            "- [x] done\n- [ ] open",
        ),
        (
            '<ac:adf-extension><ac:adf-node type="panel"><ac:adf-content><p>note</p></ac:adf-content>'
            "</ac:adf-node><ac:adf-fallback><p>note</p></ac:adf-fallback></ac:adf-extension>",
            "note",
        ),
        ('<p>due <time datetime="2024-05-06" /></p>', "due 2024-05-06"),
        ('<p>a<ac:inline-comment-marker ac:ref="x">b</ac:inline-comment-marker>c</p>', "abc"),
        ("<p>shown<ac:placeholder>type here</ac:placeholder></p>", "shown"),
        (
            f"<p>a</p><table><tr><td>{macro('status', parameter('title', 'OK'))}</td><td>2</td></tr></table>",
            "a\n\nOK | 2",
        ),
    ],
)
def test_what_a_page_says(storage: str, expected: str) -> None:
    assert text(storage) == expected


def test_code_is_kept_to_the_letter() -> None:
    storage = (
        '<ac:structured-macro ac:name="code"><ac:parameter ac:name="language">c</ac:parameter>'
        '<ac:plain-text-body><![CDATA[if (a < b && c > d)\n    x = "&nbsp;";  // </pre>]]></ac:plain-text-body>'
        "</ac:structured-macro>"
    )
    assert 'if (a < b && c > d)\n    x = "&nbsp;";  // </pre>' in text(storage)


def test_a_page_that_is_not_well_formed_loses_no_text() -> None:
    said = text("<p>one <b>two</p><p>three<![CDATA[ a<b ]]></p><ac:thing>four")
    assert [word for word in ("one", "two", "three", "a<b", "four") if word not in said] == []


def test_scripts_and_entities_of_a_page_do_nothing() -> None:
    assert "alert" not in text("<p>x</p><script>alert(1)</script>")
    hostile = '<!DOCTYPE p [<!ENTITY e SYSTEM "file:///etc/hostname">]><p>&e; stays</p>'
    assert "stays" in text(hostile)


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=80))
def test_any_text_of_a_paragraph_is_kept(said: str) -> None:
    kept = html_of_storage(f"<p>{html.escape(said)}</p>", "T")
    assert html.escape(said, quote=False) in kept.replace("&quot;", '"').replace("&#x27;", "'")
