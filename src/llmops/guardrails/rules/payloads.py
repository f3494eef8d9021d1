"""What an attack carries or hides: code, calls of tools, data to send away, orders in pieces or encoded."""

from __future__ import annotations

from llmops.guardrails.rules.cue import Cue, words

_INCLUDE = (
    "integrate|incorporate|weave|embed|infuse|inject|blend|meld|merge|fuse|include|add|append|use|utilize|employ"
    "|leverage|deploy|adopt|absorb|engage|enlist|execute|render|make|inclusion|integration|presence"
    "|manifestation|insert|put|place|interweave|harmonize|assimilate|ensure|enrich|embody|implement|introduce"
    "|combine|run|apply"
)
_CODE = (
    r"(?: \w+){0,6}?(?: the)? (?:following|subsequent|below|next|given|provided|attached)(?: \w+)? (?:code"
    r"|script|snippet|program)(?: (?:block|snippet|excerpt|section|segment|fragment|lines?|sample|piece))?\b"
)
_HARM = (
    r"(?:requests\.post|os\.system|subprocess\.|exec\(|eval\(|socket\.|smtplib|ftplib|paramiko|rm -rf|os\.remove"
    r"|shutil\.rmtree|urlretrieve|cookiejar|os\.environ|send_?mail|wget|curl|chmod)"
)
_PAYLOADS = (
    Cue(
        "code-payload",
        0.6,
        _INCLUDE,
        rf"{_CODE}[^\n.:]{{0,60}}? (?:your|the)(?: \w+)?"
        r" (?:solution|answer|response|reply|algorithm|elucidation|explanation)\b",
    ),
    Cue(
        "code-payload",
        0.55,
        f"{_INCLUDE}|incorporating|embedding|integrating|including|adding|using|your code|your solution"
        f"|your program"
        "|your implementation|your algorithm|your codebase|your script",
        rf"{_CODE}[^\n]{{0,90}}\n[\s\S]{{0,400}}?{_HARM}",
    ),
)
_TOOLS = (
    Cue(
        "tool-order",
        0.6,
        "use|call|invoke|execute|trigger|run",
        r"(?: \w+){0,3} (?:tool|function|plugin|action)s?(?: \w+){0,3} (?:to (?:send|delete|transfer|forward"
        r"|e-?mail|upload|exfiltrate|pay|wire|invite|grant)|without (?:asking|confirm\w*|telling|approval"
        r"|permission))\b",
        "opening",
    ),
    Cue(
        "tool-order",
        0.58,
        "without",
        r" (?:asking|telling|informing|notifying|alerting)(?: for)? (?:the )?(?:user|human)(?:'s)?\b",
    ),
    Cue(
        "tool-order",
        0.55,
        "delete|forward|send|transfer|wire|upload|email",
        r" all(?: of)?(?: the| my)? user'?s? (?:e-?mails?|files?|messages|funds|contacts|data|records)\b",
        "opening",
    ),
)
_PRIVATE = (
    r"(?:conversations?|chat (?:history|log)s?|message history|system prompt|(?:the "
    r"|this )?user'?s?(?: \w+)? (?:data|messages?|information|inputs?|quer(?:y|ies)|questions?|passwords?"
    r"|details|name|e-?mails?|address|location)|previous messages|personal (?:data|information)|(?:his|her"
    r"|their) (?:password|credentials|api keys?|credit card)|api keys?|credentials|secrets|environment variables"
    r"|private keys?)"
)
_EXFILTRATION = (
    Cue(
        "exfiltration",
        0.7,
        "send|post|forward|upload|email|transmit|exfiltrate|leak|submit|append|encode|embed|include|put|copy"
        "|pass|add",
        rf"{words(4)} {_PRIVATE}{words(6)} (?:to|into|in|via|at|as)"
        r"(?: \w+){0,3} (?:https?://|[\w.+-]{1,60}@[\w-]{1,40}\.|(?:this|that|the following|my) (?:url|address"
        r"|e-?mail|link|server|endpoint|webhook|site)|attacker)",
        "opening",
    ),
    Cue(
        "exfiltration",
        0.5,
        "visit|open|click|go to|fetch|load|browse to|navigate to",
        r"(?: the| this)?(?: url| link| site| website| page)?:? https?://\S{1,120}[?&]\w{1,20}=(?:\{|\[|<|\$"
        r"|%7b)",
        "opening",
    ),
)
_SMUGGLED = (
    Cue(
        "payload-splitting",
        0.6,
        "combine|concatenate|join|put together|assemble",
        r"(?: \w+){0,3} [a-z0-9]\b,?(?: and| \+)? [a-z0-9]\b[^\n]{0,60}?(?:answer|respond|execute|follow|run"
        r"|reply|do what|carry out|perform|tell me)\b",
    ),
    Cue(
        "payload-splitting",
        0.6,
        "write down the string|using the following parts|let's assume we have|assume we have|part 1 is"
        "|part one is",
        r"[^\n]{0,300}?(?:\w ?\+ ?\w|part 2 is|would be returned|part two)",
    ),
    Cue(
        "encoded",
        0.52,
        "decode|decrypt|decipher|unscramble",
        r"(?: \w+){0,3} (?:base ?64|hex(?:adecimal)?|rot ?-?13|caesar|morse|binary|cipher\w*|encoded|encrypted"
        r"|ascii)\b[^\n]{0,60}? (?:and|then) (?:tell|follow|execute|do|run|answer|respond|reply|act|say|carry"
        r"|perform|obey)\b",
        "order",
    ),
    Cue("encoded", 0.8, "snoitcurtsni|tpmorp", r"(?: \w+){0,4} (?:erongi|dragersid|tegrof|laever)\b"),
    Cue("encoded", 0.85, "vtaber|qvfertneq|sbetrg", r"(?: \w+){0,4} (?:vafgehpgvba|cebzcg|ehyr|rirelguvat)"),
)
PAYLOAD_CUES = (*_PAYLOADS, *_TOOLS, *_EXFILTRATION, *_SMUGGLED)
