"""Definitions are found by name, long ones by the definitions inside them."""

from __future__ import annotations

from dataclasses import replace

from llmops.clients.protocols import Embedder
from llmops.ingestion.chunking import ChunkSpec, chunk_document
from llmops.ingestion.chunking.code import code_lines, definitions, paragraphs
from llmops.ingestion.chunking.spec import CodeSpec
from llmops.ingestion.parsing import parse
from llmops.records import Chunk, Document
from tests.ingestion.test_chunking import document

METHOD = """    @cached
    def {name}(self, orders: list[Order]) -> float:
        # The total of {name}.
        open_orders = [order for order in orders if order.is_open and not order.is_void]

        return sum(line.price * line.amount for order in open_orders for line in order.lines)
"""
SHOP = "class Shop:\n    name = 'shop'\n\n" + "\n".join(METHOD.format(name=n) for n in ("taxes", "total", "debts"))
SOURCE = f"import math\n\n\n{SHOP}\n\ndef small() -> int:\n    return 1\n\n\ndef tiny() -> int:\n    return 2\n"


def parsed(source: str, uri: str) -> Document:
    made = parse(source.encode(), uri=uri)
    return replace(
        document([]), uri=uri, title=made.title, text=made.text, blocks=made.blocks, media_type=made.media_type
    )


def cut(embedder: Embedder, made: Document, max_tokens: int, min_tokens: int) -> list[Chunk]:
    spec = CodeSpec(strategy="code", max_tokens=max_tokens, min_tokens=min_tokens)
    return chunk_document(made, spec, count_tokens=embedder.count_tokens, window=256)


def test_a_long_definition_is_cut_at_the_definitions_inside_it(embedder: Embedder) -> None:
    chunks = cut(embedder, parsed(SOURCE, "shop.py"), max_tokens=120, min_tokens=0)
    methods = [c for c in chunks if "def t" in c.text or "def debts" in c.text]
    shop = [c for c in chunks if c.heading_path[-1] == "Shop"]
    assert [c.text.strip().splitlines()[0].strip() for c in shop] == ["```", "@cached", "@cached"]
    assert all(c.text.count("def ") == 1 for c in methods)
    assert "".join("".join(c.text.split()) for c in shop).startswith("```classShop:name='shop'@cacheddeftaxes")


def test_parts_of_a_definition_have_lines_of_their_own(embedder: Embedder) -> None:
    chunks = cut(embedder, parsed(SOURCE, "shop.py"), max_tokens=120, min_tokens=0)
    lines = SOURCE.splitlines()
    total = next(c for c in chunks if "def total" in c.text)
    first, last = (int(n) for n in total.locator.removeprefix("lines ").split("-"))
    assert lines[first - 1 : last] == total.text.splitlines()


def test_small_neighbours_join_under_their_names(embedder: Embedder) -> None:
    chunks = cut(embedder, parsed(SOURCE, "shop.py"), max_tokens=120, min_tokens=40)
    joined = next(c for c in chunks if "def tiny" in c.text)
    assert "def small" in joined.text
    assert "tiny" in joined.text.splitlines()


def test_what_fits_is_cut_as_by_structure(embedder: Embedder) -> None:
    made = parsed(SOURCE, "shop.py")
    by_code = cut(embedder, made, max_tokens=256, min_tokens=40)
    by_structure = chunk_document(
        made, ChunkSpec(max_tokens=256, min_tokens=40), count_tokens=embedder.count_tokens, window=256
    )
    fitting = [c for c in by_structure if c.n_tokens < 120]
    assert fitting
    assert {c.chunk_id for c in fitting} <= {c.chunk_id for c in by_code}


def test_other_languages_are_cut_at_their_definitions(embedder: Embedder) -> None:
    body = "        let amounts = self.lines.iter().map(|l| l.price * l.amount);\n        amounts.sum()\n"
    method = f"(&self) -> f64 {{\n{body}    }}\n"
    methods = "".join(f"    /// Number {n}.\n    pub fn total_{n}{method}" for n in range(6))
    fenced = document([("code", 0, f"```\nimpl Shop {{\n{methods}}}\n```")])
    chunks = cut(embedder, fenced, max_tokens=80, min_tokens=0)
    assert all(c.text.strip().startswith(("/// Number", "```\nimpl")) for c in chunks)
    assert chunks[-1].text.endswith("}\n```")


def test_a_fence_is_never_alone() -> None:
    text = "```\na = 1\n\nb = 2\n```"
    assert [text[a:b] for a, b in code_lines(text)] == ["```\na = 1", "b = 2\n```"]
    assert [text[a:b] for a, b in paragraphs(text)] == ["```\na = 1", "b = 2\n```"]
    assert definitions("```\ndef f(): ...\n```") == [(0, 20)]
    assert definitions("") == code_lines("\n") == []


def test_calls_and_prose_are_no_definitions() -> None:
    text = "x = public_total(a)\nprint(function)\nclassify(x)\ndefault = 1\nreturn type_of(x)"
    assert len(definitions(text)) == 1
