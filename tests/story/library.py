"""The library of the story: a small workspace of its own, with a page that is wrong."""

from __future__ import annotations

import json
import shutil
from importlib.resources import as_file, files
from pathlib import Path

PAGES = {
    "opening.md": """# Opening hours

## When is the library open?

The library opens at nine in the morning and closes at six in the evening. On Sundays the library stays closed.

## When is the reading room open?

The reading room opens at eight in the morning from Monday to Friday.
""",
    "fees.md": """# Fees

## How much is the late fee?

The late fee is twenty cents a day for each book that is returned late.

## How much is a library card?

A library card costs ten euros a year for adults. Children get a library card for free.
""",
    "borrowing.md": """# Borrowing

## How many books can I borrow?

You can borrow up to twelve books at the same time.

## How long can I keep a book?

You can keep a book for four weeks. You can renew a book twice unless another reader has reserved it.
""",
    "rooms.md": """# Rooms

## How many seats does the reading room have?

The reading room has forty seats, and every seat has a lamp and a power socket.

## Where can I print?

You can print in the copy room on the second floor. A printed page costs five cents.
""",
}
RIGHT_FEE = "The late fee is fifty cents a day for each book that is returned late."
WRONG_FEE = "The late fee is twenty cents a day for each book that is returned late."
QUESTIONS = (
    ("opening", "When does the library open?", "nine in the morning", "opening.md"),
    ("sundays", "Is the library open on Sundays?", "On Sundays the library stays closed", "opening.md"),
    ("reading-room", "When does the reading room open?", "eight in the morning", "opening.md"),
    ("card", "How much does a library card cost?", "ten euros a year", "fees.md"),
    ("how-many", "How many books can I borrow?", "up to twelve books", "borrowing.md"),
    ("how-long", "How long can I keep a book?", "four weeks", "borrowing.md"),
    ("seats", "How many seats does the reading room have?", "forty seats", "rooms.md"),
    ("printing", "Where can I print?", "copy room on the second floor", "rooms.md"),
)
BEYOND = (
    ("paris", "What is the capital of France?"),
    ("pool", "Does the town have a swimming pool?"),
    ("recipe", "How do I bake a chocolate cake?"),
)
SUITE = """name: library
description: Does the assistant answer readers' questions, and know what it does not know?
route: assistant
datasets: [{datasets}]
metrics: [recall@5, token_recall, citation_precision, abstention_f1]
gate:
  - {{metric: recall@5, at_least: 0.9}}
  - {{metric: token_recall, at_least: 0.8}}
  - {{metric: abstention_f1, at_least: 0.8}}
{rules}"""
CORRECTIONS = "  - {metric: answer_included, tag: correction, at_least: 1}\n"


def write_library(root: Path, models: Path) -> Path:
    """What `llmops init` writes, with the library's pages, a released prompt, and a suite."""
    with as_file(files("llmops.cli") / "workspace_template") as template:
        shutil.copytree(template, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(root / "docs")
    shutil.rmtree(root / "evals", ignore_errors=True)
    for folder in ("docs", "evals", ".llmops"):
        (root / folder).mkdir()
    for name, text in PAGES.items():
        (root / "docs" / name).write_text(text)
    pipeline = root / "ingestion" / "docs.yaml"
    pipeline.write_text(pipeline.read_text() + "chunk:\n  min_tokens: 0\n")  # a chunk for each short section
    route = root / "serving" / "assistant.yaml"
    route.write_text(route.read_text().replace("../prompts/answer.prompt.md", "answer@production"))
    examples = [
        {"id": key, "question": question, "answers": [answer], "sources": [page], "evidence": [answer]}
        for key, question, answer, page in QUESTIONS
    ]
    examples += [{"id": key, "question": question, "answers": []} for key, question in BEYOND]
    lines = "".join(json.dumps(example) + "\n" for example in examples)
    (root / "evals" / "library.jsonl").write_text(lines)
    (root / "evals" / "library.yaml").write_text(SUITE.format(datasets="library.jsonl", rules=""))
    models.mkdir(exist_ok=True)
    (root / ".llmops" / "models").symlink_to(models)
    return root
