"""Which parser reads which file: by its name, and by its first bytes where the name says nothing."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from functools import cache
from pathlib import PurePosixPath

_OFFICE = "application/vnd.openxmlformats-officedocument"
DOCX = f"{_OFFICE}.wordprocessingml.document"
PPTX = f"{_OFFICE}.presentationml.presentation"
XLSX = f"{_OFFICE}.spreadsheetml.sheet"
ODT = "application/vnd.oasis.opendocument.text"
EPUB = "application/epub+zip"
ZIP = "application/zip"
KEPT = "application/vnd.llmops.document+json"

# Module and function below this package, then media types with their endings; in the order messages name them.
_DOCUMENTS = (
    ("docx:parse_docx", {DOCX: ".docx"}),
    ("html:parse_html", {"text/html": ".htm .html .xhtml"}),
    ("pdf:parse_pdf", {"application/pdf": ".pdf"}),
    ("markdown:parse_markdown", {"text/markdown": ".md .markdown .mdx"}),
    ("restructuredtext:parse_restructuredtext", {"text/x-rst": ".rst"}),
    ("plain:parse_plain", {"text/plain": ".txt .text .log"}),
    ("pptx:parse_pptx", {PPTX: ".pptx .pptm"}),
    ("xlsx:parse_xlsx", {XLSX: ".xlsx .xlsm"}),
    ("odt:parse_odt", {ODT: ".odt"}),
    ("delimited:parse_delimited", {"text/csv": ".csv", "text/tab-separated-values": ".tsv .tab"}),
    ("mail:parse_eml", {"message/rfc822": ".eml"}),
    ("mail:parse_msg", {"application/vnd.ms-outlook": ".msg"}),
    ("epub:parse_epub", {EPUB: ".epub"}),
    ("json_text:parse_json", {"application/json": ".json"}),
    ("json_text:parse_jsonl", {"application/jsonl": ".jsonl .ndjson"}),
    ("notebook:parse_notebook", {"application/x-ipynb+json": ".ipynb"}),
    ("xml_text:parse_xml_text", {"application/xml": ".xml"}),
    ("archive:parse_zip", {ZIP: ".zip"}),
    ("ocr:parse_image", {"image/png": ".png", "image/jpeg": ".jpg .jpeg", "image/tiff": ".tif .tiff"}),
)
_SOURCE_CODE = {
    "text/x-python": ".py .pyi",
    "text/javascript": ".js .mjs .cjs .jsx",
    "application/typescript": ".ts .tsx",
    "text/x-java": ".java",
    "text/x-kotlin": ".kt .kts",
    "text/x-scala": ".scala",
    "text/x-groovy": ".groovy .gradle",
    "text/x-go": ".go",
    "text/x-rust": ".rs",
    "text/x-c": ".c .h",
    "text/x-c++": ".cc .cpp .cxx .hh .hpp",
    "text/x-csharp": ".cs",
    "text/x-swift": ".swift",
    "text/x-ruby": ".rb",
    "text/x-php": ".php",
    "text/x-perl": ".pl .pm",
    "text/x-lua": ".lua",
    "text/x-r": ".r",
    "text/x-julia": ".jl",
    "text/x-elixir": ".ex .exs",
    "text/x-shellscript": ".sh .bash .zsh",
    "text/x-powershell": ".ps1 .psm1",
    "text/x-sql": ".sql",
    "text/x-protobuf": ".proto",
    "text/x-graphql": ".graphql",
    "text/x-terraform": ".tf",
    "text/x-dockerfile": ".dockerfile",
    "text/x-makefile": ".mk",
    "application/yaml": ".yaml .yml",
    "application/toml": ".toml",
    "text/x-ini": ".ini .cfg",
}
_BY_NAME = {
    "dockerfile": "text/x-dockerfile",
    "containerfile": "text/x-dockerfile",
    "makefile": "text/x-makefile",
    "gnumakefile": "text/x-makefile",
    "rakefile": "text/x-ruby",
    "gemfile": "text/x-ruby",
    "jenkinsfile": "text/x-groovy",
}
PARSERS = {
    **{kind: parser for parser, kinds in _DOCUMENTS for kind in kinds},
    **dict.fromkeys(_SOURCE_CODE, "source_code:parse_source_code"),
    KEPT: "kept:parse_kept",
}
"""Media type to "module:function" below `llmops.ingestion.parsing`."""
_BY_SUFFIX = {
    suffix: kind
    for kinds in (*(kinds for _, kinds in _DOCUMENTS), _SOURCE_CODE)
    for kind, suffixes in kinds.items()
    for suffix in suffixes.split()
}
_MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
_IN_ZIP = ((b"word/", DOCX), (b"ppt/", PPTX), (b"xl/", XLSX))
_INTERPRETERS = (
    (re.compile(rb"\bpython"), "text/x-python"),
    (re.compile(rb"\b(?:ba|z|k|da)?sh\b"), "text/x-shellscript"),
    (re.compile(rb"\bruby"), "text/x-ruby"),
    (re.compile(rb"\bperl"), "text/x-perl"),
    (re.compile(rb"\bnode"), "text/javascript"),
)
_HTML = re.compile(rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_MAIL = re.compile(rb"(?:^(?:received|return-path|from|to|subject|date|message-id|mime-version|delivered-to):)")
_MIN_MAIL_HEADERS = 3


def media_type_of(uri: str, head: bytes = b"") -> str | None:
    """The media type by the name, or by the first bytes when the name says nothing; None: no parser.

    Images have a parser where the program Tesseract is installed.
    """
    name = PurePosixPath(uri).name
    suffix = PurePosixPath(uri).suffix.lower()
    kind = _BY_SUFFIX.get(suffix) or _BY_NAME.get(name.lower())
    if kind is None and not suffix:
        kind = _by_content(head)
        if kind is None and name.isupper() and b"\0" not in head:
            kind = "text/plain"  # README, LICENSE
    return None if kind is not None and kind.startswith("image/") and not _reads_images() else kind


def suffix_of(media_type: str) -> str:
    """The usual ending of a media type, with its dot; "" when it has no parser."""
    return next((suffix for suffix, kind in _BY_SUFFIX.items() if kind == media_type), "")


def readable_formats() -> str:
    """The endings of documents that have a parser, for messages."""
    endings = [suffixes.split()[0] for _, kinds in _DOCUMENTS for suffixes in kinds.values()]
    return f"{', '.join(endings)} and source code"


@cache
def _reads_images() -> bool:
    return shutil.which("tesseract") is not None


def _by_content(head: bytes) -> str | None:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(head)
    if head.startswith(b"#!"):
        line = head.partition(b"\n")[0]
        return next((kind for pattern, kind in _INTERPRETERS if pattern.search(line)), None)
    if _HTML.match(head):
        return "text/html"
    lines = head[:4096].lower().split(b"\n")
    if len({match[0] for line in lines if (match := _MAIL.match(line))}) >= _MIN_MAIL_HEADERS:
        return "message/rfc822"
    return None


def _kind_of_zip(head: bytes) -> str:
    """What an archive is, by its first member and by the names of the others as far as they are at hand."""
    for kind in (EPUB, ODT):
        if head[30:].startswith(b"mimetype" + kind.encode()):
            return kind
    try:
        with zipfile.ZipFile(io.BytesIO(head)) as archive:
            names = "\n".join(archive.namelist()).encode()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        names = head.replace(b"PK\x03\x04", b"\n") if b"[Content_Types].xml" in head else b""
    if b"[Content_Types].xml" not in names:
        return ZIP
    return next((kind for folder, kind in _IN_ZIP if folder in names), ZIP)
