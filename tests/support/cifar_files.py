"""Files in CIFAR's formats, with real digits in them."""

import pickle
from functools import cache
from pathlib import Path

import numpy as np

from wrn3d.data import digits as digits_module

_digits = cache(digits_module.load)


def digit_pixels(rows, num_classes=10):
    """Return real images and labels in CIFAR's planar form: ((N, 3072) uint8, (N,) uint8)."""
    data = _digits()
    images = data.train_volumes[rows, 0].transpose(0, 3, 1, 2).reshape(len(rows), -1)
    return images, (data.train_labels[rows] % num_classes).astype(np.uint8)


def write_cifar10(data_dir, layout, per_file=20):
    """Write digits as CIFAR-10 in `layout` ("bin" or "py"), `per_file` images in each file."""
    folder = Path(data_dir) / f"cifar-10-batches-{layout}"
    folder.mkdir(parents=True)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    classes = [f"class{number}".encode() for number in range(10)]
    for number, name in enumerate(names):
        pixels, labels = digit_pixels(np.arange(number * per_file, (number + 1) * per_file))
        if layout == "bin":
            (folder / f"{name}.bin").write_bytes(np.hstack([labels[:, None], pixels]).tobytes())
        else:
            batch = {
                b"batch_label": name.encode(),
                b"labels": labels.tolist(),
                b"data": pixels,
                b"filenames": [b"%d.png" % row for row in range(per_file)],
            }
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    if layout == "bin":
        (folder / "batches.meta.txt").write_bytes(b"\n".join(classes) + b"\n\n")
    else:
        (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": classes}, protocol=2))
    return folder


def write_cifar100(data_dir, layout, test_count=12):
    """Write digits as CIFAR-100 in `layout` ("bin" or "py"); return the folder."""
    folder = Path(data_dir) / ("cifar-100-binary" if layout == "bin" else "cifar-100-python")
    folder.mkdir(parents=True)
    names = [f"class{number}".encode() for number in range(100)]
    for split, start, count in (("train", 0, 5 * test_count), ("test", 500, test_count)):
        pixels, coarse = digit_pixels(np.arange(start, start + count))
        fine = (coarse * 10 + np.arange(count, dtype=np.uint8) % 10).astype(np.uint8)
        if layout == "bin":
            records = np.hstack([coarse[:, None], fine[:, None], pixels])
            (folder / f"{split}.bin").write_bytes(records.tobytes())
        else:
            batch = {
                b"coarse_labels": coarse.tolist(),
                b"fine_labels": fine.tolist(),
                b"data": pixels,
            }
            (folder / split).write_bytes(pickle.dumps(batch, protocol=2))
    if layout == "bin":
        (folder / "fine_label_names.txt").write_bytes(b"\n".join(names))
    else:
        (folder / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}, protocol=2))
    return folder
