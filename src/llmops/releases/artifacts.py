"""Everything that shaped an answer, kept by its digest: a hash on an old trace can always be read again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from sqlalchemy import desc, select, update
from sqlalchemy.dialects import postgresql, sqlite

from llmops.clients.database import Database
from llmops.clients.database.tables import artifacts
from llmops.records import ArtifactKind


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One content under one name.

    Attributes:
        content: the file's text, or the validated content as JSON.
        version: the registry's number, for prompts that were published.
        commit: the git commit it stood in, or "".
    """

    kind: ArtifactKind
    name: str
    digest: str
    content: str
    version: int | None = None
    author: str = ""
    commit: str = ""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class ArtifactBook:
    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, given: Sequence[Artifact]) -> None:
        """Store contents that are not there yet; what is there stays as it is."""
        dialect = sqlite if self._database.is_sqlite else postgresql
        statement = dialect.insert(artifacts).on_conflict_do_nothing()
        with self._database.begin() as connection:
            connection.execute(statement, [asdict(artifact) for artifact in given])

    def publish(self, artifact: Artifact) -> None:
        """Store a published content with its version, author and commit; a damaged row is whole again."""
        self.keep([artifact])
        values = {
            "content": artifact.content,
            "version": artifact.version,
            "author": artifact.author,
            "commit": artifact.commit,
        }
        same_name = (artifacts.c.kind == artifact.kind) & (artifacts.c.name == artifact.name)
        with self._database.begin() as connection:
            if artifact.version is not None:
                # Another registry counted from 1 as well; its numbers say nothing any more.
                other = same_name & (artifacts.c.version == artifact.version)
                connection.execute(
                    update(artifacts).where(other, artifacts.c.digest != artifact.digest).values(version=None)
                )
            here = same_name & (artifacts.c.digest == artifact.digest)
            connection.execute(update(artifacts).where(here).values(**values))

    def get(self, kind: ArtifactKind, name: str, digest: str) -> Artifact | None:
        query = (
            select(artifacts)
            .where(artifacts.c.kind == kind)
            .where(artifacts.c.name == name)
            .where(artifacts.c.digest == digest)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Artifact(**row._mapping) if row is not None else None

    def published(self, kind: ArtifactKind, name: str) -> list[Artifact]:
        """Contents with a version number, newest version first."""
        query = (
            select(artifacts)
            .where(artifacts.c.kind == kind)
            .where(artifacts.c.name == name)
            .where(artifacts.c.version.is_not(None))
            .order_by(desc(artifacts.c.version))
        )
        with self._database.read() as connection:
            return [Artifact(**row._mapping) for row in connection.execute(query)]
