"""Running heads, feet and page numbers of a PDF, learned from the pages as they come."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from llmops.ingestion.parsing.pdf_pages import RawPage, Word
from llmops.ingestion.parsing.pdf_rows import rows_of, text_of

_PUNCTUATION = ".,;:!?()[]\"'“”‘’"
_NUMBER = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(r"^\d{1,5}\s|\s\d{1,5}$")
_MIN_PAGES = 4
_MOST_PAGES = 0.6
_SAME_PLACE_PAGES = 3
_SOME_PAGES = 0.08
_BAND = 3.0  # points


class Furniture:
    """What stands on most pages, or in the same place of some; and, seen on the way, the document's words.

    Attributes:
        vocabulary: words in small letters.
    """

    def __init__(self) -> None:
        self._often: Counter[tuple[str, int | None]] = Counter()
        self._placed: Counter[tuple[str, int | None, int]] = Counter()
        self._sizes: Counter[float] = Counter()
        self._n_pages = 0
        self.vocabulary: set[str] = set()

    @property
    def body_size(self) -> float:
        """The size most letters have, in points; 0 where there are none."""
        return self._sizes.most_common(1)[0][0] if self._sizes else 0.0

    def learn(self, pages: Iterable[RawPage]) -> None:
        for page in pages:
            self._n_pages += 1
            for word in page.layers[0] if page.layers else ():
                self._sizes[round(word.size, 1)] += len(word.text)
                self.vocabulary.add(word.text.strip(_PUNCTUATION).lower())
            edges = _edges(page)
            self._often.update({form for text, _ in edges for form in _forms(text, page.number)})
            self._placed.update(
                {(*_bare(text, page.number), _place(words)) for text, words in edges if _is_word(text)}
            )

    def words(self, page: RawPage) -> frozenset[int]:
        """Ids of the page's words that stand in a running head or foot."""
        if self._n_pages < _MIN_PAGES:
            return frozenset()
        found: set[int] = set()
        for text, words in _edges(page):
            most = max(self._often[form] for form in _forms(text, page.number))
            place = _place(words)
            bare = _bare(text, page.number)
            n_here = sum(self._placed[(*bare, near)] for near in (place - 1, place, place + 1))
            is_small = words[0].size <= 1.1 * self.body_size
            again = is_small and n_here >= max(_SAME_PLACE_PAGES, _SOME_PAGES * self._n_pages)
            if again or most >= _MOST_PAGES * self._n_pages:
                found.update(id(word) for word in words)
        return frozenset(found)


def _edges(page: RawPage) -> list[tuple[str, tuple[Word, ...]]]:
    """The first and last two rows."""
    rows = rows_of(page.layers[0]) if page.layers else []
    shown = [*rows[:2], *rows[max(2, len(rows) - 2) :]]
    return [(text_of(row.words), row.words) for row in shown]


def _forms(line: str, page: int) -> Iterator[tuple[str, int | None]]:
    """The line itself, and without its numbers for each of them that may count pages: with its lead over them."""
    yield line, None
    masked = _NUMBER.sub("#", line)
    for number in _NUMBER.findall(line):
        if len(number) <= 5:
            yield masked, int(number) - page


def _place(words: tuple[Word, ...]) -> int:
    return round(words[0].base / _BAND)


def _bare(line: str, page: int) -> tuple[str, int | None]:
    """The line without a number at an end that may count pages, and that number's lead over them."""
    match = _PAGE_NUMBER.search(line)
    return (line, None) if match is None else (_PAGE_NUMBER.sub("", line), int(match[0]) - page)


def _is_word(text: str) -> bool:
    return any(map(str.isalpha, text))
