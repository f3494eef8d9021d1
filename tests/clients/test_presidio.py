"""Presidio's door: it finds what presidio finds, faster, offline, quietly, and on hostile text too."""

from __future__ import annotations

import gzip
import importlib
import itertools
import json
import logging
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmops.clients.presidio import ENTITIES, PiiAnalyzer, PiiMatch, open_pii_analyzer
from llmops.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine

Plain = Callable[[str], list[PiiMatch]]
COMMON = (
    "CREDIT_CARD DATE_TIME EMAIL_ADDRESS IBAN_CODE IP_ADDRESS MAC_ADDRESS PHONE_NUMBER URL US_BANK_NUMBER "
    "US_DRIVER_LICENSE US_PASSPORT US_SSN ZA_MOBILE_NUMBER"
).split()
SENTENCES = (
    r"""
My social security number is {} and I moved.|{}|Please wire it to {}, or call {} before noon!|{}{}|{}-{}|{} {}
The patient (NHS {}) was seen on {}; her passport is {}.|http://{}/?mail={}|"{}", '{}' <{}>|cf {} / partita iva {}
In {} the revenue was 1,234,567.89 dollars, 12% more than in {}.|Is that all? Yes: nothing to see here.
driver license {}, vehicle registration {}, member id {}|Reach me at {} or {} … thanks.|Steuernummer: {}, PLZ {}
the version is {}, the host {} and the commit {}|My bitcoin wallet is {}.|aadhaar {} pan {}|Grüße, {} — 여권 {}
""".strip()
    .replace("\n", "|")
    .split("|")
)
VALUES = (
    """
4111 1111 1111 1111|4111-1111-1111-1112|378282246310005|DE89 3704 0044 0532 0130 00|GB82WEST12345698765432|v1.2.3
gb82 west 1234 5698 7654 32|219-09-9999|078-05-1120|900-70-1234|ada@example.org|ada.l+x@mail.example.co.uk|a@b
x@@example.com|.ada.@example.com|www.example.company|https://example.com/a?b=1#c|e.g.|192.168.0.1|::1|10.0.0.256
2001:db8::8a2e:370:7334|fe80::1|00:1B:44:11:3A:B7|001b.4411.3ab7|+44 20 7946 0958|(212) 555-0123|030/901820
2020-01-31|1/2/2020|31.12.1999|12-JAN-2001|1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2|943 476 5919|AB123456C|2019|1645
ABCPE1234F|44051401359|12345678Z|X1234567L|RSSMRA85T10A562S|S1234567D|51 824 753 556|2428 77813 2|131052-308T
8001015009087|19811228-9874|550e8400-e29b-41d4-a716-446655440000|C01X00T47|HRB 12345|DE123456789|29AAAAA0000A1Z5
K1A 0B1|SW1A 1AA|021000021|12345|34 ABC 123|A12345678|1234567A|KA01AB1234|123456789012|1EG4-TE5-MK73|01/24
082 123 4567|+27 11 555 1234|M-RK 1234|9f86d081
""".strip()
    .replace("\n", "|")
    .split("|")
)


@pytest.fixture(scope="module")
def everything() -> PiiAnalyzer:
    return open_pii_analyzer(ENTITIES)


@pytest.fixture(scope="module")
def common() -> PiiAnalyzer:
    return open_pii_analyzer(COMMON)


@pytest.fixture(scope="module")
def recognizers(everything: PiiAnalyzer) -> dict[str, Any]:
    """Presidio's own recognizers that need no model, as it ships them, by their entity."""
    import tldextract.tldextract
    from presidio_analyzer import PatternRecognizer, predefined_recognizers
    from presidio_analyzer.predefined_recognizers import PhoneRecognizer

    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())
    made: dict[str, Any] = {}
    for kind in vars(predefined_recognizers).values():
        if isinstance(kind, type) and issubclass(kind, PatternRecognizer | PhoneRecognizer):
            recognizer: Any = kind(supported_language="en")  # type: ignore[call-arg]  # each subclass names its own
            (entity,) = recognizer.supported_entities
            made[entity] = recognizer
    return made


@pytest.fixture(scope="module")
def plain(recognizers: dict[str, Any]) -> Plain:
    return _plain(recognizers, ENTITIES)


@pytest.fixture(scope="module")
def plain_common(recognizers: dict[str, Any]) -> Plain:
    return _plain(recognizers, COMMON)


def _plain(recognizers: dict[str, Any], entities: Sequence[str]) -> Plain:
    """Presidio's engine without anything of ours but the resolution of overlaps, written the slow way."""
    engine = _plain_engine([recognizers[entity] for entity in entities])

    def find(text: str) -> list[PiiMatch]:
        kept: list[PiiMatch] = []
        results = engine.analyze(text, "en", entities=list(entities))
        for r in sorted(results, key=lambda r: (-r.score, r.start - r.end, r.start, r.entity_type)):
            if all(r.end <= other.start or other.end <= r.start for other in kept):
                kept.append(PiiMatch(entity=r.entity_type, start=r.start, end=r.end, score=r.score))
        return sorted(kept, key=lambda m: m.start)

    return find


def _plain_engine(recognizers: list[Any]) -> AnalyzerEngine:
    import spacy
    from presidio_analyzer import AnalyzerEngine, PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine

    class BlankWithLowerLemmas(SpacyNlpEngine):
        def load(self) -> None:
            self.nlp = {"en": spacy.blank("en")}  # type: ignore[assignment]  # declared as None

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            doc = self.get_nlp(language)(text)
            starts, lemmas = [token.idx for token in doc], [token.lower_ for token in doc]
            return NlpArtifacts([], doc, starts, lemmas, self, language)

    registry = RecognizerRegistry(recognizers=recognizers)
    for recognizer in recognizers:
        if isinstance(recognizer, PatternRecognizer):
            recognizer.global_regex_flags = registry.global_regex_flags
    return AnalyzerEngine(registry=registry, nlp_engine=BlankWithLowerLemmas())


def _sentences(count: int) -> Iterator[str]:
    draw = random.Random(7)
    for _ in range(count):
        yield re.sub(r"\{\}", lambda _: draw.choice(VALUES), draw.choice(SENTENCES))


def _parts(text: str, matches: Sequence[PiiMatch]) -> list[tuple[str, str]]:
    return [(match.entity, text[match.start : match.end]) for match in matches]


@pytest.mark.parametrize(
    ("text", "entity", "part"),
    [
        ("Card 4111 1111 1111 1111, please.", "CREDIT_CARD", "4111 1111 1111 1111"),
        ("Pay to GB82 WEST 1234 5698 7654 32 today", "IBAN_CODE", "GB82 WEST 1234 5698 7654 32"),
        ("Write to Ada.L@mail.example.co.uk.", "EMAIL_ADDRESS", "Ada.L@mail.example.co.uk"),
        ("It is 219-09-9999", "US_SSN", "219-09-9999"),
        ("from 2001:db8::8a2e:370:7334 again", "IP_ADDRESS", "2001:db8::8a2e:370:7334"),
        ("the card 00:1B:44:11:3A:B7", "MAC_ADDRESS", "00:1B:44:11:3A:B7"),
        ("see www.example.company/x?y=1 for more", "URL", "www.example.com"),
        ("call (212) 555-0123 now", "PHONE_NUMBER", "(212) 555-0123"),
        ("send it to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "CRYPTO", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
        ("NHS 943 476 5919", "UK_NHS", "943 476 5919"),
        ("mein Kennzeichen: M-RK 1234", "DE_KFZ", "M-RK 1234"),
        ("il mio codice fiscale RSSMRA85T10A562S", "IT_FISCAL_CODE", "RSSMRA85T10A562S"),
        ("PESEL 44051401359", "PL_PESEL", "44051401359"),
        ("hetu 131052-308T", "FI_PERSONAL_IDENTITY_CODE", "131052-308T"),
        ("your pager, 01640, rang", "PHONE_NUMBER", "01640"),
        ("[+49] 3ー0ー9ー0ー1 / 820", "PHONE_NUMBER", "[+49] 3ー0ー9ー0ー1 / 820"),
    ],
)
def test_finds(text: str, entity: str, part: str) -> None:
    assert _parts(text, open_pii_analyzer([entity]).find(text)) == [(entity, part)]


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("Card 4111 1111 1111 1112, please.", "CREDIT_CARD"),
        ("Pay to GB83 WEST 1234 5698 7654 32 today", "IBAN_CODE"),
        ("Write to ada@localhost or ada@example.nosuchdomain", "EMAIL_ADDRESS"),
        ("NHS 943 476 5918", "UK_NHS"),
    ],
)
def test_a_wrong_checksum_is_no_match(text: str, entity: str) -> None:
    assert open_pii_analyzer([entity]).find(text) == []


@pytest.mark.parametrize(
    ("context", "bare", "entity"),
    [
        ("My social security number is 219-09-9999", "219-09-9999", "US_SSN"),
        ("My bank account number is 945456787654", "945456787654", "US_BANK_NUMBER"),
        ("My mobile: (212) 555-0123", "(212) 555-0123", "PHONE_NUMBER"),
        ("mein Kennzeichen: M-RK 1234", "M-RK 1234", "DE_KFZ"),
        ("two LICENSES, A1234567", "A1234567", "US_DRIVER_LICENSE"),
    ],
)
def test_a_context_word_raises_the_score(context: str, bare: str, entity: str) -> None:
    analyzer = open_pii_analyzer([entity])
    (in_context,), (alone,) = analyzer.find(context), analyzer.find(bare)
    assert 0 < alone.score < in_context.score <= 1


def test_of_overlapping_matches_the_better_score_stays(common: PiiAnalyzer) -> None:
    text = "write to ada@example.org"
    assert _parts(text, open_pii_analyzer(["URL"]).find(text)) == [("URL", "example.org")]
    assert _parts(text, common.find(text)) == [("EMAIL_ADDRESS", "ada@example.org")]


def test_no_text_has_no_matches(everything: PiiAnalyzer) -> None:
    assert everything.find("") == []


def test_entities_are_what_presidio_can_find_without_a_model(recognizers: dict[str, Any]) -> None:
    assert tuple(sorted(recognizers)) == ENTITIES


def test_every_pattern_entity_of_the_default_registry_is_known(everything: PiiAnalyzer) -> None:
    from presidio_analyzer.recognizer_registry import RecognizerRegistryProvider

    registry = RecognizerRegistryProvider().create_recognizer_registry()
    of_the_model = {"DATE_TIME", "LOCATION", "NRP", "ORGANIZATION", "PERSON"}
    assert set(registry.get_supported_entities(["en"])) - set(ENTITIES) <= of_the_model


def test_finds_what_presidio_finds_in_sentences(everything: PiiAnalyzer, plain: Plain) -> None:
    found = 0
    for sentence in {*_sentences(300), *VALUES}:
        matches = everything.find(sentence)
        assert matches == plain(sentence), sentence
        found += len(matches)
    assert found > 300


def test_finds_what_presidio_finds_in_a_long_text(common: PiiAnalyzer, plain_common: Plain) -> None:
    text = " ".join(_sentences(300))
    assert len(text) > 15_000
    assert common.find(text) == plain_common(text)


def test_finds_what_presidio_finds_in_public_data(shared: Path, everything: PiiAnalyzer, plain: Plain) -> None:
    texts = []
    for path in sorted((shared / "data" / "pii_presidio").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [row["text"] for row in map(json.loads, lines) if row["part"] == "dev-test"]
    assert len(texts) > 100
    for text in random.Random(7).sample(texts, 100):
        assert everything.find(text) == plain(text), text


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text("abx@.,-+!_ /:'\"()%19406\n\u200bé\u017f\u212aー", max_size=40))
def test_finds_what_presidio_finds_in_odd_strings(common: PiiAnalyzer, plain_common: Plain, text: str) -> None:
    assert common.find(text) == plain_common(text)


PIECES = [
    *"a b . .. @ - / : :: 1 ff 16 164 00 +49 +1 ( ) www. www1. https:// com co company .com .uk io x ext".split(),
    *(
        "",
        " ",
        "'",
        '"',
        "example.org",
        "a@b.de",
        "\u212a",
        "\u017f",
        "192.168.",
        "2001:db8",
        "4111",
        "ー",
        "212",
        "555",
    ),
]


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_finds_what_presidio_finds_in_near_misses(common: PiiAnalyzer, plain_common: Plain, text: str) -> None:
    assert common.find(text) == plain_common(text)


def test_no_phone_number_is_shorter_than_those_looked_for(recognizers: dict[str, Any]) -> None:
    analyzer = open_pii_analyzer(["PHONE_NUMBER"])
    for digits in [*(f"{n:04}" for n in range(10_000)), *(f"{n:05}" for n in range(0, 100_000, 61))]:
        if recognizers["PHONE_NUMBER"].analyze(digits, ["PHONE_NUMBER"], None):
            assert analyzer.find(digits), digits


WITHOUT_DIGITS = {"EMAIL_ADDRESS": "@", "MAC_ADDRESS": "-:.", "UUID": "-"}
ANYTHING = {"IP_ADDRESS", "IT_FISCAL_CODE", "URL"}


def test_each_match_holds_what_is_looked_for_first(recognizers: dict[str, Any]) -> None:
    """A proof over the syntax trees of presidio's patterns: no path through one avoids a digit, or the sign."""
    parser = importlib.import_module("re._parser")
    patterns = [(entity, each) for entity, one in recognizers.items() for each in getattr(one, "patterns", [])]
    proven = [entity for entity, _ in patterns if entity not in ANYTHING]
    for entity, pattern in patterns:
        tree = parser.parse(pattern.regex.replace("(?i)", ""))
        assert entity in ANYTHING or _needs(tree, WITHOUT_DIGITS.get(entity, "0123456789")), (entity, pattern.name)
    assert len(proven) > 100


def _needs(tree: Any, signs: str) -> bool:
    """Whether each string that a parsed pattern matches has one of the signs."""
    for kind, value in tree:
        match str(kind):
            case "LITERAL":
                found = chr(value) in signs
            case "IN":
                found = all(_is_among(str(member), inner, signs) for member, inner in value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                found = value[0] > 0 and _needs(value[2], signs)
            case "SUBPATTERN":
                found = _needs(value[3], signs)
            case "ASSERT":
                found = _needs(value[1], signs)
            case "ATOMIC_GROUP":
                found = _needs(value, signs)
            case "BRANCH":
                found = all(_needs(branch, signs) for branch in value[1])
            case _:
                found = False
        if found:
            return True
    return False


def _is_among(kind: str, value: Any, signs: str) -> bool:
    match kind:
        case "LITERAL":
            return chr(value) in signs
        case "RANGE":
            return all(chr(code) in signs for code in range(value[0], value[1] + 1))
        case "CATEGORY":
            return str(value) == "CATEGORY_DIGIT" and signs == "0123456789"
        case _:
            return False


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(
        st.one_of(st.characters(categories=["Nd", "Cs"]), st.sampled_from("-/ .:+()@ABCXZſKé\x00\n")), max_size=60
    )
)
def test_any_text_can_be_read(everything: PiiAnalyzer, text: str) -> None:
    matches = everything.find(text)
    assert all(0 <= m.start < m.end <= len(text) and 0 < m.score <= 1 and m.entity in ENTITIES for m in matches)
    assert all(one.end <= other.start for one, other in itertools.pairwise(matches))


def test_digits_of_other_scripts_are_digits(common: PiiAnalyzer) -> None:
    card = "4111 1111 1111 1111"
    for zero in "０٠०":
        text = f"Grüße: {card.translate({ord(d): chr(ord(zero) + int(d)) for d in '0123456789'})}!"
        assert [(m.entity, m.start, m.end) for m in common.find(text)] == [("CREDIT_CARD", 7, 26)]


def test_digits_that_python_does_not_know_yet_are_no_card(common: PiiAnalyzer) -> None:
    assert common.find("card " + "\U00010d44\U00010d41\U00010d41\U00010d41 " * 4) == []


@pytest.mark.parametrize(
    ("filler", "characters"),
    [
        *[("a.", 60_000), ("a!", 60_000), ("a@", 60_000), ("1:", 60_000)],
        *[("a!" * 1_200 + "@ ", 900_000), ("." * 2_000 + "co ", 90_000)],
    ],
)
def test_nobody_hides_an_address_behind_a_long_text(filler: str, characters: int) -> None:
    """Presidio's own patterns take minutes for most of these and give up after one: the time limit holds that."""
    text = f"{filler * (characters // len(filler))} @ ada@example.org"
    matches = open_pii_analyzer(["EMAIL_ADDRESS", "URL"]).find(text)
    assert _parts(text, matches[-1:]) == [("EMAIL_ADDRESS", "ada@example.org")]


def test_a_long_address_is_not_cut(common: PiiAnalyzer) -> None:
    address = "https://example.com/" + "x" * 2_500
    text = f"{'word ' * 580}{address} {'word ' * 900}"
    assert _parts(text, common.find(text)) == [("URL", address)]


def test_a_match_at_the_edge_of_a_window_is_found_once() -> None:
    analyzer = open_pii_analyzer(["IBAN_CODE"])
    iban = "GB82 WEST 1234 5698 7654 32"
    for before in range(2_960, 3_010):
        text = f"{'x ' * (before // 2)}{iban} {'x ' * 1_000}"
        assert _parts(text, analyzer.find(text)) == [("IBAN_CODE", iban)]


def test_threads_share_an_analyzer(common: PiiAnalyzer) -> None:
    sentences = list(_sentences(200))
    alone = [common.find(sentence) for sentence in sentences]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(common.find, sentences * 3)) == alone * 3


def test_threads_open_one_analyzer() -> None:
    entities = ["US_SSN", "DE_KFZ", "SG_UEN"]
    with ThreadPoolExecutor(8) as pool:
        opened = set(pool.map(open_pii_analyzer, [entities] * 16))
    assert opened == {open_pii_analyzer(entities[::-1] + entities)}


def test_words_are_not_kept_for_ever() -> None:
    analyzer = PiiAnalyzer(["US_SSN"])
    for start in range(0, 30_000, 200):
        text = "".join(f" word{n}" for n in range(start, start + 200)) + " ssn 219-09-9999"
        assert [match.score for match in analyzer.find(text)] == [0.85]
    from spacy.vocab import Vocab

    assert max(len(kept.strings) for kept in _alive(Vocab)) < 25_000


def _alive(kind: type[Any]) -> list[Any]:
    import gc

    gc.collect()
    return [one for one in gc.get_objects() if type(one) is kind]  # not isinstance: it wakes what loads lazily


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CREDITCARD", r"unknown PII entity 'CREDITCARD'; did you mean 'CREDIT_CARD'"),
        ("email_address", r"unknown PII entity 'email_address'; did you mean 'EMAIL_ADDRESS'"),
        ("PERSON", r"unknown PII entity 'PERSON'; "),
        ("", r"unknown PII entity ''; there is: ABA_ROUTING_NUMBER, AU_ABN, "),
    ],
)
def test_an_unknown_entity_is_refused_with_its_close_matches(name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        PiiAnalyzer(["URL", name])


def test_no_entity_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no PII entity is named"):
        open_pii_analyzer([])


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(MissingExtraError, match=r"'presidio-analyzer' is not installed: .*'llmops\[guardrails\]'"):
        PiiAnalyzer(["URL"])


def test_is_silent_about_what_it_reads(
    recognizers: dict[str, Any], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = "DE8937040044053201300\u212a"  # a letter that is a K to the pattern, and no letter to the checksum
    with caplog.at_level(logging.DEBUG):
        assert open_pii_analyzer(["IBAN_CODE", "EMAIL_ADDRESS"]).find(f"IBAN {odd}, mail ada@example.org") != []
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


OFFLINE = """
import importlib.util, json, sys
denied = []
def deny(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        denied.append(event)
        raise AssertionError(event)
sys.addaudithook(deny)
finders = list(sys.meta_path)
from llmops.clients.presidio import ENTITIES, open_pii_analyzer
heavy = "presidio_analyzer presidio_anonymizer spacy tldextract phonenumbers regex torch transformers".split()
at_import = [name for name in heavy if name in sys.modules]
found = open_pii_analyzer(ENTITIES).find("ada@example.co.uk, www.example.org, +44 20 7946 0958")
after = [name for name in heavy if name in sys.modules]
ours = [finder for finder in sys.meta_path if type(finder).__module__.startswith("llmops")]
print(json.dumps({"at_import": at_import, "after": after, "denied": denied, "ours": len(ours),
                  "found": [match.entity for match in found]}))
"""


def test_opens_no_connection_writes_no_file_and_says_nothing(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "TLDEXTRACT"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE],
        env={**kept, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told == {
        "at_import": [],
        "after": ["presidio_analyzer", "spacy", "tldextract", "phonenumbers", "regex"],
        "denied": [],
        "ours": 0,
        "found": ["EMAIL_ADDRESS", "URL", "PHONE_NUMBER"],
    }
    assert list(tmp_path.iterdir()) == []
