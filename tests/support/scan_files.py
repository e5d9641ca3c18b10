"""Scans as files, written by SimpleITK."""

import locale

import numpy as np
import SimpleITK as sitk

AFFINE_RAS = (-1, 0, 0, 0, -1, 0, 0, 0, 1)  # ITK's axes run to the left, to the back and upwards


def image_of(voxels, spacing=(1.0, 1.0, 1.0), orientation="RAS"):
    """Return an image whose voxels (D, H, W), turned to RAS, are `voxels`; spacing in mm."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    image.SetSpacing([float(one) for one in spacing[::-1]])
    image.SetDirection(AFFINE_RAS)
    return sitk.DICOMOrient(image, orientation)


def write_scan(path, voxels, spacing=(1.0, 1.0, 1.0), orientation="RAS"):
    """Write voxels (D, H, W) as a file in another orientation; return its path."""
    sitk.WriteImage(image_of(voxels, spacing, orientation), str(path))
    return path


def write_series(folder, voxels, spacing=(1.0, 1.0, 1.0), uid="1.2.3", skip=()):
    """Write the slices of voxels (D, H, W) int16 as a DICOM series; `skip` leaves some out."""
    folder.mkdir(exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)  # which writing DICOM changes
    image = image_of(voxels, spacing, "LPS")
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in set(range(image.GetSize()[2])) - set(skip):
        piece = image[:, :, number]
        place = image.TransformIndexToPhysicalPoint((0, 0, number))
        tags = {
            "0008|0060": "CT",
            "0020|000e": uid,
            "0020|0013": str(number),
            "0020|0032": "\\".join(map(str, place)),
            "0020|0037": "\\".join(map(str, (1, 0, 0, 0, 1, 0))),
            "0028|1052": "-1024",
            "0028|1053": "1",
        }
        for tag, value in tags.items():
            piece.SetMetaData(tag, value)
        # Names in reverse order: the positions of the slices count.
        writer.SetFileName(str(folder / f"{uid}-{999 - number}.dcm"))
        writer.Execute(piece)
    locale.setlocale(locale.LC_ALL, before)
    return folder
