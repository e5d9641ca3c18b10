"""Names of the classes of well-known data sets whose files have only their numbers."""

# MedMNIST's are shortened from medmnist/info.py (Yang et al. 2023), ModelNet10's are its folders.
_KNOWN = {
    "adrenalmnist3d": ("normal", "hyperplasia"),
    "fracturemnist3d": ("buckle", "nondisplaced", "displaced"),
    "nodulemnist3d": ("benign", "malignant"),
    "organmnist3d": (
        *("liver", "kidney-right", "kidney-left", "femur-right", "femur-left", "bladder"),
        *("heart", "lung-right", "lung-left", "spleen", "pancreas"),
    ),
    "synapsemnist3d": ("inhibitory", "excitatory"),
    "vesselmnist3d": ("vessel", "aneurysm"),
    "modelnet10": (
        *("bathtub", "bed", "chair", "desk", "dresser"),
        *("monitor", "night_stand", "sofa", "table", "toilet"),
    ),
}


def known_names(title: str, count: int) -> tuple[str, ...] | None:
    """Return the names of a data set's `count` classes, or None if it is not one of those above.

    `title` is its name, perhaps with "_" and a size after it, as in "adrenalmnist3d_64".
    """
    names = _KNOWN.get(set_name(title), ())
    return names if len(names) == count else None


def set_name(title: str) -> str:
    """Return a data set's name in small letters without its size, such as "adrenalmnist3d"."""
    return title.split("_")[0].lower()
