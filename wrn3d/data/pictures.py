"""Pictures from files, as pixels."""

import warnings

import numpy as np

from wrn3d.system.errors import DataError, reason

ENDINGS = (".png", ".jpg", ".jpeg")
MODES = {1: "L", 3: "RGB"}  # channels: Pillow's name


def picture_size(file):
    """(height, width), the right way up; raises DataError where it is no picture."""
    from PIL import ImageOps

    return _opened(file, lambda image: ImageOps.exif_transpose(image).size[::-1])


def read_picture(file, size, channels=3) -> np.ndarray:
    """(H, W, C) uint8, cut to `size`, (height, width), from the middle; raises DataError."""
    from PIL import ImageOps

    def pixels(image):
        image = ImageOps.exif_transpose(image).convert(MODES[channels])
        image = image if image.size[::-1] == size else ImageOps.fit(image, size[::-1])
        return np.asarray(image).reshape(*size, channels)

    return _opened(file, pixels)


def _opened(file, use):
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=("PNG", "JPEG")) as image:
                return use(image)
    except Exception as error:  # Pillow raises nearly anything for a damaged file
        raise DataError(
            f"{file} is no picture that can be read ({reason(error)}): mend it, or take it away"
        ) from error
