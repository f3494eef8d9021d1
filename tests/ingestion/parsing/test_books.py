"""EPUB, OpenDocument text and XML, written by hand as their standards say."""

from __future__ import annotations

from tests.ingestion.parsing.reading import blocks, headings, lines, read, reason, with_member, zipped

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>The Gate</dc:title><dc:creator>Ann</dc:creator><dc:language>en</dc:language></metadata>
<manifest>
<item id="two" href="text/chapter%202.xhtml" media-type="application/xhtml+xml"/>
<item id="one" href="text/one.xhtml" media-type="application/xhtml+xml"/>
<item id="art" href="art.svg" media-type="image/svg+xml"/>
</manifest><spine><itemref idref="one"/><itemref idref="two"/><itemref idref="art"/><itemref idref="lost"/></spine>
</package>"""


def page(body: str, title: str = "") -> str:
    return (
        f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{title}</title></head><body>{body}</body></html>'
    )


def book() -> bytes:
    members = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "OPS/book.opf": PACKAGE,
        "OPS/text/one.xhtml": page("<h1>One</h1><p>The gate opens.</p>"),
        "OPS/text/chapter 2.xhtml": page("<p>It closes.</p>", "Two"),
    }
    return zipped(members, stored=("mimetype",))


# EPUB


def test_chapters_stand_in_the_order_of_the_spine_under_their_headings() -> None:
    parsed = read(book(), "a.epub")
    assert blocks(parsed) == [
        ("heading", "One"),
        ("paragraph", "The gate opens."),
        ("heading", "Two"),
        ("paragraph", "It closes."),
    ]
    assert (parsed.title, parsed.metadata) == ("The Gate", {"author": "Ann", "language": "en"})
    assert parsed.problems == (
        "'OPS/art.svg' (image/svg+xml) is no page and is not read",
        "'lost' (not in the list of files) is no page and is not read",
    )


def test_a_missing_chapter_is_named() -> None:
    raw = zipped(
        {"META-INF/container.xml": CONTAINER, "OPS/book.opf": PACKAGE, "OPS/text/one.xhtml": page("<p>x</p>")}
    )
    parsed = read(raw, "a.epub")
    assert parsed.text == "x"
    assert (
        "chapter 'OPS/text/chapter 2.xhtml' is damaged: 'OPS/text/chapter 2.xhtml' is missing"
        in parsed.problems[0]
    )


def test_scrambled_fonts_are_no_obstacle_and_scrambled_pages_are() -> None:
    def encryption(method: str) -> bytes:
        said = f'<encryption><EncryptedData><EncryptionMethod Algorithm="{method}"/></EncryptedData></encryption>'
        return with_member(book(), "META-INF/encryption.xml", said)

    assert "The gate opens." in read(encryption("http://www.idpf.org/2008/embedding"), "a.epub").text
    assert "digital rights" in reason(encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc"), "a.epub")


def test_a_book_is_known_without_its_suffix_and_other_archives_are_none() -> None:
    assert read(book(), "download").title == "The Gate"
    assert "'META-INF/container.xml' is missing" in reason(zipped({"a.txt": "x"}), "a.epub")


def test_laughing_packages_are_refused() -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 9))
    package = (
        f'<!DOCTYPE p [<!ENTITY l0 "ha">{laughs}]><package><metadata><title>&l8;</title></metadata></package>'
    )
    assert "entit" in reason(with_member(book(), "OPS/book.opf", package), "a.epub")


# ODT

NAMES = (
    " ".join(
        f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for prefix, name in (
            ("office", "office"),
            ("text", "text"),
            ("table", "table"),
            ("style", "style"),
            ("draw", "drawing"),
            ("manifest", "manifest"),
        )
    )
    + ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
)


def odt(body: str, styles: str = "", kind: str = "text") -> bytes:
    content = (
        f"<office:document-content {NAMES}><office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    )
    media_type = "application/vnd.oasis.opendocument.text"
    return zipped({"mimetype": media_type, "content.xml": content}, stored=("mimetype",))


def test_headings_titles_and_blanks_of_a_text_document() -> None:
    body = (
        '<text:p text:style-name="P1">The Gate</text:p><text:h text:outline-level="2">Opening</text:h>'
        '<text:p>Turn<text:s text:c="2"/>the <text:span>key</text:span>.<text:line-break/>Push.</text:p>'
    )
    styles = '<style:style style:name="P1" style:parent-style-name="Title"/>'
    parsed = read(odt(body, styles), "a.odt")
    assert headings(parsed) == [(1, "The Gate"), (2, "Opening")]
    assert blocks(parsed)[2] == ("paragraph", "Turn the key.\nPush.")
    assert parsed.title == "The Gate"


def test_lists_are_numbered_as_their_style_says_and_go_on() -> None:
    styles = (
        '<text:list-style style:name="L"><text:list-level-style-number text:level="1" style:num-format="1" '
        'text:start-value="3"/><text:list-level-style-bullet text:level="2"/></text:list-style>'
    )
    inner = "<text:list><text:list-item><text:p>under</text:p></text:list-item></text:list>"
    body = (
        f'<text:list text:style-name="L"><text:list-item><text:p>three</text:p>{inner}</text:list-item>'
        "<text:list-item><text:p>four</text:p></text:list-item></text:list><text:p>between</text:p>"
        '<text:list text:style-name="L" text:continue-numbering="true"><text:list-item><text:p>five</text:p>'
        "</text:list-item></text:list>"
    )
    assert blocks(read(odt(body, styles), "a.odt")) == [
        ("list", "3. three\n  - under\n4. four"),
        ("paragraph", "between"),
        ("list", "5. five"),
    ]


def test_spanned_and_repeated_cells_of_a_table() -> None:
    def cell(text: str, more: str = "") -> str:
        return f"<table:table-cell {more}><text:p>{text}</text:p></table:table-cell>"

    covered = "<table:covered-table-cell/>"
    wide, high = 'table:number-columns-spanned="2"', 'table:number-rows-spanned="2"'
    far = '<table:table-cell table:number-columns-repeated="16000"/>'
    rows = (
        cell("Gate") + cell("Size", wide) + covered + far,
        cell("North", high) + cell("a|b") + cell("c"),
        covered + cell("d", 'table:number-columns-repeated="2"'),
    )
    table = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    empty = f'<table:table-row table:number-rows-repeated="1048000">{far}</table:table-row>'
    assert blocks(read(odt(f"<table:table>{table}{empty}</table:table>"), "a.odt")) == [
        ("table", "Gate | Size | Size\nNorth | a\\|b | c\nNorth | d | d")
    ]


def test_notes_comments_and_frames_follow_their_paragraph_and_deleted_text_is_gone() -> None:
    body = (
        "<text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        "<text:table-of-content><text:p>The Gate ... 1</text:p></text:table-of-content>"
        "<text:p>Open<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>Slowly.</text:p>"
        "</text:note-body></text:note> it.<office:annotation><dc:creator>Ann</dc:creator>"
        "<dc:date>2026-01-01</dc:date><text:p>Why?</text:p></office:annotation><draw:frame><draw:text-box><text:p>Boxed</text:p></draw:text-box>"
        "</draw:frame></text:p>"
    )
    assert blocks(read(odt(body), "a.odt")) == [
        ("paragraph", "Open [1] it."),
        ("paragraph", "[1] Slowly."),
        ("paragraph", "Comment by Ann, 2026-01-01: Why?"),
        ("paragraph", "Boxed"),
    ]


def test_encrypted_and_other_documents_have_a_reason() -> None:
    manifest = f"<manifest:manifest {NAMES}><manifest:encryption-data/></manifest:manifest>"
    locked = with_member(odt("<text:p>x</text:p>"), "META-INF/manifest.xml", manifest)
    assert reason(locked, "a.odt") == "is encrypted and needs a password"
    assert "is no OpenDocument text" in reason(odt("", kind="spreadsheet"), "a.odt")
    assert "'content.xml' is missing" in reason(zipped({"a": "x"}), "a.odt")


# XML


def test_records_are_paragraphs_of_paths_and_values() -> None:
    source = """<gates city="Ur">
<gate id="1"><name>North</name><size><w>3</w><h>4</h></size></gate>
<gate id="2"><name>South</name></gate>
</gates>"""
    parsed = read(source, "city-gates.xml")
    assert parsed.title == "city gates"
    assert parsed.text.split("\n\n")[0] == "city: Ur"
    assert "name: North" in parsed.text
    assert "size.w: 3\nsize.h: 4" in parsed.text
    assert "gate.id: 2\ngate.name: South" in parsed.text
    assert lines(parsed)[-1] == (3, 3)


def test_prose_in_elements_stays_together() -> None:
    assert read("<p>Turn <b>the</b> key.</p>", "a.xml").text == "p: Turn the key."


def test_hostile_xml_has_a_reason() -> None:
    assert "declares XML entities" in reason('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "a.xml")
    external = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'
    assert "declares XML entities" in reason(external, "a.xml")
    assert "no well-formed XML" in reason("<a>" * 5_000, "a.xml")
    assert "no well-formed XML" in reason("<a>x</b>", "a.xml")
