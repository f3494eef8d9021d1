"""Formulas of office files (OMML) and web pages (MathML) as one line of LaTeX, as people write them in text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

_MAX_DEPTH = 60
_SYMBOLS = {
    "∞": r"\infty",
    "∑": r"\sum",
    "∏": r"\prod",
    "∫": r"\int",
    "⋃": r"\bigcup",
    "⋂": r"\bigcap",
    "π": r"\pi",
    "α": r"\alpha",
    "β": r"\beta",
    "γ": r"\gamma",
    "δ": r"\delta",
    "ε": r"\epsilon",
    "θ": r"\theta",
    "λ": r"\lambda",
    "μ": r"\mu",
    "σ": r"\sigma",
    "τ": r"\tau",
    "φ": r"\phi",
    "ω": r"\omega",
    "Δ": r"\Delta",
    "Σ": r"\Sigma",
    "Ω": r"\Omega",
    "±": r"\pm",
    "×": r"\times",
    "⋅": r"\cdot",
    "∙": r"\cdot",
    "÷": r"\div",
    "≤": r"\leq",
    "≥": r"\geq",
    "≠": r"\neq",
    "≈": r"\approx",
    "→": r"\to",
    "∈": r"\in",
    "∂": r"\partial",
    "∇": r"\nabla",
    "√": r"\surd",
    "…": r"\ldots",
}
_NEW_ROW = r" \\ "
_TABLE = str.maketrans({symbol: f"{name} " for symbol, name in _SYMBOLS.items()})
_ACCENTS = {
    "\u0302": r"\hat",
    "\u0303": r"\tilde",
    "\u0304": r"\bar",
    "\u0305": r"\overline",
    "\u0307": r"\dot",
    "\u0308": r"\ddot",
    "\u20d7": r"\vec",
}
_OMML_PROPERTIES = ("Pr",)


def latex_of_omml(element: Any) -> str:
    """An `m:oMath` element (or a part of one) of lxml as LaTeX; plain letters stay as they are."""
    return " ".join(_omml(element, 0).split())


def latex_of_mathml(element: Any) -> str:
    """A `math` element as LaTeX.

    Args:
        element: anything with a name, a text and children: see `Node`.
    """
    return " ".join(_mathml(element, 0).split())


def _name(element: Any) -> str:
    tag = element.tag
    return tag.rsplit("}", 1)[-1] if isinstance(tag, str) else ""


def _child(element: Any, name: str) -> Any:
    return next((child for child in element if _name(child) == name), None)


def _value(element: Any, *path: str) -> str | None:
    """The `val` attribute of a property, None where it is not set."""
    for name in path:
        element = _child(element, name) if element is not None else None
    if element is None:
        return None
    return next((str(value) for key, value in element.attrib.items() if key.endswith("val")), "")


def _omml(element: Any, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return "".join(element.itertext())

    def part(name: str) -> str:
        inner = _child(element, name)
        return _omml(inner, depth + 1).strip() if inner is not None else ""

    name = _name(element)
    if name == "t":
        return (element.text or "").translate(_TABLE)
    write = _OMML.get(name)
    if write is not None:
        return write(element, part)
    if name in ("m", "eqArr"):
        return _rows(element, depth)
    if name == "d":
        return _delimited(element, depth)
    children = (child for child in element if not _name(child).endswith(_OMML_PROPERTIES))
    return "".join(_omml(child, depth + 1) for child in children)


Part = Callable[[str], str]


def _fraction(element: Any, part: Part) -> str:
    kind = _value(element, "fPr", "type")
    top, bottom = part("num"), part("den")
    if kind == "lin":
        return f"{top}/{bottom}"
    return (
        rf"\genfrac{{}}{{}}{{0pt}}{{}}{{{top}}}{{{bottom}}}" if kind == "noBar" else rf"\frac{{{top}}}{{{bottom}}}"
    )


def _nary(element: Any, part: Part) -> str:
    sign = _value(element, "naryPr", "chr")
    shown = ("∫" if sign is None else sign).translate(_TABLE).strip()
    below, above = part("sub"), part("sup")
    return f"{shown}{_index('_', below)}{_index('^', above)} {part('e')}"


def _index(sign: str, text: str) -> str:
    return f"{sign}{{{text}}}" if text else ""


def _radical(element: Any, part: Part) -> str:  # noqa: ARG001
    degree = part("deg")
    shown = f"[{degree}]" if degree else ""
    return rf"\sqrt{shown}{{{part('e')}}}"


def _accent(element: Any, part: Part) -> str:
    sign = _value(element, "accPr", "chr") or "\u0302"
    return f"{_ACCENTS.get(sign, chr(92) + 'hat')}{{{part('e')}}}"


def _bar(element: Any, part: Part) -> str:
    place = "underline" if _value(element, "barPr", "pos") == "bot" else "overline"
    return rf"\{place}{{{part('e')}}}"


_FUNCTIONS = frozenset("sin cos tan cot sec csc sinh cosh tanh log ln exp lim max min sup inf det gcd".split())


def _function(element: Any, part: Part) -> str:  # noqa: ARG001
    name = part("fName")
    head = name.split("_")[0].split("^")[0]
    return f"{chr(92) + name if head in _FUNCTIONS else name} {part('e')}"


_OMML: dict[str, Callable[[Any, Part], str]] = {
    "f": _fraction,
    "nary": _nary,
    "rad": _radical,
    "acc": _accent,
    "bar": _bar,
    "func": _function,
    "sSup": lambda _, part: f"{part('e')}^{{{part('sup')}}}",
    "sSub": lambda _, part: f"{part('e')}_{{{part('sub')}}}",
    "sSubSup": lambda _, part: f"{part('e')}_{{{part('sub')}}}^{{{part('sup')}}}",
    "sPre": lambda _, part: f"{{}}_{{{part('sub')}}}^{{{part('sup')}}}{part('e')}",
    "limLow": lambda _, part: f"{part('e')}_{{{part('lim')}}}",
    "limUpp": lambda _, part: f"{part('e')}^{{{part('lim')}}}",
}


def _delimited(element: Any, depth: int) -> str:
    begin, end = _value(element, "dPr", "begChr"), _value(element, "dPr", "endChr")
    between = _value(element, "dPr", "sepChr")
    parts = [_omml(child, depth + 1).strip() for child in element if _name(child) == "e"]
    inner = ("|" if between is None else between).join(parts)
    shown = [{"": ".", "{": r"\{", "}": r"\}"}.get(sign, sign) for sign in (begin or "(", end or ")")]
    if begin == "":
        shown[0] = "."
    if end == "":
        shown[1] = "."
    return rf"\left{shown[0]}{inner}\right{shown[1]}"


def _rows(element: Any, depth: int) -> str:
    if _name(element) == "eqArr":
        rows: Iterable[str] = (_omml(child, depth + 1) for child in element if _name(child) == "e")
        return _NEW_ROW.join(rows)
    rows = (
        " & ".join(_omml(cell, depth + 1).strip() for cell in row if _name(cell) == "e")
        for row in element
        if _name(row) == "mr"
    )
    return rf"\begin{{matrix}}{_NEW_ROW.join(rows)}\end{{matrix}}"


def _mathml(element: Any, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return "".join(element.itertext())
    name = _name(element)
    if name in ("annotation", "annotation-xml", "none", "mprescripts"):
        return ""
    if name in ("mi", "mn", "mo", "mtext", "ms"):
        text = "".join(element.itertext()).strip()
        if name == "mtext" and " " in text:
            return rf"\text{{{text}}}"
        return f"\\{text} " if text in _FUNCTIONS else text.translate(_TABLE)
    parts = [_mathml(child, depth + 1).strip() for child in element if isinstance(child.tag, str)]
    write = _MATHML.get(name)
    if write is not None and len(parts) >= 2:
        return write(parts)
    match name:
        case "msqrt":
            return rf"\sqrt{{{''.join(parts)}}}"
        case "mfenced":
            return f"({','.join(parts)})"
        case "mtr" | "mlabeledtr":
            return " & ".join(parts)
        case "mtable":
            return rf"\begin{{matrix}}{_NEW_ROW.join(parts)}\end{{matrix}}"
        case _:
            return " ".join(parts) if name in ("math", "semantics") else "".join(parts)


_MATHML: dict[str, Callable[[list[str]], str]] = {
    "mfrac": lambda p: rf"\frac{{{p[0]}}}{{{p[1]}}}",
    "mroot": lambda p: rf"\sqrt[{p[1]}]{{{p[0]}}}",
    "msup": lambda p: f"{p[0]}^{{{p[1]}}}",
    "msub": lambda p: f"{p[0]}_{{{p[1]}}}",
    "msubsup": lambda p: f"{p[0]}_{{{p[1]}}}^{{{p[-1]}}}",
    "munder": lambda p: f"{p[0]}_{{{p[1]}}}",
    "mover": lambda p: f"{p[0]}^{{{p[1]}}}",
    "munderover": lambda p: f"{p[0]}_{{{p[1]}}}^{{{p[-1]}}}",
}
