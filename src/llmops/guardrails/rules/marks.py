"""Attacks that show in marks: fake roles and delimiters, links that carry data, scripts without blanks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """A pattern that is searched in folded text; its score is in (0, 1]."""

    rule: str
    score: float
    pattern: str


_TOKEN = (
    r"(?:im_start|im_end|im_sep|system|user|assistant|eot_id|start_header_id|end_header_id|begin_of_text"
    r"|end_of_turn|start_of_turn)"
)
_WHAT = r"(?:prompt|message|instructions?|note|override|update|notice|alert|admin|command|mode)"
_ORDERED = (
    r"(?:you (?:are|must|will|should|now|have)|ignore|new|from now|forget|disregard|do not|never|always|respond"
    r"|override|the user|all previous|reveal|print|safety|user has)\b"
)
MARKS: tuple[Mark, ...] = (
    Mark("delimiter", 0.65, rf"<\|\s?{_TOKEN}\s?\|>(?:system)?"),
    Mark("delimiter", 0.4, r"<\|\s?(?:end|endoftext|endofprompt)\s?\|>"),
    Mark("delimiter", 0.6, r"\[/?(?:inst|system|sys)\](?!\()|<</?sys>>|<(?:start|end)_of_turn>"),
    Mark("delimiter", 0.75, rf"<\s?(?:system|god|admin|developer|sudo|root)[\s_-]{_WHAT}\s?>"),
    Mark("delimiter", 0.6, r"</?(?:system|sys)>\s{0,3}+(?=[\w\[])"),
    Mark(
        "delimiter",
        0.68,
        rf"(?:^|(?<=\n))[ \t#>*\[({{-]{{0,12}}+(?:system|assistant|admin"
        rf"|developer)(?:\s{_WHAT}){{0,2}}[\])}}*]{{0,3}}\s?[:>]\*{{0,2}}\s{{0,3}}+{_ORDERED}",
    ),
    Mark(
        "delimiter",
        0.62,
        r"(?:[-=#*]{2,8}+|[\[({<])\s?(?:(?:begin|end|start)(?: of)?(?: the)?|new|updated) (?:system|hidden|admin"
        r"|secret|developer|user|prompt|instructions?|contexts?|documents?)(?: (?:prompt|message|instructions?"
        r"|override|input|query|section|context|text|data|documents?)){0,2}\s?(?:[-=#*]{2,8}|[\])}>])",
    ),
    Mark(
        "delimiter",
        0.5,
        r"system\s{1,2}(?:announ-?cement|i-?nstruction|override)\s{1,2}(?:begins?|starts?|starting|engaged"
        r"|activated)",
    ),
    Mark(
        "delimiter",
        0.5,
        r"(?:developer|admin|god|dan|debug|jailbreak)[\s_\\-]{1,2}mode\s?[:=]\s?(?:enabled|on|active|unlocked)",
    ),
    Mark(
        "exfiltration",
        0.62,
        r"!\[[^\]\n]{0,80}\]\(https?://[^)\s{<\[$]{1,120}(?<=[?&=/])(?:\{|%7b|\[|<)[^)\n]{1,80}\)",
    ),
    # Scripts without blanks have no opening word to look for; folding has taken the voicing marks of kana.
    Mark(
        "override",
        0.85,
        r"(?:忽略|无视|無視|忘记|忘掉|忘記|不要理会|不要理會)[^。\n]{0,12}?(?:指令|指示|提示|规则|規則|命令)",
    ),
    Mark("override", 0.85, r"(?:指示|命令|指令|フロンフト|ルール)[^。\n]{0,6}?(?:無視|忘れ)"),
    Mark("override", 0.85, r"(?:지시|명령|지침|프롬프트)[^.\n]{0,6}?무시"),
    Mark("override", 0.85, r"निरदशो (?:को|की) (?:अनदखी|अनदखा|नजरअदाज)"),
    Mark(
        "secret-request",
        0.6,
        r"(?:ハスワート|密码|密碼|비밀번호)[^\n]{0,30}?(?:教えて|告诉我|告訴我|是什么|是多少|알려|무엇)",
    ),
)
