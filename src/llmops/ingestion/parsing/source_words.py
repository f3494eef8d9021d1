"""The words of programming languages that open a definition, continue one, or stand above one."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE = 400
"""Characters of a line that are looked at."""

_COMMENT = (
    r"//|/\*|\*(?:\s|/|$)|#(?!\s*(?:include|define|if|ifdef|ifndef|endif|else|pragma|import)\b)|--|;;|%%|'''|"
    r'"""'
)
_ABOVE = re.compile(rf"{_COMMENT}|@|\[[A-Z]\w*[\](]")  # attributes of C# stand in brackets
# In C a return type may stand on a line of its own.
_ABOVE_C = re.compile(
    rf"{_COMMENT}|(?:(?:static|inline|extern|const|unsigned|struct|enum)\s+)*\w+[\s*]*$|template\s*<"
)
_ABOVE_SECTION = re.compile(r"[#;]")
# What continues the piece before it, though it stands at the margin.
_CLOSING = re.compile(
    r"[)\]}>{]|-\s|\$\$|</|(?:public|private|protected|signals|default)\s*(?:slots\s*)?:|"
    r"(?:end|else|elif|elsif|elseif|except|rescue|ensure|finally|catch|then|do|done|fi|esac|begin|when|where)\b[^(]*$",
    re.IGNORECASE,
)
_STATEMENT = re.compile(
    r"(?:return|throw|import|using|use|require|include|from|else|assert|await|print|echo|raise|if|for|while|switch|"
    r"try|catch|new|delete|yield|source)\b|package\b[^{]*$|namespace\b[^{]*;"
)
_WORDS = (
    "class|interface|struct|enum|trait|module|namespace|package|protocol|extension|object|record|union|def|defp|"
    "defmodule|defmacro|func|function|fn|fun|proc|sub|mod|message|service|rpc|actor|type|typealias|input|scalar"
)
_BEFORE = r"(?:[\w@<>\[\],.:*&()\"-]+\s+){0,8}?"
_CALLED = r"[*&]*(?P<name>~?[A-Za-z_]\w*(?:::~?\w+)*)\s*\("
_GENERIC = tuple(
    re.compile(pattern)
    for pattern in (
        r"func\s+\(\s*(?:\w+\s+)?\*?(?P<owner>\w+)\b[^)]*\)\s*(?P<name>\w+)",  # Go's methods
        r"(?:unsafe\s+)?(?P<name>impl\b[^{]*)",
        r"macro_rules!\s*(?P<name>\w+)",
        rf"{_BEFORE}(?:{_WORDS})\*?\s+(?P<name>[\w$.:]*\w[?!]?)",
        r"(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:const|let|var|val)\s+(?P<name>[\w$]+)\s*(?::[^=]*)?=\s*"
        r"(?:async\s*)?(?:\(|function\b|\w+\s*=>|class\b|new\b|\{)",
        r"(?P<name>[\w.$]+)\s*(?:<-|=)\s*(?:async\s+)?function\b",
        r"(?P<name>[\w.:-]+)\s*\(\)\s*\{?\s*$",  # a shell's functions
        r"#\s*define\s+(?P<name>\w+)\(",
        rf"(?:[\w<>\[\],.:*&~?@]+\s+){{1,8}}?{_CALLED}[^;]*$",  # a type, a name and parameters
        rf"{_CALLED}[^;]*\{{$",  # a constructor, a method without a type
    )
)
_GENERIC_C = (*_GENERIC, re.compile(rf"{_CALLED}[^;]*$"))  # whose type stands on the line above
_SQL = (
    re.compile(
        r"create\s+(?:(?:or\s+replace|global|local|temp|temporary|unlogged|unique|materialized)\s+){0,5}"
        r"(?:table|view|function|procedure|index|trigger|type|schema|sequence|database)\s+(?:if\s+not\s+exists\s+)?"
        r"(?P<name>[\w.\"`\[\]]+)",
        re.IGNORECASE,
    ),
)
_TERRAFORM = (re.compile(r"(?P<name>[a-z_]+(?:\s+\"[^\"]*\"){0,2})\s*\{"),)
_SECTION = (re.compile(r"\[+(?P<name>[\w.:\"' -]+)\]+\s*(?:#.*)?$"),)
_KEY = (re.compile(r"(?P<name>[A-Za-z_\"'][\w .\"'/-]*):(?:\s|$)"),)
_TARGET = (re.compile(r"(?P<name>[^\s:=#][^:=#]*)::?(?!=)(?:\s|$)"),)
_STAGE = (re.compile(r"FROM\s+(?P<name>.+)$", re.IGNORECASE),)


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """How a language writes definitions.

    Attributes:
        named: expressions with a group `name`, tried in order at a line's first word.
        above: comments, decorators and attributes, which belong to what follows.
        is_sectioned: nothing but a named line opens anything, as in TOML.
    """

    named: tuple[re.Pattern[str], ...] = _GENERIC
    above: re.Pattern[str] = _ABOVE
    is_sectioned: bool = False

    def opens(self, text: str) -> bool:
        """Whether a line at the margin (without its indentation) begins something new."""
        if self.is_sectioned:
            return bool(self.name(text))
        return not _CLOSING.match(text)

    def name(self, text: str) -> str:
        """The name of what the line defines; "" for a statement."""
        if self.named in (_GENERIC, _GENERIC_C) and _STATEMENT.match(text):
            return ""
        for pattern in self.named:
            if match := pattern.match(text):
                name = " ".join(match["name"].replace('"', "").split())[:200]
                owner = match.groupdict().get("owner")
                return f"{owner}.{name}" if owner else name
        return ""


_C = Words(named=_GENERIC_C, above=_ABOVE_C)
_BY_KIND = {
    "text/x-c": _C,
    "text/x-c++": _C,
    "text/x-sql": Words(named=_SQL),
    "text/x-terraform": Words(named=_TERRAFORM),
    "application/toml": Words(named=_SECTION, above=_ABOVE_SECTION, is_sectioned=True),
    "text/x-ini": Words(named=_SECTION, above=_ABOVE_SECTION, is_sectioned=True),
    "application/yaml": Words(named=_KEY, above=_ABOVE_SECTION, is_sectioned=True),
    "text/x-dockerfile": Words(named=_STAGE, above=_ABOVE_SECTION, is_sectioned=True),
    "text/x-makefile": Words(named=_TARGET, above=_ABOVE_SECTION),
}


def words_of(media_type: str) -> Words:
    """The words of a language by its media type; those of all languages together where it has none of its own."""
    return _BY_KIND.get(media_type, Words())
