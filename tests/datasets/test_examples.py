"""Dataset files: what is read, what is refused in one sentence, and what is added."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.datasets import load_examples, part_of, write_examples
from llmops.datasets.examples import ExampleLine, line_of
from llmops.errors import SpecError, StorageError
from llmops.records import Example

GOOD = '{"id": "hours", "question": "When?", "answers": ["at nine"], "sources": ["a.md"]}'
OTHER = '{"id": "pool", "question": "Is there a pool?", "answers": []}'
HOURS = Example(example_id="hours", question="When?", answers=("at nine",), sources=("a.md",))
POOL = Example(example_id="pool", question="Is there a pool?")
Write = Callable[[bytes | str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A dataset file of these bytes."""

    def make(content: bytes | str) -> Path:
        path = tmp_path / "some.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def refused(paths: Iterable[Path]) -> SpecError:
    with pytest.raises(SpecError, match=r".") as error:
        load_examples(list(paths))
    assert "\n" not in str(error.value)
    return error.value


# What is read


@pytest.mark.parametrize(
    "content",
    [
        f"{GOOD}\n{OTHER}\n",
        f"{GOOD}\n{OTHER}",  # no line end at the end
        f"\n  \n{GOOD}\n\n\t\n{OTHER}\n\n",  # blank lines
        f"{GOOD}\r\n{OTHER}\r\n",
        f"{GOOD}\r{OTHER}\r",
        f"\ufeff{GOOD}\n{OTHER}\n",  # a byte order mark, as editors leave it
        f"  {GOOD}  \n{OTHER}\n",
    ],
    ids=["plain", "no final end", "blank lines", "CRLF", "CR", "BOM", "spaces"],
)
def test_one_object_a_line_is_one_example(write: Write, content: str) -> None:
    assert load_examples([write(content)]).examples == (HOURS, POOL)


def test_every_field_arrives(write: Write) -> None:
    line = {
        "id": "Hours-1.a:b_c",
        "question": "When?",
        "answers": ["at nine", "9 a.m."],
        "sources": ["a.md", "b/c.md"],
        "evidence": ["opens at nine"],
        "tags": ["hours", "easy"],
        "origin": "feedback:fb_1",
    }
    (example,) = load_examples([write(json.dumps(line))]).examples
    assert example == Example(
        example_id="Hours-1.a:b_c",
        question="When?",
        answers=("at nine", "9 a.m."),
        sources=("a.md", "b/c.md"),
        evidence=("opens at nine",),
        tags=("hours", "easy"),
        origin="feedback:fb_1",
    )
    assert line_of(example) == line


def test_line_ends_inside_json_text_are_no_line_ends(write: Write) -> None:
    question = "one\u2028two\u2029three\x85four\x0bfive\x0csix\x1eseven\r\neight"
    path = write(json.dumps({"id": "a", "question": question}, ensure_ascii=False))
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4  # as they stand in the file
    (example,) = load_examples([path]).examples
    assert example.question == question


# What is refused: one sentence with file, line and field


@pytest.mark.parametrize(
    ("line", "place", "problem"),
    [
        ("nope", ":2", "is not JSON (Expecting value at column 1); write one object a line"),
        ('{"id": "a"', ":2", "is not JSON (Expecting ',' delimiter at column 11); write one object a line"),
        (f"{GOOD}{OTHER}", ":2", f"is not JSON (Extra data at column {len(GOOD) + 1}); write one object a line"),
        ('{"id": "a", "question": "\0"}', ":2", "is not JSON (Invalid control character at column 26)"),
        (f"\ufeff{OTHER}", ":2", "is not JSON (Unexpected UTF-8 BOM (decode using utf-8-sig) at column 1)"),
        ("[" * 100_000, ":2", "cannot be read (maximum recursion depth exceeded"),
        ("9" * 5_000, ":2", "cannot be read (Exceeds the limit (4300 digits)"),
        ('{"id": "a", "id": "b", "question": "Q"}', ":2", "cannot be read ('id' is written twice)"),
        ('{"id": "a", "question": "Q\\ud800"}', ":2", "is not JSON (half a surrogate pair is no character)"),
        ('{"id": "a", "question": "Q\\ud800\\n"}', ":2", "is not JSON (half a surrogate pair is no character)"),
        ('{"id": "a", "question": "\\udc00"}', ":2", "is not JSON (half a surrogate pair is no character)"),
        (f'{{"id": "a", "answers": {"[" * 300}{"]" * 300}}}', ":2", "is not JSON (recursion limit exceeded)"),
        ("[1]", ":2", "holds a list, not an object"),
        ('"a"', ":2", "holds a str, not an object"),
        ("null", ":2", "holds a NoneType, not an object"),
        ('{"question": "Q"}', ":2: id", "is required; add it"),
        ('{"id": "a"}', ":2: question", "is required; add it"),
        ('{"id": "a", "qestion": "Q"}', ":2: qestion", "unknown field; there is: id, question, answers, sources"),
        ('{"id": 1, "question": "Q"}', ":2: id", "input should be a valid string, not 1"),
        ('{"id": "a b", "question": "Q"}', ":2: id", "string should match pattern '^[A-Za-z0-9]"),
        ('{"id": "", "question": "Q"}', ":2: id", "string should match pattern '^[A-Za-z0-9]"),
        ('{"id": "a\\n", "question": "Q"}', ":2: id", "string should match pattern '^[A-Za-z0-9]"),
        ('{"id": "a", "question": ""}', ":2: question", "is blank; write it or leave it out"),
        ('{"id": "a", "question": " \\t"}', ":2: question", "is blank; write it or leave it out"),
        ('{"id": "a", "question": "Q\\u0000"}', ":2: question", "holds a NUL character; remove it"),
        (
            f'{{"id": "a", "question": "{"x" * 8001}"}}',
            ":2: question",
            "has 8001 characters; at most 8000 are taken",
        ),
        ('{"id": "a", "question": "Q", "answers": "x"}', ":2: answers", "input should be a valid array, not 'x'"),
        ('{"id": "a", "question": "Q", "answers": [1]}', ":2: answers.0", "input should be a valid string, not 1"),
        (
            '{"id": "a", "question": "Q", "answers": ["x", ""]}',
            ":2: answers.1",
            "is blank; write it or leave it out",
        ),
        (
            '{"id": "a", "question": "Q", "answers": ["x"], "evidence": [" "]}',
            ":2: evidence.0",
            "is blank; write it or leave it out",  # an empty quote would stand in every passage
        ),
        ('{"id": "a", "question": "Q", "origin": null}', ":2: origin", "input should be a valid string, not None"),
        (
            '{"id": "a", "question": "Q", "evidence": ["x"]}',
            ":2",
            "has sources or evidence, but no answers; only what the documents do not answer has none",
        ),
        ('{"id": "hours", "question": "Q"}', ":2", "the id 'hours' is already that of {file}:1; give it another"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(write: Write, line: str, place: str, problem: str) -> None:
    path = write(f"{GOOD}\n{line}\n")
    assert str(refused([path])).startswith(f"{path}{place}: {problem.replace('{file}', str(path))}")


def test_blank_lines_count_as_lines(write: Write) -> None:
    assert refused([write(f"\n\n{GOOD}\r\n\r\nnope")]).line == 5


def test_text_that_is_not_utf_8_is_refused_with_its_line(write: Write) -> None:
    error = refused([write(GOOD.encode() + b'\n{"id": "caf\xe9"}')])
    assert (error.line, error.problem) == (2, "is not UTF-8 text; save it as UTF-8")


@pytest.mark.parametrize("content", ["", "\n", " \n\t\r\n", "\ufeff"])
def test_a_file_without_examples_is_refused(write: Write, content: str) -> None:
    error = refused([write(content)])
    assert error.problem == "holds no examples; write one JSON object a line (id, question, answers)"


def test_a_file_without_examples_is_refused_beside_a_good_one(write: Write, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    assert refused([write(GOOD), empty]).file == str(empty)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refused([tmp_path / "none.jsonl"]).problem == "no such file; check the path"
    assert "cannot be read (Is a directory)" in refused([tmp_path]).problem


def test_an_id_may_stand_in_one_file_only(write: Write, tmp_path: Path) -> None:
    first, second = write(f"{OTHER}\n{GOOD}"), tmp_path / "more.jsonl"
    second.write_text(f"\n{GOOD}\n")
    problem = f"the id 'hours' is already that of {first}:2; give it another"
    assert (refused([first, second]).line, refused([first, second]).problem) == (2, problem)
    assert f"already that of {first}:1" in refused([first, first]).problem


def test_a_dataset_of_thousands_of_lines_is_read(write: Write) -> None:
    """More than the megabyte that a spec may have."""
    long = {"question": "Why? " * 30, "answers": ["Because. " * 30], "evidence": ["A quote. " * 30]}
    path = write("".join(json.dumps({"id": f"e{n}", **long}) + "\n" for n in range(2_000)))
    assert path.stat().st_size > 1_200_000
    assert len(load_examples([path]).examples) == 2_000


def test_a_file_beyond_reason_is_refused(write: Write) -> None:
    error = refused([write(b" " * 64_000_001)])
    assert error.problem == "is 64000001 bytes; a dataset has at most 64000000"


# The digest


def digest_of(*examples: Example, tmp_path: Path) -> str:
    path = tmp_path / "digest.jsonl"
    path.unlink(missing_ok=True)
    write_examples(path, examples)
    return load_examples([path]).digest


def test_the_digest_is_that_of_the_content_not_of_the_files(write: Write, tmp_path: Path) -> None:
    whole = load_examples([write(f"{GOOD}\n{OTHER}")])
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text(f"\n{OTHER}\r\n")
    two.write_text(json.dumps(dict(reversed(json.loads(GOOD).items()))))
    parted = load_examples([one, two])
    assert parted.digest == whole.digest
    assert [example.example_id for example in parted.examples] == ["pool", "hours"]  # in order of the files


@pytest.mark.parametrize(
    "changed",
    [
        Example(example_id="hours2", question="When?", answers=("at nine",), sources=("a.md",)),
        Example(example_id="hours", question="When??", answers=("at nine",), sources=("a.md",)),
        Example(example_id="hours", question="When?", answers=("at ten",), sources=("a.md",)),
        Example(example_id="hours", question="When?", answers=("at nine", "9"), sources=("a.md",)),
        Example(example_id="hours", question="When?", answers=("at nine",), sources=("b.md",)),
        Example(example_id="hours", question="When?", answers=("at nine",), evidence=("a.md",)),
        Example(example_id="hours", question="When?", answers=("at nine",), sources=("a.md",), tags=("t",)),
    ],
)
def test_any_other_content_has_another_digest(changed: Example, tmp_path: Path) -> None:
    assert digest_of(changed, tmp_path=tmp_path) != digest_of(HOURS, tmp_path=tmp_path)
    assert digest_of(HOURS, POOL, tmp_path=tmp_path) != digest_of(HOURS, tmp_path=tmp_path)


# What is added

no_blanks = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    str.strip
)
texts = st.lists(no_blanks, max_size=3).map(tuple)
examples = st.builds(
    Example,
    example_id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,8}", fullmatch=True),
    question=no_blanks,
    answers=st.lists(no_blanks, min_size=1, max_size=3).map(tuple),
    sources=texts,
    evidence=texts,
    tags=texts,
    origin=st.text(st.characters(codec="utf-8"), max_size=20),
)
unanswerable = st.builds(Example, example_id=st.just("unanswerable"), question=no_blanks, tags=texts)
sets_of_examples = st.lists(examples | unanswerable, min_size=1, max_size=5, unique_by=lambda e: e.example_id)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given_examples=sets_of_examples, n_first=st.integers(0, 5))
def test_what_is_written_is_read_back_whole(tmp_path: Path, given_examples: list[Example], n_first: int) -> None:
    path = tmp_path / "written.jsonl"
    path.unlink(missing_ok=True)
    write_examples(path, given_examples[:n_first])
    write_examples(path, given_examples[n_first:])
    read = load_examples([path])
    assert read.examples == tuple(given_examples)
    raw = path.read_bytes()
    assert raw.count(b"\n") == len(given_examples)
    path.unlink()
    write_examples(path, read.examples)
    assert path.read_bytes() == raw


@pytest.mark.parametrize(
    "before", [GOOD, f"{GOOD}\n", f"{GOOD}\n\n  ", f"{GOOD}\r\n", f"\ufeff# not JSON\n{GOOD}"]
)
def test_what_a_file_holds_stays(tmp_path: Path, before: str) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(before.encode())
    write_examples(path, [POOL])
    raw = path.read_bytes().decode()
    assert raw.startswith(before)
    assert raw.splitlines()[-1] == '{"id": "pool", "question": "Is there a pool?", "answers": []}'
    assert raw.endswith("\n")


def test_a_new_file_is_made_with_its_folder_and_nothing_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "some.jsonl"
    write_examples(path, [])
    assert not path.exists()
    write_examples(path, [HOURS])
    assert load_examples([path]).examples == (HOURS,)


def test_half_a_surrogate_pair_does_not_spoil_a_file(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    write_examples(path, [Example(example_id="a", question="Why \ud83d?", answers=("x",))])
    (example,) = load_examples([path]).examples
    assert example.question == "Why ??"


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write '.*some\.jsonl' \(.*\); choose another file"):
        write_examples(tmp_path / "file" / "some.jsonl", [HOURS])
    with pytest.raises(StorageError, match=r"cannot write .* \(Is a directory\)"):
        write_examples(tmp_path, [HOURS])


# Parts


@pytest.mark.parametrize(
    ("example_id", "fraction"),
    [("hours", 0.25102), ("pool", 0.15544), ("1", 0.42002), ("correction-0123456789ab", 0.10254)],
)
def test_a_part_is_decided_by_the_hash_of_the_id_for_ever(example_id: str, fraction: float) -> None:
    assert part_of(example_id, fraction - 1e-4) == "dev"
    assert part_of(example_id, fraction + 1e-4) == "held-out"


@given(st.text(min_size=1, max_size=20, alphabet=st.characters(codec="utf-8")), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_only_adds_to_what_is_held_out(example_id: str, one: float, other: float) -> None:
    smaller, larger = sorted((one, other))
    assert part_of(example_id, 0) == "dev"
    assert part_of(example_id, 1) == "held-out"
    if part_of(example_id, smaller) == "held-out":
        assert part_of(example_id, larger) == "held-out"


@pytest.mark.parametrize("share", [0.1, 0.34, 0.5, 0.9])
def test_about_the_share_asked_for_is_held_out(share: float) -> None:
    n = 4_000
    held_out = sum(part_of(f"question-{number}", share) == "held-out" for number in range(n))
    assert abs(held_out / n - share) < 4 * (share * (1 - share) / n) ** 0.5


def test_a_line_has_the_fields_of_a_record() -> None:
    assert set(ExampleLine.model_fields) == set(line_of(HOURS)) | {"evidence", "tags", "origin"}
