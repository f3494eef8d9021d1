"""JSON, JSON Lines and notebooks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmops.ingestion.parsing import json_text
from tests.ingestion.parsing.reading import blocks, headings, lines, read, reason

# JSON


def test_objects_are_headings_and_lines_lists_of_alike_objects_tables() -> None:
    source = {
        "name": "Gate",
        "open": True,
        "tags": ["old", "north"],
        "size": {"width": 3, "height": 4.5, "unit": None},
        "visits": [{"day": 1, "n": 10}, {"day": 2, "n": 20, "note": "a|b"}],
        "notes": [{"by": {"first": "Ann"}, "text": "Oil it."}, {"by": {"first": "Bob"}, "text": "Done."}],
    }
    parsed = read(json.dumps(source), "gate.json")
    assert parsed.title == "Gate"
    assert blocks(parsed) == [
        ("list", "name: Gate\nopen: true\ntags: old, north"),
        ("heading", "size"),
        ("list", "width: 3\nheight: 4.5\nunit: null"),
        ("heading", "visits"),
        ("table", "day | n | note\n1 | 10 |\n2 | 20 | a\\|b"),
        ("heading", "notes"),
        ("paragraph", "by.first: Ann\ntext: Oil it."),
        ("paragraph", "by.first: Bob\ntext: Done."),
    ]


def test_headings_go_three_levels_deep_and_paths_below() -> None:
    parsed = read('{"a": {"b": {"c": {"d": {"e": 1}}}}}', "x.json")
    assert headings(parsed) == [(1, "a"), (2, "b"), (3, "c")]
    assert parsed.text.endswith("d.e: 1")


def test_a_key_that_stands_twice_is_kept_twice() -> None:
    assert read('{"a": 1, "a": 2}', "x.json").text == "a: 1\na (2): 2"


def test_single_values_are_text() -> None:
    assert read('"hello"', "x.json").text == "hello"
    assert read("[1, 2, [3]]", "x.json").text == "1\n\n2\n\n3"


def test_half_a_surrogate_pair_does_not_break_the_text() -> None:
    assert read(r'{"a": "x\ud800y"}', "x.json").text == "a: x\ufffdy"


def test_broken_and_deep_json_have_a_reason() -> None:
    assert reason('{"a": 1', "x.json") == ("is no valid JSON (Expecting ',' delimiter at line 1, column 8)")
    assert "nested" in reason("[" * 100_000 + "]" * 100_000, "x.json")
    assert "nested" in reason("[" * 400 + "]" * 400, "x.json")
    assert "nested" in reason('{"a":' * 400 + "1" + "}" * 400, "x.json")


def test_long_lists_are_cut_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "MAX_RECORDS", 2)
    parsed = read('[{"a": 1}, {"a": 2}, {"a": 3}]', "x.json")
    assert (parsed.text, parsed.problems) == (
        "a\n1\n2",
        ("has a list of 3 values; only the first 2 are read",),
    )
    assert read('{"a": 1}\n{"a": 2}\n{"a": 3}', "x.jsonl").problems == (
        "has over 2 records; the others are not read",
    )


# JSON Lines


def test_each_line_is_a_record_with_its_line_number() -> None:
    parsed = read('{"id": 1, "q": {"text": "Open?"}}\n\n{"id": 2}\n', "set.jsonl")
    assert blocks(parsed) == [("paragraph", "id: 1\nq.text: Open?"), ("paragraph", "id: 2")]
    assert lines(parsed) == [(1, 1), (3, 3)]


def test_a_broken_line_is_named_and_the_others_are_read() -> None:
    parsed = read('{"a": 1}\n{"a": \n{"a": 3}\n', "x.ndjson")
    assert parsed.text == "a: 1\n\na: 3"
    assert parsed.problems == ("line 2 is no valid JSON (Expecting value at line 1, column 7)",)
    assert reason("x\ny\n", "x.jsonl").startswith("no line of it is valid JSON")


def test_lines_under_the_name_of_the_other_format_are_read() -> None:
    assert read('{"a": 1}\n{"a": 2}\n', "x.json").text == "a: 1\n\na: 2"


# Notebooks


TABLE = "<table><tr><td>a</td><td>b</td></tr></table>"


def notebook(*cells: dict[str, Any], **more: Any) -> str:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells), **more})


def test_cells_and_their_results() -> None:
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "source": ["# Gate\n", "\n", "Some *text*."]},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "text": ["10%\r100%\n", "1\n"]},
                {"output_type": "execute_result", "data": {"text/plain": "x", "text/html": TABLE}},
                {"output_type": "display_data", "data": {"image/png": "iVBOR", "text/plain": "<Figure>"}},
                {"output_type": "error", "ename": "E", "traceback": ["\x1b[31mE\x1b[0m", "line 1"]},
            ],
        },
        {"cell_type": "raw", "source": "raw"},
    ]
    parsed = read(notebook(*cells, metadata={"language_info": {"name": "python"}}), "a.ipynb")
    assert blocks(parsed) == [
        ("heading", "Gate"),
        ("paragraph", "Some text."),
        ("code", "print(1)"),
        ("code", "100%\n1"),
        ("table", "a | b"),
        ("code", "<Figure>"),
        ("code", "E\nline 1"),
        ("paragraph", "raw"),
    ]
    assert (parsed.title, parsed.metadata) == ("Gate", {"language": "python"})


def test_notebooks_of_format_3_are_read() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Gate"},
        {"cell_type": "code", "input": ["x = 1"], "outputs": [{"output_type": "pyout", "text": ["1"]}]},
    ]
    parsed = read(json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}), "a.ipynb")
    assert blocks(parsed) == [("heading", "Gate"), ("code", "x = 1"), ("code", "1")]


def test_odd_cells_and_endless_outputs_are_named() -> None:
    cells: list[Any] = [
        {"cell_type": "code", "source": "x", "outputs": [{"output_type": "stream", "text": "y" * 30_000}]},
        {"cell_type": "dream", "source": "z"},
        7,
    ]
    assert read(notebook(*cells), "my-book.ipynb").problems == (
        "an output of cell 1 has 30000 characters; its end is not read",
        "cell 2 is of the unknown kind 'dream' and is not read",
        "cell 3 is no object and is not read",
    )


def test_a_notebook_without_headings_is_called_by_its_name() -> None:
    assert read(notebook({"cell_type": "code", "source": "x"}), "my-book.ipynb").title == "my book"


def test_other_json_is_no_notebook() -> None:
    assert "no list of cells" in reason('{"a": 1}', "a.ipynb")
    assert "no list of cells" in reason("[1]", "a.ipynb")
    assert "no valid JSON" in reason("{", "a.ipynb")
