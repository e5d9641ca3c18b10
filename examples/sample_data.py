"""Write small sample data: real handwritten digits as pictures, as scans and as arrays.

    python -m examples.sample_data

It writes 357 images of the digits 3 and 8, which come with scikit-learn, to the new folder samples/
in each form in which people have their own data: as pictures, as arrays and, if SimpleITK is
installed, as NIfTI files. docs/cookbook.md uses them.
"""

import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import zoom
from sklearn.datasets import load_digits

from wrn3d.system.flags import run_without_flags

FOLDER = Path("samples")
DIGITS = (3, 8)


def write_pictures(images, labels):
    """Write pictures/train/<class>/<number>.png, and every fifth to pictures/test/."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = FOLDER / "pictures" / ("test" if number % 5 == 0 else "train") / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(15 * image)).save(folder / f"{number}.png")


def write_scans(images, labels):
    """Write scans/<number>.nii.gz, 8 equal slices with numbers from 0 to 800, and labels.csv.

    Three scans each belong to one group, as if they showed one patient.
    """
    import SimpleITK as sitk

    (FOLDER / "scans").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = f"scans/{number}.nii.gz"
        scan = sitk.GetImageFromArray(np.int16([zoom(50 * image, 2, order=1)] * 8))  # (D, H, W)
        scan.SetSpacing((0.5, 0.5, 1))  # mm, in the order W, H, D
        sitk.WriteImage(scan, str(FOLDER / path))
        rows.append([path, f"digit {label}", f"patient {number // 3}"])
    with (FOLDER / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "group"], *rows])


def main():
    """Write the data."""
    digits = load_digits()  # images (N, 8, 8) with numbers from 0 to 16
    chosen = np.isin(digits.target, DIGITS)
    images, labels = digits.images[chosen], digits.target[chosen]
    write_pictures(images, labels)
    np.savez(FOLDER / "arrays.npz", images=images, labels=np.int64(labels == DIGITS[1]))
    if find_spec("SimpleITK"):
        write_scans(images, labels)
        scans = "scans/ with labels.csv"
    else:
        scans = 'no scans/, which need SimpleITK: pip install "wrn3d[medical]"'
    print(f"{len(images)} images in {FOLDER}: pictures/, arrays.npz, {scans}")


if __name__ == "__main__":
    sys.exit(run_without_flags(main, "examples.sample_data", __doc__))
