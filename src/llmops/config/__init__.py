"""Specs: strict, frozen, hashed YAML files, and errors that name file, line, field and cure."""

from llmops.config.load import load_spec, parse_yaml, read_text, validate
from llmops.config.spec import Name, Section, Spec, beside, digest, json_schema

__all__ = [
    "Name",
    "Section",
    "Spec",
    "beside",
    "digest",
    "json_schema",
    "load_spec",
    "parse_yaml",
    "read_text",
    "validate",
]
