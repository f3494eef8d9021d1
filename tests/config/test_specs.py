"""A spec that is wrong is answered with one sentence: file, line, field and what would be right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmops.config import Spec, digest, json_schema, load_spec, parse_yaml
from llmops.errors import SpecError
from llmops.ingestion.spec import IngestionSpec
from llmops.prompts import PromptSpec
from llmops.serving.spec import ModelsSpec, OpenAIEndpoint, RouteSpec
from tests.conftest import REPOSITORY

ROUTE = "name: a\ndescription: d\nmodel: m\n"
PIPELINE = "name: a\ndescription: d\nsource: {type: folder, path: x, acl: [everyone]}\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "spec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# (kind, text, what the error says after the file's name)
WRONG: dict[str, tuple[type[Spec], str | bytes, str]] = {
    "broken YAML": (RouteSpec, "name: a\ndescription: [d\n", ":3: not valid YAML: expected ',' or ']'"),
    "two documents": (RouteSpec, "a: b\n---\nc: d\n", ":2: not valid YAML: but found another document"),
    "a Python object": (RouteSpec, "a: !!python/object:os.system {}\n", ":1: not valid YAML: could not determine"),
    "a control character": (RouteSpec, "name: a\ndescription: \x07\n", ":2: holds the control character '\\x07'"),
    "half a surrogate pair": (RouteSpec, 'name: a\ndescription: "\\ud800"\n', ":2: description: '\\ud800' cannot"),
    "no such date": (RouteSpec, "name: 2024-13-45\n", ":1: name: '2024-13-45' cannot be read (month must be"),
    "an alias of itself": (RouteSpec, "a: &a [*a]\n", ": is nested too deeply, or an alias holds itself"),
    "deep nesting": (RouteSpec, "a: " + "[" * 3000, ": is nested too deeply"),
    "a key twice": (
        ModelsSpec,
        "endpoints:\n  a: {type: extractive}\n  b: {type: extractive}\n  a: {type: extractive}\n",
        ":4: endpoints.a: written twice; keep one",
    ),
    "a key that is no text": (RouteSpec, ROUTE + "on: b\n", ":4: has the key 'on', which is not text; put it in"),
    "a list as a key": (RouteSpec, "? [a]\n: b\n", ":1: has the key a sequence, which is not text"),
    "a number as a name": (
        ModelsSpec,
        "endpoints:\n  1: {}\n",
        ":2: endpoints: has the key '1', which is not text",
    ),
    "unknown field": (RouteSpec, ROUTE + "promt: x\n", ":4: promt: unknown field; did you mean 'prompt'?"),
    "unknown field, nothing like it": (
        RouteSpec,
        ROUTE + "retrieval:\n  collection: c\n  zzz: 1\n",
        ":6: retrieval.zzz: unknown field; known fields: candidates, collection,",
    ),
    "missing field": (RouteSpec, "name: a\ndescription: d\n", ":1: model: is required; add it"),
    "missing nested field": (
        RouteSpec,
        ROUTE + "retrieval:\n  k: 3\n",
        ":4: retrieval.collection: is required; add",
    ),
    "several problems": (
        RouteSpec,
        "name: a\nmodel: 5\n",
        ":2: model: input should be a valid string, not 5 (and 1",
    ),
    "a text for a number": (
        RouteSpec,
        ROUTE + "history_turns: many\n",
        ":4: history_turns: input should be a valid",
    ),
    "a digit in quotes": (RouteSpec, ROUTE + "history_turns: '4'\n", ":4: history_turns: input should be a valid"),
    "true for a number": (
        RouteSpec,
        ROUTE + "history_turns: true\n",
        ":4: history_turns: input should be a valid",
    ),
    "a number for a name": (
        RouteSpec,
        "name: 5\ndescription: d\nmodel: m\n",
        ":1: name: input should be a valid str",
    ),
    "one value for a list": (RouteSpec, ROUTE + "examples: text\n", ":4: examples: input should be a valid array"),
    "out of range": (
        RouteSpec,
        ROUTE + "history_turns: 99\n",
        ":4: history_turns: input should be less than or eq",
    ),
    "an empty list": (
        IngestionSpec,
        "name: a\ndescription: d\nsource:\n  type: folder\n  path: x\n  acl: []\n",
        ":6: source.acl: needs at least 1, and has 0",
    ),
    "a value of no type allowed": (
        IngestionSpec,
        PIPELINE.replace("acl", "metadata: {a: [b]}, acl"),
        ":3: source.metadata.a: input should be a valid string, not ['b']",
    ),
    "fields that do not fit": (
        IngestionSpec,
        PIPELINE + "chunk:\n  max_tokens: 40\n  min_tokens: 30\n",
        ":4: chunk: min_tokens 30 must be at most half of max_tokens 40",
    ),
    "empty": (RouteSpec, "", ":1: is empty; see `llmops schema`"),
    "only comments": (RouteSpec, "# later\n\n", ":1: is empty"),
    "a list": (RouteSpec, "- name: a\n", ":1: holds a list, not a mapping of fields"),
    "a text": (RouteSpec, "name\n", ":1: holds a str, not a mapping"),
    "not UTF-8": (RouteSpec, b"name: a\ndescription: caf\xe9\n", ":2: is not UTF-8 text; save it as UTF-8"),
    "2 MB": (RouteSpec, b"#" * 2_000_000, ": is 2000000 bytes; a spec has at most 1000000"),
    "an endpoint of no kind": (
        ModelsSpec,
        "endpoints:\n  a:\n    type: opnai\n",
        ":2: endpoints.a: has no 'type' 'opnai'; there is: 'extractive', 'openai'",
    ),
    "an endpoint without a kind": (
        ModelsSpec,
        "endpoints:\n  a:\n    model: m\n",
        ":2: endpoints.a: needs the field 'type'",
    ),
    "an endpoint that is none": (ModelsSpec, "endpoints:\n  a: 5\n", ":2: endpoints.a: input should be an object"),
    "a misspelt field of an endpoint called like its kind": (
        ModelsSpec,
        "endpoints:\n  openai:\n    type: openai\n    base_ul: http://x\n    model: m\n",
        ":4: endpoints.openai.base_ul: unknown field; did you mean 'base_url'? (and 1 more)",
    ),
    "a field of another kind of endpoint": (
        ModelsSpec,
        "endpoints:\n  a:\n    type: extractive\n    base_url: http://x\n",
        ":4: endpoints.a.base_url: unknown field; known fields: embedder, type",
    ),
    "a missing field of an endpoint": (
        ModelsSpec,
        "endpoints:\n  a:\n    type: openai\n    model: m\n",
        ":2: endpoints.a.base_url: is required",
    ),
    "a price below nothing": (
        ModelsSpec,
        "endpoints:\n  a:\n    type: openai\n    base_url: http://x\n    model: m\n    price:\n"
        "      input_usd_per_million_tokens: -1\n",
        ":7: endpoints.a.price.input_usd_per_million_tokens: input should be greater than or equal to 0, not -1",
    ),
    "a name with blanks": (
        ModelsSpec,
        "endpoints:\n  My Model: {type: extractive}\n",
        ":2: endpoints.My Model: string should match pattern",
    ),
    "no endpoints": (ModelsSpec, "endpoints: {}\n", ":1: endpoints: needs at least 1, and has 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_its_place(case: str, tmp_path: Path) -> None:
    kind, text, said = WRONG[case]
    path = written(tmp_path, text)
    with pytest.raises(SpecError, match=re.escape(f"{path}{said}")) as caught:
        load_spec(kind, path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_nested_aliases_are_refused_before_they_are_built(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(SpecError, match="more than 100000 values: aliases may be nested; write them out"):
        load_spec(RouteSpec, written(tmp_path, "\n".join(lines)))


def test_a_missing_file_and_a_folder_are_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"none\.yaml: no such file; check the path"):
        load_spec(RouteSpec, tmp_path / "none.yaml")
    with pytest.raises(SpecError, match=r"cannot be read \(Is a directory\)"):
        load_spec(RouteSpec, tmp_path)


def test_a_key_may_be_merged_and_a_byte_order_mark_is_nothing(tmp_path: Path) -> None:
    text = (
        "\ufeffendpoints:\n  a: &base {type: openai, base_url: 'http://x', model: m}\n  b: {<<: *base, model: n}\n"
    )
    second = load_spec(ModelsSpec, written(tmp_path, text)).endpoints["b"]
    assert isinstance(second, OpenAIEndpoint)
    assert (second.base_url, second.model) == ("http://x", "n")


def test_the_schema_line_is_for_editors(tmp_path: Path) -> None:
    plain = load_spec(RouteSpec, written(tmp_path, ROUTE))
    assert load_spec(RouteSpec, written(tmp_path, "$schema: ../route.json\n" + ROUTE)).spec_hash == plain.spec_hash


def test_the_hash_is_of_the_content_alone(tmp_path: Path) -> None:
    one = load_spec(RouteSpec, written(tmp_path, ROUTE))
    same = load_spec(
        RouteSpec, written(tmp_path, "# said\nmodel:   m\n\ndescription: 'd'\nname: a\nhistory_turns: 4")
    )
    other = load_spec(RouteSpec, written(tmp_path, ROUTE.replace("d\n", "e\n")))
    assert one.spec_hash == same.spec_hash != other.spec_hash
    assert re.fullmatch(r"[0-9a-f]{64}", one.spec_hash)


def test_a_number_over_64_bits_has_a_hash(tmp_path: Path) -> None:
    text = ROUTE + "retrieval: {collection: c, filter: {n: 99999999999999999999999}}\n"
    assert load_spec(RouteSpec, written(tmp_path, text)).spec_hash


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _json, max_size=5))
def test_a_digest_does_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest(value) == digest(dict(reversed(value.items())))


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.booleans() | st.text(), max_size=5))
def test_what_yaml_writes_is_what_is_read(value: dict[str, Any]) -> None:
    value.pop("$schema", None)
    if not value:
        return
    read, lines = parse_yaml(yaml.safe_dump(value), "f.yaml")
    assert read == value
    assert {(key,) for key in value} <= set(lines)


def test_a_spec_never_changes() -> None:
    spec = RouteSpec(name="a", description="d", model="m")
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "b"  # type: ignore[misc]  # that it cannot be done is the point
    with pytest.raises(ValidationError, match="frozen"):
        spec.trace.content = "none"  # type: ignore[misc]  # likewise


def test_a_spec_knows_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, ROUTE)
    assert load_spec(RouteSpec, path).file == str(path)
    assert RouteSpec(name="a", description="d", model="m").file == ""


TEMPLATE = REPOSITORY / "src/llmops/cli/workspace_template"
COMMITTED: list[tuple[type[Spec], Path]] = []
for _root in (REPOSITORY, TEMPLATE):
    COMMITTED += [(IngestionSpec, path) for path in sorted(_root.glob("ingestion/*.yaml"))]
    COMMITTED += [
        (ModelsSpec if path.name == "models.yaml" else RouteSpec, path)
        for path in sorted(_root.glob("serving/*.yaml"))
    ]
    COMMITTED += [(PromptSpec, path) for path in sorted(_root.glob("prompts/*.prompt.md"))]


@pytest.mark.parametrize(("kind", "path"), COMMITTED, ids=lambda v: v.name if isinstance(v, Path) else v.kind)
def test_the_json_schema_accepts_the_committed_files(kind: type[Spec], path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    text = path.read_text()
    value = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n") if kind is PromptSpec else text)
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate({"$schema": "x.json", **value}, schema)
    with pytest.raises(jsonschema.ValidationError, match="surprise"):
        jsonschema.validate({**value, "surprise": 1}, schema)
