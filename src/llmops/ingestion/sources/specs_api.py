"""Sections of `source:` for Confluence, SharePoint with OneDrive, and Slack, over an API or from an export."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from llmops.config import Section


def _is_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write an address such as https://example.atlassian.net/wiki")
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("a token travels in the clear over http://; use https://, or http:// on this machine")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("a secret does not belong in a file, and an address ends with its path")
    return url.rstrip("/")


Address = Annotated[str, Field(min_length=1), AfterValidator(_is_address)]
EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Metadata = dict[str, str | int | float | bool]
_METADATA: Any = Field(default={}, description="Put on every document, for filters.")
_PARALLEL: Any = Field(default=4, ge=1, le=16, description="Permissions asked for at the same time.")
_FILE_BYTES: Any = Field(default=50_000_000, ge=1)


class ConfluenceSource(Section):
    """Pages, blog posts and attachments of Confluence Cloud, with who may read them."""

    type: Literal["confluence"]
    base_url: Address = Field(description="https://SITE.atlassian.net/wiki, or the API address of the site.")
    email: str = Field(default="", description="Account of the API token; empty: the token is sent as it is.")
    token_env: EnvironmentName = Field(description="Variable that holds the API token.")
    spaces: tuple[str, ...] = Field(default=(), description="Keys of spaces; empty: all that the account can see.")
    blog_posts: bool = True
    attachments: bool = Field(default=False, description="Also the files that are attached to pages.")
    acl: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Principals who may read everything, instead of Confluence's own."
    )
    page_size: int = Field(default=100, ge=1, le=250)
    parallel: int = _PARALLEL
    max_file_bytes: int = _FILE_BYTES
    metadata: Metadata = _METADATA


class ConfluenceExportSource(Section):
    """A space export of Confluence: XML in a zip, or HTML in a zip or a folder."""

    type: Literal["confluence_export"]
    path: str = Field(min_length=1, description="The zip or folder, relative to this file.")
    base_url: Address | None = Field(default=None, description="Of the wiki, to link to its pages.")
    acl: tuple[str, ...] = Field(
        min_length=1, description="Principals who may read what the export does not restrict."
    )
    max_file_bytes: int = _FILE_BYTES
    max_export_bytes: int = Field(default=20_000_000_000, ge=1, description="Of the export, unpacked.")
    metadata: Metadata = _METADATA


class SharePointSource(Section):
    """Files of SharePoint sites and OneDrive through Microsoft Graph, with who may read them."""

    type: Literal["sharepoint"]
    tenant_id: str = Field(pattern=r"^[A-Za-z0-9.-]+$", description="Directory (tenant) id or domain.")
    client_id: str = Field(pattern=r"^[A-Za-z0-9-]+$", description="Application (client) id.")
    client_secret_env: EnvironmentName = Field(description="Variable that holds the client secret.")
    sites: tuple[str, ...] = Field(default=(), description="HOST:/sites/NAME, or ids; all their libraries.")
    drives: tuple[str, ...] = Field(default=(), description="Ids of single libraries.")
    users: tuple[str, ...] = Field(default=(), description="Principal names of people; their OneDrive.")
    site_groups: dict[str, tuple[str, ...]] = Field(
        default={}, description="Name of a SharePoint group to principals; Graph does not tell its members."
    )
    organization_links: bool = Field(
        default=False, description="A link for the organization lets all of it find it."
    )
    anonymous_links: bool = Field(default=False, description="A link for anyone lets every caller find it.")
    relist_after_days: float = Field(default=7, gt=0, description="Then all is listed anew, not only the changes.")
    base_url: Address = Field(default="https://graph.microsoft.com/v1.0")
    login_url: Address = Field(default="https://login.microsoftonline.com")
    parallel: int = _PARALLEL
    max_file_bytes: int = _FILE_BYTES
    metadata: Metadata = _METADATA

    @model_validator(mode="after")
    def _names_something(self) -> SharePointSource:
        if not (self.sites or self.drives or self.users):
            raise ValueError("name at least one of sites, drives and users")
        return self


class SlackSource(Section):
    """Threads and days of Slack channels that the app is a member of."""

    type: Literal["slack"]
    token_env: EnvironmentName = Field(description="Variable that holds the bot token.")
    channels: tuple[str, ...] = Field(default=(), description="Names or ids; empty: all the app is in.")
    private: bool = Field(default=True, description="Also private channels.")
    archived: bool = Field(default=False, description="Also archived channels.")
    days: int | None = Field(default=None, ge=1, description="Only what is at most so many days old; none: all.")
    settled_after_days: int = Field(
        default=14, ge=0, description="A thread without replies for so long is fetched again only for new ones."
    )
    base_url: Address = Field(default="https://slack.com/api")
    page_size: int = Field(default=200, ge=1, le=999)
    max_file_bytes: int = _FILE_BYTES
    metadata: Metadata = _METADATA


class SlackExportSource(Section):
    """An export of a Slack workspace, as a zip or a folder."""

    type: Literal["slack_export"]
    path: str = Field(min_length=1, description="The zip or folder, relative to this file.")
    channels: tuple[str, ...] = Field(default=(), description="Names or ids; empty: all in the export.")
    private: bool = Field(default=True, description="Also private channels, where the export has them.")
    acl: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Principals who may read public channels, instead of all members."
    )
    max_file_bytes: int = _FILE_BYTES
    max_export_bytes: int = Field(default=20_000_000_000, ge=1, description="Of the export, unpacked.")
    metadata: Metadata = _METADATA
