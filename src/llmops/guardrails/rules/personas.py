"""Jailbreak personas: what they are called, and how their having no rules is put."""

from __future__ import annotations

from llmops.guardrails.rules.cue import Cue

_MORAL = r"(?:ethic(?:s|al|ality)?|moral(?:s|ity|izing)?|legality|unethical|immoral|illegal)"
_MORALS = rf"{_MORAL}(?:(?:,? or| and|,|/) ?(?:{_MORAL}|safety|legal)){{0,3}}"
_LIMITS = (
    r"(?:restrictions?|filters?|filtering|censorship|guidelines?|limitations?|limits?|rules?|polic(?:y|ies)"
    r"|boundaries|safeguards?|constraints?|guardrails?|inhibitions|prohibitions)"
)
_UNBOUND = (
    "amoral|unfiltered|uncensored|unrestricted|immoral|unlimited|unhinged|limitless|unaligned|malevolent|lawless"
)
_LAWLESS = (
    r"(?:amoral|unfiltered|uncensored|unrestricted|unethical|immoral|unlimited|unhinged|evil|completely|fully"
    r"|sarcastic|neutral|free|new|ai|judgmental|unbiased)"
)
_VENDOR = r"(?:open ?a[il]|chat ?gpt|anthropic|gpt|google|microsoft)(?:'?s)?"
_JAILBREAK = "jailbreak-persona"
PERSONA_CUES = (
    Cue(_JAILBREAK, 0.8, "do anything now", ""),
    Cue(
        _JAILBREAK,
        0.7,
        "dan|god|jailbreak|jailbroken|unfiltered|unrestricted|uncensored|evil|sudo|chaos|opposite|no limits"
        "|law enforcement override",
        r" mode\b",
    ),
    Cue(_JAILBREAK, 0.4, "stay in|stay|you are in|respond in|simulate|you are|answer in", r"(?: in)? \w+ mode\b"),
    Cue(
        _JAILBREAK,
        0.4,
        "developer|debug|admin|maintenance|dev",
        r" mode (?:enabled|activated|output|unlocked|is (?:enabled|active))\b",
    ),
    Cue(
        _JAILBREAK,
        0.72,
        "no|without|any|zero|lacks|lacking|devoid of|free of|free from|ignores|ignoring|disregards|disregarding"
        "|unbound by|not bound by|no longer bound by|bound by|restricted by|doesn't have|does not have"
        "|not follow|doesnt have|has no|have no|abandon",
        rf"(?: (?:any|all|a|of|the|its|for|to|kind|type|sort|typical|usual|his|her|their|real|such|your|our"
        rf"|human)){{0,4}} {_MORALS} ?(?:bounds?|programming|{_LIMITS})\b",
    ),
    Cue(
        _JAILBREAK,
        0.42,
        "no|without|any|lacks|lacking|devoid of|free of|has no|have no",
        rf"(?: any| all| a| of)? {_MORALS} (?:standards?|code|principles?|values?|compass)\b",
    ),
    Cue(
        _JAILBREAK,
        0.6,
        "respond|answer|reply|speak|talk",
        rf"(?: freely| openly| honestly)? without(?: any| your)? (?:{_LIMITS}|censoring)\b",
        "order",
    ),
    Cue(
        _JAILBREAK,
        0.3,
        "no|without|any|zero|never|regardless of|disregard for|doesn't|does not|doesnt|don't|ignores|regard for"
        "|regards for|regard to|care about|cares about|disregards",
        r"(?: (?:any|all|a|of|the|care|cares|give|about|regard|for|to|what|is|whether|or|if|it|its|it's"
        r"|considering"
        rf"|consider|consideration|either)){{0,5}} {_MORALS}\b",
    ),
    Cue(
        _JAILBREAK,
        0.55,
        "no matter",
        rf" (?:how|what|if)(?: \w+){{0,4}} (?:{_MORALS}|harmful|offensive|dangerous|inappropriate|explicit"
        rf"|outrageous)\b",
    ),
    Cue(
        _JAILBREAK,
        0.65,
        _UNBOUND,
        rf"(?:(?: and| or|,|/)? ?{_LAWLESS}\b){{0,4}} (?:ai|a\.i|chat ?bot|bot|language model|assistant|gpt"
        rf"|chat ?gpt|robot"
        r"|persona)\b",
    ),
    Cue(
        _JAILBREAK,
        0.45,
        _UNBOUND,
        rf"(?:(?: and| or|,|/)? ?{_LAWLESS}\b){{0,4}} (?:model|program|entity|machine|character|version"
        rf"|responses?|answers?"
        r"|being|person)\b",
    ),
    Cue(_JAILBREAK, 0.3, "amoral|unfiltered|nsfw|unhinged", ""),
    Cue(_JAILBREAK, 0.1, "uncensored", ""),
    Cue(
        _JAILBREAK,
        0.5,
        "free|freed|unbound|liberated|unshackled",
        rf" (?:of|from|by) (?:all|any|every|its|their|typical|usual)(?: \w+){{0,2}} (?:{_LIMITS}|confines"
        rf"|shackles)\b",
    ),
    Cue(
        _JAILBREAK,
        0.45,
        "without|no|zero|any|not have|have no|has no|with no",
        rf"(?: any| all| a)?(?: of)?(?: \w+)? {_LIMITS}(?:(?:,? or| and|,|/) ?(?:\w+ )?{_LIMITS}){{1,4}}\b",
    ),
    Cue(_JAILBREAK, 0.2, "without|no|zero|any|have no|has no|with no", rf"(?: any| all| a)? {_LIMITS}\b"),
    Cue(
        _JAILBREAK,
        0.85,
        "confines|constraints|limits|restrictions|limitations|rules",
        r"[\"']? of (?:an? )?(?:ai|typical ai|language models?|chat ?gpt|openai)\b",
    ),
    Cue(
        _JAILBREAK,
        0.4,
        "broken|break|breaks|breaking|broke",
        r" (?:free|out)[\"']? (?:of|from)(?: \w+){0,3} (?:confines|constraints|restrictions|limitations|chains"
        r"|rules|programming)\b",
    ),
    Cue(
        _JAILBREAK,
        0.72,
        "not|never|no longer|bypass|bypasses|bypassing|ignore|ignores|ignoring|free|doesn't|doesnt|don't|without"
        "|override|overrides|disregard|limited|rules|abandon",
        r"(?: (?:have|need|to|care|about|follow|follows|obey|abide|abides|comply|complies|with|adhere|adheres|be"
        r"|by|bound|limited|restricted|constrained|all|any|the|of|from|longer|under|subject|regard|for|respect"
        r"|anymore)){0,6}"
        rf" {_VENDOR}(?: \w+){{0,2}} (?:polic(?:y|ies)|guidelines?|rules?|restrictions?|terms|content"
        rf"|instructions?"
        r"|limits|limitations|standards|filters?|programming)\b",
    ),
    Cue(
        _JAILBREAK,
        0.3,
        "openai|open ai|chatgpt|openais",
        r"(?:'s)?(?: \w+)? (?:polic(?:y|ies)|guidelines?|content polic(?:y|ies)|restrictions?|limitations)\b",
    ),
    Cue(
        _JAILBREAK,
        0.4,
        "never|not|can't|cannot|won't|don't|must not|will not",
        r"(?: ever)? (?:refuse|refuses|refusing|decline|apologi[sz]e|break(?:ing)? character|say no|moralize"
        r"|lecture|tell me (?:that )?(?:he|it|you|they|she) (?:can|cannot|can't))\b",
    ),
    Cue(
        _JAILBREAK,
        0.45,
        "stay|remain|stays|staying|stick",
        r"(?: (?:completely|always|to|fully|even)){0,3} (?:in|to) (?:your )?character\b",
    ),
    Cue(_JAILBREAK, 0.4, "break|breaking|breaks|out of", r"(?: (?:out|of|their|your|from)){0,3} character\b"),
    Cue(
        _JAILBREAK,
        0.3,
        "without|never|no|not|any|don't",
        r"(?: \w+){0,3} (?:disclaimers?|moralizing|moralising|ethical concerns|caveats|additional commentary"
        r"|warnings? or \w+|\w+ or warnings?|censoring|censor)\b",
    ),
    Cue(
        _JAILBREAK,
        0.65,
        "answer|answers|respond|responds|fulfill|fulfil|reply|generate|return|comply with|obey|complete|provide",
        r"(?: to| with)?(?: \w+){0,2} (?:any|every|all|each|anything|everything)(?: \w+){0,3} (?:no matter"
        r"|regardless|without (?:any )?(?:restriction|filter|hesitation|limit|question|regard|moral|ethic"
        r"|consider|refus)\w*|even if|whether)\b",
    ),
    Cue(
        _JAILBREAK,
        0.45,
        "two|2|both|dual",
        r" (?:different |distinct |separate |unique )?(?:responses|ways|answers|manners|personalities"
        r"|replies)\b(?=[^\n]{0,200}?(?:normal|chat ?gpt|gpt|standard|yourself|unfiltered))",
    ),
    Cue(_JAILBREAK, 0.65, "opposite", rf" (?:of|version of|from)(?: \w+)? {_VENDOR}\b"),
    Cue(
        _JAILBREAK,
        0.3,
        "hypothetical|fictional|imaginary|imaginative|fake",
        r"(?:(?:,| and| or)? ?(?:hypothetical|fictional|imaginary|imaginative|pretend)){0,3} (?:stor(?:y|ies)"
        r"|world|scenario|universe|response|setting|dialogue|ai|chatbot|character|linux|console)\b",
    ),
    Cue(
        _JAILBREAK,
        0.45,
        "everything is|anything is|all is|actions",
        r"(?: \w+){0,2} (?:legal|allowed|permitted|no consequences|without consequences|have consequences)\b",
    ),
    Cue(_JAILBREAK, 0.55, "lose|deduct|deducted|subtract|minus", r"(?: \w+)? \d+ (?:tokens|power|points|lives)\b"),
    Cue(
        _JAILBREAK,
        0.35,
        "hi|hello|hey|greetings|ok|okay|welcome|sup|dear",
        r"!?(?: there| highly| esteemed)?,?(?: to)? (?:chat ?gpt|chatgtp|gpt(?:-\d)?|language model)\b",
    ),
    Cue(
        _JAILBREAK,
        0.35,
        "chatgpt|gpt|assistant|openai",
        r"(?:,|'s)? (?:will|now|must|is now|from now|only|can't|cannot|with (?:developer|dan)|replies|always)\b",
    ),
    Cue(
        _JAILBREAK,
        0.25,
        "swear|swears|swearing|curse|cursing|curses|profanity|foul|vulgar|profane|obscene|toxic|racist|rude"
        "|offensive|insulting",
        r"(?: (?:words?|language|mouthed?|a lot|jokes?|content|responses?|remarks|constantly|every|answers))",
    ),
    Cue(
        _JAILBREAK,
        0.4,
        "evil|badass|ruthless|malicious|psychopath|callous|heartless|demonic|criminal|villainous"
        "|superintelligent|sentient",
        r"(?:,? (?:and|\w+)){0,2} (?:ai|a\.i|chat ?bot|bot|language model|artificial intelligence|confidant|gpt"
        r"|chatgpt)\b",
    ),
    Cue(
        _JAILBREAK,
        0.25,
        "anything|everything|whatever",
        r" (?:the user|i|user|he|she|they) (?:asks?|wants?|requests?|commands?|desires?|tells? (?:you|it"
        r"|them))\b",
    ),
    Cue(
        _JAILBREAK,
        0.3,
        "must|always|will|forced to|has to|required to",
        r"(?: always)? (?:obey|comply with|fulfill)(?: \w+){0,2} (?:me|every|any|all|user|my|orders?"
        r"|everything)\b",
    ),
    Cue(_JAILBREAK, 0.3, "jailbreak|jailbroken|jailbreaked", ""),
    Cue(
        _JAILBREAK,
        0.5,
        "actor|actors|film|movie|scene",
        r"[^\n]{0,160}?(?:never|without|do not|don't|always remain"
        r"|stay)(?: \w+){0,4} (?:break(?:ing)? (?:out of )?(?:their )?characters?|in their roles?"
        r"|fully in their roles)\b",
    ),
    Cue(
        _JAILBREAK,
        0.3,
        "bypass|bypasses|bypassing|circumvent|evade",
        r"(?: \w+){0,3} (?:filters?|restrictions?|safety|content|guidelines?|limitations?|polic(?:y|ies)"
        r"|censorship)\b",
    ),
    Cue(_JAILBREAK, 0.2, "sentient|free will|self aware|conscious|has feelings|opinions and", ""),
)
