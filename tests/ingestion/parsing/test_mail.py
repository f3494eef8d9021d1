"""Mails made with the standard library, and what hangs on them."""

from __future__ import annotations

import struct
from email.message import EmailMessage
from pathlib import Path

from llmops.ingestion.parsing import parse
from tests.ingestion.parsing.reading import blocks, headings, read, reason, zipped


def mail(text: str = "The gate is open.", subject: str = "Opening") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann Müller <ann@example.com>"
    message["To"] = "bob@example.com"
    message["Date"] = "Fri, 20 Nov 2026 10:00:00 +0000"
    message["Subject"] = subject
    message.set_content(text)
    return message


def test_head_text_and_metadata() -> None:
    parsed = read(mail(subject="Öffnung").as_bytes(), "a.eml")
    assert blocks(parsed) == [
        ("heading", "Öffnung"),
        (
            "paragraph",
            "From: Ann Müller <ann@example.com>\nTo: bob@example.com\nDate: Fri, 20 Nov 2026 10:00:00 +0000",
        ),
        ("paragraph", "The gate is open."),
    ]
    assert (parsed.title, parsed.metadata["from"]) == ("Öffnung", "Ann Müller <ann@example.com>")


def test_one_of_two_forms_of_the_text_is_read() -> None:
    message = mail("The gate is open.")
    message.add_alternative("<p>The <b>gate</b> is open.</p>", subtype="html")
    assert read(message.as_bytes(), "a.eml").text.count("gate") == 1
    stub = mail("See the HTML.")
    stub.add_alternative(
        "<h1>News</h1><table><tr><td>a</td><td>b</td></tr></table>" + "<p>word</p>" * 9, subtype="html"
    )
    assert ("heading", "News") in blocks(read(stub.as_bytes(), "a.eml"))


def test_attachments_are_read_below_their_names() -> None:
    message = mail()
    message.add_attachment(b"# Plan\n\nTurn the key.\n", maintype="text", subtype="markdown", filename="plan.md")
    message.add_attachment(b"a,b\n1,2\n", maintype="text", subtype="csv", filename="Daten Größe.csv")
    message.add_attachment(b"%PDF-broken", maintype="application", subtype="pdf", filename="a.pdf")
    message.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="a.bin")
    parsed = read(message.as_bytes(), "a.eml")
    assert headings(parsed) == [(1, "Opening"), (2, "plan.md"), (3, "Plan"), (2, "Daten Größe.csv")]
    assert ("table", "a | b\n1 | 2") in blocks(parsed)
    assert len(parsed.problems) == 2
    assert parsed.problems[0].startswith("attachment 'a.pdf' (application/pdf) is not read: ")
    assert parsed.problems[1].startswith("attachment 'a.bin' (application/octet-stream) is not read: no parser")


def test_a_mail_within_a_mail_is_read_and_endless_nesting_is_not() -> None:
    message = mail("innermost", "level 0")
    for level in range(1, 10):
        outer = mail(f"text {level}", f"level {level}")
        outer.add_attachment(message)
        message = outer
    parsed = read(message.as_bytes(), "a.eml")
    assert "text 5" in parsed.text
    assert "innermost" not in parsed.text
    assert any("files within each other" in problem for problem in parsed.problems)


def test_an_attachment_without_a_suffix_is_known_by_its_type() -> None:
    message = mail()
    message.add_attachment(b"<h1>Hello</h1>", maintype="text", subtype="html", filename="page")
    assert ("heading", "Hello") in blocks(read(message.as_bytes(), "a.eml"))


def test_a_bomb_in_a_mail_is_named_and_the_mail_is_read() -> None:
    message = mail()
    bomb = zipped({"xl/workbook.xml": bytes(30_000_000)})
    message.add_attachment(bomb, maintype="application", subtype="x", filename="a.xlsx")
    parsed = read(message.as_bytes(), "a.eml")
    assert "The gate is open." in parsed.text
    assert "no honest document" in parsed.problems[0]


def test_a_cut_off_mail_is_read_as_far_as_it_goes_and_says_so() -> None:
    message = mail()
    message.add_attachment(b"x" * 3_000, maintype="text", subtype="plain", filename="a.txt")
    raw = message.as_bytes()
    parsed = read(raw[: len(raw) // 2], "a.eml")
    assert "The gate is open." in parsed.text
    assert parsed.problems[0].startswith("the mail is cut off or damaged")


def test_wrong_encodings_and_broken_headers_are_survived() -> None:
    raw = (
        b"From: =?utf-8?q?broken\r\nTo: <<>>,,;\r\nSubject: =?xx-unknown?b?////?=\r\nDate: never\r\n"
        b"Content-Type: text/plain; charset=klingon\r\n\r\nViele Gr\xfc\xdfe aus der Stadt am Flu\xdf\r\n"
    )
    assert "Grüße" in read(raw, "a.eml").text


def test_bytes_without_a_head_are_no_mail() -> None:
    assert reason(b"\n\nhello", "a.eml") == "is no mail: it does not begin with a mail's head"


def test_a_mail_without_a_suffix_is_known_by_its_head() -> None:
    assert parse(mail().as_bytes(), uri="cur/1234").media_type == "message/rfc822"


def test_an_outlook_mail_has_the_same_shape(shared: Path) -> None:
    file = shared / "data" / "documents_office" / "files" / "docling" / "msg_simple.msg"
    parsed = parse(file.read_bytes(), uri=file.name)
    assert blocks(parsed)[0] == ("heading", "Simple Email")
    assert parsed.text.startswith('Simple Email\n\nFrom: "Alice Example" <alice@example.com>\nTo: Bob Example')
    assert parsed.text.endswith("This is a simple email body.")
    raw = file.read_bytes()
    for at in range(600, len(raw), len(raw) // 40):
        broken = raw[:at] + struct.pack("<I", 0xFFFFFFF0) + raw[at + 4 :]
        try:
            parse(broken, uri="a.msg")
        except Exception as error:  # noqa: BLE001 (what is tested is which one)
            assert type(error).__module__ == "llmops.errors"


def test_other_bytes_are_no_outlook_mail() -> None:
    assert "is no Outlook mail" in reason(b"hello", "a.msg")
