"""What stands on every page is found by counting and cut out exactly."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.ingestion.boilerplate import repeated, without
from llmops.ingestion.parsing import parse
from llmops.records import Document
from tests.ingestion.test_chunking import PIECES, Piece, document

MENU: Piece = ("list", 0, "- Home\n- Products\n- Contact")
COOKIES: Piece = ("paragraph", 0, "We use cookies. Accept all?")
FOOTER: Piece = ("paragraph", 0, "© 2026 Example Ltd.")


def page(number: int) -> Document:
    return document(
        [
            MENU,
            ("heading", 1, f"Product {number}"),
            ("paragraph", 0, f"Product {number} costs {number} EUR."),
            ("heading", 2, "Details"),
            ("paragraph", 0, f"It weighs {number} kg."),
            ("code", 0, "```\npip install example\n```"),
            ("heading", 2, "Newsletter"),
            COOKIES,
            FOOTER,
        ]
    )


def found(documents: list[Document], min_share: float = 0.5, min_documents: int = 5) -> frozenset[str]:
    return repeated(documents, min_share=min_share, min_documents=min_documents)


def test_what_every_page_says_is_cut_out() -> None:
    pages = [page(n) for n in range(10)]
    cleaned, n_cut = without(pages[3], found(pages))
    assert cleaned.text == (
        "Product 3\n\nProduct 3 costs 3 EUR.\n\nDetails\n\nIt weighs 3 kg.\n\n```\npip install example\n```"
    )
    assert n_cut == 4
    assert [cleaned.text[b.start : b.end] for b in cleaned.blocks] == cleaned.text.split("\n\n")
    assert [b.first_line for b in cleaned.blocks] == [2, 3, 4, 5, 6]


def test_a_repeated_heading_goes_only_with_all_that_stood_under_it() -> None:
    pages = [page(n) for n in range(10)]
    digests = found(pages)
    under_the_heading: list[Piece] = [("paragraph", 0, "Own words."), ("heading", 2, "Newsletter"), COOKIES]
    cleaned, n_cut = without(document([*under_the_heading, ("paragraph", 0, "Write to us.")]), digests)
    assert (cleaned.text, n_cut) == ("Own words.\n\nNewsletter\n\nWrite to us.", 1)
    deeper: list[Piece] = [("heading", 1, "Details"), FOOTER, ("heading", 2, "Own"), ("paragraph", 0, "Words.")]
    cleaned, n_cut = without(document(deeper), digests)
    assert (cleaned.text, n_cut) == ("Details\n\nOwn\n\nWords.", 1)


def test_a_block_counts_once_for_each_document() -> None:
    often = document([FOOTER] * 20)
    assert found([often, *(document([("paragraph", 0, f"Page {n}")]) for n in range(4))]) == frozenset()


def test_share_and_number_must_both_be_reached() -> None:
    pages = [page(n) for n in range(4)]
    others = [document([("paragraph", 0, f"Other {n}")]) for n in range(4)]
    assert found(pages, min_documents=5) == frozenset()
    assert len(found([*pages, *others], min_share=0.5, min_documents=2)) == 5  # two headings, three blocks
    assert found([*pages, *others], min_share=0.51, min_documents=2) == frozenset()
    assert found([]) == frozenset()


def test_case_and_white_space_do_not_count_and_digits_do() -> None:
    texts = ["We use COOKIES", "we  use\ncookies", "We use cookies"]
    assert len(found([document([("paragraph", 0, text)]) for text in texts], min_documents=3)) == 1
    prices = [document([("paragraph", 0, f"Price: {n} EUR")]) for n in range(9)]
    assert found(prices) == frozenset()


def test_a_menu_parsed_as_a_list_or_as_a_paragraph_is_one() -> None:
    pages = [document([(kind, 0, "Home Products")]) for kind in ("list", "paragraph", "table")]
    assert len(found(pages, min_documents=3)) == 1


def test_a_document_of_nothing_else_stays() -> None:
    pages = [page(n) for n in range(10)]
    only = document([MENU, ("heading", 1, "Welcome"), FOOTER])
    assert without(only, found(pages)) == (only, 0)
    empty = document([])
    assert without(empty, found(pages)) == (empty, 0)


def test_nothing_repeated_changes_nothing() -> None:
    made = page(1)
    assert without(made, frozenset()) == (made, 0)


def test_a_real_page_keeps_its_lines() -> None:
    sources = [
        f"<html><body><ul><li>Home<li>Shop</ul>\n<h1>Page {n}</h1>\n<p>Text {n}.</p>\n<p>Imprint</p></body></html>"
        for n in range(6)
    ]
    parsed = [parse(source.encode(), uri="a.html") for source in sources]
    pages = [
        replace(document([]), title=made.title, text=made.text, blocks=made.blocks, media_type=made.media_type)
        for made in parsed
    ]
    cleaned, n_cut = without(pages[2], found(pages))
    assert (cleaned.text, n_cut) == ("Page 2\n\nText 2.", 2)
    assert {b.first_line for b in cleaned.blocks} <= {b.first_line for b in pages[2].blocks}


@settings(deadline=None, max_examples=100)
@given(pieces=PIECES, others=PIECES, seed=st.integers(0, 3))
def test_what_is_not_cut_keeps_its_words_in_order(pieces: list[Piece], others: list[Piece], seed: int) -> None:
    made = document(pieces)
    some = document([*others, *pieces[seed::2]])
    digests = repeated([some], min_share=1.0, min_documents=1)
    cleaned, n_cut = without(made, digests)
    kept = [(b.kind, cleaned.text[b.start : b.end], b.first_line) for b in cleaned.blocks]
    before = [(b.kind, made.text[b.start : b.end], b.first_line) for b in made.blocks]
    assert len(before) - len(kept) == n_cut
    remaining = iter(before)
    assert all(block in remaining for block in kept)
    assert "".join(cleaned.text.split()) == "".join("".join(text.split()) for _, text, _ in kept)
    assert not cleaned.blocks or cleaned.blocks[-1].end == len(cleaned.text)
    assert without(cleaned, digests) == (cleaned, 0)
