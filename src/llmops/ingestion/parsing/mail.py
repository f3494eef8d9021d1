"""Mails, as files of the internet's format (EML) and of Outlook (MSG): head, text, attachments."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import PurePosixPath

from llmops.errors import DocumentError, EmptyDocumentError
from llmops.ingestion.parsing import parse
from llmops.ingestion.parsing.builder import Parsed, Scalar, TextBuilder
from llmops.ingestion.parsing.html import parse_html
from llmops.ingestion.parsing.media_types import media_type_of, suffix_of
from llmops.ingestion.parsing.plain import parse_plain

MAX_ATTACHMENTS = 200
_MAX_HEADER = 2_000
_HTML_SAYS_MORE = 1.5
_EML, _MSG = "message/rfc822", "application/vnd.ms-outlook"
_SHOWN = ("From", "To", "Cc", "Date")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A file in a mail; `media_type` is what the sender's program called it."""

    name: str
    media_type: str
    content: bytes


@dataclass(kw_only=True, slots=True)
class Mail:
    """A mail of either format.

    Attributes:
        head: "From", "To", "Cc", "Date" and "Message-ID", those that it has.
        texts: plain text and HTML in reading order: (True for HTML, content as UTF-8).
    """

    media_type: str
    subject: str
    head: Mapping[str, str]
    texts: list[tuple[bool, bytes]] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def parse_eml(raw: bytes, uri: str) -> Parsed:
    """An internet mail.

    Raises:
        DocumentError: it has neither a head nor a text of a mail.
    """
    message = email.message_from_bytes(raw, policy=email.policy.default)
    if not message.keys():
        raise DocumentError("is no mail: it does not begin with a mail's head")
    head = {name: said for name in (*_SHOWN, "Message-ID") if (said := _header(message, name))}
    mail = Mail(media_type=_EML, subject=_header(message, "Subject"), head=head)
    _collect(message, mail, 0)
    return _read(mail, uri)


def parse_msg(raw: bytes, uri: str) -> Parsed:
    """An Outlook mail.

    Raises:
        DocumentError: it is no such file, or is damaged.
    """
    from llmops.ingestion.parsing.outlook import outlook_mail

    return _read(outlook_mail(raw), uri)


def _header(message: EmailMessage, name: str) -> str:
    """A header as text; the standard library raises on some of the malformed ones."""
    try:
        return " ".join(str(message.get(name, "")).split())[:_MAX_HEADER]
    except Exception:  # noqa: BLE001 (its parser of structured headers raises many types on damaged ones)
        raw = next((value for key, value in message.raw_items() if key.lower() == name.lower()), "")
        return " ".join(str(raw).split())[:_MAX_HEADER]


def _collect(part: EmailMessage, mail: Mail, depth: int) -> None:
    """Sort a mail's parts into texts and attachments."""
    if depth > 50:
        raise DocumentError("is nested too deeply to be read")
    for defect in part.defects:
        if type(defect).__name__ in ("CloseBoundaryNotFoundDefect", "StartBoundaryNotFoundDefect"):
            mail.problems.append("the mail is cut off or damaged: a part of it has no end")
    kind = part.get_content_type()
    inner = [one for one in part.iter_parts() if isinstance(one, EmailMessage)] if part.is_multipart() else []
    if kind == "multipart/alternative" and inner:
        _alternatives(inner, mail, depth)
    elif kind.startswith("multipart/"):
        for one in inner:
            _collect(one, mail, depth + 1)
    elif kind.startswith("message/"):
        for one in inner:
            _forwarded(one, mail)
    elif part.get_filename() or part.get_content_disposition() == "attachment" or not kind.startswith("text/"):
        name = PurePosixPath(str(part.get_filename() or "").replace("\\", "/")).name
        _attach(name or f"attachment{suffix_of(kind)}", kind, _payload(part), mail)
    else:
        mail.texts.append((kind == "text/html", _text(part)))


def _forwarded(message: EmailMessage, mail: Mail) -> None:
    """A mail within a mail is read like any other attachment."""
    name = f"{_header(message, 'Subject') or 'forwarded mail'}.eml"
    try:
        content = message.as_bytes(policy=email.policy.compat32)
    except Exception as error:  # noqa: BLE001 (the standard library writes malformed mails no better than it reads them)
        mail.problems.append(f"the mail {name!r} within the mail is damaged ({type(error).__name__})")
        return
    _attach(name, _EML, content, mail)


def _alternatives(parts: list[EmailMessage], mail: Mail, depth: int) -> None:
    """One of the forms of the same text: the plain one, unless it is only a stub of the HTML one."""
    forms = []
    for part in parts:
        form = Mail(media_type=_EML, subject="", head={})
        _collect(part, form, depth + 1)
        forms.append(form)
    written = [form for form in forms if form.texts]
    plain = next((form for form in written if not form.texts[0][0]), None)
    rich = next((form for form in reversed(written) if form.texts[0][0]), None)
    chosen = plain or rich
    if plain is not None and rich is not None:
        n_plain, n_rich = (_n_words(form) for form in (plain, rich))
        chosen = rich if n_rich > _HTML_SAYS_MORE * n_plain else plain
    mail.texts += chosen.texts if chosen is not None else []
    for form in forms:
        mail.attachments += form.attachments
        mail.problems += form.problems


def _n_words(form: Mail) -> int:
    n_words = 0
    for is_html, content in form.texts:
        read = parse_html if is_html else parse_plain
        try:
            n_words += len(read(content, "text").text.split())
        except DocumentError:
            continue
    return n_words


def _payload(part: EmailMessage) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: EmailMessage) -> bytes:
    """A text part as UTF-8: by its declared encoding where that can be true, else as it is, to be detected."""
    raw = _payload(part)
    try:
        return raw.decode(part.get_content_charset() or "utf-8").encode("utf-8", "replace")
    except (LookupError, UnicodeError, ValueError):
        return raw


def _attach(name: str, kind: str, content: bytes, mail: Mail) -> None:
    mail.attachments.append(Attachment(name=name[:200], media_type=kind, content=content))


def _read(mail: Mail, uri: str) -> Parsed:
    builder = TextBuilder()
    builder.add("heading", mail.subject, level=1)
    builder.add("paragraph", "\n".join(f"{name}: {mail.head[name]}" for name in _SHOWN if name in mail.head))
    for is_html, content in mail.texts:
        try:
            part = (parse_html if is_html else parse_plain)(content, "text")
        except DocumentError as error:
            mail.problems.append(f"a text of the mail {error}")
            continue
        builder.embed(part, deeper=1)
    problems = [*mail.problems, *_add_attachments(mail, builder)]
    metadata: dict[str, Scalar] = {name.lower(): said for name, said in mail.head.items()}
    return builder.build(
        uri=uri, media_type=mail.media_type, title=mail.subject, metadata=metadata, problems=problems
    )


def _add_attachments(mail: Mail, builder: TextBuilder) -> Iterator[str]:
    """Append what can be read below a heading with the file's name; yield a sentence for what cannot."""
    for attachment in mail.attachments[:MAX_ATTACHMENTS]:
        name, kind = attachment.name, attachment.media_type
        if media_type_of(name, attachment.content) is None and (suffix := suffix_of(kind)):
            name = f"{name}{suffix}"
        try:
            part = parse(attachment.content, uri=name)
        except EmptyDocumentError as error:
            yield f"attachment {name!r} {error}"
            continue
        except DocumentError as error:
            yield f"attachment {name!r} ({kind}) is not read: {error}"
            continue
        builder.add("heading", name, level=2)
        builder.embed(part, deeper=2)
        yield from (f"attachment {name!r}: {problem}" for problem in part.problems)
    if len(mail.attachments) > MAX_ATTACHMENTS:
        yield f"has {len(mail.attachments)} attachments; only the first {MAX_ATTACHMENTS} are read"
