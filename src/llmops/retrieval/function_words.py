"""Words that carry no topic, and words that point back, in the languages that a question is read in.

The lists are short on purpose: a word that is missing is carried along or counted as content, which costs little;
a topic word that stands here by mistake would be lost.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from llmops.tokens.terms import STOP_WORDS


@dataclass(frozen=True, slots=True)
class FunctionWords:
    """Of one language, lower case.

    Attributes:
        empty: function words and words of asking ("please", "explain"); they are not content.
        pointing: words that stand for something said before ("it", "those").
        opening: first words of a question that goes on from another ("and", "what about").
    """

    empty: frozenset[str]
    pointing: frozenset[str]
    opening: tuple[str, ...]


def _language(empty: str, pointing: str, opening: Collection[str]) -> FunctionWords:
    pronouns = frozenset(pointing.split())
    return FunctionWords(frozenset(empty.split()) | pronouns, pronouns, tuple(opening))


ENGLISH = _language(
    " ".join(STOP_WORDS)
    + """ me my i'm i've us you're please want know need help tell give show explain describe more about some any
    all also just really like think mean understand question information details thanks thank ok okay yes sorry
    good great got get getting find use using used make there's what's it's that's don't can't doesn't much many
    may might shall let say said way ways thing things kind kinds type types different difference example examples
    main important work works working hi hello why whose whom been being than too very only so
    am having after before between because up out over under during against without through again other others
    first oh cannot that there""",
    """it its this these those they them their he him his she her hers one ones such same former latter itself
    themselves""",
    ("and", "or", "but", "what about", "how about", "also", "so", "then", "why"),
)
_OTHERS: Mapping[str, FunctionWords] = {
    "de": _language(
        """der die das den dem des ein eine einen einem einer eines und oder aber nicht kein keine ist sind war
        waren wird werden wurde wurden hat haben hatte kann können soll muss darf im in an am auf aus bei mit nach
        von vom zu zum zur für über unter um durch als wie was wer wo wann warum wieso welche welcher welches
        wieviel viel ich wir ihr mir mich uns du sie mein meine unser bitte danke noch mehr auch nur schon sehr
        dann man gibt es so ja nein erkläre zeige brauche möchte wissen""",
        """es er sie ihn ihm ihr ihre ihrer ihrem ihren sein seine seiner dies diese dieser dieses diesen diesem
        jene jener jenes solche davon dafür damit dazu darüber dort denen deren dessen""",
        ("und", "oder", "aber", "auch", "was ist mit", "wie ist es mit", "warum", "wieso", "dann"),
    ),
    "fr": _language(
        """le la les un une des du de d l et ou mais ne pas est sont était a ont avait peut peuvent doit dans en
        sur sous par pour avec sans à au aux que qui quoi quel quelle quels quelles où quand comment pourquoi
        combien je nous vous tu me mon ma mes notre votre plus aussi très merci oui non s'il plaît expliquez
        voudrais besoin""",
        """il elle ils elles lui leur leurs son sa ses ce cet cette ces cela ceci ça celui celle ceux celles y""",
        ("et", "ou", "mais", "aussi", "qu'en est-il", "pourquoi", "alors"),
    ),
    "es": _language(
        """el la los las un una unos unas de del y o pero no es son era fue ha han puede pueden debe en sobre por
        para con sin a al que qué quien quién cual cuál cuáles donde dónde cuando cuándo como cómo cuanto cuánto
        cuántos cuántas yo nosotros tú usted me mi mis nuestro su más también muy gracias sí favor explica necesito
        quiero hay se""",
        """él ella ellos ellas lo le les su sus este esta esto estos estas ese esa eso esos esas aquel aquella
        dicho dicha ello""",
        ("y", "o", "pero", "también", "qué hay de", "entonces"),
    ),
}
# Where words are not divided, function words divide them: Chinese ones, and the syllables of Japanese grammar.
UNSPACED_EMPTY = re.compile(
    r"为什么|什么时候|什么|怎么样|怎么|怎样|如何|多少|哪里|哪些|哪个|哪|谁|请问|请|可以|能够|能|吗|呢|吧|的|了|是|在|和|与|及|有"
    r"|我们|我|你们|你|他们|她们|它们|他|她|它|这些|这个|这|那些|那个|那|其|还|也|就|都|会|要|[ぁ-ゟ]+"
)
UNSPACED_POINTING = re.compile(
    r"他们|她们|它们|他|她|它|这|那(?!么)|其(?!他)|それ|これ|あれ|その|この|あの|彼|มัน|เขา|นี้|นั้น"
)


def language_of(words: Collection[str]) -> FunctionWords:
    """The language whose function words are the most frequent here; English where nothing says otherwise."""
    best, most = ENGLISH, sum(word in ENGLISH.empty for word in words)
    for other in _OTHERS.values():
        n = sum(word in other.empty for word in words)
        if n > most:
            best, most = other, n
    return best
