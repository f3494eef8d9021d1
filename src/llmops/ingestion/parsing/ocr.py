"""Text of pictures through the Tesseract program, where it is installed.

Languages are those of `LLMOPS_OCR_LANGUAGES` (such as `eng+deu`), else English, else the first one installed.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llmops.errors import DocumentError
from llmops.ingestion.parsing.builder import Parsed, TextBuilder

PAGE_SECONDS = 60.0
MAX_FRAMES = 200
MAX_PIXELS = 90_000_000
INSTALL = "install Tesseract (the program `tesseract`)"
_FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM")
_ORIENTATION = "osd"
_ANGLES = (180, 90, 270)
_SURE = 60.0
_NO_LETTERS = 30.0
_CONFIDENCE, _TEXT = 10, 11  # columns of Tesseract's table
_LANGUAGES = re.compile(r"[A-Za-z_]+(?:\+[A-Za-z_]+)*")
_HYPHEN = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
_EMPTY_LINE = re.compile(r"\n[ \t]*\n")


def is_available() -> bool:
    """Whether Tesseract and data of a language are installed."""
    program = shutil.which("tesseract")
    return program is not None and bool(_installed(program) - {_ORIENTATION})


@lru_cache(maxsize=4)
def _installed(program: str) -> frozenset[str]:
    """Languages that Tesseract has data for."""
    try:
        done = subprocess.run([program, "--list-langs"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(line.strip() for line in done.stdout.splitlines()[1:] if line.strip())


def read_image(image: Any) -> str:
    """The text on a picture (a Pillow image), lines as they stand, paragraphs set apart by empty lines.

    A page that stands on its side or head is turned. "" when there are no letters to be found.

    Raises:
        DocumentError: Tesseract is missing, fails, or takes over `PAGE_SECONDS`.
    """
    program = shutil.which("tesseract")
    if program is None or not is_available():
        raise DocumentError(f"cannot be read without OCR: {INSTALL}")
    installed = _installed(program)
    command = [program, "stdin", "stdout", "-l", _languages(installed)]
    started = time.monotonic()
    # With orientation data Tesseract turns a page itself, given enough letters.
    best = _Reading.of(_run([*command, "--psm", "1" if _ORIENTATION in installed else "3", "tsv"], image))
    for angle in _ANGLES:
        if best.confidence >= _SURE or time.monotonic() - started > PAGE_SECONDS:
            break
        turned = _Reading.of(_run([*command, "--psm", "3", "tsv"], image.rotate(angle, expand=True)))
        best = max(best, turned, key=lambda reading: reading.confidence)
    return best.text if best.confidence >= _NO_LETTERS else ""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What Tesseract read, and its mean confidence in [0, 100]."""

    text: str
    confidence: float

    @classmethod
    def of(cls, table: str) -> _Reading:
        """From Tesseract's table of words: block, paragraph and line of each."""
        lines: dict[tuple[str, ...], list[str]] = {}
        confidences: list[float] = []
        for row in table.splitlines()[1:]:
            cells = row.split("\t")
            if len(cells) >= _TEXT + 1 and cells[_CONFIDENCE] != "-1" and cells[_TEXT].strip():
                lines.setdefault(tuple(cells[1:5]), []).append(cells[_TEXT].strip())
                confidences.append(float(cells[_CONFIDENCE]))
        shown: list[str] = []
        last: tuple[str, ...] = ()
        for place, words in lines.items():
            shown += [""] if last and place[:3] != last[:3] else []
            shown.append(" ".join(words))
            last = place
        return cls("\n".join(shown), sum(confidences) / len(confidences) if confidences else 0.0)


def _run(command: list[str], image: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    try:
        done = subprocess.run(
            command,
            input=buffer.getvalue(),
            capture_output=True,
            timeout=PAGE_SECONDS,
            check=False,
            env=os.environ | {"OMP_THREAD_LIMIT": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise DocumentError(f"Tesseract took longer than {PAGE_SECONDS:.0f} seconds") from error
    except OSError as error:
        raise DocumentError(f"Tesseract cannot be started ({error})") from error
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DocumentError(f"Tesseract failed ({lines[-1][:200] if lines else done.returncode})")
    return done.stdout.decode("utf-8", "replace")


def _languages(installed: frozenset[str]) -> str:
    """What to pass for `-l`.

    Raises:
        DocumentError: a language is asked for and not installed.
    """
    asked = os.environ.get("LLMOPS_OCR_LANGUAGES", "")
    if asked:
        missing = sorted(set(asked.split("+")) - installed)
        if missing or not _LANGUAGES.fullmatch(asked):
            shown = ", ".join(missing) or asked
            raise DocumentError(f"Tesseract has no data for {shown} of LLMOPS_OCR_LANGUAGES={asked!r}")
        return asked
    return "eng" if "eng" in installed else sorted(installed - {_ORIENTATION})[0]


def paragraphs(text: str) -> list[str]:
    """Paragraphs of what `read_image` gave; lines run together, parted words too."""
    parts = (_HYPHEN.sub("", part.strip()).replace("\n", " ") for part in _EMPTY_LINE.split(text))
    return [part for part in parts if any(map(str.isalnum, part))]


def parse_image(raw: bytes, uri: str) -> Parsed:
    """The text on a picture; each frame of a TIFF is a page.

    Raises:
        DocumentError: Tesseract is missing, or the picture is damaged or far too large.
    """
    from PIL import Image, ImageSequence, UnidentifiedImageError

    if not is_available():
        raise DocumentError(f"is an image, whose text is read where OCR is at hand: {INSTALL}")
    builder = TextBuilder()
    problems: list[str] = []
    try:
        with Image.open(io.BytesIO(raw), formats=_FORMATS) as image:
            media_type = Image.MIME.get(image.format or "", "image/*")
            n_frames = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
            if n_frames > MAX_FRAMES:
                problems.append(f"pages {MAX_FRAMES + 1}-{n_frames} were not read: at most {MAX_FRAMES} are")
            for number, frame in enumerate(ImageSequence.Iterator(image), start=1):
                if number > min(n_frames, MAX_FRAMES):
                    break
                _read_frame(frame, number, builder)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DocumentError("is an image of too many pixels") from error
    except UnidentifiedImageError as error:
        raise DocumentError("is not an image that can be read") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DocumentError(f"is a damaged image ({error})") from error
    return builder.build(uri=uri, media_type=media_type, problems=problems)


def _read_frame(frame: Any, number: int, builder: TextBuilder) -> None:
    from PIL import ImageOps

    width, height = frame.size
    if width * height > MAX_PIXELS:
        raise DocumentError(
            f"is an image of {width} x {height} pixels; at most {MAX_PIXELS / 1e6:.0f} million are read"
        )
    upright = ImageOps.exif_transpose(frame)
    if "A" in upright.getbands() or "transparency" in upright.info:  # on white, as it is looked at
        from PIL import Image

        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    for paragraph in paragraphs(read_image(upright.convert("L"))):
        builder.add("paragraph", paragraph, page=number)
