import pickle
import re
import zipfile

import numpy as np
import pytest

from pliant.datasets import DataError, imagenet32, load_images

BATCH = "train_data_batch_{}.npz"


def batch(folder, number, labels, first=0, **other):
    """A batch whose image i has `first + i` as the value of all of its pixels."""
    data = np.repeat(np.arange(first, first + len(labels), dtype=np.uint8)[:, None], 3072, 1)
    np.savez(folder / BATCH.format(number), **{"data": data, "labels": np.array(labels), "mean": data.mean(0), **other})


def classes(folder, *arrays):
    for k, array in enumerate(arrays):
        np.save(folder / f"{k}.npy", array)


def pixels(images=7, value=0, dtype=np.uint8):
    return np.full((images, 3, 32, 32), value, dtype)


def refused(folder, message):
    before = sorted(folder.rglob("*"))
    with pytest.raises(DataError, match=f"^{re.escape(str(folder))}{message}$") as error:
        imagenet32.read(folder)
    line = str(error.value).removeprefix(str(folder))
    assert "\n" not in line and len(line) < 200 and sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("compressed", [True, False])
def test_the_official_batches_give_the_first_images_of_each_class(tmp_path, monkeypatch, compressed):
    # Class 1 has the images 0, 3, 4, 5, ..., and class 2 has 1, 2, 7, ...: 8 are the first, one of them for the test.
    monkeypatch.setattr(imagenet32, "_EACH", 8)
    y = [1, 2, 2, 1, 1, 1, 1, 2, 2, 1, 2, 2, 1, 1, 2, 2, 2, 1]
    batch(tmp_path, 1, y[:5])
    batch(tmp_path, 2, y[5:], first=5)
    if compressed:
        path = tmp_path / BATCH.format(2)
        with np.load(path) as arrays:
            content = dict(arrays)
        np.savez_compressed(path, **content)
    found = load_images("imagenet32", str(tmp_path))
    assert found.train_x.shape == (14, 32, 32, 3) and found.test_x.shape == (2, 32, 32, 3) and found.classes == 2
    assert found.train_x[:, 31, 0, 2].tolist() == [0, 3, 4, 5, 6, 9, 12, 1, 2, 7, 8, 10, 11, 14]
    assert found.test_x[:, 31, 0, 2].tolist() == [13, 15]
    assert found.train_y.tolist() == [0] * 7 + [1] * 7 and found.test_y.tolist() == [0, 1]


def test_the_published_split_is_600_and_100_and_by_class_is_a_view(tmp_path):
    classes(tmp_path, pixels(700, 1), pixels(701, 2))
    found = imagenet32.read(tmp_path)
    assert found.train_by_class().shape == (2, 600, 32, 32, 3) and found.test_by_class().shape == (2, 100, 32, 32, 3)
    assert found.train_by_class(500)[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert np.shares_memory(found.train_by_class(500), found.train_x)


def test_an_image_is_all_of_red_then_green_then_blue(tmp_path):
    # Of 7 images, the last is for the test. Pixels of the first: red 7 in row 0, green the column in row 31, blue 9.
    x = pixels()
    x[0, 0, 0], x[0, 1, 31], x[0, 2] = 7, np.arange(32), 9
    classes(tmp_path, x)
    (tmp_path / "official").mkdir()
    batch(tmp_path / "official", 1, [1] * 7, data=x.reshape(7, 3072))
    for found in (imagenet32.read(tmp_path / "official"), imagenet32.read(tmp_path)):
        assert found.train_x.shape == (6, 32, 32, 3) and found.test_x.shape == (1, 32, 32, 3)
        assert found.train_x[0, 0, 5].tolist() == [7, 0, 9] and found.train_x[0, 31, 5].tolist() == [0, 5, 9]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_the_files_of_classes_hold_whole_numbers_of_any_type(tmp_path, dtype):
    (tmp_path / "classes").mkdir()
    classes(tmp_path / "classes", pixels(8, 255, dtype), pixels(7, 3, dtype))
    found = imagenet32.read(tmp_path)
    assert found.train_x.dtype == np.uint8 and found.train_x.shape == (12, 32, 32, 3)
    assert found.train_x[:, 0, 0, 0].tolist() == [255] * 6 + [3] * 6 and found.test_y.tolist() == [0, 1]


def test_pixels_divided_by_255_are_multiplied_again(tmp_path):
    x = (np.arange(7 * 3072) % 256).reshape(7, 3, 32, 32)
    classes(tmp_path, (x / 255).astype(np.float32))
    np.testing.assert_array_equal(imagenet32.read(tmp_path).train_x, x[:6].transpose(0, 2, 3, 1))


def test_the_batches_in_the_cache_are_read():
    found = imagenet32.load()  # tests/data/imagenet32, ten classes
    assert found.train_by_class().shape == (10, 600, 32, 32, 3) and found.test_by_class().shape == (10, 100, 32, 32, 3)


def test_synthetic_images_are_written_and_read_in_the_official_format():
    found = load_images("imagenet32", "synthetic")
    assert found.train_by_class().shape == (20, 60, 32, 32, 3) and found.test_by_class().shape == (20, 10, 32, 32, 3)
    # The nearest mean of a class is right for each test image.
    means = found.train_by_class().mean(1)
    distances = ((found.test_x[:, None] - means[None]) ** 2).sum((2, 3, 4))
    assert (distances.argmin(1) == found.test_y).all()


def test_without_files_the_error_says_where_to_get_and_to_put_them(tmp_path, monkeypatch):
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path))
    with pytest.raises(DataError) as error:
        imagenet32.load()
    assert str(error.value) == (
        f"{tmp_path / 'imagenet32' / BATCH.format(1)} is missing; unpack Imagenet32_train_npz.zip there, from "
        "https://image-net.org/download-images.php with an account, or name the folder that has its files, or "
        "0.npy to 999.npy: --data DIR"
    )


GAP = "the files have the numbers from {} on, without a gap: put the missing file there"


def test_a_batch_or_a_class_that_is_missing_or_there_twice_is_named(tmp_path):
    batch(tmp_path, 1, [1] * 7)
    batch(tmp_path, 3, [1] * 7)
    refused(tmp_path, f"/train_data_batch_2.npz is missing, and train_data_batch_3.npz is there; {GAP.format(1)}")
    for path in tmp_path.iterdir():
        path.unlink()
    classes(tmp_path, pixels(), pixels(), pixels())
    (tmp_path / "1.npy").rename(tmp_path / "01.npy")
    refused(tmp_path, f"/1.npy is missing, and 01.npy is there; {GAP.format(0)}")
    classes(tmp_path, pixels(), pixels())
    refused(tmp_path, f"/3.npy is missing, and 01.npy is there; {GAP.format(0)}")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.arange(7)}, "/.*: a label is 0; the labels of the official batches are from 1 to 1000"),
        ({"labels": np.full(7, 1001)}, "/.*: a label is 1001; the labels of the official batches are from 1 to 1000"),
        ({"labels": np.array([1] * 6 + [3] * 8)}, ": class 1 has 0 images, and 7 are the fewest; add the others"),
        (
            {"labels": np.ones(7)},
            r"/.*: labels has shape \(7,\) and type float64; it has to be \(1 to 300,000 images\) of whole numbers",
        ),
        (
            {"labels": np.ones(9, int), "data": np.zeros((7, 3072), np.uint8)},
            r"/.*: data has shape \(7, 3072\) and type uint8; it has to be \(9, 3072\) of whole numbers",
        ),
        (
            {"data": np.zeros((7, 64 * 64 * 3), np.uint8)},
            r"/.*: data has shape \(7, 12288\) and type uint8; it has to be \(7, 3072\) of whole numbers",
        ),
        ({"data": np.full((7, 3072), 300, np.uint16)}, "/.* has numbers other than 0 to 255, or these divided by .*"),
        (
            {"data": np.zeros((7, 3072), np.float32)},
            r"/.*: data has shape \(7, 3072\) and type float32; it has to be \(7, 3072\) of whole numbers",
        ),
        (
            {"data": np.full((7, 3072), None)},
            r"/.*: data has shape \(7, 3072\) and type object; it has to be \(7, 3072\) of whole numbers",
        ),
    ],
)
def test_arrays_of_a_batch_that_do_not_fit_are_refused(tmp_path, arrays, message):
    batch(tmp_path, 1, **{"labels": [1] * 7, **arrays})
    refused(tmp_path, message)


def test_a_batch_without_an_array_is_named(tmp_path):
    np.savez(tmp_path / BATCH.format(1), labels=np.ones(7, int))
    refused(tmp_path, "/train_data_batch_1.npz has no array data; take the files of Imagenet32_train_npz.zip")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            np.zeros((7, 32, 32, 3), np.uint8),
            r" has shape \(7, 32, 32, 3\) .*; it has to be \(1 to 300,000 images, 3, 32, 32\) of whole",
        ),
        (
            pixels(0),
            r" has shape \(0, 3, 32, 32\) .*; it has to be \(1 to 300,000 images, 3, 32, 32\) of whole numbers",
        ),
        (pixels(6), ": class 0 has 6 images, and 7 are the fewest; add the others"),
        (
            pixels(value=-1, dtype=np.int16),
            " has numbers other than 0 to 255, or these divided by 255; undo what was done",
        ),
        (pixels(value=256, dtype=np.int16), " has numbers other than 0 to 255, or these divided by 255; undo what was"),
        (
            pixels(value=0.3, dtype=np.float32),
            " has numbers other than 0 to 255, or these divided by 255; undo what was",
        ),
        (
            pixels(value=np.nan, dtype=np.float32),
            " has numbers other than 0 to 255, or these divided by 255; undo what",
        ),
    ],
)
def test_an_array_of_a_class_that_does_not_fit_is_refused(tmp_path, array, message):
    classes(tmp_path, array)
    refused(tmp_path, f".*{message}.*")


def header(shape, descr="'|u1'"):
    """A file of NumPy that ends after its header."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        pickle.dumps([1]),
        header("(7, 3, 32, 32)"),
        header("(7, 3, 32, 32)") + bytes(7 * 3072 - 1),
        header("(10**9, 3, 32, 32)"),
        header("(" * 500),
        header("'"),
        header("(7,", "'no type'"),
        header("(True, 3, 32, 32)") + bytes(3072),
        header(" " * 20_000),
        b"\x93NUMPY\x03\x00",
        b"\x93NUMPY\x01\x00" + (5000).to_bytes(2, "little") + bytes(5000),
    ],
)
def test_a_damaged_file_of_a_class_is_named(tmp_path, content):
    (tmp_path / "0.npy").write_bytes(content)
    refused(tmp_path, "/0.npy is damaged, or holds no plain numbers .*; get it again")


@pytest.mark.parametrize(
    "content",
    [
        header("(1000000000, 3, 32, 32)"),
        header("(9999999999999999999999, 3, 32, 32)"),
        header("(-7, 3, 32, 32)"),
        header("()"),
        header("(7, 3, 32, 32)", "'|O'") + pickle.dumps(None),
        header("(7, 3, 32, 32)", "'<c8'"),
    ],
)
def test_a_file_of_a_class_is_never_unpickled_nor_larger_than_it_is(tmp_path, content):
    (tmp_path / "0.npy").write_bytes(content)
    refused(
        tmp_path, r"/0.npy has shape .* and type .*; it has to be \(1 to 300,000 images, 3, 32, 32\) of whole numbers"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([1]), " is damaged, or holds no plain numbers .*; get it again"),
        (header("(7, 3072)") + bytes(7 * 3072 - 1), " is damaged, or holds no plain numbers .*; get it again"),
        # A header of this size would fill the memory.
        (
            header("(999999999, 3072)"),
            r": data has shape \(999999999, 3072\) .*; it has to be \(7, 3072\) of whole numbers",
        ),
        (header("(7, 3072)", "'|O'") + pickle.dumps(None), ": data has shape .* and type object; it has to be .*"),
    ],
)
def test_an_array_of_a_batch_is_never_unpickled_nor_larger_than_its_labels(tmp_path, content, message):
    batch(tmp_path, 1, [1] * 7)
    path = tmp_path / BATCH.format(1)
    with np.load(path) as arrays:
        labels = arrays["labels"]
    np.savez(path, labels=labels)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data.npy", content)
    refused(tmp_path, f"/{path.name}{message}")


def test_a_batch_of_more_labels_than_imagenet_has_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / BATCH.format(1), "w") as archive:
        archive.writestr("labels.npy", header("(300001,)", "'<i8'"))
    refused(
        tmp_path,
        r"/.*: labels has shape \(300001,\) and type int64; it has to be \(1 to 300,000 images\) of whole numbers",
    )


@pytest.mark.parametrize("cut", [0, 10, -40, -3000])
def test_a_truncated_batch_is_named(tmp_path, cut):
    batch(tmp_path, 1, [1] * 7)
    path = tmp_path / BATCH.format(1)
    path.write_bytes(path.read_bytes()[: cut or 0])
    refused(tmp_path, "/train_data_batch_1.npz is damaged, or holds no plain numbers .*; get it again")
