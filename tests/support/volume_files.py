"""Files of volumes in MedMNIST's format, with real digits in them."""

import numpy as np

SPLITS = {"train": slice(100), "val": slice(100, 130), "test": slice(130, 160)}


def write_volumes(path, digits):
    """Write volumes of 16x16x16: digits that fade in depth, labelled as odd or even."""
    fading = np.linspace(1, 0.2, 16)[:, None, None]
    images = (digits.train_volumes[:160, :, ::2, ::2, 0] * fading).astype(np.uint8)
    arrays = {"images": images, "labels": digits.train_labels[:160] % 2}
    named = {
        f"{split}_{kind}": array[rows]
        for split, rows in SPLITS.items()
        for kind, array in arrays.items()
    }
    np.savez_compressed(path, **named)
