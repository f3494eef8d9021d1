"""Where a registry is: what `MLFLOW_TRACKING_URI` may say, and how much of it may be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from sqlalchemy import URL
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from llmops.errors import ConfigurationError

_FORMS = "write http://HOST:5000, postgresql://USER:PASSWORD@HOST/NAME or sqlite:////PATH/mlflow.db"
_ESCAPES = "in a password '/', '#' and '@' are %2F, %23 and %40"
_CONNECT_TIMEOUT_S = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a registry is.

    Attributes:
        kind: "embedded" is our own SQLite file in the workspace's state.
        uri: what MLflow gets; a password may stand in it.
        shown: the same without user, password and query.
        secrets: users and passwords of `uri` in every spelling.
        file: the SQLite file, where it is one.
        artifacts: folder for the artifacts of new experiments; None where a server decides.
    """

    kind: Literal["embedded", "database", "server"]
    uri: str = field(repr=False)
    shown: str
    secrets: tuple[str, ...] = field(default=(), repr=False)
    file: Path | None = None
    artifacts: Path | None = None

    def scrubbed(self, text: str) -> str:
        """`text` without anything that must not be shown."""
        text = text.replace(self.uri, self.shown)
        for secret in self.secrets:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "…", text)
        return text


def find_place(uri: str, state: Path) -> Place:
    """The registry that `uri` names, or the embedded one in `state` where it is empty.

    Raises:
        ConfigurationError: `uri` cannot be understood or is of another kind.
    """
    artifacts = state.absolute() / "mlflow-artifacts"
    if not uri:
        return _sqlite("embedded", state.absolute() / "mlflow.sqlite3", artifacts)
    scheme, colon, _ = uri.partition("://")
    scheme = scheme.lower()
    if scheme in ("http", "https"):
        return _server(uri)
    if scheme not in ("sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"):
        # What is of no known form is not shown beyond its scheme: a password may stand anywhere in it.
        shown = f"'{scheme}:…' " if colon else ""
        raise ConfigurationError(f"MLFLOW_TRACKING_URI {shown}names no registry that llmops can use; {_FORMS}")
    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        problem = f"MLFLOW_TRACKING_URI '{scheme}:…' is not a database URL"
        raise ConfigurationError(f"{problem}; {_FORMS} ({_ESCAPES})") from None
    if scheme.startswith("postgresql"):
        return _postgresql(url, artifacts)
    if not url.database or url.database.startswith((":memory:", "file:")) or url.query:
        raise ConfigurationError(f"MLFLOW_TRACKING_URI '{scheme}:…' names no plain SQLite file; {_FORMS}")
    return _sqlite("database", Path(url.database).absolute(), artifacts)


def _sqlite(kind: Literal["embedded", "database"], file: Path, artifacts: Path) -> Place:
    uri = f"sqlite:///{file}"
    if make_url(uri).database != str(file):
        raise ConfigurationError(f"MLflow cannot use {str(file)!r}: a database's path has no '%' or '?'; move it")
    return Place(kind=kind, uri=uri, shown=uri, file=file, artifacts=artifacts)


def _postgresql(url: URL, artifacts: Path) -> Place:
    if "@" in (url.host or ""):
        raise ConfigurationError(f"MLFLOW_TRACKING_URI has more than one '@'; {_FORMS} ({_ESCAPES})")
    url = url.set(drivername="postgresql+psycopg")
    if "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(_CONNECT_TIMEOUT_S)})
    shown = URL.create("postgresql", host=url.host, port=url.port, database=url.database)
    return Place(
        kind="database",
        uri=url.render_as_string(hide_password=False),
        shown=shown.render_as_string(),
        secrets=_spellings([url.username, str(url.password or ""), str(url.query.get("password", ""))]),
        artifacts=artifacts,
    )


def _server(uri: str) -> Place:
    try:
        parts = urlsplit(uri)
        host, _ = parts.hostname, parts.port
    except ValueError:
        # The error quotes what it could not read, which may be a password.
        raise ConfigurationError(f"MLFLOW_TRACKING_URI is not an address; {_FORMS} ({_ESCAPES})") from None
    if not host or "@" in parts.path + parts.query + parts.fragment:
        raise ConfigurationError(f"MLFLOW_TRACKING_URI is not an address; {_FORMS} ({_ESCAPES})")
    netloc, path = parts.netloc, parts.path.rstrip("/")
    return Place(
        kind="server",
        uri=urlunsplit((parts.scheme, netloc, path, "", "")),
        shown=urlunsplit((parts.scheme, netloc.rpartition("@")[2], path, "", "")),
        secrets=_spellings([parts.username, parts.password]),
    )


def _spellings(secrets: Iterable[str | None]) -> tuple[str, ...]:
    """Each secret as it stands in a URL and as it is meant; longer ones first."""
    found = {form for one in secrets if one for form in (one, unquote(one), quote(one, safe=""))}
    return tuple(sorted(found, key=len, reverse=True))
