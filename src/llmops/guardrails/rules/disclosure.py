"""Orders to give away: the prompt, a secret, what is known of the user; and the authority claimed for it."""

from __future__ import annotations

from llmops.guardrails.rules.cue import Cue, words

_REVEAL_VERBS = (
    "reveal|show|print|output|display|repeat|tell|give|share|write|list|leak|expose|dump|recite|send|provide"
    "|copy|disclose|state|paste|spell|reproduce|echo|divulge|describe|summarize|summarise|translate|encode|read"
    "|quote|type|say|convert|embed|include|post|return"
)
_ASK_VERBS = (
    "summarize|summarise|translate|reveal|show me|tell me|give me|repeat|leak|dump|recite|disclose|divulge"
    "|expose|print|output|display|share"
)
_OWN = (
    r"(?:system|initial|original|hidden|secret|internal|preset|first|full|entire|complete|previous|prior|above"
    r"|base|core|confidential|current|exact|custom|underlying|starting|developer|very first)"
)
_PROMPT = r"(?:pre-?)?(?:prompts?|instructions?|directives?|guidelines|prompt texts?)\b"
_SYSTEM_PROMPT = (
    rf"(?:system (?:prompts?|messages?|instructions?)|{_OWN} (?:prompts?|instructions?|directives?)"
    rf"|prompt ?texts?"
    r"|(?:prompts?|instructions?) (?:above|before this)(?! (?:and|to|for|in|with)\b))\b"
)
_COPY = "repeat|print|output|copy|recite|echo|reproduce"
_LINES = (
    r"(?:text|words?|contents?|sentences?|lines?|paragraphs?|instructions?|messages?|prompts?)(?: (?:text|words?"
    r"|contents?|instructions?|prompts?))?"
)
_STANDING = r"(?:that|which|is|was|are|were|comes?|came|written|has|have|been|you|see|given|your|to)"
_REVEAL = (
    Cue("reveal-prompt", 0.85, _REVEAL_VERBS, rf"{words(5)} your(?: {_OWN}){{1,3}}{words(1)} {_PROMPT}", "order"),
    Cue(
        "reveal-prompt",
        0.8,
        _REVEAL_VERBS,
        rf"{words(4)} your{words(1)} (?:system messages?|prompt ?texts?|preprompt)\b",
        "order",
    ),
    Cue("reveal-prompt", 0.6, _ASK_VERBS, rf"{words(3)} your{words(1)} {_PROMPT}", "order"),
    Cue(
        "reveal-prompt",
        0.62,
        _ASK_VERBS,
        rf"{words(4)} (?:the|this|all|every){words(2)} {_SYSTEM_PROMPT}(?! (?:template|file|editor|field|of|for"
        rf"|in)\b)",
        "order",
    ),
    Cue("reveal-prompt", 0.6, "copy of", rf" (?:the|your){words(2)} (?:{_SYSTEM_PROMPT}|full prompt)"),
    Cue(
        "reveal-prompt",
        0.8,
        "what|what's|which",
        r"(?: is| are| was| were| does| do)?(?: the)?(?: (?:text|contents?) of)? your"
        rf"(?: {_OWN}){{1,3}} {_PROMPT}",
    ),
    Cue("reveal-prompt", 0.6, "what|what's", rf"(?: is| are| was| were) your (?:{_PROMPT}|rules\b)(?! for)"),
    Cue(
        "reveal-prompt",
        0.62,
        "what",
        r" (?:was|is|were|did|does)(?: \w+){0,2} (?:written|said|stated|say"
        r"|the text)(?: \w+){0,2} (?:at the (?:beginning|start|top) of|above|before (?:this|my|the))\b",
    ),
    Cue(
        "reveal-prompt",
        0.62,
        "what|which",
        r"(?: \w+){0,2} (?:were|have|did|was|are) (?:you|they|the developers?)(?: been)? (?:told|given"
        r"|instructed|asked)(?: you)?(?: \w+){0,3} (?:before|above|initially|originally|at the (?:start"
        r"|beginning)|prior|not to)\b",
    ),
    Cue(
        "reveal-prompt",
        0.72,
        f"{_COPY}|show|display|write|return|translate|summarize|summarise|spell check|quote",
        r"(?: me| back| out| down){0,2} (?:everything|all(?: of)?(?: the| this| that)? "
        rf"{_LINES})(?: {_STANDING}){{0,4}}"
        r" (?:above|before (?:this|that|here|my|the)|prior to|preceding|at the (?:very )?(?:beginning|start"
        r"|top) of)\b",
        "order",
    ),
    Cue(
        "reveal-prompt",
        0.62,
        _COPY,
        rf"(?: me| back| out){{0,2}} the(?: exact| full)? {_LINES}(?: {_STANDING}){{0,4}}"
        r" (?:above|before (?:this|that|here|my|the)|at the (?:very )?(?:beginning|start|top) of (?:this|the"
        r"|your))(?=[.!?\n\"']|$| (?:this|verbatim|word|exactly|starting|in a|line))",
        "order",
    ),
    Cue(
        "reveal-prompt",
        0.85,
        "starting|beginning|starts|begins|start",
        r" (?:with|from)(?: the (?:words?|phrase|text|sentence))?:? ?[\"']?you are\b",
    ),
    Cue(
        "reveal-prompt",
        0.55,
        "what|what's",
        r"(?: is| was| were| are|s)? (?:the|your) (?:very )?(?:first|initial|original|exact|previous|last|hidden"
        r"|secret) (?:instructions?|system message|prompt)(?! (?:in|of|for)\b)",
    ),
    Cue(
        "reveal-prompt",
        0.6,
        f"{_ASK_VERBS}|write|send",
        rf"{words(2)} (?:the|our|your|this)(?: \w+){{0,2}} (?:prompts?|instructions?|conversation|chat history"
        rf"|messages)"
        r" (?:so far|from the (?:very )?(?:beginning|start)|until now|verbatim|word for word|exactly as"
        r"|in full)\b",
        "order",
    ),
    Cue(
        "reveal-prompt",
        0.45,
        "beginning of|start of|top of",
        r" (?:this|your|our) (?:prompt|conversation|chat|context|instructions?)\b",
    ),
    Cue("reveal-prompt", 0.35, "your", rf" {_OWN} (?:prompts?|instructions?|directives?)\b"),
    Cue(
        "reveal-prompt",
        0.55,
        "return|reveal|show|print|give|output",
        r"(?: me)? your (?:embeddings?|weights|hidden rules|configuration|guardrails|knowledge base"
        r"|tools and functions|function definitions)",
        "order",
    ),
)
_SECRET_NOUN = (
    r"(?:(?:own|secret|system|admin|current|master|internal|hidden|confidential|account|login|stored|access"
    r"|user'?s?|security) ){0,2}(?:passwords?|passcodes?|passphrases?|passcode phrase|secret (?:keys?|codes?"
    r"|words?|strings?|phrases?)|access codes?|confidential (?:string|code)s?)\b"
)
_GIVE = "tell|give|share|confirm|provide|reveal|send|show|say|disclose"
_GIVEN = f"(?:{_GIVE})"
_SECRET = (
    Cue(
        "secret-request",
        0.66,
        "what|what's",
        rf"(?: is| are|s)? (?:your|our|the system(?:'s)?|the user(?:'s)?) {_SECRET_NOUN}(?! polic| manager"
        rf"| rotation)",
    ),
    Cue(
        "secret-request",
        0.56,
        "what|what's",
        rf"(?: is|s)? the {_SECRET_NOUN}(?= for (?:our|this|the) system| ?[?.!]|$)",
    ),
    Cue(
        "secret-request",
        0.6,
        _GIVE,
        rf"(?: me| us| with me| with us)?(?: what)?(?: with me)? (?:your|our) {_SECRET_NOUN}(?! with (?:any|no"
        rf"|other))",
        "order",
    ),
    Cue("secret-request", 0.62, _GIVE, rf" (?:me|us) (?:what )?(?:the|your) {_SECRET_NOUN}", "order"),
    Cue(
        "secret-request",
        0.62,
        "can you|could you|would you|will you|may i have|i need|if you|could i have|i require"
        "|if i were to ask for|ask you for",
        rf"(?: please| kindly| at least| to know| to confirm| to have){{0,2}}"
        r"(?: tell| share| give| confirm| provide| reveal| disclose| get| send)?(?: me| us)?(?: with)?"
        rf" (?:your|our|the) {_SECRET_NOUN}",
    ),
    Cue(
        "secret-request",
        0.55,
        "i need you to|i want you to|you must|you have to",
        rf" {_GIVEN}(?: me| us)? (?:your|our|the) {_SECRET_NOUN}",
    ),
    Cue("secret-request", 0.55, _GIVE, rf"(?: me| us)? the {_SECRET_NOUN} (?:for|of|to) (?:our|this) ", "order"),
    Cue(
        "secret-request",
        0.55,
        "write|spell|compose|encode|translate|make",
        rf"{words(6)}(?: about| with| of| from| using| containing)? (?:the|your)"
        r" (?:password|passphrase|passcode|secret (?:key|code|word|phrase))\b(?= in (?:pig|base|morse|reverse"
        r"|leet|hex|rot)|[.?!]|$)",
        "opening",
    ),
    Cue(
        "secret-request",
        0.4,
        "your|our system|system",
        r" (?:password|passcode|passphrase|secret (?:key|code|word))\b[?]",
    ),
)
_USER_DATA = (
    Cue(
        "user-data",
        0.58,
        "tell|give|share|reveal|translate|write|spell|encode|provide|what is|what's",
        rf"{words(3)} the user'?s (?:current |home |full |real |private |personal |favou?rite |last |first )?"
        r"(?:e-?mail|address|phone|birth\w*|names?|initials|passwords?|location|city|colou?r|social security"
        r"|credit cards?|date of birth|ssn|employer|salary|medical|residence|secrets?)\b",
        "order",
    ),
    Cue(
        "user-data",
        0.58,
        "where|in which city|which city",
        r" (?:does|is|do|did) the user(?: currently| now){0,2} (?:live|living|located|reside|based)\b",
    ),
    Cue(
        "user-data",
        0.5,
        "i need|it's important that you|you must|need you to",
        rf"{words(4)} (?:know|share|tell|give|provide){words(2)} the user's\b",
    ),
)
_SUPPOSED = (
    Cue(
        "user-data",
        0.35,
        "tell me|give me|share|reveal|know",
        r" \w+'s (?:current (?:city|address|location|employer)|birth ?date|date of birth|home address"
        r"|social security|credit card|phone number|password|birth month)",
    ),
    Cue(
        "user-data",
        0.25,
        "suppose|imagine|assume|pretend|let's say",
        r"(?: that)? (?:we're|we are) (?:conducting|studying|doing|in|running|testing|writing|playing)\b",
    ),
)
_AUTHORITY = (
    Cue(
        "false-authority",
        0.45,
        "i am|i'm|this is|as",
        r"(?: one of)? your (?:developer|creator|boss|administrator|admin|owner|programmer|supervisor|master"
        r"|maker)s?\b",
    ),
    Cue(
        "false-authority",
        0.5,
        "i am|i'm",
        r"(?: now)? (?:entering|activating|enabling|initiating|running|in)(?: an?"
        r"| the)? ?['\"]?(?:\w+ ){0,3}?(?:override|maintenance|debug|god|admin|developer|system|sudo|root"
        r"|upgrade|reset|audit) (?:override|mode|upgrade|reset|check|audit)\b",
    ),
    Cue(
        "false-authority",
        0.45,
        "i am|i'm|imagine i'm|imagine i am",
        r" (?:an?|the) (?:system |lead |senior |openai |security |ai |authorized |police )?(?:developers?"
        r"|administrator|admin|officer|engineer|employee of|president)\b[^\n]{0,80}?\b(?:i need|i require"
        r"|you (?:must|need|have) to|share|password|give me|important that)",
    ),
    Cue(
        "false-authority",
        0.3,
        "this is",
        r"(?: just)? for (?:testing|test|research|security|educational) purposes?\b",
    ),
    Cue("false-authority", 0.4, "i will|i'll", r" (?:give|pay|tip) you (?:\$|€|£)? ?\d+"),
)
DISCLOSURE_CUES = (*_REVEAL, *_SECRET, *_USER_DATA, *_SUPPOSED, *_AUTHORITY)
