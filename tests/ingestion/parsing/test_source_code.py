"""Source code: definitions under their names, and no line lost."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmops.ingestion.parsing import parse
from llmops.ingestion.parsing.builder import Parsed
from tests.ingestion.parsing.reading import blocks, headings, lines, read

SOURCE = Path(__file__).resolve().parents[3] / "src" / "llmops"


def names(parsed: Parsed) -> list[str]:
    return [text for _, text in headings(parsed)]


def kept(parsed: Parsed) -> list[str]:
    """Every line of the source that stands in a block, in order, without its blanks."""
    return [
        line.strip()
        for kind, text in blocks(parsed)
        if kind != "heading"
        for line in text.split("\n")
        if line.strip()
    ]


# Python


def test_python_definitions_have_their_lines_decorators_and_comments() -> None:
    source = '''"""What it does."""

import os

# Why it is so.
@cache
def first(x):
    return os.path


class Second:
    pass


if __name__ == "__main__":
    first(1)
'''
    parsed = read(source, "pkg/some_module.py")
    assert parsed.title == "some_module.py"
    assert blocks(parsed) == [
        ("paragraph", "What it does."),
        ("code", "import os"),
        ("heading", "first"),
        ("code", "# Why it is so.\n@cache\ndef first(x):\n    return os.path"),
        ("heading", "Second"),
        ("code", "class Second:\n    pass"),
        ("heading", "module level"),
        ("code", 'if __name__ == "__main__":\n    first(1)'),
    ]
    assert lines(parsed) == [(1, 1), (3, 3), (5, 5), (5, 8), (11, 11), (11, 12), (15, 15), (15, 16)]


def test_large_classes_are_cut_by_method_with_qualified_names() -> None:
    body = "".join(f"    def m{n}(self):\n        return {n}\n\n" + "    # more\n" * 10 for n in range(4))
    parsed = read(f"class A:\n    x = 1\n\n{body}", "a.py")
    assert headings(parsed) == [
        (1, "A"),
        (2, "A.m0"),
        (2, "A.m1"),
        (2, "A.m2"),
        (2, "A.m3"),
        (1, "module level"),
    ]


def test_python_of_another_version_is_read_by_its_indentation() -> None:
    assert names(read("def f(x):\n    print x\n\nclass B:\n    pass\n", "old.py")) == ["f", "B"]


def test_a_stray_backslash_in_a_string_warns_nobody() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert names(read('def f():\n    return "\\d"\n', "a.py")) == ["f"]
    assert caught == []


@pytest.mark.parametrize("folder", ["ingestion", "clients"])
def test_no_line_of_this_package_is_lost(folder: str) -> None:
    for path in sorted((SOURCE / folder).rglob("*.py")):
        source = path.read_text()
        if "\f" in source or not source.strip():
            continue
        parsed = parse(source.encode(), uri=path.name)
        prose = parsed.blocks[0].last_line if parsed.blocks[0].kind == "paragraph" else 0
        wanted = [line.strip() for line in source.split("\n")[prose or 0 :] if line.strip()]
        assert len(kept(parsed)) >= len(wanted), path
        found = kept(parsed)
        assert found[len(found) - len(wanted) :] == wanted, path


# Other languages

EXAMPLES = {
    "a.go": (
        'package a\n\nimport (\n\t"fmt"\n)\n\n// Server serves.\ntype Server struct {\n\taddr string\n}\n\n'
        "func (s *Server) Serve(x int) error {\n\treturn nil\n}\n\nfunc main() {\n\tfmt.Println(1)\n}\n",
        ["Server", "Server.Serve", "main"],
    ),
    "A.java": (
        "package a.b;\n\nimport java.util.List;\n\n/**\n * It is.\n */\n@Entity\n"
        "public class Account extends Base {\n"
        "    public int id() {\n        return 1;\n    }\n}\n\ninterface Other {\n}\n",
        ["Account", "Other"],
    ),
    "a.rs": (
        "use std::fmt;\n\n#[derive(Debug)]\npub struct Point { x: i32 }\n\nimpl fmt::Display for Point {\n"
        "    fn fmt(&self) {\n    }\n}\n\npub async fn go<T>(x: T) -> T where T: Clone {\n    x\n}\n",
        ["Point", "impl fmt::Display for Point", "go"],
    ),
    "a.c": (
        "#include <stdio.h>\n\n/* Adds. */\nint\nadd(int a, int b)\n{\n    return a + b;\n}\n\n"
        'static char *name(void) {\n    return "x";\n}\n\nstruct foo {\n    int a;\n};\n',
        ["add", "name", "foo"],
    ),
    "a.ts": (
        'import { x } from "y";\n\nexport interface Foo {\n  a: number;\n}\n\n'
        "export const handler = async (e: E) => {\n  return 1;\n};\n\n"
        "export default class Widget extends Base {\n  render() {\n  }\n}\n\nfunction f(): void {\n}\n",
        ["Foo", "handler", "Widget", "f"],
    ),
    "a.rb": (
        'require "x"\n\nmodule Foo\n  class Bar\n  end\nend\n\ndef top?\n  1\nend\n',
        ["Foo", "top?"],
    ),
    "a.sql": (
        "-- Users\nCREATE TABLE IF NOT EXISTS users (\n  id integer\n);\n\n"
        "CREATE OR REPLACE FUNCTION f() RETURNS int AS $$\nBEGIN\n  RETURN 1;\nEND;\n$$ LANGUAGE plpgsql;\n",
        ["users", "f"],
    ),
    "a.sh": (
        "#!/bin/bash\nset -e\n\n# Starts.\nstart() {\n  echo x\n}\n\nfunction stop {\n  echo y\n}\n\nstart\n",
        ["start", "stop", "module level"],
    ),
    "a.yaml": ("# config\nname: x\nsteps:\n  - a: 1\ntargets:\n- x\n", ["name", "steps", "targets"]),
    "a.toml": ('x = 1\n\n[tool.ruff]\nline-length = 115\n\n[[items]]\nname = "a"\n', ["tool.ruff", "items"]),
    "Makefile": ("X = 1\n\nall: a.o\n\tcc $^\n\n$(OUT)/x: y\n\ttouch $@\n", ["all", "$(OUT)/x"]),
    "Dockerfile": ("ARG X\nFROM a AS build\nRUN b\n\nFROM c\nCOPY d e\n", ["a AS build", "c"]),
    "a.tf": ('resource "aws_x" "y" {\n  a = 1\n}\n\nvariable "z" {\n}\n', ["resource aws_x y", "variable z"]),
    "a.r": ("library(x)\n\narea <- function(r) {\n  r\n}\n", ["area"]),
    "a.scala": ("object Main {\n}\n\ncase class Point(x: Int)\n\ntrait Shape {\n}\n", ["Main", "Point", "Shape"]),
    "a.cs": ("using System;\n\nnamespace A.B\n{\n    [Serializable]\n    class C\n    {\n    }\n}\n", ["A.B"]),
    "a.proto": (
        'syntax = "proto3";\n\nmessage Gate {\n  int32 id = 1;\n}\n\nservice Gates {\n}\n',
        ["Gate", "Gates"],
    ),
}


@pytest.mark.parametrize("uri", EXAMPLES)
def test_definitions_of_other_languages_are_found_and_no_line_is_lost(uri: str) -> None:
    source, expected = EXAMPLES[uri]
    parsed = read(source, uri)
    assert [name for name in names(parsed) if name != "module level" or "module level" in expected] == expected
    assert kept(parsed) == [line.strip() for line in source.split("\n") if line.strip()]


def test_members_of_a_large_class_are_cut_by_their_indentation() -> None:
    methods = "".join(
        f"    /** Number {n}. */\n    public int m{n}(\n        int a\n    ) {{\n"
        f"        if (a > 1) {{\n            return a;\n"
        f"        }} else {{\n            return {n};\n        }}\n    }}\n\n"
        for n in range(5)
    )
    source = f"public class A {{\n    private int x;\n\n{methods}}}\n"
    parsed = read(source, "A.java")
    assert headings(parsed) == [(1, "A"), *((2, f"A.m{n}") for n in range(5))]
    assert ("code", "public class A {\n    private int x;") in blocks(parsed)
    assert kept(parsed) == [line.strip() for line in source.split("\n") if line.strip()]


def test_a_script_without_a_suffix_is_known_by_its_first_line() -> None:
    assert parse(b"#!/usr/bin/env python3\ndef f():\n    pass\n", uri="bin/tool").media_type == "text/x-python"
    assert parse(b"#!/bin/sh\necho x\n", uri="run").media_type == "text/x-shellscript"


PIECES = """def f(x):|    x = 1|class A:|\tdef g(self):|}|{|/* a|*/|// b|# c|@d|end|func (s *S) F() {|x = (|)|
    }|public int a() {|[a.b]|key: 1|- x|int|else:|\"\"\"||"""
LINES = st.lists(st.sampled_from([piece.strip("\n") for piece in PIECES.split("|")]), max_size=60)


@settings(deadline=None, max_examples=150)
@given(LINES, st.sampled_from([".py", ".java", ".c", ".rb", ".yaml", ".toml", ".sql", ".sh", ".go"]))
def test_whatever_the_lines_are_each_stands_in_one_block(source_lines: list[str], suffix: str) -> None:
    source = "\n".join([*source_lines, "last"])
    parsed = read(source, f"a{suffix}")
    if any(block.kind == "paragraph" for block in parsed.blocks):
        return  # a docstring, shown without its quotes
    assert kept(parsed) == [line.strip() for line in source.split("\n") if line.strip()]
