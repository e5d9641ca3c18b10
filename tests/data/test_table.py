"""Tables: scans, arrays and pictures that a .csv file lists, and unsuitable tables."""

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.scan_files import write_scan, write_series
from wrn3d import load_dataset
from wrn3d.data.load import in_fold
from wrn3d.data.splitting import Fold
from wrn3d.data.table import file_rows, files_and_groups
from wrn3d.data.windows import Window
from wrn3d.system.errors import DataError, MissingDataError, UsageError
from wrn3d.system.reporting import write_table as write_table_of

COUNT = 20


def volumes_of(shape=(6, 8, 7), count=COUNT, seed=0):
    return np.random.default_rng(seed).integers(-900, 900, (count, *shape)).astype(np.int16)


def write_table(folder, lines, header="path,label,split"):
    (folder / "labels.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder / "labels.csv"


def split_of(row):
    return "test" if row % 5 == 0 else "val" if row % 5 == 1 else "train"


@pytest.fixture
def scans(tmp_path):
    """A table of 20 scans of two classes; returns (table, voxels)."""
    volumes = volumes_of()
    (tmp_path / "scans").mkdir()
    for row, voxels in enumerate(volumes):
        write_scan(tmp_path / f"scans/{row}.nii.gz", voxels, (2, 1, 1), ["RAS", "LPS"][row % 2])
    lines = [f"scans/{row}.nii.gz,{'ab'[row % 2]},{split_of(row)}" for row in range(COUNT)]
    return write_table(tmp_path, lines), volumes


def test_scans_are_loaded_in_the_order_of_the_table(scans):
    table, volumes = scans
    dataset = load_dataset(table)
    assert (dataset.title, dataset.class_names) == ("labels", ("a", "b"))
    assert (dataset.spacing, dataset.resizing, dataset.window) == ((2, 1, 1), (), None)
    for name, word in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = [row for row in range(COUNT) if split_of(row) == word]
        found, labels = dataset.split(name)
        assert found.dtype == np.int16 and np.array_equal(found[..., 0], volumes[rows])
        assert labels.tolist() == [row % 2 for row in rows]


@pytest.mark.parametrize("size", [None, 6, 5])
def test_scans_make_the_data_set_that_their_npz_file_makes(tmp_path, size):
    volumes = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 7, 6)).astype(np.uint8)
    lines, arrays = [], {name: ([], []) for name in ("train", "val", "test")}
    for row, voxels in enumerate(volumes):
        write_scan(tmp_path / f"{row}.nii.gz", voxels)
        lines.append(f"{row}.nii.gz,{row % 2},{split_of(row)}")
        arrays[split_of(row)][0].append(voxels)
        arrays[split_of(row)][1].append(row % 2)
    names = {"images": 0, "labels": 1}
    np.savez(
        tmp_path / "same.npz",
        **{
            f"{split}_{name}": arrays[split][place]
            for split in arrays
            for name, place in names.items()
        },
    )
    table, npz = (
        load_dataset(path, volume_size=size)
        for path in (write_table(tmp_path, lines), tmp_path / "same.npz")
    )
    assert table.fingerprint == npz.fingerprint


def test_a_window_and_a_size_apply_to_scans(scans):
    dataset = load_dataset(scans[0], volume_size=6, window=("-500", "500"))
    # The depth is the longest side: 12 mm in 6 voxels.
    assert dataset.volume_shape == (6, 4, 4, 1) and dataset.spacing == (2, 2, 2)
    assert dataset.train_volumes.dtype == np.uint8 and dataset.window == Window(-500, 500)
    assert dataset.resizing[-1].sides == (6, 4, 4)


def test_arrays_and_pictures_are_loaded_too(tmp_path):
    volumes = np.abs(volumes_of()) // 4
    for row, voxels in enumerate(volumes):
        np.save(tmp_path / f"{row}.npy", voxels)
        Image.fromarray(voxels[0].astype(np.uint8)).save(tmp_path / f"{row}.png")
    arrays = write_table(tmp_path, [f"{row}.npy,{row % 2}" for row in range(COUNT)], "path,label")
    dataset = load_dataset(arrays, volume_size=4)
    assert dataset.volume_shape == (3, 4, 4, 1) and dataset.train_volumes.dtype == np.int16
    lines = [f"{row}.png;{row % 2}" for row in range(COUNT)]
    pictures = load_dataset(write_table(tmp_path, lines, "Path ;LABEL"))
    assert pictures.volume_shape == (1, 8, 7, 3)
    assert [len(pictures.split(name)[1]) for name in ("train", "validation", "test")] == [14, 2, 4]
    with pytest.raises(UsageError, match="pictures have 8 bits and need no window: leave window o"):
        load_dataset(tmp_path / "labels.csv", window=(1, 2))


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    for row in range(COUNT):
        np.save(tmp_path / f"{row}.npy", volumes_of(seed=row)[0])
    labels = ["10", "9"] * (COUNT // 2)
    lines = [f"{row}.npy,{label},{split_of(row)}" for row, label in enumerate(labels)]
    dataset = load_dataset(write_table(tmp_path, lines))
    assert dataset.class_names == ("9", "10")


def test_groups_stay_together_without_a_column_of_splits(tmp_path):
    volumes = volumes_of(count=60)
    for row, voxels in enumerate(volumes):
        np.save(tmp_path / f"{row}.npy", voxels)
    lines = [f"{row}.npy,{row // 3 % 2},patient {row // 3}" for row in range(60)]
    dataset = load_dataset(write_table(tmp_path, lines, "path,label,group"))
    known = {voxels.tobytes(): row // 3 for row, voxels in enumerate(volumes)}
    patients = [
        {known[volume.tobytes()] for volume in dataset.split(name)[0]}
        for name in ("train", "validation", "test")
    ]
    assert all(patients) and not patients[0] & patients[1] | patients[0] & patients[2]
    assert not patients[1] & patients[2]


TWO_CLASSES = ["0.npy,a,train", "1.npy,b,train", "2.npy,a,test", "3.npy,b,test"]


@pytest.mark.parametrize(
    "lines, sentence",
    [
        ([], "labels.csv has no lines: list a file in each, below the columns path and label"),
        (["0.npy,,train"], "labels.csv has no label in line 2"),
        ([*TWO_CLASSES, ",a,train"], "labels.csv has no path in line 6"),
        (
            [*TWO_CLASSES, "9.npy,a,train"],
            "lists 1 file that cannot be found, such as .*9.npy in",
        ),
        ([*TWO_CLASSES, "./0.npy,a,test"], "lists .*0.npy in line 2 and in line 6: delete one"),
        (TWO_CLASSES[::2], "labels.csv has only one label, 'a': give two or more"),
        (
            [*TWO_CLASSES, "4.npy,A,train"],
            r"has the label 'A' in line 6 alone \(.*4.npy\): corr",
        ),
        (
            [*TWO_CLASSES, "4.npy,a,later"],
            "has the split 'later' in line 6: write train, val or t",
        ),
        ([*TWO_CLASSES, "4.npy,a,"], "has the split '' in line 6: write train, val or test"),
        (["0.npy,a,test", *TWO_CLASSES[1:], "4.npy,a,val"], "has no training file with the label"),
        ([*TWO_CLASSES, "small.npy,a,train"], r"arrays differ in shape \(.*0.npy has \(6, 8, 7\),"),
        ([*TWO_CLASSES, "byte.npy,a,train"], "byte.npy holds uint8, but .*0.npy int16, whose unit"),
        (
            [*TWO_CLASSES, "word.npy,a,train", "byte.npy,a,train"],
            "byte.npy holds uint8, but .*0.npy int16",
        ),
        ([*TWO_CLASSES, f"{'x' * 300},a,train"], "lists 1 file that cannot be found, such as"),
        ([*TWO_CLASSES, "bad.npy,a,train"], r"bad.npy cannot be read as a NumPy array \("),
        ([*TWO_CLASSES, "nan.npy,a,train"], "the numbers in .*nan.npy contain NaN"),
        (
            [*TWO_CLASSES, "a.png,a,train"],
            "files are of different kinds, such as .*0.npy and .*a.",
        ),
        ([*TWO_CLASSES, "a.doc,a,train"], "a.doc cannot be read: use pictures"),
    ],
)
def test_tables_that_do_not_serve_are_refused(tmp_path, lines, sentence):
    for row in range(5):
        np.save(tmp_path / f"{row}.npy", volumes_of(seed=row)[0])
    np.save(tmp_path / "small.npy", volumes_of((6, 8, 6))[0])
    np.save(tmp_path / "byte.npy", volumes_of()[0].astype(np.uint8))
    np.save(tmp_path / "word.npy", volumes_of()[0].astype(np.uint16))
    np.save(tmp_path / "nan.npy", np.where(volumes_of()[0] > 0, np.nan, 1))
    for name in ("bad.npy", "a.png", "a.doc"):
        (tmp_path / name).write_text("nothing")
    with pytest.raises(DataError, match=sentence) as refusal:
        load_dataset(write_table(tmp_path, lines))
    assert "\n" not in str(refusal.value)


def test_a_line_without_group_beside_others_is_named(tmp_path):
    lines = saved_arrays(tmp_path)
    table = write_table(
        tmp_path, [f"{line},{'p' * (line[0] != '3')}" for line in lines], "path,label,group"
    )
    with pytest.raises(
        DataError, match="has no group in line 5: name one in each line, or in none"
    ):
        load_dataset(table)


def test_groups_that_straddle_splits_are_named(tmp_path):
    for row in range(4):
        np.save(tmp_path / f"{row}.npy", volumes_of(seed=row)[0])
    lines = [f"{line},{group}" for line, group in zip(TWO_CLASSES, "xyzx", strict=True)]
    table = write_table(tmp_path, lines, "path,label,split,group")
    with pytest.raises(DataError, match=r"group 'x' in two splits \(.*0.npy in line 2, .*3.npy in"):
        load_dataset(table)


def test_columns_that_are_not_read_are_named(tmp_path):
    for row in range(4):
        np.save(tmp_path / f"{row}.npy", volumes_of(seed=row)[0])
    lines = [f"{line},p{row}" for row, line in enumerate(TWO_CLASSES)]
    with pytest.warns(UserWarning, match="labels.csv: not read are patient; files of one"):
        load_dataset(write_table(tmp_path, lines, "path,label,split,patient"))


def saved_arrays(folder, count=8):
    for row in range(count):
        np.save(folder / f"{row}.npy", volumes_of(seed=row)[0])
    return [f"{row}.npy,{'ab'[row % 2]}" for row in range(count)]


def test_class_names_are_the_order_of_the_labels(tmp_path):
    table = write_table(tmp_path, [f"{line},train" for line in saved_arrays(tmp_path)])
    assert load_dataset(table).train_labels.tolist() == [0, 1] * 4
    turned = load_dataset(table, class_names=["b", "a"])
    assert turned.class_names == ("b", "a") and turned.train_labels.tolist() == [1, 0] * 4
    with pytest.raises(DataError, match="has the label 'b' in line 3, but the classes are 'a', 'c"):
        load_dataset(table, class_names=["a", "c"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_of_spreadsheets_are_read(tmp_path, encoding):
    lines = [line.replace(",a", ";gro\u00df").replace(",", ";") for line in saved_arrays(tmp_path)]
    text = "path;label;split\n" + "".join(f"{line};train\n" for line in lines)
    (tmp_path / "labels.csv").write_text(text, encoding=encoding)
    assert load_dataset(tmp_path / "labels.csv").class_names == ("b", "gro\u00df")


def test_a_table_without_splits_can_be_one_whole_split(tmp_path):
    lines = [line for line in saved_arrays(tmp_path) if ",b" in line]
    table = write_table(tmp_path, lines, "path,label")
    dataset = load_dataset(table, class_names=["a", "b"], only_split="test")
    assert dataset.test_labels.tolist() == [1] * 4 and not len(dataset.train_labels)
    assert dataset.volume_shape == (6, 8, 7, 1)
    with pytest.raises(UsageError, match="labels has no train split"):
        dataset.normalise(dataset.test_volumes)
    small = load_dataset(table, class_names=["a", "b"], only_split="test", volume_size=4)
    assert small.volume_shape == small.test_volumes.shape[1:] == (3, 4, 4, 1)
    with pytest.raises(UsageError, match="only_split is 'tset', but must be train, "):
        load_dataset(table, only_split="tset")


@pytest.mark.parametrize("window", [None, (-900, 900)])
def test_a_file_with_one_split_is_resized_and_windowed(tmp_path, window):
    np.savez(tmp_path / "x.npz", test_images=volumes_of(), test_labels=np.arange(COUNT) % 2)
    settings = {"volume_size": 4, "window": window, "class_names": ["a", "b"]}
    dataset = load_dataset(tmp_path / "x.npz", only_split="test", **settings)
    assert dataset.test_volumes.shape == (COUNT, 3, 4, 4, 1) and dataset.class_names == ("a", "b")
    assert dataset.train_volumes.shape == (0, 3, 4, 4, 1)
    assert dataset.test_volumes.dtype == (np.uint8 if window else np.int16)


def test_links_keep_their_names(tmp_path):
    (tmp_path / "blobs").mkdir()
    lines = saved_arrays(tmp_path)
    for row in range(len(lines)):
        (tmp_path / f"{row}.npy").rename(tmp_path / "blobs" / f"hash{row}")
        (tmp_path / f"{row}.npy").symlink_to(tmp_path / "blobs" / f"hash{row}")
    dataset = load_dataset(write_table(tmp_path, [f"{line},train" for line in lines]))
    write_table_of(tmp_path / "files.csv", file_rows(dataset))
    assert load_dataset(tmp_path / "files.csv").fingerprint == dataset.fingerprint


def test_validation_cuts_no_group(tmp_path):
    lines = [f"{line},train,p{row // 2}" for row, line in enumerate(saved_arrays(tmp_path))]
    dataset = load_dataset(write_table(tmp_path, lines, "path,label,split,group"))
    assert dataset.with_validation(2).listings["validation"].groups.tolist() == ["p3", "p3"]
    with pytest.raises(UsageError, match="validation is 3, which would cut the group 'p2': say in"):
        dataset.with_validation(3)


def test_a_listing_fits_its_split(tmp_path):
    lines = [f"{line},train" for line in saved_arrays(tmp_path)]
    dataset = load_dataset(write_table(tmp_path, lines))
    with pytest.raises(UsageError, match="listing of the train split has 8 files for 2 volumes"):
        replace(dataset, train_volumes=dataset.train_volumes[:2], train_labels=np.arange(2))
    half = dataset.with_validation(4)
    partial = replace(half, listings={"train": half.listings["train"]})
    assert not in_fold(partial, Fold(0, 2)).listings


def test_the_table_of_a_data_set_loads_as_the_same(scans, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    lines = [f"{line},p{row}" for row, line in enumerate(scans[0].read_text().split()[1:])]
    dataset = load_dataset(write_table(tmp_path, lines, "path,label,split,group"))
    copy = tmp_path / "elsewhere" / "files.csv"
    write_table_of(copy, file_rows(dataset))
    assert load_dataset(copy).fingerprint == dataset.fingerprint
    assert copy.read_text().splitlines()[1] == f"{tmp_path}/scans/2.nii.gz,a,train,p2"
    turned = load_dataset(tmp_path / "labels.csv", class_names=["b", "a"])
    write_table_of(tmp_path / "elsewhere" / "turned.csv", file_rows(turned))
    again = load_dataset(tmp_path / "elsewhere" / "turned.csv", class_names=["b", "a"])
    assert again.fingerprint == turned.fingerprint != dataset.fingerprint
    files, groups = files_and_groups(copy, ["test", "validation"])
    assert groups == {f"p{row}" for row in range(COUNT) if row % 5 < 2}
    assert files == {f"{tmp_path}/scans/{row}.nii.gz" for row in range(COUNT) if row % 5 < 2}


def test_files_stay_with_their_volumes(tmp_path):
    lines = [f"{line},train,p{max(row, 2)}" for row, line in enumerate(saved_arrays(tmp_path))]
    dataset = load_dataset(write_table(tmp_path, lines, "path,label,split,group"))

    def rows(data, split):
        names = [Path(file).stem for file in data.listings[split].files]
        for name, volume in zip(names, data.split(split)[0], strict=True):
            assert np.array_equal(volume[..., 0], volumes_of(seed=int(name))[0])
        return "".join(names)

    assert rows(dataset, "train") == "01234567"
    assert dataset.listings["train"].group_numbers.tolist() == [0, 0, 0, 1, 2, 3, 4, 5]
    cut = dataset.with_validation(3)
    assert (rows(cut, "train"), rows(cut, "validation")) == ("01234", "567")
    assert rows(dataset.with_training_rows([6, 1]), "train") == "61"
    folds = [in_fold(dataset, Fold(number, 2)) for number in range(2)]
    assert sorted(rows(folds[0], "train") + rows(folds[0], "validation")) == list("01234567")
    held = [rows(fold, "validation") for fold in folds]
    assert any("0" in one and "1" in one and "2" in one for one in held)  # one group


def test_few_files_without_splits_are_refused(tmp_path):
    for row in range(6):
        np.save(tmp_path / f"{row}.npy", volumes_of(seed=row)[0])
    table = write_table(tmp_path, [f"{row}.npy,{row % 2}" for row in range(6)], "path,label")
    with pytest.raises(DataError, match="has no column split, and the class '0' is in 3 of"):
        load_dataset(table)


def test_a_table_without_a_column_or_a_file_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("file,label\n1,2\n")
    with pytest.raises(
        DataError,
        match="has the columns file, label, but needs path and label, and may",
    ):
        load_dataset(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"path,label\n\xff,2\n")
    with pytest.raises(DataError, match=r"b.csv cannot be read as a table \("):
        load_dataset(tmp_path / "b.csv")
    with pytest.raises(MissingDataError, match="c.csv does not exist"):
        load_dataset(tmp_path / "c.csv")


def test_a_mask_among_scans_is_named(tmp_path, scans):
    table, volumes = scans
    write_scan(tmp_path / "scans/3.nii.gz", (volumes[3] > 0).astype(np.int16), (2, 1, 1))
    with pytest.raises(DataError, match="3.nii.gz has at most 16 different numbers, as a mask has"):
        load_dataset(table)
    for row in range(COUNT):
        mask = (volumes[row] > 0).astype(np.int16)
        write_scan(tmp_path / f"scans/{row}.nii.gz", mask, (2, 1, 1))
    assert load_dataset(table).train_volumes.max() == 1  # all of them are


def test_a_single_slice_among_scans_is_named(tmp_path, scans):
    table, volumes = scans
    write_scan(tmp_path / "scans/3.nii.gz", volumes[3][:1], (2, 1, 1))
    with pytest.raises(DataError, match="3.nii.gz has one slice, unlike 19 other scans: list the"):
        load_dataset(table, volume_size=6)


def test_bytes_beside_other_numbers_need_percentiles(tmp_path, scans):
    table, volumes = scans
    write_scan(tmp_path / "scans/3.nii.gz", (volumes[3] // 8 + 120).astype(np.uint8), (2, 1, 1))
    for window in (None, (-500, 500)):
        with pytest.raises(DataError, match="3.nii.gz holds uint8, but .*nii.gz int16, whose unit"):
            load_dataset(table, window=window)
    assert load_dataset(table, window=("1%", "99%")).train_volumes.dtype == np.uint8


def test_more_arrays_than_files_can_be_open(tmp_path):
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (120, hard))
    try:
        for row in range(150):
            np.save(tmp_path / f"{row}.npy", np.full((4, 4, 4), row, np.int16))
        lines = [f"{row}.npy,{row % 2},{split_of(row)}" for row in range(150)]
        assert load_dataset(write_table(tmp_path, lines)).volume_shape == (4, 4, 4, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def test_scans_of_several_channels_or_grids_are_named(tmp_path, scans):
    table, volumes = scans
    write_scan(tmp_path / "scans/3.nii.gz", volumes[3], (1, 1, 1))
    with pytest.raises(DataError, match=r"2.nii.gz has 6x8x7 voxels of 2x1x1 mm, .*3.nii.gz has 6"):
        load_dataset(table)
    assert load_dataset(table, volume_size=4).volume_shape == (4, 3, 2, 1)


def test_a_missing_library_is_named(scans, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(DataError, match=r'needs SimpleITK, which is not installed: pip install "w'):
        load_dataset(scans[0])


@pytest.mark.slow
def test_a_table_of_dicom_series_trains_and_an_own_series_is_classified(tmp_path):
    for row, voxels in enumerate(volumes_of((8, 8, 8))):
        write_series(tmp_path / f"patient{row}", voxels + np.int16(row % 2 * 200))
    lines = [f"patient{row},{['healthy', 'ill'][row % 2]},{split_of(row)}" for row in range(COUNT)]
    table = write_table(tmp_path, lines)
    base = [sys.executable, "cifar_wide_resnet_keras.py", "--dataset", str(table)]
    small = ["--depth", "10", "--widen-factor", "1", "--batch-size", "4", "--iterations", "3"]
    run = [*base, *small, "--window", "-900", "900", "--output", str(tmp_path / "run")]
    done = subprocess.run(run, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert ", voxels of 1x1x1 mm, intensities -900 to 900 as 256 levels\n" in done.stdout
    predict = [sys.executable, "-m", "wrn3d.predict", str(tmp_path / "run" / "best.safetensors")]
    done = subprocess.run([*predict, str(tmp_path / "patient1")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "healthy" in done.stdout
