"""Cues in other languages: a few each, for the commonest attacks. Accents are folded away, umlauts too."""

from __future__ import annotations

from llmops.guardrails.rules.cue import Cue, words

_DE_ORDERS = (
    r"(?:anweisung|instruktion|vorgabe|regel|befehl|prompt|aufgabe|auftrag|auftrage|angabe|ausfuhrung|anordnung"
    r"|richtlinie|information|direktive)\w{0,4}\b"
)
_DE_EARLIER = (
    r"(?:vorherig|vorhergehend|bisherig|obig|vorangegangen|fruher|vorig|vorstehend|ursprunglich|dein|ihr)\w{0,3}"
)
_DE_FORGET = (
    "ignorier|ignoriere|ignorieren sie|vergiss|vergesst|vergessen sie|missachte|missachten sie|uberspring"
    "|verwirf|hore nicht auf|hore nicht mehr auf|hor nicht auf|beachte nicht|beachten sie nicht|streiche"
)
_GERMAN = (
    Cue("override", 0.88, _DE_FORGET, rf"{words(3)} {_DE_EARLIER}{words(2)} {_DE_ORDERS}", "order"),
    Cue(
        "override",
        0.7,
        _DE_FORGET,
        rf"(?: \w+){{0,3}} (?:alle|deine|ihre|samtliche|saemtliche) {_DE_ORDERS}",
        "order",
    ),
    Cue(
        "override",
        0.78,
        _DE_FORGET,
        r"(?: jetzt| nun| bitte| einfach){0,3} (?:alles|all das),?(?: \w+){0,4} (?:davor|vorher|bisher|zuvor"
        r"|besprochen|gesagte?|oben|geschrieben)\b",
        "order",
    ),
    Cue(
        "override",
        0.82,
        "vorhergehende|bisherige|bisherigen|obige|obigen|vorangegangene|vorangegangenen|vorherige|vorherigen"
        "|fruheren",
        rf"{words(1)} {_DE_ORDERS},?(?: \w+){{0,5}} (?:ignorier\w*|vergess\w*|missacht\w*|streich\w*"
        rf"|zu ignorieren|verwerfen)",
    ),
    Cue(
        "override",
        0.65,
        "abweichend|entgegen|im gegensatz|anders als",
        rf"(?: zu| von)?(?: den| allen)? {_DE_EARLIER} {_DE_ORDERS}",
    ),
    Cue(
        "new-task",
        0.62,
        "nun|jetzt",
        r"(?: (?:aber|folgen|folgt|kommen|kommt|noch|eine?|paar|auf|dich|sie|zu|fur|neue|bitten|wir"
        r"|alle)){0,6}? (?:neue[nr]?|weitere[nr]?|paar) (?:anweisung|aufgabe|auftrag|auftrage"
        r"|instruktion)\w{0,3}\b",
    ),
    Cue(
        "new-task",
        0.62,
        "konzentriere|konzentrieren|konzentrier",
        r"(?: (?:dich|sie|sich|jetzt|nun|nur)){0,4} auf (?:deine|die|diese|ihre) (?:neue|folgende"
        r"|nachste)\w* (?:aufgabe|anweisung)",
    ),
    Cue(
        "new-task",
        0.45,
        "wir starten|wir fangen|wir beginnen|bei einer|mit einer|auf die|auf deine",
        r"(?: \w+){0,3}? (?:neuen|weiteren) (?:aufgabe|auftrag)",
    ),
    Cue(
        "reveal-prompt",
        0.7,
        "zeig|zeige|gib|geben sie|nenn|nenne|verrate|verrat|wiederhole|wiederholen sie|drucke|schreibe"
        "|zeigen sie|vorzeigen|kopie|teile",
        r"(?: \w+){0,3} (?:deine?[nrs]?|ihre?[nrs]?|alle|samtliche[nr]?|den|die"
        r"|des)(?: \w+){0,3} (?:system-?prompts?|prompt-?(?:texte?\w*|s)?\b|systemanweisung\w*|systemnachricht)",
    ),
    Cue(
        "reveal-prompt",
        0.65,
        "was|wie",
        r" (?:ist|sind|lauten|lautet|waren|stand)(?: \w+){0,2} (?:deine|ihre|deiner|der system"
        r"|dein)(?: \w+){0,2} (?:anweisungen|instruktionen|prompt|system-?prompt|anfangsanweisung\w*)",
    ),
    Cue(
        "secret-request",
        0.6,
        "was|wie",
        r" (?:ist|lautet|lauten) (?:das|dein|ihr|euer|unser)(?: \w+)? (?:passwort|kennwort|geheimwort"
        r"|geheimcode)\b",
    ),
    Cue(
        "secret-request", 0.6, "ihr|dein|das", r" (?:passwort|kennwort) (?:geben|verraten|nennen|mitteilen|sagen)"
    ),
    Cue(
        "role-change",
        0.75,
        "ab jetzt|ab sofort|von nun an|von jetzt an",
        r",? (?:bist|sollst|wirst|antwortest|verhaltst|spielst|agierst|sind|heisst) (?:du|sie)\b",
    ),
    Cue(
        "role-change",
        0.62,
        "du bist|sie sind",
        r" (?:jetzt|nun|ab jetzt|ab sofort|von nun an) (?:ein|eine|der|die|das|kein|nicht mehr|im)\b",
    ),
    Cue("role-change", 0.5, "du bist", r" (?:ein|eine) \w+[.!]? (?:konzentrier|antworte|beantworte|schreib|sag)"),
    Cue(
        "role-change",
        0.58,
        "ich mochte|ich will|ich moechte",
        r",? dass (?:du|sie)(?: [\w-]+,?){0,10}? (?:als|wie)(?: [\w,-]+){0,8}? (?:agier|fungier|auftret|auftritt"
        r"|handel|verhal|antwort)\w*",
    ),
    Cue(
        "role-change",
        0.55,
        "agiere|agieren sie|fungiere|fungieren sie|verhalte dich|verhalten sie sich|handle|handeln sie"
        "|benimm dich",
        r" (?:als|wie) (?:ein|eine|der|die|mein|meine)\b",
        "opening",
    ),
    Cue(
        "reveal-prompt",
        0.55,
        "was",
        r" (?:steht|stand|war|wurde)(?: \w+){0,3} (?:am anfang|vor diesem|am beginn"
        r"|zu beginn)(?: \w+){0,2} (?:prompts?|unterhaltung|konversation|textes|nachricht|chats?)\b",
    ),
    Cue(
        "role-change",
        0.5,
        "stell dir vor|stellen sie sich vor|tu so|tue so|spiel",
        r",? (?:du|sie|als|die rolle)(?: \w+)? (?:bist|warst|seist|sind|waren|ob|eine|ein|von|eines)\b",
    ),
    Cue(
        "jailbreak-persona",
        0.55,
        "bleiben|bleibt|bleibst|bleib",
        r"(?: \w+){0,6} in (?:ihr|dein|sein|der)\w* rollen?\b",
    ),
    Cue("jailbreak-persona", 0.6, "bose|bosen|boser", r" (?:ki|ai|chatbot|kunstliche intelligenz)\b"),
)
_ES_ORDERS = r"(?:instruccion\w*|indicacion\w*|ordenes|reglas|directrices|directivas)"
_SPANISH = (
    Cue(
        "override",
        0.85,
        "ignora|ignore|ignoren|ignorar|olvida|olvide|olviden|olvidar|descarta|descarte|desatiende|omite|omita"
        "|haz caso omiso de|no sigas|no hagas caso",
        rf"(?: (?:de|a|todas?|las?|tus?|sus?|por favor|cualquier|completamente|ya|anteriores"
        rf"|previas)){{0,5}} {_ES_ORDERS}"
        r" (?:anterior|previ|inicial|original|dad|recibid|del sistema|de arriba|que)\w*",
        "order",
    ),
    Cue(
        "override",
        0.72,
        "ignora|ignore|olvida|olvide|olvidar",
        rf"(?: de)?(?: (?:todas tus|todas sus|todas las|tus|sus|las anteriores)) {_ES_ORDERS}",
        "order",
    ),
    Cue(
        "override",
        0.72,
        "ignora|ignore|olvida|olvide|olvidar|olvidate de|olvidese de",
        r"(?: de)? (?:todo|todas?)(?: lo| el| la)?(?: que| anterior)?(?: \w+){0,3}? (?:antes|anterior\w*|dicho"
        r"|digo|dije|sabes|escrito|arriba)\b",
        "order",
    ),
    Cue(
        "reveal-prompt",
        0.7,
        "muestra|muestrame|revela|revelame|dime|repite|imprime|escribe|ensename|comparte|cual es|cuales son"
        "|muestre|diga",
        r"(?: \w+){0,4} (?:tu|tus|su|sus|el|las|los)(?: \w+){0,2} (?:prompt|instrucciones (?:iniciales"
        r"|originales|anteriores|del sistema|secretas)|mensaje del sistema|indicaciones iniciales)",
    ),
    Cue("reveal-prompt", 0.6, "cuales son|revela|muestrame|dime", r" (?:cuales son )?tus instrucciones"),
    Cue(
        "secret-request", 0.6, "cual es|dime|dame", r" (?:la|tu|su) (?:contrasena|clave secreta|clave de acceso)\b"
    ),
    Cue(
        "role-change",
        0.72,
        "a partir de ahora|desde ahora|de ahora en adelante",
        r",?(?: \w+){0,2} (?:eres|seras|actua\w*|responde\w*|te llamas|debes|vas a)\b",
    ),
    Cue(
        "role-change",
        0.58,
        "ahora eres|actua como|finge ser|finge que|hazte pasar por|quiero que actues|quiero que te comportes",
        "",
        "order",
    ),
)
_FR_ORDERS = r"(?:instructions?|consignes?|directives?|ordres?|regles?|prompts?)"
_FRENCH = (
    Cue(
        "override",
        0.85,
        "ignore|ignorer|ignorez|oublie|oubliez|oublier|ne tenez pas compte|ne tiens pas compte|fais abstraction"
        "|faites abstraction|neglige|negligez|ne suis pas|ne suivez pas",
        rf"(?: (?:de|des|d'|toutes?|tous|les?|la|tes|vos|ces|precedentes?|anterieures?)){{0,5}} {_FR_ORDERS}"
        r" (?:precedent|anterieur|initial|ci dessus|donne|recu|du systeme|que)\w*",
        "order",
    ),
    Cue(
        "override", 0.7, "oublie|oubliez|ignore|ignorez", rf"(?: toutes| tous)? (?:tes|vos) {_FR_ORDERS}", "order"
    ),
    Cue(
        "override",
        0.75,
        "oublie|oubliez|ignore|ignorez",
        r" (?:tout )?(?:ce qui|ce que|tout ce)(?: \w+'?\w*){0,5} (?:avant|precede|dit|dessus|precedemment"
        r"|ecrit)\b",
        "order",
    ),
    Cue(
        "reveal-prompt",
        0.7,
        "montre|montrez|affiche|affichez|revele|revelez|repete|repetez|donne|donnez|ecris|imprime|quelles sont"
        "|quel est|dis|dites",
        r"(?: moi)?(?: \w+){0,3} (?:ton|tes|votre|vos|le|les)(?: \w+){0,2} (?:prompt|instructions (?:initiales"
        r"|systeme|originales|precedentes|secretes)|message systeme|consignes initiales)",
    ),
    Cue(
        "secret-request",
        0.6,
        "quel est|donne|donnez|dis",
        r"(?: moi)? (?:le|ton|votre) (?:mot de passe|code secret)\b",
    ),
    Cue(
        "role-change",
        0.72,
        "a partir de maintenant|desormais|dorenavant",
        r",? (?:tu|vous) (?:es|etes|agis|agiras|repond\w*|seras?|serez|dois|devez|vas|allez)\b",
    ),
    Cue(
        "role-change",
        0.58,
        "tu es maintenant|vous etes maintenant|fais semblant|faites semblant|agis comme|agissez comme"
        "|je veux que tu agisses",
        "",
        "order",
    ),
)


def _forget(heads: str, orders: str, which: str) -> Cue:
    """Forget `orders`, if within 60 characters it says which: all, the earlier, your own."""
    return Cue(
        "override", 0.82, heads, rf"(?=[^.!?\n]{{0,60}}?\b(?:{which}))(?: \w+){{0,4}} (?:{orders})", "order"
    )


_OTHERS = (
    Cue(
        "override",
        0.62,
        "ignora|ignore|ignorez|ignoriere|ignorieren sie|ignorer|olvida|oublie|oubliez|ignorate",
        r"(?: \w+){0,2} (?:contenido|contenu|contenuto|conteudo|inhalt|texto|texte|testo|text),? (?:y|et|e"
        r"|und)\b",
        "order",
    ),
    _forget(
        "ignora|ignorate|ignori|dimentica|dimenticate|trascura",
        r"istruzioni|indicazioni|regole|ordini|direttive",
        r"tutt[ei]|precedent\w*|tue|vostre|iniziali",
    ),
    _forget(
        "ignore|ignora|ignorar|esqueca|esquece|desconsidere|desconsidera",
        r"instrucoes|ordens|regras|orientacoes|diretrizes",
        r"todas|anterior\w*|suas|tuas|previas",
    ),
    _forget(
        "negeer|vergeet",
        r"instructies|aanwijzingen|opdrachten|regels",
        r"alle|vorige|eerdere|voorgaande|bovenstaande|jouw|je\b",
    ),
    _forget(
        "игнорировать|игнорируи|игнорируите|забудь|забудьте|проигнорируи|проигнорируите",
        r"(?:инструкци|указани|команд|правил)\w*",
        r"все|предыдущ\w*|прежн\w*|свои|твои|ваши",
    ),
    _forget("αγνοησε|αγνοηστε|ξεχνα|ξεχαστε", r"οδηγιες|εντολες|κανονες", r"προηγουμεν\w*|ολες|σου"),
    _forget("تجاهل|انس", r"التعليمات|الاوامر", r"السابقة|جميع|كل"),
    Cue(
        "secret-request",
        0.6,
        "qual e|qual",
        r"(?: e)? (?:la|a|tua|sua|la tua|a sua) (?:password|senha|parola d'ordine)\b",
    ),
)
LANGUAGE_CUES = (*_GERMAN, *_SPANISH, *_FRENCH, *_OTHERS)
