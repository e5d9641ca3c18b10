"""One grey picture in every kind of picture file: depths, colours, transparency.

The bytes that Pillow cannot write are put together here, by the formats' specifications.
"""

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

LEVELS = np.array([0, 85, 170, 255], np.uint8)  # which 2 bits can hold, and all more
GREY = np.random.default_rng(3).choice(LEVELS, (8, 8))  # the picture
KEY = 85  # the level that is transparent, in files with a transparent colour


class PictureFile(NamedTuple):
    """A file's ending, its bytes, the grey picture (8, 8) that it shows on white, its error."""

    ending: str
    content: bytes
    shown: np.ndarray = GREY
    error: int = 0

    def check(self, pixels):
        """Fail unless pixels (8, 8, C) are the picture."""
        error = np.abs(pixels.astype(int) - self.shown[..., None]).max()
        assert error <= self.error, error


def saved(image, ending, **options):
    buffer = io.BytesIO()
    name = {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending)
    image.save(buffer, name, **options)
    return buffer.getvalue()


def png(samples, bits, colour_type=0, transparent=None):
    """Return a PNG of samples (H, W) or (H, W, C); `transparent` is the key of one pixel."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + packed(row.ravel(), bits) for row in samples)
    key = b"" if transparent is None else chunk(b"tRNS", np.array(transparent, ">u2").tobytes())
    body = chunk(b"IHDR", header) + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def packed(values, bits):
    """Return unsigned values with `bits` each, the highest bit first."""
    every = np.unpackbits(values.astype(">u2").view(np.uint8)).reshape(-1, 16)[:, 16 - bits :]
    return np.packbits(every).tobytes()


def tiff(content, bits, photometric=1, order="<", sample_format=1, extra=None, pages=1):
    """Return an uncompressed TIFF of 8x8 pixels, with `content` as its only strip."""
    samples = 1 if extra is None else 2
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: photometric, 273: 8, 277: samples, 278: 8}
    tags |= {279: len(content), 339: sample_format} | ({} if extra is None else {338: extra})
    file = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, 8 + len(content))
    file += content
    for page in range(pages):
        file += struct.pack(f"{order}H", len(tags))
        for tag, value in sorted(tags.items()):
            count = samples if tag in (258, 339) else 1
            file += struct.pack(f"{order}HHI", tag, 3, count)
            file += struct.pack(f"{order}HH", value, value if count == 2 else 0)
        end = len(file) + 4
        file += struct.pack(f"{order}I", end if page + 1 < pages else 0)
    return file


def files():
    """Return {name: PictureFile}."""
    grey, wide = Image.fromarray(GREY), GREY.astype(np.uint16) * 257
    black = Image.new("L", (8, 8))
    ink = Image.merge("RGBA", [black] * 3 + [Image.fromarray(255 - GREY)])  # black, by its alpha
    keyed = np.where(GREY == KEY, 255, GREY).astype(np.uint8)
    two = np.where(GREY > 127, 255, 0).astype(np.uint8)
    indices = Image.fromarray(GREY // 85).convert("P")
    indices.putpalette([value for level in LEVELS for value in [level] * 3])
    colour = Image.merge("RGB", [grey] * 3)
    lossy = {"quality": 100, "subsampling": 0}
    pixels = np.stack([wide] * 3, axis=-1)
    return {
        "L png": PictureFile("png", saved(grey, "png")),
        "L bmp": PictureFile("bmp", saved(grey, "bmp")),
        "L gif": PictureFile("gif", saved(grey, "gif")),
        "L tif": PictureFile("tif", saved(grey, "tif")),
        "L inverted tif": PictureFile("tiff", tiff((255 - GREY).tobytes(), 8, photometric=0)),
        "L jpg": PictureFile("jpg", saved(grey, "jpg", **lossy), error=1),
        "L 2 bits png": PictureFile("png", png(GREY // 85, 2)),
        "L 4 bits png": PictureFile("png", png(GREY // 17, 4)),
        "L 2 bits key png": PictureFile("png", png(GREY // 85, 2, 0, [KEY // 85]), keyed),
        "L 4 bits key png": PictureFile("png", png(GREY // 17, 4, 0, [KEY // 17]), keyed),
        "L key png": PictureFile("png", png(GREY, 8, 0, [KEY]), keyed),
        "1 png": PictureFile("png", saved(Image.fromarray(two).convert("1"), "png"), two),
        "1 key png": PictureFile("png", png(two // 255, 1, 0, [1]), two),
        "1 tif": PictureFile("tif", saved(Image.fromarray(two).convert("1"), "tif"), two),
        "I;16 png": PictureFile("png", png(wide, 16)),
        "I;16 key png": PictureFile("png", png(wide, 16, 0, [KEY * 257]), keyed),
        "I;16 near key png": PictureFile("png", png(wide, 16, 0, [KEY * 257 + 1])),
        "I;16 tif": PictureFile("tif", tiff(wide.astype("<u2").tobytes(), 16)),
        "I;16 inverted tif": PictureFile("tif", tiff((~wide).astype("<u2").tobytes(), 16, 0)),
        "I;16B tif": PictureFile("tif", tiff(wide.astype(">u2").tobytes(), 16, order=">")),
        "I;16 deflated tif": PictureFile(
            "tif", saved(Image.fromarray(wide), "tif", compression="tiff_adobe_deflate")
        ),
        "12 bits tif": PictureFile("tif", tiff(packed((wide >> 4).ravel(), 12), 12)),
        "12 bits in 16 png": PictureFile("png", png(wide >> 4, 16), GREY >> 4),
        "F tif": PictureFile(
            "tif", tiff((GREY / 255).astype("<f4").tobytes(), 32, sample_format=3)
        ),
        "LA png": PictureFile("png", saved(ink.convert("LA"), "png")),
        "LA 16 bits png": PictureFile("png", png(np.stack([wide * 0, ~wide], axis=-1), 16, 4)),
        "LA tif": PictureFile(
            "tif", tiff(np.stack([GREY * 0, 255 - GREY], axis=-1).tobytes(), 8, extra=2)
        ),
        "La tif": PictureFile(
            "tif", tiff(np.stack([GREY * 0, 255 - GREY], axis=-1).tobytes(), 8, extra=1)
        ),
        "P png": PictureFile("png", saved(indices, "png")),
        "P gif": PictureFile("gif", saved(indices, "gif")),
        "P tif": PictureFile("tif", saved(indices, "tif")),
        "P bmp": PictureFile("bmp", saved(indices, "bmp")),
        "P key png": PictureFile("png", saved(indices, "png", transparency=1), keyed),
        "P key gif": PictureFile("gif", saved(indices, "gif", transparency=1), keyed),
        "P alpha png": PictureFile(
            "png", saved(indices, "png", transparency=bytes([255, 0, 255, 255])), keyed
        ),
        "RGB png": PictureFile("png", saved(colour, "png")),
        "RGB webp": PictureFile("webp", saved(colour, "webp", lossless=True)),
        "RGB key png": PictureFile("png", png(np.stack([GREY] * 3, -1), 8, 2, [KEY] * 3), keyed),
        "RGB 16 bits png": PictureFile("png", png(pixels, 16, 2)),
        "RGB 16 bits key png": PictureFile(
            "png", png(pixels // 257 * 256 + 21, 16, 2, [KEY * 256 + 21] * 3), keyed
        ),
        "RGBA png": PictureFile("png", saved(ink, "png")),
        "RGBA 16 bits png": PictureFile(
            "png", png(np.stack([wide * 0] * 3 + [~wide], axis=-1), 16, 6)
        ),
        "RGBA webp": PictureFile("webp", saved(ink, "webp", lossless=True, exact=True)),
        "RGBA tif": PictureFile("tif", saved(ink, "tif")),
        "RGBA opaque png": PictureFile("png", saved(colour.convert("RGBA"), "png")),
        "CMYK jpg": PictureFile("jpg", saved(colour.convert("CMYK"), "jpg", **lossy), error=1),
        "CMYK tif": PictureFile("tif", saved(colour.convert("CMYK"), "tif")),
        "YCbCr jpg": PictureFile("jpeg", saved(colour.convert("YCbCr"), "jpg", **lossy), error=1),
        "YCbCr tif": PictureFile("tif", saved(colour.convert("YCbCr"), "tif")),
        "LAB tif": PictureFile("tif", saved(colour.convert("LAB"), "tif"), error=1),
    }


def refused():
    """Return {name: (ending, bytes, part of the message)}."""
    wide = GREY.astype(np.int32)
    return {
        "I tif": ("tif", saved(Image.fromarray(wide), "tif"), "range is not known"),
        "signed 16 bits": (
            "tif",
            tiff(wide.astype("<i2").tobytes(), 16, sample_format=2),
            "range is not known",
        ),
        "signed 8 bits": ("tif", tiff(GREY.tobytes(), 8, sample_format=2), "range is not known"),
        "F above 1": (
            "tif",
            tiff(wide.astype("<f4").tobytes(), 32, sample_format=3),
            "range is not known",
        ),
        "NaN": (
            "tif",
            tiff((GREY * np.float32(np.nan)).tobytes(), 32, sample_format=3),
            "range is not",
        ),
        "white ink": (
            "png",
            saved(Image.merge("LA", [Image.new("L", (8, 8), 255), Image.fromarray(GREY)]), "png"),
            "is blank on the white background",
        ),
        "animation": (
            "gif",
            saved(
                Image.fromarray(GREY),
                "gif",
                save_all=True,
                append_images=[Image.new("L", (8, 8), 9)],
            ),
            "holds 2 pictures",
        ),
        "huge gif": (
            "gif",
            b"GIF87a" + struct.pack("<HH", 9000, 9000) + saved(Image.fromarray(GREY), "gif")[10:],
            "it claims more pixels than it can hold",
        ),
        "stack": ("tif", tiff(GREY.tobytes(), 8, pages=3), "holds 3 pictures"),
    }
