"""How contents rest: scrubbed, encrypted, or not at all."""

from __future__ import annotations

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from cryptography.fernet import Fernet

from llmops.errors import ConfigurationError, StorageError
from llmops.records import Message, Span
from llmops.tracing import ContentVault
from tests.tracing.traces import SPAN


def vault(folder: Path, key: str = "") -> ContentVault:
    return ContentVault(key, folder / "trace.key")


def test_scrubbed_contents_come_back_without_personal_data(tmp_path: Path) -> None:
    sealed = vault(tmp_path).seal([SPAN], "scrubbed")
    assert b"ada@example.org" not in sealed
    [span] = vault(tmp_path).open(sealed, "scrubbed")
    assert span == replace(SPAN, input={"question": "who is <EMAIL>?"})


def test_encrypted_contents_come_back_whole_and_cannot_be_read_between(tmp_path: Path) -> None:
    sealed = vault(tmp_path).seal([SPAN, SPAN], "encrypted")
    assert b"question" not in sealed
    assert vault(tmp_path).open(sealed, "encrypted") == (SPAN, SPAN)


def test_without_contents_only_the_times_stay(tmp_path: Path) -> None:
    sealed = vault(tmp_path).seal([SPAN], "none")
    assert b"question" not in sealed
    assert vault(tmp_path).open(sealed, "none") == (replace(SPAN, input=None, output=None),)
    assert not (tmp_path / "trace.key").exists()


def test_contents_of_any_kind_can_be_stored(tmp_path: Path) -> None:
    output = {
        "messages": (Message(role="user", content="mail ada@example.org"),),
        "vector": np.ones(2, dtype=np.float32),
        "path": Path("/home/ada@example.org"),
        "when": datetime(2026, 1, 2),
        "nothing": float("nan"),
        7: {"a"},
    }
    [span] = vault(tmp_path).open(vault(tmp_path).seal([replace(SPAN, output=output)], "scrubbed"), "scrubbed")
    assert span.output == {
        "messages": [{"role": "user", "content": "mail <EMAIL>"}],
        "vector": [1.0, 1.0],
        "path": "/home/<EMAIL>",
        "when": "2026-01-02T00:00:00",
        "nothing": None,
        "7": "{'a'}",
    }


def test_numbers_over_64_bits_and_half_a_pair_can_be_stored(tmp_path: Path) -> None:
    span = Span(station="render", start_ms=0, duration_ms=0, input=2**80, output="half \ud83d pair")
    [read] = vault(tmp_path).open(vault(tmp_path).seal([span], "encrypted"), "encrypted")
    assert read.output == "half ? pair"
    assert read.input == pytest.approx(2**80)


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda _: vault(tmp_path).seal([SPAN], "encrypted"), range(16)))
    assert [path.name for path in tmp_path.iterdir()] == ["trace.key"]
    assert stat.S_IMODE((tmp_path / "trace.key").stat().st_mode) == 0o600
    assert all(vault(tmp_path).open(one, "encrypted") == (SPAN,) for one in sealed)


def test_a_key_of_the_environment_is_used_and_none_is_made(tmp_path: Path) -> None:
    key = Fernet.generate_key().decode()
    sealed = vault(tmp_path, key).seal([SPAN], "encrypted")
    assert vault(tmp_path / "elsewhere", key).open(sealed, "encrypted") == (SPAN,)
    assert list(tmp_path.iterdir()) == []


def test_another_key_is_said_to_be_another(tmp_path: Path) -> None:
    sealed = vault(tmp_path).seal([SPAN], "encrypted")
    other = vault(tmp_path, Fernet.generate_key().decode())
    with pytest.raises(
        ConfigurationError, match="encrypted with another key; set LLMOPS_TRACE_KEY to the key of its"
    ):
        other.open(sealed, "encrypted")


def test_what_is_no_key_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"LLMOPS_TRACE_KEY is not a Fernet key \(32 bytes.*make one with"
    ) as caught:
        vault(tmp_path, "hunter2").seal([SPAN], "encrypted")
    assert "hunter2" not in str(caught.value)
    (tmp_path / "trace.key").write_text("")
    said = re.escape(f"what stands in {str(tmp_path / 'trace.key')!r} is not a Fernet key")
    with pytest.raises(ConfigurationError, match=said):
        vault(tmp_path).seal([SPAN], "encrypted")


def test_a_key_that_cannot_be_made_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=r"the trace key .* cannot be read or made \(No such file or directory\)"
    ):
        vault(tmp_path / "none").seal([SPAN], "encrypted")
