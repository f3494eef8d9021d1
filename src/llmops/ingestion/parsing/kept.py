"""A document that was parsed before and is kept as the policy let it pass: its text and blocks, as JSON."""

from __future__ import annotations

from dataclasses import asdict

import orjson

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed
from llmops.records import Block, Document


def kept(document: Document) -> bytes:
    """What is kept of a document that was changed."""
    values = {
        "title": document.title,
        "text": document.text,
        "blocks": [asdict(block) for block in document.blocks],
        "media_type": document.media_type,
        "metadata": dict(document.metadata),
    }
    return orjson.dumps(values)


def parse_kept(raw: bytes, uri: str) -> Parsed:  # noqa: ARG001 (as all parsers)
    """The document that `kept` wrote."""
    try:
        values = orjson.loads(raw)
        values["blocks"] = tuple(Block(**block) for block in values["blocks"])
        return Parsed(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise DocumentError(f"is no document as llmops keeps it ({error})") from error
