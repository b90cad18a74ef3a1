"""Collections of every kind: numbers, names, labels and pixels, each as the user has them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agnoscope import FileError, ImageError, OptionError
from agnoscope.scan.collection import Collection, Item, Listed, Streamed, collection

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 6, 5, 3), dtype=np.uint8)
LABELS = ["a", "b", "a", "c", "b", "a", "c"]


def items(found: Collection, length: int = 3, skip: frozenset[int] = frozenset()) -> list[Item]:
    return [item for _, block in found.blocks(length, skip) for item in block]


def pixels(found: Collection) -> np.ndarray:
    return np.stack([np.asarray(item.read()) for item in items(found)])


def pairs() -> Iterator[tuple[np.ndarray, str]]:
    yield from zip(PIXELS, LABELS, strict=True)


def batches(labelled: bool = True) -> Iterator[Any]:
    for start in range(0, 7, 2):
        some = slice(start, start + 2)
        yield (PIXELS[some], LABELS[some]) if labelled else PIXELS[some]


class Indexed:
    """A map-style data set of pairs, one of which it refuses to give."""

    def __init__(self, refused: int = -1) -> None:
        self.refused = refused

    def __len__(self) -> int:
        return 7

    def __getitem__(self, number: int) -> tuple[np.ndarray, int]:
        if number == self.refused:
            raise KeyError("gone")
        return PIXELS[number], "abc".index(LABELS[number])


class Batches:
    """A sequence of batches, as Keras has them."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        some = slice(2 * number, 2 * number + 2)
        return PIXELS[some], np.array(["abc".index(label) for label in LABELS[some]])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, label in enumerate(LABELS):
        (tmp_path / "photos" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number]).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "notes.txt").write_text("none")
    (tmp_path / "photos" / ".hidden.png").write_text("none")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    "made",
    [
        lambda: PIXELS,
        lambda: list(PIXELS),
        lambda: list(zip(PIXELS, LABELS, strict=True)),
        lambda: [{"image": one, "label": label} for one, label in zip(PIXELS, LABELS, strict=True)],
        lambda: Indexed(),
        lambda: Batches(),
        lambda: pairs(),
        lambda: batches(),
        lambda: batches(labelled=False),
        lambda: iter(PIXELS),
        lambda: [Image.fromarray(one) for one in PIXELS],
    ],
)
def test_every_kind_gives_the_same_images_in_the_same_order(made: Any) -> None:
    np.testing.assert_array_equal(pixels(collection(made())), PIXELS)
    assert [item.number for item in items(collection(made()), length=2)] == list(range(7))
    assert [item.name for item in items(collection(made()))] == [f"image {i}" for i in range(7)]


@pytest.mark.parametrize("made", [lambda: list(zip(PIXELS, LABELS, strict=True)), pairs, batches])
def test_pairs_bring_their_labels(made: Any) -> None:
    assert [item.label for item in items(collection(made()))] == LABELS


@pytest.mark.parametrize("made", [Indexed, Batches])
def test_numbers_as_labels_become_words(made: Any) -> None:
    assert [item.label for item in items(collection(made()))] == [str("abc".index(label)) for label in LABELS]


@pytest.mark.parametrize("made", [lambda: PIXELS, lambda: iter(PIXELS), lambda: Indexed()])
def test_labels_that_are_told_count(made: Any) -> None:
    assert [item.label for item in items(collection(made(), LABELS))] == LABELS


def test_a_folder_has_paths_as_names_and_folders_as_labels(folder: Path) -> None:
    found = collection(folder, "folders")
    assert [item.name for item in items(found)] == sorted(f"{label}/{i}.png" for i, label in enumerate(LABELS))
    assert [item.label for item in items(found)] == sorted(LABELS)
    assert items(found)[0].read() == folder / "a" / "0.png"
    assert not any(item.label for item in items(collection(folder)))


def test_an_array_file_is_read_one_image_at_a_time(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", PIXELS)
    found = collection(tmp_path / "pixels.npy")
    np.testing.assert_array_equal(pixels(found), PIXELS)
    np.save(tmp_path / "columns.npy", np.asfortranarray(PIXELS))
    np.testing.assert_array_equal(pixels(collection(tmp_path / "columns.npy")), PIXELS)
    np.save(tmp_path / "pixels.npy", 255 - PIXELS)  # another file of the same name is read as what it is
    np.testing.assert_array_equal(pixels(collection(str(tmp_path / "pixels.npy"))), 255 - PIXELS)


def test_an_array_file_that_becomes_shorter_loses_images_and_nothing_else(tmp_path: Path) -> None:
    np.save(tmp_path / "pixels.npy", PIXELS)
    found = items(collection(tmp_path / "pixels.npy"))
    (tmp_path / "pixels.npy").write_bytes((tmp_path / "pixels.npy").read_bytes()[:-20])
    np.testing.assert_array_equal(found[5].read(), PIXELS[5])
    with pytest.raises(ImageError, match=r"Image 6 of .* shorter"):
        found[6].read()
    (tmp_path / "pixels.npy").unlink()
    with pytest.raises(ImageError, match=r"Image 5 of .* cannot be read"):
        found[5].read()


def test_blocks_that_are_not_wanted_are_passed_over() -> None:
    for made in (PIXELS, iter(PIXELS), batches()):
        assert [i.number for i in items(collection(made), 3, frozenset({1}))] == [0, 1, 2, 6]


def test_an_iterable_is_read_no_further_than_it_is_asked_for() -> None:
    read = []

    def endless() -> Iterator[np.ndarray]:
        for number in range(10**9):
            read.append(number)
            yield PIXELS[number % 7]

    blocks = collection(endless()).blocks(5, frozenset())
    assert [number for number, _ in (next(blocks), next(blocks))] == [0, 1]
    assert len(read) == 10


def test_an_image_that_a_data_set_refuses_is_one_all_the_same() -> None:
    found = items(collection(Indexed(refused=4)))
    assert len(found) == 7
    with pytest.raises(ImageError, match="image 4: KeyError"):
        found[4].read()


@pytest.mark.torch
def test_data_sets_and_loaders_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    first = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2) / 255).float()
    dataset = TensorDataset(first, torch.tensor([0, 1, 0, 2, 1, 0, 2]))
    for made in (dataset, DataLoader(dataset, batch_size=3)):
        found = items(collection(made))
        assert [item.label for item in found] == ["0", "1", "0", "2", "1", "0", "2"]
        np.testing.assert_array_equal(np.stack([np.asarray(item.image) for item in found]), first.numpy())
    assert isinstance(collection(first), Listed)
    with pytest.raises(ImageError, match="shape"):
        collection(first[0])


@pytest.mark.tensorflow
def test_data_sets_of_tensorflow_and_keras() -> None:
    tf = pytest.importorskip("tensorflow")
    keras = pytest.importorskip("keras")

    singles = tf.data.Dataset.from_tensor_slices((PIXELS, LABELS))
    named = tf.data.Dataset.from_tensor_slices({"image": PIXELS, "label": LABELS})
    for made in (singles, named, singles.batch(3)):
        found = collection(made)
        np.testing.assert_array_equal(pixels(found), PIXELS)
        assert [item.label for item in items(found)] == LABELS

    class Data(keras.utils.PyDataset):
        __len__, __getitem__ = Batches.__len__, Batches.__getitem__

    assert isinstance(collection(Data()), Streamed)
    np.testing.assert_array_equal(pixels(collection(Data())), PIXELS)


def test_two_collections_of_other_content_tell_so(tmp_path: Path, folder: Path) -> None:
    assert collection(PIXELS).about == collection(PIXELS.copy()).about
    assert collection(PIXELS).about != collection(PIXELS[::-1]).about
    assert collection(folder).about != collection(folder, "folders").about
    before = collection(folder).about
    (folder / "a" / "0.png").rename(folder / "a" / "9.png")
    assert collection(folder).about != before
    assert collection(["x.png", "y.png"]).about != collection(["x.png", "z.png"]).about


@pytest.mark.parametrize(
    ("images", "labels", "kind", "words"),
    [
        ("nowhere", None, FileError, "no folder or file"),
        (PIXELS, "classes", OptionError, "folders"),
        (PIXELS, "folders", OptionError, "folder of photos"),
        (PIXELS, LABELS[:3], OptionError, "3 labels for 7 images"),
        (PIXELS[0], None, ImageError, r"shape \(6, 5, 3\)"),
        (PIXELS[:0], None, ImageError, "empty"),
        ([], None, ImageError, "empty"),
        (7, None, OptionError, "no collection"),
        ({"a": 1}, None, OptionError, "no collection"),
    ],
)
def test_what_is_no_collection_is_refused(images: Any, labels: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        collection(images, labels)


def test_files_that_are_no_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="no photo"):
        collection(tmp_path / "empty")
    (tmp_path / "text.txt").write_text("text")
    with pytest.raises(FileError, match="no collection"):
        collection(tmp_path / "text.txt")
    np.save(tmp_path / "whole.npy", PIXELS)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:-20])
    (tmp_path / "text.npy").write_text("text")
    np.save(tmp_path / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    for name in ("cut", "text", "objects"):
        with pytest.raises(FileError, match="no array of pixels"):
            collection(tmp_path / f"{name}.npy")
    np.save(tmp_path / "flat.npy", PIXELS[0])
    with pytest.raises(ImageError, match="shape"):
        collection(tmp_path / "flat.npy")
