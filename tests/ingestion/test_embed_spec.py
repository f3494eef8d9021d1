"""What `embed:` may say: old specs stay what they were, and each kind of encoder has its own fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmops.clients.embeddings import EndpointSource, OnnxSource, TorchSource
from llmops.config import json_schema, parse_yaml, validate
from llmops.errors import SpecError
from llmops.ingestion.embed_spec import encoder_source
from llmops.ingestion.spec import IngestionSpec

ENDPOINT = {"type": "openai", "base_url": "http://127.0.0.1:8080/v1", "model": "bge-m3", "dimension": 1024}


def spec(file: str = "docs.yaml", **embed: Any) -> IngestionSpec:
    fields: dict[str, Any] = {
        "name": "docs",
        "description": "Documentation.",
        "source": {"type": "folder", "path": ".", "acl": ["everyone"]},
    }
    value, lines = parse_yaml(json.dumps(fields | ({"embed": embed} if embed else {}), indent=1), file)
    return validate(IngestionSpec, value, lines, file=file)


def test_a_spec_without_type_is_what_it_was() -> None:
    plain = spec()
    assert plain.spec_hash == spec(model="all-MiniLM-L6-v2").spec_hash == spec(type="onnx").spec_hash
    assert spec(model="other").spec_hash == spec(type="onnx", model="other").spec_hash != plain.spec_hash
    assert encoder_source(plain.embed, plain.file) == OnnxSource(model="all-MiniLM-L6-v2")


def test_each_kind_becomes_the_source_that_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    file = str(tmp_path / "docs.yaml")
    onnx = spec(file, model="weights", precision="int8", accepts_loss_of=0.01, query_prefix="query: ")
    assert encoder_source(onnx.embed, file) == OnnxSource(
        model=str(tmp_path / "weights"), precision="int8", query_prefix="query: "
    )
    torch = spec(file, type="sentence_transformers", model="weights", device="cpu", passage_prefix="")
    assert encoder_source(torch.embed, file) == TorchSource(
        model=str(tmp_path / "weights"), device="cpu", passage_prefix=""
    )
    remote = spec(file, **ENDPOINT, tokenizer="bge.json", n_concurrent=8)
    assert encoder_source(remote.embed, file) == EndpointSource(
        base_url="http://127.0.0.1:8080/v1",
        model="bge-m3",
        dimension=1024,
        tokenizer=str(tmp_path / "bge.json"),
        n_concurrent=8,
    )


def test_sources_are_keys() -> None:
    sources = [encoder_source(spec(**embed).embed, "") for embed in ({}, {"type": "onnx"}, ENDPOINT, ENDPOINT)]
    assert len(set(sources)) == 2


@pytest.mark.parametrize(
    ("embed", "problem"),
    [
        ({"precision": "int8"}, "add accepts_loss_of"),
        ({"precision": "int8", "accepts_loss_of": 0.01, "device": "cuda"}, "int8 is for the processor"),
        ({"precision": "int4"}, "embed.precision: .*'int4'"),
        ({"modell": "x"}, "embed.modell: unknown field; did you mean 'model'"),
        ({"type": "opnai"}, "embed: type must be 'onnx', 'sentence_transformers' or 'openai'"),
        ({"type": "openai", "model": "m", "dimension": 3}, r"embed.*base_url: is required"),
        ({**ENDPOINT, "base_url": "ftp://x"}, "embed.base_url: .*'ftp://x'"),
        ({**ENDPOINT, "dimensions": 3}, "did you mean 'dimension'"),
        ({**ENDPOINT, "precision": "int8"}, "embed.precision: unknown field"),
    ],
)
def test_what_cannot_be_meant_is_named(embed: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        spec(**embed)


def test_editors_are_told_of_every_kind() -> None:
    schema = json.dumps(json_schema(IngestionSpec))
    assert all(word in schema for word in ("accepts_loss_of", "query_timeout_s", '"sentence_transformers"'))
