"""Sections of `source:` for git, web sites, object stores, SQL, lines of JSON and LangChain loaders."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from llmops.config import Section

Principals = Annotated[tuple[str, ...], Field(min_length=1)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Globs = tuple[str, ...]
_REF = r"^[A-Za-z0-9_][A-Za-z0-9_./+@-]*$"
_GIT_SCHEMES = ("https", "http", "ssh")
Metadata = dict[str, str | int | float | bool]
_METADATA: Any = Field(default={}, description="Put on every document, for filters.")


class GitSource(Section):
    """Files of one commit of a git repository; a repository has no permissions that git could tell."""

    type: Literal["git"]
    url: str = Field(min_length=1, description="https:// or ssh:// address, or a folder relative to this file.")
    ref: str | None = Field(default=None, pattern=_REF, description="Branch, tag or full commit; default: HEAD.")
    path: str = Field(default="", description="Only files below this folder of the repository.")
    include: Globs = Field(default=("**/*",), min_length=1, description="Globs below `path`.")
    exclude: Globs = Field(default=(), description="Globs that win over include.")
    acl: Principals = Field(description="Principals who may read every file.")
    token_env: EnvironmentName | None = Field(default=None, description="Variable with an access token (https).")
    username: str = Field(default="git", pattern=r"^[^:\s]+$", description="Sent with the token.")
    link: str = Field(default="", description="Address of a file, with {ref}, {commit} and {path}.")
    timeout_s: float = Field(default=900, gt=0, description="For one transfer.")
    max_repository_bytes: int = Field(default=4_000_000_000, ge=1, description="Of the copy that is kept.")
    max_file_bytes: int = Field(default=50_000_000, ge=1)
    metadata: Metadata = _METADATA

    @property
    def is_local(self) -> bool:
        """Whether `url` is a folder."""
        return "://" not in self.url

    @field_validator("url")
    @classmethod
    def _is_safe_url(cls, url: str) -> str:
        if "::" in url or re.match(r"[\w.+-]+@[\w.-]+:(?!//)", url):
            raise ValueError("write https://host/path or ssh://git@host/path, or a folder")
        if "://" in url:
            parts = urlsplit(url)
            if parts.scheme not in _GIT_SCHEMES or not parts.hostname or parts.hostname.startswith("-"):
                raise ValueError("only https:// and ssh:// addresses are fetched; give a local one as a folder")
            if parts.password or (parts.username and parts.scheme != "ssh"):
                raise ValueError("a secret does not belong in a file; name its variable in token_env")
        return url

    @field_validator("path")
    @classmethod
    def _is_inside(cls, path: str) -> str:
        clean = path.strip("/")
        if any(part in ("", ".", "..") for part in clean.split("/")) and clean:
            raise ValueError("name a folder of the repository, such as docs/guide")
        return clean

    @model_validator(mode="after")
    def _keeps_its_token(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("http:// is fetched from this machine only; use https://")
        if self.token_env and parts.scheme not in ("http", "https"):
            raise ValueError("token_env is for https:// addresses; ssh uses the agent's keys")
        return self


class CrawlSpec(Section):
    """Which links are followed."""

    max_depth: int = Field(default=5, ge=0, description="Links away from a start page.")
    prefix: tuple[str, ...] = Field(default=(), description="Follow only below these; default: the hosts.")


class WebSource(Section):
    """Pages of a web site, from its sitemaps, from links, or from both."""

    type: Literal["web"]
    start: tuple[str, ...] = Field(default=(), description="Addresses to begin at.")
    sitemaps: tuple[str, ...] = Field(default=(), description="Addresses of sitemaps or indexes of sitemaps.")
    crawl: CrawlSpec | None = Field(default=None, description="Follow links; absent: only the pages named.")
    include: Globs = Field(default=("**",), min_length=1, description="Globs on an address's path.")
    exclude: Globs = Field(default=(), description="Globs that win over include.")
    acl: Principals = Field(description="Principals who may read every page.")
    max_pages: int = Field(default=10_000, ge=1, le=1_000_000)
    delay_s: float = Field(default=1.0, ge=0, description="Pause between two requests to one host.")
    trust_lastmod: bool = Field(default=False, description="Ask for no page whose <lastmod> is the known one.")
    refresh_days: float = Field(
        default=30, gt=0, description="Then a page is read anew, whatever its server says."
    )
    keep_query: bool = Field(default=True, description="False: addresses differ by path only.")
    allow_private: bool = Field(default=False, description="Also hosts that are not on the public internet.")
    user_agent: str = Field(default="llmops", pattern=r"^[A-Za-z][A-Za-z_-]*$", description="Name in robots.txt.")
    contact: str = Field(default="", description="Address or URL that is told to the sites.")
    max_file_bytes: int = Field(default=20_000_000, ge=1)
    metadata: Metadata = _METADATA

    @model_validator(mode="after")
    def _begins_somewhere(self) -> Self:
        if not self.start and not self.sitemaps:
            raise ValueError("name at least one address in start or in sitemaps")
        for url in (*self.start, *self.sitemaps, *(self.crawl.prefix if self.crawl else ())):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
                raise ValueError(f"{url!r} is no http or https address (without a password)")
        return self


class ObjectStoreSource(Section):
    """Objects below an address of an object store: `s3://bucket/prefix`, or any address that fsspec opens."""

    type: Literal["object_store"]
    url: str = Field(pattern=r"^[a-z][a-z0-9+.-]*://", description="s3://bucket/prefix, gs://…, file:///…")
    include: Globs = Field(default=("**/*",), min_length=1, description="Globs below the address.")
    exclude: Globs = Field(default=(), description="Globs that win over include.")
    acl: Principals = Field(description="Principals who may read every object.")
    endpoint_url: str | None = Field(default=None, description="Of an S3-compatible store.")
    region: str | None = None
    anonymous: bool = Field(default=False, description="Read a public bucket without credentials (S3).")
    options: dict[str, str | int | float | bool] = Field(default={}, description="Handed to fsspec; no secrets.")
    link: str = Field(default="", description="Address where a person opens an object, with {path}.")
    max_file_bytes: int = Field(default=50_000_000, ge=1)
    metadata: Metadata = _METADATA

    @model_validator(mode="after")
    def _knows_its_options(self) -> Self:
        if "::" in self.url or self.url.startswith(("http://", "https://")):
            raise ValueError("an address within another is not opened, and web sites are of type web")
        is_s3 = self.url.startswith(("s3://", "s3a://"))
        if is_s3 and self.options:
            raise ValueError("s3:// takes endpoint_url, region and anonymous; options are for other stores")
        if not is_s3 and (self.endpoint_url or self.region or self.anonymous):
            raise ValueError("endpoint_url, region and anonymous are for s3://; use options")
        return self


class ColumnNames(Section):
    """What the query calls its columns."""

    id: str = "id"
    text: str = "text"
    title: str | None = None
    url: str | None = None
    version: str | None = Field(default=None, description="Changes with every change of the row; not ordered.")
    acl: str | None = Field(default=None, description="JSON list, array or comma-separated; NULL hides the row.")
    metadata: tuple[str, ...] = ()


class SqlSource(Section):
    """Rows of a query, each a document."""

    type: Literal["sql"]
    url_env: EnvironmentName = Field(description="Variable that holds the database's SQLAlchemy URL.")
    query: str = Field(min_length=1, description="One SELECT.")
    columns: ColumnNames = ColumnNames()
    acl: Principals | None = Field(default=None, description="Principals, where no column says them.")
    media_type: str = Field(default="text/plain", description="Of the text: text/markdown, text/html …")
    page_rows: int = Field(default=500, ge=1, le=10_000)
    timeout_s: float = Field(default=60, gt=0, description="For one statement (PostgreSQL).")
    max_file_bytes: int = Field(default=50_000_000, ge=1)
    metadata: Metadata = _METADATA

    @model_validator(mode="after")
    def _says_who_may_read(self) -> Self:
        _one_acl(self.acl, self.columns.acl, "columns.acl")
        return self


class FieldNames(Section):
    """Where a line holds its parts; dots lead into nested objects."""

    id: str = "id"
    text: str = "text"
    title: str | None = None
    url: str | None = None
    version: str | None = Field(default=None, description="Default: a digest of the line.")
    acl: str | None = Field(default=None, description="A list of principals, or one; absent: hidden.")
    metadata: tuple[str, ...] = ()


class JsonLinesSource(Section):
    """Lines of JSON, each a document; files may be packed with gzip."""

    type: Literal["jsonl"]
    path: str = Field(min_length=1, description="File or glob, relative to this file.")
    fields: FieldNames = FieldNames()
    acl: Principals | None = Field(default=None, description="Principals, where no field says them.")
    media_type: str = Field(default="text/plain", description="Of the text: text/markdown, text/html …")
    max_line_bytes: int = Field(default=10_000_000, ge=2)
    max_unpacked_bytes: int = Field(default=4_000_000_000, ge=1, description="Of one .gz file.")
    max_file_bytes: int = Field(default=50_000_000, ge=1, description="Of one document.")
    metadata: Metadata = _METADATA

    @model_validator(mode="after")
    def _says_who_may_read(self) -> Self:
        _one_acl(self.acl, self.fields.acl, "fields.acl")
        return self


class LangChainSource(Section):
    """What a LangChain document loader yields."""

    type: Literal["langchain"]
    loader: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$", description="Dotted path of the class.")
    arguments: dict[str, Any] = Field(default={}, description="Of its constructor; {here} is this file's folder.")
    secrets: dict[str, EnvironmentName] = Field(default={}, description="Arguments from environment variables.")
    acl: Principals | None = Field(default=None, description="Principals, where no metadata say them.")
    acl_key: str | None = Field(default=None, description="Key of the metadata that lists principals.")
    id_key: str | None = Field(default=None, description="Key of the metadata that names a document.")
    title_key: str = "title"
    media_type: str = Field(default="text/plain", description="Of page_content: text/markdown, text/html …")
    max_file_bytes: int = Field(default=50_000_000, ge=1)
    metadata: Metadata = _METADATA

    @model_validator(mode="after")
    def _says_who_may_read(self) -> Self:
        _one_acl(self.acl, self.acl_key, "acl_key")
        return self


def _one_acl(acl: Principals | None, named: str | None, field: str) -> None:
    if (acl is None) == (named is None):
        raise ValueError(f"say who may read: either acl for all, or {field} for each")
