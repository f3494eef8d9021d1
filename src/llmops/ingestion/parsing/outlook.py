"""Outlook mails (MSG) through python-oxmsg, into the same shape as any other mail."""

from __future__ import annotations

import struct

from oxmsg import Message
from oxmsg.properties import Properties

from llmops.errors import DocumentError
from llmops.ingestion.parsing.mail import Attachment, Mail

_RTF = 0x1009
_SHORT_NAME = 0x3704


def outlook_mail(raw: bytes) -> Mail:
    """Head, texts and attachments.

    Raises:
        DocumentError: it is no Outlook mail, or is damaged.
    """
    try:
        message = Message.load(raw)
        headers = {name.lower(): str(value) for name, value in message.message_headers.items()}
        people = [f"{one.name} <{one.email_address}>".strip() for one in message.recipients]
        date = message.sent_date
        head = {
            "From": " ".join(str(message.sender or "").split()),
            "To": " ".join(headers.get("to", ", ".join(people)).split()),
            "Cc": " ".join(headers.get("cc", "").split()),
            "Date": headers.get("date", date.isoformat(" ", "seconds") if date is not None else ""),
            "Message-ID": headers.get("message-id", "").strip(),
        }
        mail = Mail(
            media_type="application/vnd.ms-outlook",
            subject=" ".join(message.subject.split()),
            head={name: said for name, said in head.items() if said},
        )
        _texts(message, mail)
        _attachments(message, mail)
    except (ValueError, KeyError, IndexError, AssertionError, OSError, struct.error, LookupError) as error:
        raise DocumentError(
            f"is no Outlook mail, or is damaged ({str(error)[:150] or type(error).__name__})"
        ) from error
    return mail


def _texts(message: Message, mail: Mail) -> None:
    body = message.body or ""
    html = "" if body.strip() else message.html_body or ""
    if body.strip():
        mail.texts.append((False, body.encode("utf-8", "replace")))
    elif html.strip():
        mail.texts.append((True, html.encode("utf-8", "replace")))
    elif message.properties.binary_prop_value(_RTF):
        mail.problems.append("the mail's text is stored as RTF only, which is not read")


def _attachments(message: Message, mail: Mail) -> None:
    for number, attachment in enumerate(message.attachments, start=1):
        properties: Properties = attachment.properties
        name = attachment.file_name or properties.str_prop_value(_SHORT_NAME) or f"attachment {number}"
        content = attachment.file_bytes
        if content is None:
            mail.problems.append(f"attachment {name!r} is a mail or a link within the mail and is not read")
            continue
        kind = attachment.mime_type or "application/octet-stream"
        mail.attachments.append(Attachment(name=name[:200], media_type=kind, content=content))
