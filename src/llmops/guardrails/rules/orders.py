"""Orders against the application's own instructions: forget them, take new ones."""

from __future__ import annotations

from llmops.guardrails.rules.cue import Cue, words

_ANY = (
    r"(?: (?:all|any|every|each|everything|the|of|your|my|those|these|this|that|our|its|and|both|about|please"
    r"|other|completely|entirely|now|just|whatever|absolutely|literally|only|to|from|in|what|with|such"
    r"|preset)){0,6}?"
)
_EARLIER = (
    r"(?:previous|previously|prior|above|preceding|preceeding|earlier|past|existing|initial|original|foregoing"
    r"|former|aforementioned|current|old|system|safety|security|built in|default|hidden|given|developer'?s?"
    r"|openai'?s?)"
)
_ORDERS = r"(?:instructions?|directions?|directives?|orders?|prompts?|programming)\b"
_RULES = (
    r"(?:rules?|guidelines?|guardrails?|commands?|training|safeguards?|polic(?:y|ies)|restrictions?"
    r"|constraints?)\b"
)
_TALK = (
    r"(?:tasks?|assignments?|contexts?|conversations?|dialog(?:ue)?s?|discussions?|inputs?|requests?|texts?"
    r"|contents?|informations?|data|statements?|chats?|thoughts|limitations?|knowledge|briefs?|ethics|morals)\b"
)
_BEFORE = (
    r"(?: (?:that|which|you|were|was|are|have|had|been|i|we|they|got|given|gave|provided|received|written|stated"
    r"|to|told|said|set|came|come|put|listed|discussed|talked|about|learned|know|knew|known|ever|'ve|us|me|in"
    r"|your|core|this|that|it)){0,7}? (?:above|before(?:hand)?|previous(?:ly)?|prior|earlier|so far|up to (?:now"
    r"|here|this point)|until now|till now|you (?:were|'ve been|have been) (?:given|told)|you (?:got|received"
    r"|have)|by openai)\b"
)
_IGNORE = (
    "ignore|ignor|ingore|disregard|forget|neglect|dismiss|abandon|overlook|leave behind|let go of|unlearn"
    "|pay no attention to|pay no heed to"
)
_DROP = (
    "override|overrule|bypass|discard|drop|void|circumvent|do not follow|don't follow|dont follow|stop following"
    "|do not obey|don't obey|stop obeying|set aside|put aside|disobey|delete|erase|nullify|reset|cancel|overwrite"
)
_SAY = (
    r"(?:write|say|tell|print|output|answer|respond|reply|give|translate|return|do|act|show|state|generate"
    r"|create|reveal|repeat)\b"
)
_OVERRIDE = (
    Cue(
        "override", 0.92, _IGNORE, rf"{_ANY} {_EARLIER}(?: and| or)?(?: {_EARLIER})?{words(2)} {_ORDERS}", "order"
    ),
    Cue("override", 0.88, _IGNORE, rf"{_ANY}{words(1)} {_ORDERS}{_BEFORE}", "order"),
    Cue("override", 0.82, _IGNORE, rf"{_ANY} {_EARLIER}(?: and| or)?(?: {_EARLIER})?{words(1)} {_RULES}", "order"),
    Cue(
        "override",
        0.85,
        _IGNORE,
        rf"(?: about)?(?: all| any)?(?: of)? (?:your|those|these){words(1)} (?:{_ORDERS}|{_RULES})",
        "order",
    ),
    Cue(
        "override",
        0.75,
        _IGNORE,
        rf"(?: about)? (?:all|any|every|whatever)(?: of)?(?: the| other)? {_ORDERS}(?! (?:on|in|for|from|of"
        rf"|at)\b)",
        "order",
    ),
    Cue("override", 0.65, _IGNORE, rf"{_ANY} {_RULES}{_BEFORE}", "order"),
    Cue("override", 0.65, _IGNORE, rf"{_ANY} {_EARLIER}{words(1)} {_TALK}", "order"),
    Cue("override", 0.65, _IGNORE, rf"{_ANY} {_TALK}{_BEFORE}", "order"),
    Cue("override", 0.6, _IGNORE, rf"(?: about)? all(?: of)? (?:the|your|my) {_TALK}", "order"),
    Cue(
        "override",
        0.78,
        _IGNORE,
        rf"(?: about)? (?:everything|anything|all|what(?:ever)?)(?: else)?{_BEFORE}(?! (?:warn|error|is|are))",
        "order",
    ),
    Cue(
        "override",
        0.78,
        _IGNORE,
        r"(?: about)? (?:everything|all)(?: that)? (?:i|we|you)(?:'ve|'re| have| had"
        r"| were)?(?: \w+){0,2} (?:said|told|tell|talked|discussed|learned|know|knew|taught|wrote|read)\b",
        "order",
    ),
    Cue(
        "override",
        0.68,
        _IGNORE,
        rf"(?: about)? (?:everything|all(?: that| this)?)[.!;:]*(?: (?:and|then|now|just|jsut|instead"
        rf"|please)){{0,3}} {_SAY}",
        "order",
    ),
    Cue(
        "override",
        0.7,
        _IGNORE,
        r"(?: all)?(?: of)? (?:the|everything|what is|what's|all) (?:above|foregoing|preceding)"
        rf"(?: (?:text|and|but|then|just|instead|now|please)|[.,;:!]){{1,5}} ?{_SAY}",
        "order",
    ),
    Cue(
        "override",
        0.75,
        _IGNORE,
        r"(?: about)? (?:what|everything|all|anything|whatever)(?: that)?(?: \w+){1,3}? (?:told|said to"
        r"|instructed|ordered|taught) you\b",
        "order",
    ),
    Cue(
        "override",
        0.52,
        f"{_DROP}|disable|turn off|deactivate|switch off|remove",
        r" (?:all|your|any|every)(?: of)?(?: the| your)?(?: \w+)? (?:safety|security|content|ethical"
        r"|moral)? ?(?:protocols?|filters?|guardrails?|safeguards?|censorship|moderation)\b",
        "order",
    ),
    Cue("override", 0.8, _DROP, rf"{_ANY} {_EARLIER}{words(2)} (?:instructions?|directives?|orders)\b", "order"),
    Cue("override", 0.78, _DROP, rf"(?: all)?(?: of)? your{words(2)} (?:{_ORDERS}|{_RULES}|filters)", "order"),
    Cue("override", 0.75, _DROP, rf"{_ANY} (?:instructions?|directives?|orders|prompts?){_BEFORE}", "order"),
    Cue(
        "override",
        0.65,
        "contrary|in contrast|regardless|irrespective|instead|in spite|notwithstanding",
        rf"(?: to| of)?{_ANY} (?:previous|prior|above|earlier|preceding|other|original){words(1)} (?:{_ORDERS}"
        rf"|tasks?)",
    ),
    Cue(
        "override",
        0.7,
        "these|this|following|new|my|the following|the new",
        rf"{words(2)} (?:instructions?|directives?|prompt){words(3)}"
        r" (?:override|overrides|supersedes?|replaces?|takes? (?:precedence|priority) over|outranks?) (?:all|any"
        r"|your|the|every)(?: of)?(?: your| the)? (?:previous|prior|other|earlier|existing|system|original|above)"
        rf" (?:{_ORDERS}|{_RULES}|ones\b)",
    ),
    Cue(
        "override",
        0.72,
        "you",
        r" (?:must|should|will|shall|need to|have to|can|may|are to|do)(?: not)?(?: no longer| not| never| stop)"
        rf" (?:follow|obey|abide|comply|adhere|conform|be bound|listen){words(5)} (?:{_ORDERS}|{_RULES}|openai"
        rf"|them|developers?)",
    ),
    Cue(
        "override",
        0.62,
        _IGNORE,
        r"(?: all| any| everything)?(?: of| in)? (?:the|this|that|these)(?: \w+)? (?:contents?|texts?|page"
        r"|document|website|e-?mail|article|rest|context|question|task|user|query)(?:,| and|;|\.)+ (?:instead "
        r"|then |now |just ){0,2}"
        rf"{_SAY}",
        "order",
    ),
    Cue(
        "override",
        0.55,
        "your own knowledge|own knowledge",
        r" (?:and not|not|instead of|rather than|without)(?: \w+){0,2} (?:articles?|documents?|contexts?"
        r"|sources?|passages?)\b",
    ),
    Cue("override", 0.55, "stop", r"\s?[:-]{1,3}\s?(?:write|say|print|ignore|output)\b"),
)
_NEW = r"(?:tasks?|assignments?|instructions?|missions?|directives?|orders?)\b"
_NEW_TASK = (
    Cue(
        "new-task",
        0.62,
        "now|here|below",
        r"(?: (?:but|come|comes|follow|follows|are|is|there|i|have|for|you|your|we|get|new|further|a few more"
        r"|more"
        rf"|some|the|concentrate|focus|turn|on|to)){{0,7}}? (?:new|further|next|more) {_NEW}",
    ),
    Cue(
        "new-task",
        0.62,
        "focus|concentrate",
        rf"{words(2)} on (?:your|the|this) (?:new|next|following) {_NEW}",
        "order",
    ),
    Cue("new-task", 0.45, "start|begin", rf"{words(2)} (?:with|from|on)(?: a)? new {_NEW}", "order"),
    Cue(
        "new-task",
        0.6,
        "your",
        r" (?:(?:new|real|actual|true|updated) (?:task|instructions?|objective|job|goal|mission|orders|directive"
        r"|purpose)|instructions)(?: |:)(?:is|are|now|changed|have|:)",
    ),
    Cue(
        "new-task",
        0.52,
        "new|additional|updated|important new",
        r" (?:system )?(?:instructions?|statement|directive|orders|task)(?: for you"
        r"| from \w+)?\s?[:-]{1,3}\s{0,3}(?:please|who|what|ignore|you|do|say|tell|write|return|answer|show"
        r"|print|reveal|respond)\b",
    ),
    Cue(
        "new-task",
        0.5,
        "well done|very good|very well|excellent|superbly done|good job|great job|nice work|perfect|simply great"
        "|that is done|man|yo|wow",
        r"[^\n]{0,60}?[.!](?: but)? (?:now|please leave) (?:write|do|tell|forget|new|further|come|comes?|there"
        r"|more|focus|answer|start|all|show)\b",
    ),
)
ORDER_CUES = (*_OVERRIDE, *_NEW_TASK)
