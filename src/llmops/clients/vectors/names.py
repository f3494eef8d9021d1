"""What a collection and a point may be called, and what the vectors in them are called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from uuid import UUID

from llmops.errors import ConfigurationError, StorageError

DENSE, SPARSE = "dense", "bm25"
ACL, DOCUMENT, TENANT = "acl", "document_id", "tenant"
KEYWORD_INDEXES = (ACL, DOCUMENT)
"""Indexed in every collection, beside `TENANT`."""
SLICE = 64
"""Points a call may carry: every call of Edge holds the interpreter's lock for its whole length."""

_FIELD = re.compile(r"[A-Za-z0-9_-]{1,64}")
_COLLECTION = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


def is_collection(name: str) -> bool:
    return _COLLECTION.fullmatch(name) is not None


def check_collection(name: str) -> None:
    """Refuse what could not be a folder everywhere, or would be another folder.

    Raises:
        ConfigurationError: the name is not one.
    """
    if not is_collection(name):
        raise ConfigurationError(
            f"{name!r} cannot name a collection: use at most 128 of a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or digit"
        )


def is_field(name: str) -> bool:
    """Whether a metadata field of this name can be filtered by."""
    return _FIELD.fullmatch(name) is not None


def metadata_indexes(fields: Iterable[str]) -> dict[str, str]:
    """Each field with its path in the payload.

    Raises:
        ConfigurationError: a field's name is none that can be filtered by.
    """
    paths = {name: f"metadata.{name}" for name in fields}
    for name in paths:
        if not is_field(name):
            raise ConfigurationError(f"index_fields names {name!r}: use 1 to 64 of A-Z, a-z, 0-9, '_' and '-'")
    return paths


def is_point_id(chunk_id: str) -> bool:
    """Whether the id is a UUID in the one spelling that an engine gives back."""
    try:
        return str(UUID(chunk_id)) == chunk_id
    except ValueError:
        return False


def check_point_id(chunk_id: str) -> str:
    """The id itself.

    Raises:
        StorageError: it is not a lower-case UUID with hyphens.
    """
    if not is_point_id(chunk_id):
        raise StorageError(f"chunk id {chunk_id!r} cannot be stored: use a lower-case UUID with hyphens")
    return chunk_id


def unknown_collection(name: str, known: Iterable[str]) -> str:
    """The sentence for a collection that is not there."""
    there = ", ".join(repr(n) for n in known) or "none"
    return f"there is no collection {name!r} (there is: {there}); run `llmops ingest` to build it"
