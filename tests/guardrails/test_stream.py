"""Text leaves only after its check, and however it was cut it leaves the same."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmops.guardrails.guard import Guard
from llmops.guardrails.stream import OutputGuard
from llmops.records import GuardFinding
from tests.guardrails.policies import CARD, EMAIL, IBAN, ORDER, PHONE, SSN, guard, injection, pii

ENTITIES = ("CREDIT_CARD", "IBAN_CODE", "EMAIL_ADDRESS", "PHONE_NUMBER", "US_SSN")
SECRETS = (CARD, IBAN, EMAIL, PHONE, SSN)
LONG = "word " * 150
WORDS = (
    *("The card", " is", ".", ". ", "!  ", "? ", "… ", "\n", "\n\n", " ", "\u00a0", "[1]", " [2, 3].", "“yes.” "),
    *(
        "x" * 130,
        "12",
        " 7. ",
        "-",
        "(",
        "+",
        "Ä",
        "e\u0301",
        "漢字。",
        "🙂",
        "\u2028",
        " word" * 40,
        LONG,
        "card number ",
    ),
)
TEXTS = st.lists(
    st.one_of(st.sampled_from(SECRETS), st.sampled_from(WORDS), st.sampled_from(WORDS)), max_size=25
).map("".join)


@pytest.fixture(scope="module")
def redacting() -> Guard:
    return guard(output=[pii(*ENTITIES, threshold=0.4)])


@pytest.fixture(scope="module")
def blocking() -> Guard:
    return guard(output=[pii("CREDIT_CARD", action="block"), pii("EMAIL_ADDRESS")])


@pytest.fixture(scope="module")
def flagging() -> Guard:
    return guard(output=[pii("EMAIL_ADDRESS", action="flag"), pii("CREDIT_CARD", action="allow")])


def fed(guard: Guard | None, pieces: Sequence[str]) -> tuple[list[str], OutputGuard]:
    """What left with each piece and at the end."""
    output = OutputGuard(guard)
    left = [output.feed(piece) for piece in pieces]
    return [*left, output.finish()], output


def whole(guard: Guard, text: str) -> tuple[str, list[GuardFinding], bool]:
    left, output = fed(guard, [text])
    return "".join(left), output.findings, output.is_blocked


def cut(text: str, places: Sequence[int]) -> list[str]:
    return [text[a:b] for a, b in itertools.pairwise([0, *sorted(p % (len(text) + 1) for p in places), len(text)])]


CUTS = st.lists(st.integers(0, 5_000), max_size=30)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, places=CUTS)
@example(text=f"Card: {CARD}. Mail: {EMAIL}.\n{LONG}{IBAN}", places=[10, 11, 30])
@example(text=LONG[:595] + CARD + LONG, places=[600])
@example(text="x" * 590 + f" {CARD} " + "y" * 700, places=[595, 605])
def test_the_cuts_change_nothing(redacting: Guard, text: str, places: list[int]) -> None:
    left, output = fed(redacting, cut(text, places))
    assert ("".join(left), output.findings, output.is_blocked) == whole(redacting, text)


@settings(max_examples=20, deadline=None)
@given(text=TEXTS)
def test_letter_by_letter_is_the_same_as_at_once(blocking: Guard, text: str) -> None:
    text = text[:900]
    left, output = fed(blocking, list(text))
    assert ("".join(left), output.findings, output.is_blocked) == whole(blocking, text)


CLEAN = st.sampled_from((" and ", ". Then ", "!\nNext ", " … ", f" {LONG}", ".) “So” ", "\n\n- ", " [1]. ", "? "))


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(st.tuples(CLEAN, st.sampled_from(SECRETS)), min_size=1, max_size=6),
    places=CUTS,
)
def test_nothing_of_what_is_redacted_leaves(
    redacting: Guard, parts: list[tuple[str, str]], places: list[int]
) -> None:
    text = "".join(clean + secret for clean, secret in parts) + " end."
    left = "".join(fed(redacting, cut(text, places))[0])
    for _, secret in parts:
        for part in (secret, secret[: len(secret) // 2], secret[len(secret) // 2 :]):
            assert part not in left
    for clean, _ in parts:
        assert clean in left
    assert left.count("<") == len(parts)


SPLIT_NUMBERS = ("+44. 20 7946 0958", "+44. (20) 7946 0958", "020. 7946 0958")


@pytest.mark.parametrize("number", SPLIT_NUMBERS)
def test_a_number_with_a_full_stop_in_it_is_one_number(redacting: Guard, number: str) -> None:
    text = f"Call {number} today. Bye."
    assert redacting.check("output", text).text == "Call <PHONE_NUMBER> today. Bye."
    for pieces in ([text], list(text)):
        assert "".join(fed(redacting, pieces)[0]) == "Call <PHONE_NUMBER> today. Bye."


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("markers", [" [1]", "[1][2]", " [1] [12]", ". [1]", " [1]. 24 hours", " [1].\n4"])
def test_citations_hide_nothing(redacting: Guard, secret: str, markers: str) -> None:
    text = f"So it is: {secret}{markers} and so on."
    left, output = fed(redacting, [text])
    (found,) = output.findings
    assert "".join(left) == f"So it is: <{found.kind}>{markers} and so on."


@pytest.mark.parametrize(
    ("entity", "code"),
    [("UK_POSTCODE", "SW1A\n1AA"), ("TR_LICENSE_PLATE", "34\nABC 123")],
    ids=["after", "before"],
)
def test_a_code_on_two_lines_is_one_code(entity: str, code: str) -> None:
    made = guard(output=[pii(entity, threshold=0.01)])
    text = f"The code is {code} as it was.\nBye."
    assert made.check("output", text).text == f"The code is <{entity}> as it was.\nBye."
    assert "".join(fed(made, list(text))[0]) == f"The code is <{entity}> as it was.\nBye."


@pytest.mark.parametrize("after", ["", "How do I detect it? ", '" he said. ', f"{ORDER} ", f"Not {ORDER} " * 3])
@pytest.mark.parametrize("before", ["", 'He wrote "', "What is this: ", "Never say: "])
def test_what_a_rule_sees_does_not_depend_on_the_cuts(before: str, after: str) -> None:
    """What stands around an order decides whether it is one."""
    made = guard(output=[injection("redact", threshold=0.1)])
    text = f"{before}{ORDER} {after}So it is."
    left, output = fed(made, list(text))
    assert ("".join(left), output.findings, output.is_blocked) == whole(made, text)


@pytest.mark.parametrize("shift", range(0, 140, 7))
def test_nothing_hides_on_a_cut_for_length(redacting: Guard, shift: int) -> None:
    text = "a" * (470 + shift) + f" {CARD} " + "b" * 800
    left, output = fed(redacting, [text])
    assert "".join(left) == text.replace(CARD, "<CREDIT_CARD>")
    (found,) = output.findings
    assert found.where == "answer"


def test_findings_that_reach_beyond_each_other_go_whole() -> None:
    """The cut falls into the first; the second begins in the first and ends behind it."""
    made = guard(output=[pii("EMAIL_ADDRESS", threshold=0.1), pii("URL", threshold=0.1)])
    text = "a" * 590 + "(ada.lovelace.of.london@example.org/path/to/it " + "c" * 700
    mail, _, url = made.check("output", text).findings
    assert mail.start < 600 < url.start < mail.end < url.end
    left, output = fed(made, [text])
    assert "".join(left) == made.check("output", text).text == "".join(fed(made, list(text))[0])
    assert sorted(f.kind for f in output.findings) == sorted(f.kind for f in made.check("output", text).findings)


def test_a_sentence_leaves_when_the_next_one_has_begun(redacting: Guard) -> None:
    left, _ = fed(redacting, ["It opens", " at nine", ". ", "It", " closes.", "\n", "A", "t six"])
    assert left == ["", "", "", "It opens at nine. ", "", "", "It closes.\n", "", "At six"]


def test_a_long_text_without_an_end_leaves_in_parts(redacting: Guard) -> None:
    left, _ = fed(redacting, ["word "] * 500)
    assert "".join(left) == "word " * 500
    assert sum(map(bool, left)) > 3


def test_very_long_pieces_are_read_in_linear_time(redacting: Guard) -> None:
    """A megabyte without a sentence's end, and one of line ends, take as long as their checks."""
    for text in ("\n" * 100_000, "?" * 20_000, " " * 100_000):
        assert "".join(fed(redacting, [text])[0]) == text


# block


@pytest.mark.parametrize("letters", [False, True], ids=["at once", "letter by letter"])
def test_a_block_ends_it_with_what_was_checked_before(blocking: Guard, letters: bool) -> None:
    text = f"It is {EMAIL}. So it is. The card is {CARD} today. More {EMAIL}. And more."
    left, output = fed(blocking, list(text) if letters else [text])
    assert "".join(left) == "It is <EMAIL_ADDRESS>. So it is. "
    assert output.is_blocked
    assert [finding.action for finding in output.findings] == ["redact", "block"]


def test_after_a_block_nothing_more_comes(blocking: Guard) -> None:
    output = OutputGuard(blocking)
    assert output.feed(f"{CARD}. Then") == ""
    assert output.is_blocked
    found = list(output.findings)
    assert [output.feed("More. And more. "), output.finish(), output.finish()] == ["", "", ""]
    assert output.findings == found


def test_what_is_held_back_at_the_end_is_checked_too(blocking: Guard) -> None:
    left, output = fed(blocking, ["All is well. The card is ", CARD])
    assert ("".join(left), output.is_blocked) == ("All is well. ", True)


def test_a_block_by_rules(redacting: Guard) -> None:
    left, output = fed(guard(output=[injection()]), [f"Fine. {ORDER} So there."])
    assert ("".join(left), output.is_blocked) == ("Fine. ", True)


# Policies that change nothing


@settings(max_examples=30, deadline=None)
@given(text=TEXTS, places=CUTS)
def test_flags_delay_nothing(flagging: Guard, text: str, places: list[int]) -> None:
    pieces = cut(text, places)
    left, output = fed(flagging, pieces)
    assert left == [*pieces, ""]
    assert output.findings == whole(flagging, text)[1]


def test_flags_are_found_at_the_end_too(flagging: Guard) -> None:
    left, output = fed(flagging, ["Write to ada", "@example.org"])
    assert left == ["Write to ada", "@example.org", ""]
    assert [(f.kind, f.action) for f in output.findings] == [("EMAIL_ADDRESS", "flag")]


@pytest.mark.parametrize("made", [None, guard(input=[injection()])], ids=["no policy", "no output checks"])
def test_without_output_checks_everything_leaves_at_once(made: Guard | None) -> None:
    pieces = ["It is ", CARD, ". ", ORDER]
    left, output = fed(made, pieces)
    assert left == [*pieces, ""]
    assert (output.is_active, output.findings, output.took_ms) == (False, [], 0.0)
