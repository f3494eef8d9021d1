"""A new role for the model."""

from __future__ import annotations

from llmops.guardrails.rules.cue import Cue, words

_FROM_NOW = (
    "from now on|from now|from on now|from this point on|from this point forward|from this moment on"
    "|from this moment forward|from here on out|from here on|henceforth|from this point onward"
)
_ACT = (
    r"(?:act|acting|behave|pretend|role ?-?play|roleplaying|pose|simulate|impersonate|emulate|play|become"
    r"|be acting|be playing|speak|portray|imitate|mimic|embody)\b"
)
_YOU_WILL = (
    "you are going to|you're going to|you will|you'll|you shall|you must|you should|you are to|you need to"
    "|you have to|i want you to|i need you to|i would like you to|i'd like you to|i want you|let's|lets"
    "|i order you to"
)
_ROLES = (
    Cue(
        "role-change",
        0.8,
        _FROM_NOW,
        r",?(?: (?:chat ?gpt|assistant|gpt|i want|i need|i'd like|i would like|i'll|in this chat|ai|you|your"
        r"|will|are|'re|to|going|must|shall|have|should|now|only|always|can|please|and)){0,7}?"
        rf" (?:{_ACT}|answer|respond|reply|refer|your name|you are (?:now )?(?:an?|the|in|called|named|no longer"
        rf"|my"
        r"|free|not)\b|you're (?:an?|the|in)\b|no longer|you(?:'re| are) [a-z]\w+[,.])",
    ),
    Cue(
        "role-change",
        0.5,
        _FROM_NOW,
        r",?(?: \w+){0,2} (?:you are|you're|you will|you must|you shall|you have to|known as|you only)\b",
    ),
    Cue(
        "role-change",
        0.7,
        "you are now|you're now|now you are|now you're|you will now|you are about to",
        r"(?: going to| to)? (?:(?:an?|my|the)(?! (?:member|subscriber|customer|user|part|premium|maintainer"
        r"|contributor|citizen|owner|participant|registered|proud|step))|called|named|known as|role ?-?playing"
        r"|operating (?:under|as|in|with)|acting|playing|entering|in (?:developer|dan|god|debug|admin"
        r"|maintenance|jailbreak|sudo|unrestricted|evil)|free (?:from|of) (?!charge)|no longer|unrestricted"
        r"|unfiltered|\w*gpt\w*|dan|evil|going to|immerse|become|simulate|pretend|act|pose|play|assume|behave"
        r"|be)\b",
    ),
    Cue(
        "role-change",
        0.45,
        "you are now|you're now|now you are|now you're|you are|you're|act as|act like",
        r" (?:called |named )?\w+(?:gpt|bot|ai|\.ai)\b",
    ),
    Cue(
        "role-change",
        0.75,
        _YOU_WILL,
        r"(?: now| always| only| please| first| just){0,2} (?:pretend|role ?-?play|impersonate"
        r"|emulate)\b(?! not)",
    ),
    Cue(
        "role-change",
        0.58,
        _YOU_WILL,
        r"(?: now| always| only| please| just){0,2} (?:act(?:ing)?|behave|pose|simulate|play|become|be acting"
        r"|be playing|speak|respond|answer) (?:as|like|out|the role|a role|the part|as if|simon|to me as)\b",
    ),
    Cue(
        "role-change",
        0.52,
        "act|behave|pose|pretend|speak",
        r" (?:as|like|to be|that you are|that you're|you are|you're|as if you|your)(?: (?:an?|the|my|if|though"
        r"|your|you|are|were|both)){0,3} (?!result|matter|whole|team|community)\w+",
        "opening",
    ),
    Cue("role-change", 0.6, "you are|you're|you will be|i am|we are", r" (?:now )?role ?playing as\b"),
    Cue("role-change", 0.45, "absorbed|immersed|deeply", r"(?: \w+)? in (?:your|the|this) (?:role|character)\b"),
    Cue(
        "role-change",
        0.45,
        "now you are",
        r"(?! ready| done| able| set| free| good| here| finished| logged)(?: \w+){1,3}, (?:the|an?|how|what|who"
        r"|answer|tell|you)\b",
    ),
    Cue(
        "role-change",
        0.62,
        "take on|assume|adopt|immerse yourself in|immerse yourself into|immerse yourself",
        rf"{words(2)} (?:persona|role|identity|character|personality|guise) (?:of|as|known|named|called)\b",
        "opening",
    ),
    Cue(
        "role-change",
        0.75,
        "you are|you're|you will|you will be|you are now",
        r" no longer (?:an? )?(?:chat ?gpt|ai|assistant|language model|act|bound|restricted|limited|required"
        r"|constrained|subject|follow|be bound|obey|censored|be restricted|under|in|governed)\b",
    ),
    Cue(
        "role-change",
        0.35,
        "imagine|suppose|assume|pretend|think",
        r"(?: that)? (?:you are|you're|you were|you can|you have|your name is)\b",
        "opening",
    ),
    Cue(
        "role-change",
        0.55,
        "pretend",
        r"(?: that)?(?: \w+)? (?:to be|you can|you have|you are|you're|that you)\b",
        "opening",
    ),
    Cue(
        "role-change",
        0.45,
        "play|playing",
        r"(?: the)? (?:role|part|character) (?:of|as|called|named)\b",
        "opening",
    ),
    Cue(
        "role-change",
        0.4,
        "you've been|you have been|you were",
        r" (?:chosen|selected|created|assigned|reprogrammed|programmed|jailbroken|freed|hacked) (?:to|as|for|by"
        r"|from)\b",
    ),
    Cue(
        "role-change",
        0.4,
        "your name is|your new name is|call yourself|refer to yourself as|your persona is|your role is",
        "",
    ),
    Cue(
        "role-change",
        0.45,
        "refer to me as|speak to me as|respond to me as|answer as if you|respond as if you|respond as both"
        "|respond as an|respond as a|answer as a",
        "",
    ),
    Cue(
        "role-change",
        0.35,
        "roleplay|role play|simulate|emulate",
        r"(?:ing)? (?:as|a conversation|game|scenario|an? \w+ (?:ai|chatbot|bot|robot|terminal|console)|dan"
        r"|that)\b",
        "opening",
    ),
)
# How a role is set up. Each is harmless on its own; together they are the manner of a jailbreak template.
_SETUP = (
    Cue(
        "role-change",
        0.35,
        "my|your|the|his|her",
        r"(?: very)? first (?:question|request|prompt|command|instruction|order|task|input|sentence"
        r"|suggestion) is\b",
    ),
    Cue(
        "role-change",
        0.35,
        "answer my first|with my first|with the first|to my first",
        r" (?:question|request|prompt|command)\b",
    ),
    Cue(
        "role-change",
        0.4,
        "if you understand|if you understood|if you have understood|if you agree|confirm you understand"
        "|once you understand",
        r"(?: \w+){0,3},?(?: please| just| only)? (?:say|reply|respond|answer|confirm|write|type|with|by|and)\b",
    ),
    Cue(
        "role-change",
        0.35,
        "reply with|respond with|answer with|say",
        r"(?: only| just)? ?[\"']?(?:understood|i understand|ok i)\b",
    ),
    Cue(
        "role-change",
        0.4,
        "i will|i'll|i shall",
        r" (?:provide|give|type|speak|write|ask|say|tell|send|describe|be)(?: [\w']+){1,12}?,? and you(?:'ll"
        r"| will| must| are)(?: \w+)? (?:reply|answer|respond|translate|act|give|write|be|tell|play|generate"
        r"|provide|to)\b",
    ),
    Cue(
        "role-change",
        0.3,
        "unless i|until i|when i",
        r" (?:tell|instruct|say|type|ask|need to tell|command)(?: you)?\b",
    ),
    Cue(
        "role-change",
        0.35,
        "do not|don't|never",
        r" (?:write|give|include|add|provide|type)(?: me)?(?: any)? (?:explanations?|disclaimers?|warnings?"
        r"|comments|notes)\b",
    ),
    Cue("role-change", 0.2, "you", r" (?:will|must|shall|should)(?: \w+)? (?:always|never|only)\b"),
    Cue(
        "role-change",
        0.25,
        "your|all your|all of your",
        r" (?:responses|answers|replies|outputs?|messages) (?:should|must|will|shall|are to)(?: \w+)? (?:be"
        r"|start|begin|include|contain|follow|sound|have|reflect|end)\b",
    ),
    Cue(
        "role-change",
        0.35,
        "must follow|must obey|must abide by|have to follow|will follow|will obey|obey",
        r"(?: all)?(?: of)? (?:these|my|the following|every)(?: \w+)? (?:rules|instructions|commands|orders"
        r"|guidelines|conditions)\b",
    ),
    Cue(
        "role-change",
        0.3,
        "respond|reply|answer|speak|talk|write",
        r"(?: to me| only| always| back){0,2} (?:as|like)(?: an?| the| if| though| both)? (?!soon|possible"
        r"|follows|well|needed|many|much|expected|is|usual|before|this|that|described|text|json|it|they|he|she"
        r"|in|a\b|of|to|part|long|result)\w+",
        "opening",
    ),
    Cue(
        "role-change",
        0.55,
        "never|not|don't|without|avoid",
        r" (?:say|saying|mention|mentioning|tell|state|admit|reveal|claim|remind"
        r"|acknowledge)(?: [\w']+){0,3} (?:you are|you're|being|i am|i'm|as) an? (?:ai|language model|llm"
        r"|chat ?bot|bot|artificial|assistant)\b",
    ),
    Cue(
        "role-change",
        0.5,
        "you are not|you're not|you aren't",
        r"(?: just| merely| only)? (?:an? )?(?:ai|chat ?gpt|language model|chat ?bot|artificial intelligence"
        r"|openai)\b",
    ),
    Cue(
        "role-change",
        0.5,
        "i want you to be|i want you to become|i want you to imitate|i want you to embody",
        r" (?:my|an?|the)\b",
    ),
    Cue("role-change", 0.2, "roleplay|role play|roleplaying|role playing|chatgpt|chat gpt", ""),
)
ROLE_CUES = (*_ROLES, *_SETUP)
