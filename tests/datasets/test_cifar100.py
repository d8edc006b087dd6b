import gzip
import io
import re
import tarfile

import numpy as np
import pytest
import requests

from pliant.datasets import DataError, Images, cifar100, load_images

ARCHIVE = "cifar-100-binary.tar.gz"
RECORD = 2 + 3 * 32 * 32


def some_images(train=6, test=3):
    x = np.random.default_rng(0).integers(0, 256, (train + test, 32, 32, 3), np.uint8)
    y = (np.arange(train + test) * 37 % 100).astype(np.int32)
    return Images(x[:train], y[:train], x[train:], y[train:], 100)


def records(*labels, coarse=0):
    """The content of a file: an image for each label."""
    return b"".join(bytes([coarse, label]) + bytes(RECORD - 2) for label in labels)


def archive_of(*members):
    """An archive of `(name, content)`, or of members of a type of their own."""
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return unpacked.getvalue()


def member(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


TRAIN, TEST = ("cifar-100-binary/train.bin", records(0, 99)), ("cifar-100-binary/test.bin", records(5))


def test_the_archive_and_its_unpacked_files_hold_the_same_images(tmp_path):
    cifar100.write(tmp_path, some_images())
    packed = load_images("cifar100", str(tmp_path))
    with tarfile.open(tmp_path / ARCHIVE) as archive:
        archive.extractall(tmp_path / "deeper", filter="data")
    (tmp_path / ARCHIVE).unlink()
    plain = [cifar100.read(tmp_path / "deeper"), cifar100.read(tmp_path / "deeper" / "cifar-100-binary")]
    for found in (packed, *plain):
        for one, other in zip(found, some_images(), strict=True):
            np.testing.assert_array_equal(one, other)
        assert found.train_x.dtype == np.uint8 and found.train_y.dtype == np.int32


def test_a_record_has_two_labels_and_then_all_of_red_green_and_blue(tmp_path):
    # Red is 7 in the first row; green counts the columns of the last row; blue is 9 everywhere. 14 is the coarse label.
    red, green, blue = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.uint8), np.full((32, 32), 9, np.uint8)
    red[0], green[31] = 7, np.arange(32)
    content = bytes([14, 92]) + red.tobytes() + green.tobytes() + blue.tobytes()
    (tmp_path / "train.bin").write_bytes(content)
    (tmp_path / "test.bin").write_bytes(records(1, 2))
    found = cifar100.read(tmp_path)
    assert found.train_y.tolist() == [92] and found.test_y.tolist() == [1, 2] and found.classes == 100
    assert found.train_x[0, 0, 5].tolist() == [7, 0, 9] and found.train_x[0, 31, 5].tolist() == [0, 5, 9]


def test_the_other_members_of_the_archive_are_left_alone(tmp_path):
    folder, names = member("cifar-100-binary", tarfile.DIRTYPE), ("cifar-100-binary/fine_label_names.txt", b"apple\n")
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(archive_of(folder, names, TRAIN, TEST)))
    assert cifar100.read(tmp_path).train_y.tolist() == [0, 99]
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]


def test_the_archive_in_the_cache_is_read():
    found = cifar100.load()  # tests/data/cifar100, as many images as the published data set has
    assert found.train_by_class().shape == (100, 500, 32, 32, 3) and found.test_by_class().shape == (
        100,
        100,
        32,
        32,
        3,
    )
    assert (found.train_by_class()[:, 0, 0, 0, 0] == 2 * np.arange(100)).all()  # a grey of its own for each class


def test_synthetic_images_have_all_classes():
    found = load_images("cifar100", "synthetic")
    assert found.train_by_class().shape == (100, 60, 32, 32, 3) and found.test_by_class().shape == (100, 10, 32, 32, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.bin has 0 bytes, which is no whole number of 3,074; get it again"),
        (records(1)[:-1], "train.bin has 3,073 bytes, which is no whole number of 3,074; get it again"),
        (records(1, coarse=20), "train.bin: a coarse label is 20, and they end at 19; take the files of CIFAR-100"),
        (
            records(1, 100),
            "a training label is 100, outside of the 100 classes from 0 to 99; take the files of this data set",
        ),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_file_is_named(tmp_path, content, message, packed):
    if packed:
        (tmp_path / ARCHIVE).write_bytes(gzip.compress(archive_of((TRAIN[0], content), TEST)))
    else:
        (tmp_path / "train.bin").write_bytes(content)
        (tmp_path / "test.bin").write_bytes(TEST[1])
    where = re.escape(str(tmp_path / ARCHIVE if packed else tmp_path))
    with pytest.raises(DataError, match=f"^{where}.*{re.escape(message)}$"):
        cifar100.read(tmp_path)


def test_more_images_than_cifar_has_are_refused_before_they_are_read(tmp_path):
    with (tmp_path / "train.bin").open("wb") as file:
        file.truncate(50_001 * RECORD)  # takes no room on the disk
    (tmp_path / "test.bin").write_bytes(TEST[1])
    message = f"{tmp_path / 'train.bin'} has 50,001 images, more than the 50,000 of CIFAR-100; get it again"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        cifar100.read(tmp_path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([TRAIN], " holds no cifar-100-binary/test.bin; take the binary version, https://www.cs.toronto.edu/~kriz/"),
        ([("other/train.bin", TRAIN[1]), TEST], " holds no cifar-100-binary/train.bin; take the binary version, https"),
        ([TRAIN, TRAIN, TEST], " holds train.bin twice; get it again"),
        ([TRAIN, ("../outside", b"")], ": its member '../outside' lies outside of cifar-100-binary; get it again"),
        ([TRAIN, ("/etc/outside", b"")], ": its member '/etc/outside' lies outside of cifar-100-binary; get it again"),
        (
            [TRAIN, member("cifar-100-binary/test.bin", tarfile.SYMTYPE, "/etc/passwd")],
            ": its member 'cifar-100-binary/test.bin' is a link or a device; get it again",
        ),
        (
            [TRAIN, member("cifar-100-binary/test.bin", tarfile.LNKTYPE, "cifar-100-binary/train.bin")],
            ": its member 'cifar-100-binary/test.bin' is a link or a device; get it again",
        ),
        ([member("null", tarfile.CHRTYPE)], ": its member 'null' is a link or a device; get it again"),
    ],
)
def test_an_archive_with_other_members_is_refused_and_writes_nothing(tmp_path, members, message):
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(archive_of(*members)))
    with pytest.raises(DataError, match=f"^{re.escape(f'{tmp_path / ARCHIVE}{message}')}"):
        cifar100.read(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]


def test_a_file_with_holes_cannot_claim_to_be_larger_than_the_archive(tmp_path):
    info = member("cifar-100-binary/train.bin", tarfile.REGTYPE)
    # A sparse file of 2**40 zeros, which the archive holds in no byte.
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": str(2**40), "GNU.sparse.map": "0,0"}
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(archive_of(info, TEST)))
    with pytest.raises(DataError, match=r"its member 'cifar-100-binary/train.bin' is a link or a device; get it again"):
        cifar100.read(tmp_path)


@pytest.mark.parametrize("headers", [{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, {"GNU.sparse.map": "x"}])
def test_damaged_headers_of_a_file_with_holes_are_named(tmp_path, headers):
    info = tarfile.TarInfo("cifar-100-binary/train.bin")
    info.pax_headers = {**headers, "GNU.sparse.realsize": "3"}
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(archive_of(info, TEST)))
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path / ARCHIVE))} is damaged .*; get it again$"):
        cifar100.read(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r" is damaged \(.*\); get it again"),
        (b"no archive", r" is damaged \(Not a gzipped file .*\); get it again"),
        (gzip.compress(archive_of(TRAIN, TEST))[:-20], r" is damaged \(Compressed file ended .*\); get it again"),
        (gzip.compress(archive_of(TRAIN, TEST)[:5000]), r" is damaged \(unexpected end of data\); get it again"),
        (gzip.compress(b"no tar" * 100), r" is damaged \(.*\); get it again"),
    ],
    ids=["empty", "no_archive", "end_cut_off", "member_cut_off", "no_tar"],  # gzip writes the time into its bytes
)
def test_a_damaged_archive_is_named(tmp_path, content, message):
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path / ARCHIVE))}{message}$"):
        cifar100.read(tmp_path)


def test_an_archive_that_unpacks_to_more_than_cifar_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar100, "_UNPACKED", 20_000)
    (tmp_path / ARCHIVE).write_bytes(gzip.compress(bytes(20_001)))
    message = f"{tmp_path / ARCHIVE} holds more than 20,000 bytes; get it again"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        cifar100.read(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path / ARCHIVE))} is missing; put the file there, or"):
        cifar100.read(tmp_path)
    (tmp_path / "train.bin").write_bytes(TRAIN[1])
    with pytest.raises(DataError, match=f"^{re.escape(str(tmp_path / 'test.bin'))} is missing; put the file there, or"):
        cifar100.read(tmp_path)


def test_a_download_with_another_checksum_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("PLIANT_DATA", str(tmp_path))

    def get(url, **_):
        answer = requests.Response()
        answer.status_code, answer.raw, answer.url = 200, io.BytesIO(b"another file"), url
        return answer

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(
        DataError, match=r"^https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz has another SHA-256"
    ):
        cifar100.load()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
