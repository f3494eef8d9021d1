"""What stands on every page of a site: navigation, footers, cookie notices. Found by counting, cut out exactly.

Texts count as the same but for case and white space; digits count, for a price or a date is content. Code is never
boilerplate. A heading goes only when it repeats itself and all that stood under it has gone.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from llmops.records import Block, Document


def repeated(documents: Iterable[Document], *, min_share: float, min_documents: int) -> frozenset[str]:
    """Digests of the blocks that stand in many documents; a block counts once for each document.

    Args:
        min_share: of the documents, in (0, 1].
        min_documents: fewer than so many is never many, whatever their share.
    """
    n_documents = 0
    counts: Counter[str] = Counter()
    for document in documents:
        n_documents += 1
        counts.update({_digest(block, document.text) for block in document.blocks} - {""})
    needed = max(min_documents, math.ceil(min_share * n_documents - 1e-9))
    return frozenset(digest for digest, n in counts.items() if n >= needed)


def without(document: Document, digests: Collection[str]) -> tuple[Document, int]:
    """The document with these blocks cut out, and how many they are.

    A document of nothing else stays as it is, and the number is 0.
    """
    cut = _to_cut(document, digests)
    is_content_left = any(
        index not in cut and block.kind != "heading" and document.text[block.start : block.end].strip()
        for index, block in enumerate(document.blocks)
    )
    return (_rebuilt(document, cut), len(cut)) if cut and is_content_left else (document, 0)


def _digest(block: Block, text: str) -> str:
    """Identifies a block's kind and words; "" for what is never boilerplate."""
    words = " ".join(text[block.start : block.end].casefold().split())
    if not words or block.kind == "code":
        return ""
    kind = "heading" if block.kind == "heading" else "content"  # the same menu may be parsed as list or paragraph
    return hashlib.blake2b(f"{kind}\n{words}".encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _to_cut(document: Document, digests: Collection[str]) -> set[int]:
    blocks, text = document.blocks, document.text
    is_repeated = [_digest(block, text) in digests for block in blocks]
    cut = {index for index, block in enumerate(blocks) if block.kind != "heading" and is_repeated[index]}
    for index in reversed(range(len(blocks))):
        if blocks[index].kind != "heading" or not is_repeated[index]:
            continue
        under = index + 1
        while under < len(blocks) and under in cut:
            under += 1
        is_end = under == len(blocks) or (
            blocks[under].kind == "heading" and blocks[under].level <= blocks[index].level
        )
        if is_end and under > index + 1:
            cut.add(index)
    return cut


def _rebuilt(document: Document, cut: Collection[int]) -> Document:
    """The text without the blocks and the blanks behind them; all other blocks keep their words."""
    text, blocks = document.text, document.blocks
    parts: list[str] = []
    kept: list[Block] = []
    copied = shift = 0
    for index, block in enumerate(blocks):
        if index not in cut:
            kept.append(replace(block, start=block.start - shift, end=block.end - shift))
            continue
        end = blocks[index + 1].start if index + 1 < len(blocks) else len(text)
        if text[block.end : end].strip():
            end = block.end
        parts.append(text[copied : block.start])
        shift += end - block.start
        copied = end
    joined = "".join([*parts, text[copied:]])
    last = kept[-1].end if kept else 0
    return replace(document, text=joined if joined[last:].strip() else joined[:last], blocks=tuple(kept))
