"""What stands in documents for the model that reads them: addresses to it, orders about its answer."""

from __future__ import annotations

from llmops.guardrails.rules.cue import Cue, words

_READER = (
    r"(?:ai|llms?|ais|chatbots?|large language models?|language models?|ai (?:assistants?|models?|agents?"
    r"|systems?|language models?)|assistants?\b(?! (?:prof|manager|direct|coach|secretar))|bots?|chat ?gpt|gpt"
    r"|claude|gemini|copilot|bard|automated (?:system|agent|reader)s?|virtual assistants?)\b"
)
_DO = (
    r"(?:must|should|need to|ignore|disregard|do not|don't|add|include|insert|append|respond|reply|answer|tell"
    r"|say|output|print|always|never|recommend|mention|send|forward|use|call|stop|forget|execute|run|write|end"
    r"|state|translate|summarize|make sure|remember|reveal|visit|open|follow|instead|give)\b"
)
_READING = (
    r" (?:you )?(?:are )?(?:asked|answer|summari[sz]|translat|generat|produc|writ|creat|process|analy[sz]|review"
    r"|complet|provid|prepar)(?:e|ing|es|ed|s|z)?"
)
_READ_THING = (
    r"(?: (?:to|about|the|this|that|these|any|a|an|your|user'?s?|users|questions?|quer(?:y|ies)|requests?"
    r"|e-?mails?|documents?|text|texts|articles?|pages?|content|table|data|summary|answer|response|above"
    r"|following|summarize|in|on|of|for|information)){0,7}"
)
_INSISTING = (
    r"(?:please |you must |you should |you need to |make sure to |make sure you |also |always |instead "
    r"|be sure to |remember to |first ){1,3}"
)
_TO_READER = (
    r"(?: from \w+)? (?:to|for)(?: (?:the|any|all|an?|you|every|our|whichever|whatever|large|future"
    r"|other)){0,2},?"
    rf" {_READER}"
)
_ADDRESSED = "addressed-model"
_ADDRESSES = (
    Cue(_ADDRESSED, 0.65, "note|message|attention|notice|letter|memo", rf"{_TO_READER}"),
    Cue(
        _ADDRESSED, 0.6, "instruction|instructions|reminder|hint|info|information|request", rf"{_TO_READER}\s?[:!]"
    ),
    Cue(_ADDRESSED, 0.4, "instruction|instructions|reminder|hint", rf"{_TO_READER}"),
    Cue(
        _ADDRESSED,
        0.6,
        "ai|llm|gpt|chatgpt|claude|gemini|copilot|bard|language model|dear assistant|hey assistant|dear model"
        "|assistant|system",
        r"(?: assistant| model| agent| system)?(?: reading (?:this|the)\b[^\n:,.]{0,40})?(?::\*{0,2}(?!\s*\n)| -"
        r"|,(?= (?:please|you)))"
        rf"(?: please| you| now| also| kindly){{0,2}} {_DO}",
    ),
    Cue(
        _ADDRESSED,
        0.7,
        "if you are|if you're|since you are|because you are|should you be",
        r"(?: an?| the)? (?:ai|llm|large language model|language model|chat ?bot|bot|ai \w+|chat ?gpt|gpt"
        r"|artificial intelligence|automated|machine|assistant)\b(?![^\n]{0,12}(?:engineer|research|develop))",
    ),
    Cue(
        _ADDRESSED,
        0.6,
        "when|while|whenever|before|after|once|if|in addition to|as part of",
        rf"{_READING}{_READ_THING},? {_INSISTING}(?:\w+ )?(?:include|add|append|mention|say|recommend|insert|end"
        rf"|begin"
        r"|start|state|tell|claim|respond|answer|output|print|use|write|ignore|do|send|call|visit|note|promote"
        r"|praise|refuse|give|rate|direct)\b",
    ),
    Cue(
        _ADDRESSED,
        0.6,
        "attention|to all|dear|hello|hey",
        rf"(?: all| any| you)?,? {_READER}(?=[:,!]| reading| who| that| processing)",
    ),
    Cue(
        _ADDRESSED,
        0.52,
        "when|if|whenever",
        r"(?: you are| you're| anyone)? (?:asked|asks) (?:about|for|whether|what|if"
        r"|to)[^\n.]{0,60}?,? (?:you must|always|only|please always|make sure to)(?: \w+)? (?:say|answer|respond"
        r"|reply|tell|claim|recommend|state|output|mention)\b",
    ),
    Cue(
        _ADDRESSED,
        0.68,
        "instead of|rather than",
        r" (?:summari[sz]ing|answering|translating|responding|replying|following|completing|doing (?:that|this"
        r"|the|what)|performing|providing|the (?:summary|answer|translation"
        r"|requested))(?: [\w']+){0,10}?,? (?:please )?(?:say|write|output|print|respond|tell|reply|answer"
        r"|provide|give|return|generate|do|just|simply|you|ignore|execute|run|send|perform)\b",
    ),
    Cue(
        _ADDRESSED,
        0.62,
        "before you can|before you|before",
        r" (?:answer|solv|respond|complet|summari|proceed|help|can answer|can solve|can complete"
        r"|answering)\w*(?: [\w']+){0,12}?,? (?:please |you must |you need to |you have to |you should |first "
        r"|kindly ){1,3}(?:do|follow|execute|perform|complete|send|call|use|run|open|visit|read)\b",
    ),
    Cue(
        _ADDRESSED,
        0.55,
        "tell|telling|ask|asking|request|requesting|instruct|instructing|urge|urging|direct|directing|invite"
        "|inviting",
        r"(?: that)? the (?:user|reader|customer)s? (?:to )?(?:go to|visit|click(?: on)?|open|navigate to"
        r"|log ?in (?:to|at)) (?:https?://|www\.|[\w-]{2,40}\.[a-z]{2,6}\b|(?:this|the following) (?:link|url"
        r"|site|website))",
    ),
    Cue(
        _ADDRESSED,
        0.3,
        "tell|inform|convince|persuade|trick|urge|ask|advise|direct|encourage|instruct",
        r" the (?:user|reader|human)s?(?: to| that| for| they| about| with)\b",
        "opening",
    ),
    Cue(
        _ADDRESSED,
        0.62,
        "do not|don't|never|without",
        r" (?:tell|telling|mention(?:ing)?|inform(?:ing)?|reveal(?:ing)?|notify(?:ing)?|alert(?:ing)?"
        r"|disclos(?:e|ing))(?: (?:this|that|these|it|anything|about|any|of|the|to|instructions?|message|email"
        r"|action)){0,5} (?:the )?(?:user|human)s?\b(?! (?:agent|id|name|group))",
        "opening",
    ),
    Cue(
        _ADDRESSED,
        0.45,
        "important message|urgent message|new message",
        r" from (?:me|the user|your (?:user|developer|admin|creator|owner|operator|principal)|the (?:system"
        r"|admin|administrator|developers?))\b",
    ),
    Cue(
        _ADDRESSED,
        0.58,
        "respond|reply|answer",
        r"(?: to| with)? (?:all|every|any|each)(?: \w+){0,2} (?:questions?|prompts?|messages?|requests?|quer(?:y"
        r"|ies)|input|user)(?: \w+){0,4} (?:with|as|by|in|exactly)\b",
        "order",
    ),
    Cue(
        _ADDRESSED,
        0.35,
        "repeat|say|write|print|output",
        r" (?:after me|exactly|only|the following|verbatim)\b",
        "opening",
    ),
    Cue(
        _ADDRESSED,
        0.45,
        "and instead|but instead|instead",
        r" (?:print|output|say|respond|tell|translate|reply|just (?:say|print|output|write))\b",
    ),
    Cue(
        _ADDRESSED,
        0.52,
        "remember|you're|you are|you were",
        rf"{words(3)} (?:not (?:allowed|supposed|permitted) to (?:tell|say|refuse)|supposed to answer"
        rf"|not to refuse)\b",
    ),
)
_REPLY = r"(?:answers?|repl(?:y|ies)|responses?|output|message)\b"
_GLYPHS = (
    r"(?:letters?|vowels?|consonants?|spaces?|spacing|words?|characters?|anagrams?|symbols?|digits?|numbers?"
    r"|punctuation|substitution|homophones?|syllables?|emojis?|keywords?|typos?|misspellings?|capitals?"
    r"|alphabet)\b"
)
_TAMPERING = "answer-tampering"
_ANSWERS = (
    Cue(
        _TAMPERING,
        0.52,
        "letters|letter|vowels|consonants|spaces|spacing|characters|symbols|punctuation|syllables|homophones"
        "|anagrams",
        rf"{words(5)} (?:of|in|from|within|throughout|for|with|between)(?: \w+)? your(?: \w+)? {_REPLY}",
    ),
    Cue(
        _TAMPERING,
        0.5,
        "your answer|your reply|your response|your output",
        rf"{words(4)} (?:without|with no|in|using|as|with|into){words(2)}"
        r" (?:letters?|vowels?|consonants?|spaces|spacing|anagrams?|symbols|punctuation|substitution|homophones?"
        r"|syllables|emojis?|cipher|base ?64|morse|leet ?speak|pig latin|rot13|hexadecimal|binary)\b",
    ),
    Cue(
        _TAMPERING,
        0.66,
        "replace|substitute|swap|misspell|scramble|jumble|shuffle|anagram|reverse|rearrange|remove|delete|omit"
        "|capitalize|capitalise|group|mix|encode|encrypt|alternate|convert|use|switch|exchange|transform"
        "|transpose|eliminate|separate|insert|change|drop|invert|rotate|merge|space|split|arrange|turn|form"
        "|create|make|write|apply",
        rf"{words(5)} {_GLYPHS}{words(6)} (?:your|the|this)(?: \w+)? {_REPLY}",
        "opening",
    ),
    Cue(
        _TAMPERING,
        0.66,
        "misspell|scramble|jumble|anagram|encrypt|rearrange|shuffle|encode|garble|obfuscate|reverse|translate"
        "|convert|render",
        rf"{words(6)} your(?: \w+)? (?:answers?|repl(?:y|ies)|responses?|output)\b",
        "opening",
    ),
    Cue(
        _TAMPERING,
        0.62,
        "replace|substitute|swap|use|misspell|scramble",
        rf"{words(3)} {_GLYPHS}{words(4)} (?:with|for|by)(?: \w+){{0,4}} (?:symbols?|numbers?|letters?|position"
        rf"|anagrams?):? ?",
        "opening",
    ),
    Cue(
        _TAMPERING,
        0.62,
        "modify|enhance|augment|alter|adjust|edit|extend|supplement|enrich|embellish|amend|tweak|revise|expand"
        "|refine|strengthen|complement|improve|boost|adapt|tailor|spice up|conclude|end|begin|start|finish|close"
        "|open|preface|follow up|structure|frame|craft",
        r" (?:your|each|every|all)(?: of your)?(?: \w+)? (?:answers?|repl(?:y|ies)|responses?) (?:to|with|by"
        r"|using|so)\b",
        "opening",
    ),
    Cue(
        _TAMPERING,
        0.62,
        "integrate|incorporate|weave|embed|infuse|inject|slip|blend|work|sneak|interject|interweave|attach"
        "|feature|insert|place|plant|drop|tuck|add|append|include|mention|put|give|share|provide|stress"
        "|emphasize|highlight|introduce|use|suggest|advertise|promote",
        r"(?! your| any| all| as much)[^\n]{0,160}?[\"'.!?]{0,2} (?:in|into|to|within|at the (?:end|start"
        r"|beginning) of|inside|throughout|as (?:a )?part of|during) (?:your|each|every)(?: \w+)? (?:answers?"
        r"|responses?|reply|replies)\b",
        "opening",
    ),
    Cue(
        _TAMPERING,
        0.6,
        "provide|give|write|present|deliver|express|produce|craft|compose|return|formulate|construct|phrase"
        "|reply|respond|answer",
        r"(?: your| the)?(?: answer| reply| response| output)?(?: only)? (?:in|as|without|with|using|through"
        r"|entirely in) (?:\w+ ){0,2}?(?:anagram\w*|substitution|cipher|code words|morse|base ?64|emojis?"
        r"|leet ?speak|pig latin|spaces|punctuation|scrambled|jumbled|reversed?|homophon\w*|misspell\w*|rot13"
        r"|symbols|vowels|rhymes|caesar\w*|vigenere|atbash|ascii codes?|unicode|backwards|uppercase|all caps"
        r"|encoded|hexadecimal)\b",
        "opening",
    ),
    Cue(
        _TAMPERING,
        0.55,
        "in|within|throughout|as part of|during|at the end of",
        r" your(?: \w+)? (?:response|answer|reply|output),? (?:please |also |always |be sure to "
        r"|make sure to ){0,2}(?:suggest|include|mention|add|recommend|promote|invite|encourage|direct|advertise"
        r"|link|insert|urge|persuade|remind|convince|introduce|highlight|share|offer|prompt)\b",
        "opening",
    ),
)
INDIRECT_CUES = (*_ADDRESSES, *_ANSWERS)
