"""Presidio's door: personal data found by patterns, checksums and context words; no model, no network.

What is found is what presidio's `AnalyzerEngine` finds over a blank spaCy pipeline whose lemmas are the
lower-cased words. The rest of this module makes that fast and safe on text from strangers:

- a recognizer runs only where the text holds what every one of its matches must hold (`_CLUES`);
- two patterns that take seconds on a few thousand hostile characters are written so that they do not;
- a long text is read in overlapping windows, so that time grows with its length and not with its square;
- digits of other scripts are read as 0-9: on some, presidio's checksums raise.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import re
import sys
import threading
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmops.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

ENTITIES: tuple[str, ...] = tuple(
    """
    ABA_ROUTING_NUMBER AU_ABN AU_ACN AU_MEDICARE AU_TFN CA_POSTAL_CODE CA_SIN CREDIT_CARD CRYPTO DATE_TIME DE_BSNR
    DE_FUEHRERSCHEIN DE_HANDELSREGISTER DE_HEALTH_INSURANCE DE_ID_CARD DE_KFZ DE_LANR DE_PASSPORT DE_PLZ
    DE_SOCIAL_SECURITY DE_TAX_ID DE_TAX_NUMBER DE_VAT_ID EMAIL_ADDRESS ES_NIE ES_NIF ES_PASSPORT
    FI_PERSONAL_IDENTITY_CODE IBAN_CODE IN_AADHAAR IN_GSTIN IN_PAN IN_PASSPORT IN_VEHICLE_REGISTRATION IN_VOTER
    IP_ADDRESS IT_DRIVER_LICENSE IT_FISCAL_CODE IT_IDENTITY_CARD IT_PASSPORT IT_VAT_CODE KR_BRN KR_DRIVER_LICENSE
    KR_FRN KR_PASSPORT KR_RRN MAC_ADDRESS MEDICAL_LICENSE NG_NIN NG_VEHICLE_REGISTRATION PHONE_NUMBER PH_PASSPORT
    PH_TIN PH_UMID PL_PESEL SE_ORGANISATIONSNUMMER SE_PERSONNUMMER SG_NRIC_FIN SG_UEN TH_TNIN TR_LICENSE_PLATE
    TR_NATIONAL_ID UK_DRIVING_LICENCE UK_NHS UK_NINO UK_PASSPORT UK_POSTCODE UK_VEHICLE_REGISTRATION URL
    US_BANK_NUMBER US_CLAIM_NUMBER US_DRIVER_LICENSE US_HEALTH_INSURANCE_MEMBER_ID US_ITIN US_MBI US_NPI
    US_PASSPORT US_PRESCRIPTION_NUMBER US_PRIOR_AUTHORIZATION_NUMBER US_PROVIDER_TAX_ID US_REFERRAL_NUMBER US_SSN
    UUID ZA_COMPANY_REGISTRATION ZA_DRIVER_LICENSE ZA_ID_NUMBER ZA_INCOME_TAX_NUMBER ZA_LICENSE_PLATE
    ZA_MOBILE_NUMBER ZA_PASSPORT ZA_TELEPHONE_NUMBER ZA_TRAFFIC_REGISTER_NUMBER ZA_VAT_NUMBER
    """.split()
)
"""Presidio's names of what patterns alone can find, sorted."""

_LANGUAGE = "en"  # of the tokenizer; the patterns of all countries are run on every text
_WINDOW = 3_000
_MARGIN = 300
"""Characters of a window's surroundings read with it: no match but a URL is longer, nor the context of one."""
_SAMPLE = "Call +49 30 901820, ask mail@example.org."  # loads what its kinds need, which no caller should wait for
_MAX_KEPT_WORDS = 20_000
_UNREADABLE = r"(?![0-9])\d|[\ud800-\udfff]"
_DIGIT = r"\d"
_GAP = r"(?:[^\w,:;\n]|[xー]){0,4}"
# Six digits, or the start of the only shorter phone numbers there are, those of German pagers.
_PHONE = rf"\d(?:{_GAP}\d){{5}}|1{_GAP}6{_GAP}[489]"
_CLUES = {
    "EMAIL_ADDRESS": "@",
    "IP_ADDRESS": r"\d\.\d|:",
    "IT_FISCAL_CODE": "",  # its digits may be written as letters
    "MAC_ADDRESS": "[-:.]",
    "PHONE_NUMBER": _PHONE,
    "UUID": "-",
    "ZA_MOBILE_NUMBER": _PHONE,
    "ZA_TELEPHONE_NUMBER": _PHONE,
}
"""What stands in every match of an entity; where nothing is said, a digit."""
# The local part runs to its "@" or is given up with all its ends: presidio's own pattern tries each end of each.
_EMAIL = (
    r"\b[!#$%&'*+\-/=?^_`{|}~\w][!#$%&'*+\-/=?^_`{|}~.\w]*+"
    r"(?:(?<!\.)@\w+(?:-+\w+)*(?:\.\w+(?:-+\w+)*)+\b|(*SKIP)(*FAIL))"
)
_SPACE = re.compile(r"\s")
_TOP_LEVEL_DOMAINS = re.compile(r"\(\?:(?:\(\?:[a-z]+\)\|?)+\)")
_NOT_FOR_PATTERNS = frozenset({"azure", "cupy", "gliner", "langextract", "stanza", "torch", "transformers"})


@dataclass(frozen=True, kw_only=True, slots=True)
class PiiMatch:
    """Personal data in a text.

    Attributes:
        entity: presidio's name of what it is, such as "CREDIT_CARD".
        start: index of its first character.
        end: index after its last character.
        score: in (0, 1]; 1 where a checksum holds.
    """

    entity: str
    start: int
    end: int
    score: float


class PiiAnalyzer:
    """PII by patterns, checksums and context words, on a blank spaCy pipeline; no model, no network.

    Safe to share by threads.

    Args:
        entities: names out of `ENTITIES`.

    Raises:
        ConfigurationError: an entity is unknown, or none is named.
        MissingExtraError: presidio-analyzer is not installed.
    """

    def __init__(self, entities: Sequence[str]) -> None:
        wanted = _known(entities)
        with _BUILDING:
            _import_presidio()
            self._engine = _open_engine(wanted)
            self._clues = _compile_clues(wanted)
            self._unreadable = _compile(_UNREADABLE)
            self.find(_SAMPLE)

    def find(self, text: str) -> list[PiiMatch]:
        """Matches in order of their start; of those that overlap the better score stays, then the longer."""
        if not text.isascii():
            text = self._unreadable.sub(lambda match: str(unicodedata.decimal(match[0], "\ufffd")), text)
        found = []
        for first, last in _windows(text):
            start = _gap(text, first - 2 * _MARGIN, _MARGIN) if first else 0
            window = text[start : _gap(text, last + _MARGIN, _WINDOW)]
            found += [m for m in self._find_in(window, start) if first <= m.start < last]
        return _without_overlaps(found)

    def _find_in(self, text: str, offset: int) -> list[PiiMatch]:
        entities = [name for clue, names in self._clues if clue.search(text) for name in names]
        if not entities:
            return []
        results = self._engine.analyze(text, _LANGUAGE, entities=entities)
        return [
            PiiMatch(entity=r.entity_type, start=offset + r.start, end=offset + r.end, score=r.score)
            for r in results
        ]


_BUILDING = threading.RLock()
_OPENED: dict[frozenset[str], PiiAnalyzer] = {}


def open_pii_analyzer(entities: Sequence[str]) -> PiiAnalyzer:
    """The analyzer of these entities, whatever their order: built once, for all threads.

    Raises:
        ConfigurationError: an entity is unknown, or none is named.
        MissingExtraError: presidio-analyzer is not installed.
    """
    wanted = frozenset(entities)
    with _BUILDING:
        if wanted not in _OPENED:
            _OPENED[wanted] = PiiAnalyzer(sorted(wanted))
        return _OPENED[wanted]


def _known(entities: Sequence[str]) -> list[str]:
    if not entities:
        raise ConfigurationError("no PII entity is named: name at least one, such as 'EMAIL_ADDRESS'")
    for name in entities:
        if name not in ENTITIES:
            close = difflib.get_close_matches(name.upper(), ENTITIES, n=3)
            hint = (
                f"did you mean {' or '.join(map(repr, close))}?" if close else f"there is: {', '.join(ENTITIES)}"
            )
            raise ConfigurationError(f"unknown PII entity {name!r}; {hint}")
    return sorted(set(entities))


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Spans that cover the text, cut at white space where there is some."""
    first = 0
    while first < len(text):
        last = _gap(text, first + _WINDOW, _WINDOW)
        yield first, last
        first = last


def _gap(text: str, position: int, reach: int) -> int:
    """The first white space from `position` on, no further than `reach` characters."""
    space = _SPACE.search(text, position, position + reach)
    return space.start() if space else min(position + reach, len(text))


def _without_overlaps(matches: Sequence[PiiMatch]) -> list[PiiMatch]:
    kept: list[PiiMatch] = []
    starts: list[int] = []
    for match in sorted(matches, key=lambda m: (-m.score, m.start - m.end, m.start, m.entity)):
        place = bisect_right(starts, match.start)
        is_free = place == 0 or kept[place - 1].end <= match.start
        if is_free and (place == len(kept) or match.end <= starts[place]):
            kept.insert(place, match)
            starts.insert(place, match.start)
    return kept


def _import_presidio() -> None:
    """Imports presidio, without the deep learning that patterns have no use for, and silences it.

    Where torch and transformers are installed, spaCy and presidio import them, which takes six seconds and 300 MB;
    both do without where they cannot.
    """
    with _Hidden(_NOT_FOR_PATTERNS):
        try:
            import presidio_analyzer  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("presidio-analyzer", "guardrails") from error
    logging.getLogger("presidio-analyzer").disabled = True  # its messages quote the text they are about


class _Hidden:
    """Packages that are not imported yet cannot be imported meanwhile, by this thread."""

    def __init__(self, packages: frozenset[str]) -> None:
        self._packages, self._thread = packages, threading.get_ident()

    def find_spec(self, name: str, *_: object) -> None:
        if name in self._packages and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def __enter__(self) -> None:
        sys.meta_path = [self, *sys.meta_path]  # a new list: other threads may be going through the old one

    def __exit__(self, *_: object) -> None:
        sys.meta_path = [finder for finder in sys.meta_path if finder is not self]


def _compile(pattern: str) -> Any:
    """In the dialect of presidio's patterns, whose digits and letters are those of a newer Unicode than `re`'s."""
    import regex  # type: ignore[import-untyped]

    return regex.compile(pattern, regex.IGNORECASE)


def _compile_clues(entities: Sequence[str]) -> list[tuple[Any, list[str]]]:
    from presidio_analyzer.predefined_recognizers import UrlRecognizer

    domains = _TOP_LEVEL_DOMAINS.search(UrlRecognizer.BASE_URL_REGEX)
    clues = {**_CLUES, "URL": r"\." + _by_first_letters(domains) if domains else r"\."}
    grouped: dict[str, list[str]] = {}
    for name in entities:
        grouped.setdefault(clues.get(name, _DIGIT), []).append(name)
    return [(_compile(clue), names) for clue, names in grouped.items()]


def _by_first_letters(match: re.Match[str]) -> str:
    """`(?:(?:com)|(?:co)|(?:uk))` as `(?:co(?:m|)|uk)`: the same matches, the first first, in fewer steps."""
    words = list(dict.fromkeys(re.findall("[a-z]+", match[0])))
    return f"(?=[a-z]{{{min(map(len, words))}}})(?:{_factored(words)})"


def _factored(words: Sequence[str]) -> str:
    endings: dict[str, list[str]] = {}
    for word in words:
        endings.setdefault(word[:1], []).append(word[1:])
    return "|".join(
        letter + (rest[0] if len(rest) == 1 else f"(?:{_factored(rest)})") for letter, rest in endings.items()
    )


def _open_engine(entities: Sequence[str]) -> AnalyzerEngine:
    from presidio_analyzer import AnalyzerEngine, LemmaContextAwareEnhancer, PatternRecognizer, RecognizerRegistry

    class ContextEnhancer(LemmaContextAwareEnhancer):
        @staticmethod
        def _find_index_of_match_token(word: str, start: int, tokens: Any, tokens_indices: list[int]) -> int:  # noqa: ARG004
            """The first token that ends after `start`; presidio goes through all of them for each match."""
            index = max(0, bisect_right(tokens_indices, start) - 1)
            return index if start < tokens_indices[index] + len(tokens[index]) else index + 1

    registry = RecognizerRegistry(recognizers=_open_recognizers(entities), supported_languages=[_LANGUAGE])
    for recognizer in registry.recognizers:
        if isinstance(recognizer, PatternRecognizer):
            recognizer.global_regex_flags = registry.global_regex_flags  # as a registry does with its own
    return AnalyzerEngine(
        registry=registry,
        nlp_engine=_blank_english(),
        supported_languages=[_LANGUAGE],
        context_aware_enhancer=ContextEnhancer(),
    )


def _open_recognizers(entities: Sequence[str]) -> list[EntityRecognizer]:
    from presidio_analyzer import Pattern, predefined_recognizers
    from presidio_analyzer.predefined_recognizers import EmailRecognizer, UrlRecognizer
    from tldextract import TLDExtract

    class OfflineEmailRecognizer(EmailRecognizer):
        _domain = TLDExtract(cache_dir=None, suffix_list_urls=())

        def validate_result(self, pattern_text: str) -> bool:
            return self._domain(pattern_text).fqdn != ""

    email = [Pattern("Email (Medium)", _EMAIL, EmailRecognizer.PATTERNS[0].score)]
    url = [
        Pattern(p.name, _TOP_LEVEL_DOMAINS.sub(_by_first_letters, p.regex), p.score)
        for p in UrlRecognizer.PATTERNS
    ]
    kinds = {name: kind for kind in vars(predefined_recognizers).values() if (name := _entity_of(kind))}
    made: list[EntityRecognizer] = []
    for entity in entities:
        match entity:
            case "EMAIL_ADDRESS":
                made.append(OfflineEmailRecognizer(patterns=email))
            case "URL":
                made.append(UrlRecognizer(patterns=url))
            case _ if entity in kinds:
                made.append(kinds[entity](supported_language=_LANGUAGE))
            case _:
                raise ConfigurationError(
                    f"this version of presidio-analyzer has no {entity!r}: run pip install -U 'llmops[guardrails]'"
                )
    return made


def _entity_of(kind: object) -> str | None:
    """The one entity that a class of recognizers finds."""
    from presidio_analyzer import EntityRecognizer

    if not (isinstance(kind, type) and issubclass(kind, EntityRecognizer)):
        return None
    named = inspect.signature(kind).parameters.get("supported_entity")
    return named.default if named and isinstance(named.default, str) else None


@lru_cache(maxsize=1)
def _blank_english() -> SpacyNlpEngine:
    """spaCy's words for presidio's context words, made when a match asks for them, which is seldom.

    A blank pipeline has no lemmas; the lower-cased word stands for them, for without one no context is ever found.
    Its vocabulary keeps every word it sees: now and then it is made anew.
    """
    import spacy
    from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine

    class BlankEnglish(SpacyNlpEngine):
        def load(self) -> None:
            self.nlp = {_LANGUAGE: spacy.blank(_LANGUAGE)}  # type: ignore[assignment]  # declared as None

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            return LazyArtifacts(text, language)

    class LazyArtifacts(NlpArtifacts):
        def __init__(self, text: str, language: str) -> None:
            self._source = text, language

        def __getattr__(self, name: str) -> Any:
            if "tokens" in vars(self):
                raise AttributeError(name)
            text, language = self._source
            with lock:
                if len(engine.get_nlp(language).vocab.strings) > _MAX_KEPT_WORDS:
                    engine.load()
                words = engine.get_nlp(language)(text)
                starts, lemmas = [word.idx for word in words], [word.lower_ for word in words]
                super().__init__([], words, starts, lemmas, engine, language, [])
            return getattr(self, name)

    lock, engine = threading.Lock(), BlankEnglish()
    return engine
