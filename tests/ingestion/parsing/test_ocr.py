"""Text of pictures, where Tesseract is installed, and what is said where it is not."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from llmops.errors import DocumentError
from llmops.ingestion.parsing import ocr
from tests.ingestion.parsing.pdfs import picture

needs_tesseract = pytest.mark.skipif(not ocr.is_available(), reason="Tesseract is not installed")


def saved(image: Image.Image, kind: str, *, more: tuple[Image.Image, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    if more:
        image.save(buffer, kind, save_all=True, append_images=more)
    else:
        image.save(buffer, kind)
    return buffer.getvalue()


@needs_tesseract
@pytest.mark.parametrize("angle", [0, 90, 180])
def test_a_picture_is_read_whichever_way_it_stands(angle: int) -> None:
    lines = ("The gate is closed today.", "It opens at nine tomorrow.")
    assert ocr.read_image(picture(*lines, angle=angle)) == "\n".join(lines)


@needs_tesseract
def test_frames_of_a_tiff_are_pages() -> None:
    raw = saved(picture("The first page."), "TIFF", more=(picture("The second page."),))
    parsed = ocr.parse_image(raw, "scan.tiff")
    assert parsed.text == "The first page.\n\nThe second page."
    assert [block.page for block in parsed.blocks] == [1, 2]
    assert parsed.media_type == "image/tiff"


@needs_tesseract
def test_black_letters_on_nothing_are_read_as_on_white() -> None:
    letters = Image.new("RGBA", (1400, 500), (0, 0, 0, 0))
    opaque = picture("Letters on nothing.")
    letters.putalpha(opaque.point(lambda value: 255 - value))
    assert ocr.parse_image(saved(letters, "PNG"), "a.png").text == "Letters on nothing."


@needs_tesseract
def test_a_picture_without_letters_has_no_text() -> None:
    assert ocr.parse_image(saved(Image.new("L", (600, 400), 255), "PNG"), "a.png").text == ""


@needs_tesseract
def test_a_language_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMOPS_OCR_LANGUAGES", "eng+xxx")
    with pytest.raises(DocumentError, match=r"no data for xxx of LLMOPS_OCR_LANGUAGES='eng\+xxx'"):
        ocr.read_image(picture("words"))


def test_without_tesseract_a_picture_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not ocr.is_available()
    with pytest.raises(
        DocumentError, match="is an image, whose text is read where OCR is at hand: install Tesseract"
    ):
        ocr.parse_image(saved(picture("words"), "PNG"), "a.png")
    with pytest.raises(DocumentError, match="cannot be read without OCR: install Tesseract"):
        ocr.read_image(picture("words"))


@needs_tesseract
def test_pictures_that_are_damaged_or_far_too_large_are_refused() -> None:
    whole = saved(picture("words"), "PNG")
    for raw in (whole[: len(whole) // 2], b"no picture at all"):
        with pytest.raises(DocumentError, match=r"is a damaged image|is not an image"):
            ocr.parse_image(raw, "a.png")
    bomb = saved(Image.new("1", (16_000, 16_000)), "PNG")
    with pytest.raises(DocumentError, match="is an image of"):
        ocr.parse_image(bomb, "a.png")
