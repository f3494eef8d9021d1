"""Markdown, reStructuredText and plain text: what earlier readings lost, and texts made to be slow."""

from __future__ import annotations

import pytest

from tests.ingestion.parsing.reading import blocks, lines, read


@pytest.mark.parametrize("mark", ["[", "![", "[a ", "[[a]("])
def test_markdown_of_very_many_brackets_is_read_as_plain_text_and_says_so(mark: str) -> None:
    source = f"# Title\n\n{mark * 20_000}\n\nA [link](x) after.\n"
    parsed = read(source, "a.md")
    found = blocks(parsed)
    assert found[0] == ("heading", "Title")
    assert found[1] == ("paragraph", (mark * 20_000).strip())
    assert found[2] == ("paragraph", "A link after.")
    assert parsed.problems == ("the paragraph at line 3 has so many brackets that it was read as plain text",)


def test_markdown_with_many_links_is_read_as_ever() -> None:
    parsed = read("[a](b) " * 2_000 + "\n\n" + "- [x](y)\n" * 500, "a.md")
    assert parsed.problems == ()
    assert "[" not in parsed.text


def test_substitutions_are_replaced_by_what_they_stand_for() -> None:
    source = """Version |version| of |Name| with |icon|, on |today| or |nothing|.

.. |version| replace:: 3.12
.. |name| replace:: *Ann* of |version|
.. |icon| image:: a.png
   :alt: a gate
.. |today| date:: %Y
"""
    assert read(source, "a.rst").text == "Version 3.12 of Ann of 3.12 with a gate, on today or nothing."


def test_substitutions_of_substitutions_do_not_multiply() -> None:
    chain = "".join(f".. |a{i}| replace:: {f'|a{i + 1}| ' * 40}\n" for i in range(12))
    assert len(read(f"{'|a0| ' * 500}\n\n{chain}.. |a12| replace:: x\n", "a.rst").text) < 2_000_000
    assert read("|a|\n\n.. |a| replace:: |b|\n.. |b| replace:: |a|\n", "a.rst").text in ("a", "b")


def test_notes_keep_their_labels() -> None:
    source = """See [1]_, [#auto]_, [CIT2002]_ and [*]_.

.. [1] First.
.. [#auto] Second.
.. [*] Third.
.. [CIT2002] A book.
"""
    parsed = read(source, "a.rst")
    assert [text for _, text in blocks(parsed)] == [
        "See [1], [auto], [CIT2002] and [*].",
        "[1] First.",
        "[auto] Second.",
        "[*] Third.",
        "[CIT2002] A book.",
    ]
    assert lines(parsed)[1][0] == 3


def test_numbers_of_series_keep_their_word() -> None:
    assert read(":pep:`8`, :rfc:`2822` and :pep:`the style guide <8>`", "a.rst").text == (
        "PEP 8, RFC 2822 and the style guide"
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("uri", ["a.txt", "a.md", "a.html", "a.rst"])
def test_utf_16_without_a_mark_is_told_by_its_zeros(encoding: str, uri: str) -> None:
    text = "The gate – it’s closed – opens at nine."
    assert read(text.encode(encoding), uri).text == text
