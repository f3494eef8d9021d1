"""What the sections of API sources and exports accept, and that the examples of the handbook are among it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from llmops.ingestion.sources.specs_api import (
    ConfluenceExportSource,
    ConfluenceSource,
    SharePointSource,
    SlackExportSource,
    SlackSource,
)
from tests.conftest import REPOSITORY

SECTIONS = {
    "confluence": ConfluenceSource,
    "confluence_export": ConfluenceExportSource,
    "sharepoint": SharePointSource,
    "slack": SlackSource,
    "slack_export": SlackExportSource,
}
HANDBOOK = Path(REPOSITORY / "docs" / "how-to" / "connect-a-source.md")


def examples() -> list[dict[str, Any]]:
    blocks = re.findall(r"```yaml\n(.*?)```", HANDBOOK.read_text(), re.DOTALL)
    found = [yaml.safe_load(block) for block in blocks]
    return [
        one["source"] for one in found if isinstance(one, dict) and one.get("source", {}).get("type") in SECTIONS
    ]


def as_section(given: dict[str, Any]) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(SECTIONS[given["type"]])
    return adapter.validate_json(json.dumps(given))


def test_every_kind_has_an_example_that_is_valid() -> None:
    assert {one["type"] for one in examples()} == set(SECTIONS)
    for one in examples():
        assert as_section(one).type == one["type"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x.example", "write an address such as"),
        ("x.example", "write an address such as"),
        ("http://wiki.example", "a token travels in the clear"),
        ("https://ann:pw@x.example", "a secret does not belong in a file"),
        ("https://x.example/wiki?token=1", "a secret does not belong in a file"),
    ],
)
def test_an_address_that_is_none_or_holds_a_secret(url: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ConfluenceSource(type="confluence", base_url=url, token_env="T")


def test_an_address_loses_its_last_slash() -> None:
    spec = ConfluenceSource(type="confluence", base_url="https://x.example/wiki/", token_env="T")
    assert spec.base_url == "https://x.example/wiki"


def test_a_secret_in_place_of_its_variable_is_refused() -> None:
    with pytest.raises(ValidationError, match="String should match pattern"):
        SlackSource(type="slack", token_env="xoxb-123-abc")
