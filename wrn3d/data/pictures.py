"""Read the pixels of picture files, whatever their depth, colours and transparency."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wrn3d.system.errors import DataError, reason

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")
MODES = {1: "L", 3: "RGB"}  # {channels: Pillow's mode}
DARK = 16  # of 255; 12-bit data in 16 bits reach 15, the digits of scikit-learn 16
GIF_RATIO = 2731  # most pixels per byte of GIF's LZW: 12 bits code at most 4096 of them
# A PNG names its transparent colour in the file's bits; Pillow gives the pixels 8 bits.
COLOUR_KEY_SCALES = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF
WHITE_IS_ZERO, SIGNED = 0, 2  # values of the last two


def picture_size(file: Path) -> tuple[int, int]:
    """Return a picture's (height, width), EXIF rotation applied; raise DataError if damaged."""
    from PIL import ImageOps

    return _opened(file, lambda image: ImageOps.exif_transpose(image).size[::-1])


def read_picture(
    file: Path, channels: int = 3, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """Return a picture as (H, W, C) uint8, EXIF rotation applied, fitted to `size` (H, W) if given.

    16 bits become the upper 8, numbers from 0 to 1 are multiplied by 255, and transparent pixels
    get a white background. Raises DataError if the picture is damaged, has another range or is
    blank on white, or if the file holds several pictures.
    """

    def pixels(image: Any) -> npt.NDArray[np.uint8]:
        image = _on_white(file, _in_eight_bits(file, image)).convert(MODES[channels])
        array = np.asarray(_fitted(image, size) if size else image)
        return array.reshape(*array.shape[:2], channels)

    return _opened(file, pixels)


def fit_picture(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return a picture (H, W, C) uint8, centre-cropped and resized to `size` (H, W), bicubic."""
    from PIL import Image

    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    return np.asarray(_fitted(image, size)).reshape(*size, -1)


def _fitted(image: Any, size: tuple[int, int]) -> Any:
    from PIL import ImageOps

    return image if image.size[::-1] == size else ImageOps.fit(image, size[::-1])


def warn_if_dark(name: str, volumes: Sequence[npt.NDArray[np.uint8]]) -> None:
    """Warn if no value of the volumes exceeds DARK; `name` says whose they are."""
    if (brightest := max(int(array.max()) for array in volumes)) <= DARK:
        warnings.warn(
            f"{name} is nearly black, at most {brightest} of 255: scale its values to the whole "
            "range of the file, such as 12-bit values to 16 bits",
            stacklevel=3,
        )


def _in_eight_bits(file: Path, image: Any) -> Any:
    """Return an opened image, turned upright, with 8 bits a channel and perhaps an alpha channel.

    Raises DataError for pixels whose range the file does not tell.
    """
    from PIL import ImageOps

    tags = getattr(image, "tag_v2", {})
    inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO  # Pillow inverts up to 8 bits only
    raw_mode = image.tile[0][3] if image.format == "PNG" and image.tile else None
    upright = ImageOps.exif_transpose(image)
    key = upright.info.get("transparency")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        values, shift = np.asarray(upright), tags.get(BITS_PER_SAMPLE, (16,))[0] - 8
        return _grey_image(values >> shift, inverted, None if key is None else values == key)
    if image.mode == "F" and _all_in_unit_range(values := np.asarray(upright)):
        return _grey_image(np.rint(values * 255), inverted)
    if image.mode in ("I", "F") or SIGNED in tags.get(SAMPLE_FORMAT, ()):
        raise DataError(
            f"{file} has pixels whose range is not known: save it with 8 or 16 unsigned bits, or "
            "with floating-point values from 0 to 1"
        )
    if key is not None and raw_mode in COLOUR_KEY_SCALES:
        scaled = tuple(int(one * COLOUR_KEY_SCALES[raw_mode]) for one in np.ravel(key))
        upright.info["transparency"] = scaled if len(scaled) > 1 else scaled[0]
    return upright


def _grey_image(
    levels: npt.NDArray[Any], inverted: bool, transparent: npt.NDArray[np.bool_] | None = None
) -> Any:
    """Return levels (H, W) from 0 to 255 as a grey image, with alpha if any are transparent."""
    from PIL import Image

    image = Image.fromarray((255 - levels if inverted else levels).astype(np.uint8))
    if transparent is not None:
        image.putalpha(Image.fromarray(np.where(transparent, 0, 255).astype(np.uint8)))
    return image


def _all_in_unit_range(values: npt.NDArray[np.float32]) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())  # False for NaN


def _on_white(file: Path, image: Any) -> Any:
    """Return an image flattened on white if it is transparent; raise DataError if it is blank."""
    from PIL import Image

    if image.mode == "LAB":  # which Pillow converts to nothing but RGB
        return image.convert("RGB")
    if not image.has_transparency_data:
        return image
    image = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    if image.getextrema()[3] == (255, 255):
        return image
    flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if flat.getextrema() == ((255, 255),) * 4:
        raise DataError(
            f"{file} is blank on the white background that transparent pictures get: flatten it on "
            "another colour"
        )
    return flat


def _opened(file: Path, use: Any) -> Any:
    """Open a picture and return the result of `use` on it; raise DataError if that fails."""
    from PIL import Image

    try:
        size = file.stat().st_size
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # By its name, Pillow 13 maps an uncompressed TIFF, and garbles it if it is turned.
            with file.open("rb") as content, Image.open(content, formats=FORMATS) as image:
                if image.format == "GIF" and image.width * image.height > GIF_RATIO * size:
                    raise ValueError("it claims more pixels than it can hold")
                # A photo in the format MPO has a preview as its second picture.
                count = getattr(image, "n_frames", 1)
                if count > 1 and image.format != "MPO":
                    raise DataError(
                        f"{file} holds {count} pictures, as animations and stacks do: save each "
                        "as a file of its own, or a volume as .npy or .npz"
                    )
                return use(image)
    except DataError:
        raise
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        raise DataError(
            f"{file} cannot be read as a picture ({reason(error)}): repair it or delete it"
        ) from error
