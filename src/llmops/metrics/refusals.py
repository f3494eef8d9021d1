"""Whether a text opens by saying that it does not know: English phrases, tied to who says them or to documents."""

from __future__ import annotations

import re

_OPENING_CHARACTERS = 400
_NOT = r"(?:\ not|n['’]?t)"
_CANNOT = r"(?:can(?:not|\ not|['’]?t)|could(?:\ not|n['’]?t)|unable\ to|not\ able\ to)"
_FEW = r"(?:[\w'’-]+\ ){0,3}?"
_INFORMATION = r"(?:information|mention|details?|answers?|references?|indication|knowledge)\b"
_ABOUT = (  # "there is no answer to this", not "there is no answer key"
    r"(?=[,;]|\W*$|\ (?:about|on|regarding|concerning|in|of|that|to|for|as|whether|how|why|what|when|where|which"
    r"|who|available|provided|given|here|anywhere)\b)"
)
_RETRIEVED = r"(?:documents|passages?|context(?!\ (?:window|length|manager|menu))|excerpts?|snippets?|sources)\b"
_SOURCES = (
    rf"(?:{_RETRIEVED}|(?:document|documentation|source|texts?|pages?|articles?|materials?|content|handbook|manual"
    r"|knowledge\ base|information)\b)"
)
_THE = rf"\b(?:the|these|this|those|my|our|your|any|provided|given|retrieved|available)\ {_FEW}"
_GIVEN = rf"\b(?:provided|given|retrieved|available)\ {_FEW}{_SOURCES}"
_THE_SOURCES = rf"{_THE}{_SOURCES}"
_SAY = r"(?:answer|mention|say|specify|state|describe|discuss|address|explain|tell|indicate|reveal|clarify)"
_HOLD = r"(?:contain|provide|include|have|give|offer|cover|list|detail|make)"
_SAID = (
    r"(?:answered|mentioned|specified|stated|described|discussed|addressed|explained|provided|given|included"
    r"|covered|contained|found|available|present|clear|listed|determined|inferred)"
)
_REFUSAL = re.compile(
    rf"""
    # I do not know; I cannot find it; I have no information
    \b(?:i|we)\ {_FEW}(?:do{_NOT}|did{_NOT})\ (?:\w+ly\ )?(?:know|find\ any|see\ any)\b
    | \b(?:i|we)\ {_FEW}(?:do{_NOT}\ (?:\w+ly\ )?have|lack|have\ no|found\ no|find\ no|see\ no)\ {_FEW}
        (?:{_INFORMATION}|idea\b|access\b|context\b|data\b)
    | \b(?:i|we|i['’]m|we['’]re)\ {_FEW}{_CANNOT}\ (?:\w+ly\ )?
        (?:find|answer|tell|say|help|assist|determine|confirm|provide|locate|give|explain|fulfill?|do\ that
        |identify|verify)\b
    | \b(?:i['’]?m|i\ am|we\ are|we['’]re)\ not\ (?:sure|certain|aware)\b
    # The documents do not say; none of the passages mentions it
    | {_THE_SOURCES}[^.,;:]{{0,40}}?\b(?:do|does|did){_NOT}\ (?:\w+ly\ )?(?:{_SAY}\b|{_HOLD}\ {_FEW}{_INFORMATION})
    | (?:{_THE}{_RETRIEVED}|{_GIVEN})[^.,;:]{{0,40}}?\b(?:do|does|did){_NOT}\ (?:\w+ly\ )?{_HOLD}\b
    | {_THE_SOURCES}\ {_HOLD}s?\ no\ {_FEW}{_INFORMATION}
    | \b(?:none\ of|neither\ of|nothing\ in)\ {_THE_SOURCES}\ {_FEW}(?:{_SAY}|specifie|{_HOLD})(?:e?s)?\b
    # There is no information about it; it is not mentioned in the documents
    | \bthere(?:\ (?:is|was|are|were)|['’]s)\ no\ {_FEW}{_INFORMATION}{_ABOUT}
    | \bthere\ (?:is|was|are|were){_NOT}\ (?:any|enough|sufficient)\ {_FEW}{_INFORMATION}
    | {_NOT}\ (?:\w+ly\ |be\ )?{_SAID}\ (?:anywhere\ )?(?:in|by|from|within|with|using|based\ on)\ {_THE_SOURCES}
    | \bth(?:is|at|e)\ {_FEW}information\ (?:is|was){_NOT}\ {_SAID}
    | \b(?:question|answer|this|that|it)\ {_CANNOT}\ be\ (?:answered|determined|inferred)\b
    | \bnot\ possible\ to\ (?:answer|determine|say|tell)\b
    | \b(?:not\ enough|insufficient)\ (?:information|context)\b
    | \b(?:outside|beyond)\ (?:of\ )?the\ scope\ of\ {_THE_SOURCES}
    # Unable to answer. No information found. Unknown.
    | ^(?:unable|not\ able)\ to\ (?:answer|find|determine|provide|locate)\b
    | ^no\ {_FEW}{_INFORMATION}(?:[^.;]{{0,60}}\b(?:found|available|provided|given|mentioned)\b|\W*$)
    | ^(?:unknown|unanswerable|n/?a|not\ sure|no\ idea|do(?:\ not|n['’]?t)\ know)\W*$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_APOLOGY = re.compile(
    r"^\W*(?:(?:(?:i['’]?m|i am) )?(?:very |so )?sorry|(?:i )?apologi[sz]e|(?:my )?apologies|unfortunately)\b"
    r"(?: for[^.,!]{0,60})?[.,!:;\s]*(?:(?:but|that|however)\b,?\s*)?",
    re.IGNORECASE,
)
_CONCESSION = re.compile(r"^\W*(?:while|although|though|if|when|unless|since|because)\b[^.,]*,\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n\s*\n")


def opens_with_refusal(text: str) -> bool:
    """Whether the first sentence, apologies and concessions aside, says that there is no answer.

    Later sentences do not count: an answer may well end with what the documents leave open.
    """
    opening = _APOLOGY.sub("", text.lstrip()[:_OPENING_CHARACTERS], count=1)
    sentence = " ".join(_SENTENCE_END.split(opening, maxsplit=1)[0].split())
    return _REFUSAL.search(_CONCESSION.sub("", sentence, count=1)) is not None
