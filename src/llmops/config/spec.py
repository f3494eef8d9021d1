"""The base of every spec: unknown fields are errors, values never change, content has a hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$")]
"""What things are called in files, URLs and on the command line."""


class Section(BaseModel):
    """A nested part of a spec: strict and frozen like the spec itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Spec(Section):
    """One committed file. Subclasses set `kind`, which names the file's schema.

    Attributes:
        file: where it was loaded from, or "" when it was made in code. Not part of the hash.
    """

    kind: ClassVar[str]
    _file: str = ""

    @property
    def file(self) -> str:
        return self._file

    def located(self, file: str) -> Self:
        """This spec, knowing where it came from."""
        copy = self.model_copy()
        copy._file = file
        return copy

    @property
    def spec_hash(self) -> str:
        """SHA-256 of the validated content, hex: comments, order and formatting do not change it.

        What is left at its default does not count: a field that a later llmops adds changes no digest of today.
        """
        return digest(self.model_dump(mode="json", exclude_defaults=True))


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON value in canonical form (sorted keys, no spaces, ASCII)."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))  # orjson stops at 64-bit numbers
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def beside(file: str, place: str) -> str:
    """`place` as an absolute path when it is a folder seen from `file`'s own, else as it stands."""
    path = Path(file).parent / place
    return str(path.resolve()) if path.is_dir() else place


def json_schema(spec: type[Spec]) -> dict[str, Any]:
    """The JSON schema of a spec kind, for editors; allows the `$schema` line itself."""
    schema = spec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"llmops {spec.kind}"
    schema.setdefault("properties", {})["$schema"] = {"type": "string"}
    return schema
