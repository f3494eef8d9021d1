"""What may stand under `chunk:`, what it means, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from llmops.config import Spec, json_schema, load_spec
from llmops.errors import SpecError
from llmops.ingestion.chunking import AnyChunkSpec, ChunkSpec, needed_window, recipe
from llmops.ingestion.chunking.spec import FixedSpec, LangchainSpec, ParentChildSpec


class Holder(Spec):
    kind: ClassVar[str] = "holder"

    chunk: AnyChunkSpec = ChunkSpec()


def load(tmp_path: Path, text: str) -> Holder:
    file = tmp_path / "holder.yaml"
    file.write_text(text or "{}")
    return load_spec(Holder, file)


@pytest.mark.parametrize(
    "text", ["", "chunk: {}", "chunk: {max_tokens: 200, min_tokens: 40}", "chunk: {strategy: structure}"]
)
def test_without_a_strategy_it_is_structure(tmp_path: Path, text: str) -> None:
    spec = load(tmp_path, text)
    assert spec.chunk == ChunkSpec()
    assert recipe(spec.chunk) == {"max_tokens": 200, "min_tokens": 40}
    assert spec.spec_hash == Holder().spec_hash


def test_a_recipe_says_all_that_decides_the_chunks(tmp_path: Path) -> None:
    fixed = load(tmp_path, "chunk: {strategy: fixed, overlap_tokens: 5}").chunk
    assert fixed == FixedSpec(strategy="fixed", overlap_tokens=5)
    assert recipe(fixed) == {"strategy": "fixed", "max_tokens": 200, "overlap_tokens": 5}
    splitter = load(tmp_path, "chunk: {strategy: langchain, parameters: {separators: [a]}}").chunk
    assert isinstance(splitter, LangchainSpec)
    assert recipe(splitter)["parameters"] == {"separators": ["a"]}


@pytest.mark.parametrize(
    "strategy", ["structure", "sentence_window", "fixed", "parent_child", "table_rows", "code", "langchain"]
)
def test_a_recipe_is_read_as_the_spec_it_came_from(tmp_path: Path, strategy: str) -> None:
    spec = load(tmp_path, f"chunk: {{strategy: {strategy}}}").chunk
    again = Holder.model_validate({"chunk": recipe(spec)}).chunk
    assert again == spec
    assert type(again) is type(spec)


def test_another_strategy_is_another_spec(tmp_path: Path) -> None:
    assert load(tmp_path, "chunk: {strategy: table_rows}").spec_hash != Holder().spec_hash
    assert (
        load(tmp_path, "chunk: {strategy: code}").spec_hash
        != load(tmp_path, "chunk: {strategy: table_rows}").spec_hash
    )


def test_the_encoder_reads_children_and_never_parents() -> None:
    assert needed_window(ChunkSpec(max_tokens=128)) == 128
    assert needed_window(ParentChildSpec(strategy="parent_child", child_tokens=100, parent_tokens=4000)) == 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chunk: {max_tokns: 3}", r"chunk.max_tokns: unknown field; did you mean 'max_tokens'\?"),
        ("chunk: {strategy: fixed, overlap_token: 3}", r"unknown field; did you mean 'overlap_tokens'\?"),
        (
            "chunk: {strategy: fixed, sentences: 3}",
            "chunk.sentences: unknown field; known fields: max_tokens, overlap_tokens, strategy",
        ),
        ("chunk: {strategy: fixd}", "chunk: has no strategy 'fixd'; there is: structure, sentence_window, fixed"),
        ("chunk: {strategy: 3}", "chunk: has no strategy 3; there is"),
        ("chunk: 3", "chunk: input should be an object, not 3"),
        ("chunk: {max_tokens: 64}", "min_tokens 40 must be at most half of max_tokens 64"),
        (
            "chunk: {strategy: fixed, overlap_tokens: 101}",
            "overlap_tokens 101 must be at most half of max_tokens 200",
        ),
        ("chunk: {strategy: sentence_window, context_tokens: 100}", "a context holds its passage"),
        ("chunk: {strategy: parent_child, parent_tokens: 100}", "must be at least twice child_tokens 96"),
        ("chunk: {strategy: parent_child, min_tokens: 300}", "must be at most half of parent_tokens 512"),
        (
            "chunk: {strategy: parent_child, child_tokens: many}",
            "chunk.child_tokens: input should be a valid integer",
        ),
        ("chunk: {strategy: langchain, splitter: NLTKTextSplitter}", "chunk.splitter: input should be 'Character"),
        ("chunk: {strategy: langchain, parameters: {length_function: len}}", "may not set length_function"),
        (
            "chunk: {strategy: langchain, splitter: LatexTextSplitter, language: python}",
            "language goes with RecursiveCharacterTextSplitter, not with LatexTextSplitter",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        load(tmp_path, text)
    assert caught.value.line == 1


def test_editors_know_every_strategy() -> None:
    schema: dict[str, Any] = json_schema(Holder)
    names = [entry["$ref"].split("/")[-1] for entry in schema["properties"]["chunk"]["oneOf"]]
    strategies = [schema["$defs"][name]["properties"]["strategy"] for name in names]
    built_in = [each["const"] for each in strategies if "const" in each]
    assert built_in[:3] == ["structure", "sentence_window", "fixed"]
    assert [each["not"] for each in strategies if "const" not in each] == [{"enum": built_in}]
    required = {name: schema["$defs"][name].get("required", []) for name in names}
    assert [name for name, fields in required.items() if "strategy" not in fields] == ["ChunkSpec"]
