"""A pipeline's policy on a document: keep, label, redact or refuse, with spans that stay exact."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmops.errors import DocumentRefusedError
from llmops.ingestion.governance.apply import _Found, govern, redacted
from llmops.ingestion.governance.spec import GovernanceSpec
from llmops.records import Block, Document

SECRET = "ghp_" + "a1" * 18
MAIL = "ada@example.org"


def document(*blocks: str, title: str = "T") -> Document:
    text = "\n\n".join(blocks)
    made: list[Block] = []
    start = 0
    for block in blocks:
        made.append(Block(kind="paragraph", start=start, end=start + len(block)))
        start += len(block) + 2
    return Document(
        document_id="d",
        uri="a.md",
        title=title,
        text=text,
        blocks=tuple(made),
        media_type="text/plain",
        content_hash="",
        acl=("everyone",),
    )


def spec(**fields: Any) -> GovernanceSpec:
    return GovernanceSpec.model_validate(fields, strict=False)


def test_by_default_secrets_are_replaced_and_personal_data_stays() -> None:
    made = govern(document(f"The token is {SECRET}.", f"Write to {MAIL}."), spec())
    assert made.document.text == f"The token is <GITHUB_TOKEN>.\n\nWrite to {MAIL}."
    assert made.labels == {"secrets": ["GITHUB_TOKEN"], "secrets_redacted": 1}
    blocks = [made.document.text[b.start : b.end] for b in made.document.blocks]
    assert blocks == ["The token is <GITHUB_TOKEN>.", f"Write to {MAIL}."]


def test_personal_data_is_labelled_redacted_or_refused_as_the_policy_says() -> None:
    text = f"Write to {MAIL}."
    labelled = govern(document(text), spec(pii="label"))
    assert (labelled.document.text, labelled.labels) == (text, {"pii": ["EMAIL_ADDRESS"]})
    clean = govern(document(text, title=f"About {MAIL}"), spec(pii="redact"))
    assert (clean.document.text, clean.document.title) == ("Write to <EMAIL_ADDRESS>.", "About <EMAIL_ADDRESS>")
    assert clean.labels == {"pii": ["EMAIL_ADDRESS"], "pii_redacted": 2}
    with pytest.raises(DocumentRefusedError, match=r"^holds 1 EMAIL_ADDRESS, which") as refused:
        govern(document(text), spec(pii="refuse"))
    assert MAIL not in str(refused.value)


def test_a_policy_looks_only_for_the_kinds_it_names() -> None:
    made = govern(document(f"Write to {MAIL}."), spec(pii="redact", entities=["CREDIT_CARD"]))
    assert MAIL in made.document.text


def test_labels_and_licence_are_put_on_the_document_for_filters() -> None:
    made = govern(document("x"), spec(licence="CC-BY-4.0", labels={"team": "docs"}))
    assert dict(made.document.metadata) == {"team": "docs", "licence": "CC-BY-4.0"}


def test_a_secret_over_two_blocks_leaves_nothing_of_itself() -> None:
    key = "-----BEGIN PRIVATE KEY-----"
    made = govern(document(f"a {key}\nMIIE", "MIIF\n-----END PRIVATE KEY----- b"), spec())
    assert made.document.text == "a <PRIVATE_KEY>\n\n<PRIVATE_KEY> b"


@given(
    st.lists(st.text("abc ", min_size=1, max_size=12), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), max_size=5),
)
def test_blocks_follow_their_text_wherever_it_is_cut(blocks: list[str], cuts: list[tuple[int, int]]) -> None:
    before = document(*blocks)
    found = [_Found(start, start + n, "X") for start, n in cuts if start + n <= len(before.text)]
    after = redacted(before, found)
    assert len(after.blocks) == len(before.blocks)
    hidden = {i for one in found for i in range(one.start, one.end)}
    for old, new in zip(before.blocks, after.blocks, strict=True):
        kept = "".join(before.text[i] for i in range(old.start, old.end) if i not in hidden)
        shown = after.text[new.start : new.end].replace("<X>", "")
        assert shown == kept or len(found) > 1  # of overlapping spans the first is replaced as a whole
    assert [b.start for b in after.blocks] == sorted(b.start for b in after.blocks)
