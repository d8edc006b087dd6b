import gzip
import hashlib
import re

import numpy as np
import pytest

from pliant import datasets
from pliant.datasets import DataError, Images, _idx, _sources, emnist, load_images


def some_images(train=12, test=4):
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (train + test, 28, 28, 1), np.uint8)
    y = (np.arange(train + test) % 10).astype(np.int32)
    return Images(x[:train], y[:train], x[train:], y[train:], 10)


@pytest.fixture
def folder(tmp_path):
    _idx.write_folder(tmp_path, some_images())
    return tmp_path


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_names_are_those_of_the_files():
    assert datasets.names() == ["cifar100", "digits", "emnist", "fashion_mnist", "imagenet32", "mnist"]


@pytest.mark.parametrize("plain", [False, True])
def test_a_folder_has_the_four_files_of_mnist_compressed_or_not(folder, plain):
    if plain:
        for path in list(folder.iterdir()):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
            path.unlink()
    assert_equal(load_images("mnist", str(folder)), some_images())


def test_digits_come_with_the_package():
    found = load_images("mnist", "digits")
    assert found.train_x.shape == (1500, 8, 8, 1) and found.test_x.shape == (297, 8, 8, 1)
    # 16 of the data set becomes 255; each digit is there about as often as the others.
    assert found.train_x.max() == 255 and found.classes == 10
    assert np.bincount(found.train_y).min() > 140


def test_synthetic_images_are_written_and_read_in_the_format_and_can_be_told_apart():
    found = load_images("mnist", "synthetic")
    assert found.train_x.shape == (2000, 28, 28, 1) and found.test_x.shape == (200, 28, 28, 1)
    # The nearest mean of a class is right for each test image.
    means = np.stack([found.train_x[found.train_y == k].mean(0) for k in range(10)])
    distances = ((found.test_x[:, None].astype(float) - means[None]) ** 2).sum((2, 3, 4))
    assert (distances.argmin(1) == found.test_y).all()


def test_emnist_has_files_and_classes_of_its_own(tmp_path, monkeypatch):
    found = load_images("emnist", "synthetic")
    assert found.train_x.shape == (47 * 60, 28, 28, 1) and found.classes == 47
    (tmp_path / "emnist").mkdir()
    emnist.write(tmp_path / "emnist", found)
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path))
    assert_equal(emnist.load(), found)
    (path,) = (tmp_path / "emnist").glob("*test-labels*")
    path.unlink()
    message = f"{path} is missing; put the four files emnist-balanced-*.gz of https://biometrics.nist.gov/cs_links/"
    with pytest.raises(DataError, match=f"^{re.escape(message)}"):
        emnist.load()


def test_images_by_class_are_the_first_in_their_order():
    images = some_images(train=40)
    grouped = images.train_by_class(3)
    assert grouped.shape == (10, 3, 28, 28, 1)
    np.testing.assert_array_equal(grouped[7], images.train_x[[7, 17, 27]])
    with pytest.raises(DataError, match=r"^class 0 has 4 images to learn from, and each asks for 5; write a smaller "):
        images.train_by_class(5)


def header(*sizes, kind=8, axes=None):
    return bytes([0, 0, kind, len(sizes) if axes is None else axes]) + np.array(sizes, ">u4").tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an IDX file of bytes with 3 axes; get it again"),
        (header(2, 28, 28, kind=13), "is not an IDX file of bytes with 3 axes; get it again"),
        (header(2), "is not an IDX file of bytes with 3 axes; get it again"),
        (header(2, 2, 2) + b"1234567", "should hold 8 bytes and holds 7; get it again"),
        (header(2, 2, 2) + b"123456789", "should hold 8 bytes and holds more; get it again"),
        (header(2**20, 2**20, 2), "claims to hold 2,199,023,255,552 bytes; get it again"),
    ],
)
@pytest.mark.parametrize("compressed", [True, False])
def test_a_damaged_file_is_named(folder, content, message, compressed):
    path = folder / "train-images-idx3-ubyte.gz"
    path.unlink()
    path = path if compressed else path.with_suffix("")
    path.write_bytes(gzip.compress(content) if compressed else content)
    with pytest.raises(DataError, match=f"^{re.escape(f'{path} {message}')}$"):
        load_images("mnist", str(folder))


def test_a_truncated_archive_is_named(folder):
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=f"^{re.escape(str(path))} is damaged .*; get it again$"):
        load_images("mnist", str(folder))


def test_files_that_do_not_fit_together_are_refused(folder):
    _idx.write_idx(folder / "train-labels-idx1-ubyte.gz", np.full(12, 10, np.uint8))
    with pytest.raises(
        DataError, match="a training label is 10, outside of the 10 classes from 0 to 9; take the files"
    ):
        load_images("mnist", str(folder))
    load_images.cache_clear()
    _idx.write_idx(folder / "train-labels-idx1-ubyte.gz", np.zeros(11, np.uint8))
    with pytest.raises(DataError, match="there are 12 training images and 11 labels; take files of one data set"):
        load_images("mnist", str(folder))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (4, 20, 20),
            "the training images have 28 x 28 pixels and the test images 20 x 20; take files of one data set",
        ),
        ((4, 0, 28), "the test images have shape (4, 0, 28, 1) and type uint8; they have to be"),
    ],
)
def test_images_of_other_sizes_are_refused(folder, shape, message):
    _idx.write_idx(folder / "t10k-images-idx3-ubyte.gz", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=re.escape(message)):
        load_images("mnist", str(folder))


def test_a_folder_in_the_place_of_a_file_is_no_file(folder):
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz is missing; put the file there"):
        load_images("mnist", str(folder))


def test_digits_have_no_files_of_ones_own(folder):
    with pytest.raises(DataError, match="digits is in the package, and has no other files; write data=digits"):
        load_images("digits", str(folder))


def test_a_missing_file_or_folder_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    message = f"{folder / 't10k-labels-idx1-ubyte.gz'} is missing; put the file there, or name the folder that has it"
    with pytest.raises(DataError, match=f"^{re.escape(message)}: --data DIR$"):
        load_images("mnist", str(folder))
    message = "data=nowhere: does not exist; write the name of a data set, synthetic, or a folder with its files"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        load_images("mnist", "nowhere")


def test_files_of_the_system_come_first_then_the_cache_which_is_filled_by_verified_downloads(
    folder, tmp_path, monkeypatch
):
    cache = tmp_path / "cache"
    monkeypatch.setenv("PLIANT_DATA", str(cache))
    file = "train-labels-idx1-ubyte.gz"
    sha256 = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    assert _sources.sha256_of(folder / file) == sha256
    files = {file: _sources.Remote(f"file://{folder / file}", sha256)}
    assert _sources.fetched("mnist", files, (tmp_path / "absent", folder)) == folder
    (cache / "mnist").mkdir(parents=True)
    (cache / "mnist" / file).write_bytes(b"as it is")
    assert _sources.fetched("mnist", files) == cache / "mnist"


def test_without_a_network_the_error_says_where_to_get_and_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path))
    # No address of this name exists, with or without a network.
    url = "https://nowhere.invalid/images.gz"
    with pytest.raises(DataError) as error:
        _sources.fetched("mnist", {"images.gz": _sources.Remote(url, "0" * 64)}, about="or take Debian's")
    line = str(error.value)
    assert "\n" not in line and len(line) < 400
    assert line.startswith(f"{tmp_path / 'mnist' / 'images.gz'} is missing, and {url} cannot be downloaded (")
    assert line.endswith("put the file there, or take Debian's, or name the folder that has it: --data DIR")
    assert not (tmp_path / "mnist" / "images.gz").exists()
