"""Whatever comes through the door is either the image that its owner means, or refused with what to do.

The pictures here are a red, a green and a blue stripe over a dark one, four pixels high and six wide.
"""

import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agnoscope import ImageError
from agnoscope.images import Batch, InputSpec, load
from agnoscope.photos import MAX_PIXELS, decode
from tests.frameworks import FRAMEWORKS

PHOTO = np.zeros((4, 6, 3), dtype=np.uint8)
PHOTO[:2, :2, 0] = PHOTO[:2, 2:4, 1] = PHOTO[:2, 4:, 2] = 255
PHOTO[2:] = 51
GRAY = PHOTO[..., 0]
RGB, L = InputSpec(), InputSpec(channels="L")
SHARES = (PHOTO / 255).astype(np.float32)


def one(image: Any, spec: InputSpec = RGB) -> NDArray[Any]:
    """The only image that `load` makes of this."""
    (found,) = load(image, spec).images
    return found


def saved(folder: Path, name: str = "photo.png", picture: Image.Image | None = None, **options: Any) -> Path:
    """A file in a folder."""
    path = folder / name
    (picture or Image.fromarray(PHOTO)).save(path, **options)
    return path


# -- what is taken ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp", "gif", "jpg"])
def test_files_are_read(tmp_path: Path, ending: str) -> None:
    exact = {"webp": {"lossless": True}, "jpg": {"quality": 100, "subsampling": 0}}.get(ending, {})
    path = saved(tmp_path, f"photo.{ending}", **exact)
    for given in (path, str(path)):
        batch = load(given, RGB)
        np.testing.assert_allclose(batch.images[0], SHARES, atol=0.02 if ending == "jpg" else 0)
        assert batch.names == (f"photo.{ending}",)


MODES: dict[str, tuple[Callable[[], Image.Image], NDArray[Any]]] = {
    "RGB": (lambda: Image.fromarray(PHOTO), PHOTO),
    "L": (lambda: Image.fromarray(GRAY), np.stack([GRAY] * 3, axis=-1)),
    "1": (lambda: Image.fromarray(GRAY > 100), np.stack([255 * (GRAY > 100)] * 3, axis=-1)),
    "P": (lambda: Image.fromarray(PHOTO).quantize(4), PHOTO),
    "CMYK": (lambda: Image.fromarray(PHOTO).convert("CMYK"), PHOTO),
    # Colours below full transparency do not count; white shows through.
    "RGBA": (
        lambda: Image.fromarray(np.dstack([PHOTO, np.where(GRAY == 51, 0, 255).astype(np.uint8)])),
        np.where(PHOTO == 51, 255, PHOTO),
    ),
    "LA": (
        lambda: Image.merge("LA", [Image.fromarray(GRAY), Image.new("L", (6, 4), 0)]),
        np.full((4, 6, 3), 255),
    ),
    "I;16": (lambda: Image.fromarray((GRAY * 257.0).clip(100).astype(np.uint16) - 100), np.stack([GRAY] * 3, axis=-1)),
}


@pytest.mark.parametrize(("mode", "make", "expected"), [(mode, *case) for mode, case in MODES.items()], ids=MODES)
@pytest.mark.parametrize("door", ["picture", "file"])
def test_every_mode_becomes_rgb(
    tmp_path: Path, mode: str, make: Callable[[], Image.Image], expected: NDArray[Any], door: str
) -> None:
    picture = make()
    assert picture.mode == mode
    before = picture.tobytes()
    given = picture if door == "picture" else saved(tmp_path, f"photo.{'tiff' if mode == 'CMYK' else 'png'}", picture)
    batch = load(given, RGB)
    np.testing.assert_array_equal(batch.photos[0], expected)
    np.testing.assert_array_equal(batch.images[0], (expected / 255).astype(np.float32))
    assert (picture.mode, picture.tobytes()) == (mode, before)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_otherwise_is_set_upright(tmp_path: Path, orientation: int) -> None:
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turns |= {2: Image.Transpose.FLIP_LEFT_RIGHT, 4: Image.Transpose.FLIP_TOP_BOTTOM}
    turns |= {5: Image.Transpose.TRANSPOSE, 7: Image.Transpose.TRANSVERSE}
    picture = Image.fromarray(PHOTO)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, picture=picture.transpose(turns[orientation]) if orientation > 1 else picture, exif=exif)
    np.testing.assert_array_equal(one(path), SHARES)


ARRAYS = {
    "uint8": PHOTO,
    "uint8 batch": np.stack([PHOTO, PHOTO]),
    "float32": SHARES,
    "float64": PHOTO / 255,
    "float16": PHOTO.astype(np.float16) / np.float16(255),
    "float batch": np.stack([SHARES, SHARES]),
    "not contiguous": np.asfortranarray(PHOTO)[::1],
    "list of arrays": [PHOTO, SHARES],
}


@pytest.mark.parametrize("given", ARRAYS.values(), ids=ARRAYS)
def test_arrays_are_taken_as_they_are_and_never_written_to(given: Any) -> None:
    arrays = given if isinstance(given, list) else [given]
    for array in arrays:
        array.flags.writeable = False
    batch = load(given, RGB)
    for image, photo in zip(batch.images, batch.photos, strict=True):
        np.testing.assert_allclose(image, SHARES, atol=1e-3 if getattr(given, "dtype", "") == np.float16 else 0)
        np.testing.assert_array_equal(photo, PHOTO)
        assert image.flags.writeable
        assert not any(np.shares_memory(kept, array) for kept in (image, photo) for array in arrays)
    assert batch.images.dtype == np.float32


@pytest.mark.parametrize("gray", [GRAY, GRAY[..., None], (GRAY / 255), (GRAY / 255)[..., None]])
def test_gray_fills_three_channels_or_one(gray: NDArray[Any]) -> None:
    np.testing.assert_array_equal(one(gray), np.stack([(GRAY / 255).astype(np.float32)] * 3, axis=-1))
    np.testing.assert_array_equal(one(gray, L)[..., 0], (GRAY / 255).astype(np.float32))


def test_a_coloured_photo_becomes_gray_for_a_gray_network() -> None:
    luma = (PHOTO @ np.array([0.299, 0.587, 0.114]))[..., None]  # ITU-R 601
    np.testing.assert_allclose(255 * one(PHOTO, L), luma, atol=0.6)
    assert load(PHOTO, L).photos[0].shape == (4, 6, 3)


def test_other_numbers_of_channels_come_as_floats() -> None:
    spectrum = np.random.default_rng(0).uniform(size=(4, 6, 5))
    batch = load(spectrum, InputSpec(channels=5))
    np.testing.assert_array_equal(batch.images[0], spectrum.astype(np.float32))
    assert batch.photos[0].shape == (4, 6, 3)
    assert load(spectrum[..., :2], InputSpec(channels=2)).photos[0].shape == (4, 6, 3)


def tensors(framework: str, array: NDArray[Any], bfloat16: bool = False) -> Any:
    """The array in a framework, with the axes that it has there."""
    library: Any = pytest.importorskip(framework)
    if framework == "torch":
        tensor = library.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, -3))).clone()
        return tensor.to(library.bfloat16) if bfloat16 else tensor.requires_grad_(tensor.is_floating_point())
    if framework == "jax":
        return library.numpy.asarray(array, dtype=library.numpy.bfloat16 if bfloat16 else None)
    return library.constant(array, library.bfloat16 if bfloat16 else None)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_tensors_are_taken_with_the_axes_of_their_framework(framework: str) -> None:
    make = partial(tensors, framework)
    for given in (make(SHARES), make(SHARES[None]), [make(SHARES), PHOTO], make(PHOTO), make(PHOTO[None])):
        np.testing.assert_array_equal(load(given, RGB).images[0], SHARES)
    for spec in (L, RGB):
        np.testing.assert_array_equal(one(make(SHARES[..., :1]), spec), SHARES[..., :1].repeat(spec.depth, axis=-1))
    np.testing.assert_allclose(one(make(SHARES, bfloat16=True)), SHARES, atol=2e-3)
    with pytest.raises(ImageError, match=r"has shape \(4, 6, 2\); the network expects 3 channels"):
        load(np.asarray(SHARES[..., :2]), RGB)


def test_a_mixed_list_keeps_its_order_and_names(tmp_path: Path) -> None:
    dark = np.full((4, 6, 3), 0.25)
    batch = load([saved(tmp_path), dark, Image.fromarray(PHOTO), str(saved(tmp_path, "b.png"))], RGB)
    assert batch.names == ("photo.png", "image 2", "image 3", "b.png")
    np.testing.assert_array_equal(batch.images, np.stack([SHARES, dark, SHARES, SHARES]).astype(np.float32))


def test_a_picture_that_was_opened_keeps_the_name_of_its_file(tmp_path: Path) -> None:
    path = saved(tmp_path, "stripes.png")
    with Image.open(path) as opened:
        assert load([opened, opened.copy()], RGB).names == ("stripes.png", "image 2")
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=PHOTO.shape)
    assert load(mapped, RGB).names == ("image 1",)


def test_photos_are_resized_and_float_arrays_are_not() -> None:
    spec = InputSpec(size=(2, 3))
    halved = np.asarray(Image.fromarray(PHOTO).resize((3, 2), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(one(PHOTO, spec), (halved / 255).astype(np.float32))
    with pytest.raises(ImageError, match=r"height and width \(4, 6\); the network expects \(2, 3\).*resized here"):
        load(SHARES, spec)


def test_values_come_in_the_networks_bounds_and_dtype() -> None:
    spec = InputSpec(bounds=(-1.0, 3.0))
    exact = load(PHOTO, spec, "float64").images[0]
    assert exact.dtype == np.float64
    np.testing.assert_array_equal(exact, -1 + PHOTO / 255 * 4)
    np.testing.assert_array_equal(one(exact, spec), exact.astype(np.float32))
    np.testing.assert_array_equal(load(exact, spec).photos[0], PHOTO)


@pytest.mark.parametrize("door", ["photo", "floats"])
def test_the_photo_for_drawing_keeps_its_proportions_up_to_1024_pixels(door: str) -> None:
    wide = np.zeros((150, 3000, 3), dtype=np.uint8 if door == "photo" else np.float32)
    batch = load(wide, InputSpec(size=(8, 8)) if door == "photo" else RGB)
    assert batch.photos[0].shape == (51, 1024, 3)
    assert load(PHOTO, InputSpec(size=(8, 8))).photos[0].shape == (4, 6, 3)


def test_a_batch_is_what_it_says() -> None:
    batch = load([PHOTO, SHARES], RGB)
    assert isinstance(batch, Batch)
    assert len(batch.images) == len(batch.photos) == len(batch.names) == 2
    assert all(photo.dtype == np.uint8 for photo in batch.photos)


# -- what is refused --------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, InputSpec, str]] = {
    "empty list": ([], RGB, "batch is empty"),
    "empty batch": (np.zeros((0, 4, 6, 3)), RGB, "batch is empty"),
    "no pixels": (np.zeros((0, 6, 3)), RGB, r"image 1 has shape \(0, 6, 3\), which holds no pixel"),
    "no pixels, uint8": (np.zeros((4, 0, 3), dtype=np.uint8), RGB, "holds no pixel"),
    "NaN": (np.where(np.indices((4, 6, 3))[0] == 2, np.nan, SHARES), RGB, r"NaN or infinity at \[2, 0, 0\]"),
    "infinity": (np.full((4, 6, 3), np.inf), RGB, "NaN or infinity"),
    "bytes as floats": (PHOTO.astype(float), RGB, r"from 0 to 255; .* within \(0, 1\)\. Divide it by 255"),
    "normalised": (
        2 * SHARES - 1,
        RGB,
        r"within \(0, 1\)\. If they are normalised already, say so: wrap\(\.\.\., bounds=",
    ),
    "bytes as int64": (PHOTO.astype(int), RGB, "dtype int64 .* must be uint8"),
    "RGBA array": (np.zeros((4, 6, 4), dtype=np.uint8), RGB, "whole numbers must be uint8 photos with 1 or 3"),
    "channels first": (np.moveaxis(SHARES, -1, 0), RGB, r"expects 3 channels in the last .*come first: move them"),
    "colour for gray": (SHARES, L, r"has shape \(4, 6, 3\); the network expects 1 channels"),
    "five axes": (np.zeros((1, 1, 4, 6, 3)), RGB, r"shape \(1, 1, 4, 6, 3\) is no image"),
    "one axis": (np.zeros(6), RGB, r"shape \(6,\) is no image"),
    "truth values": (GRAY > 100, RGB, "dtype bool is no image"),
    "nothing": (None, RGB, "NoneType .* is no image"),
    "object": (object(), RGB, "object .* is no image"),
    "nested list": (SHARES.tolist(), RGB, "A list of numbers is no image: make an array of it"),
    "mode F": (Image.fromarray(np.zeros((4, 6), dtype=np.float32)), RGB, "The picture holds F numbers"),
    "mode I": (Image.fromarray(np.zeros((4, 6), dtype=np.int32)), RGB, "The picture holds I numbers"),
    "two sizes": ([PHOTO, PHOTO[:2]], RGB, r"different sizes, \[\(2, 6, 3\), \(4, 6, 3\)\].*input_size"),
}


@pytest.mark.parametrize(("given", "spec", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_image_for_the_network_is_refused(given: Any, spec: InputSpec, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        load(given, spec)


def test_values_a_rounding_beyond_the_bounds_are_taken() -> None:
    edge = np.full((4, 6, 3), 1 + 5e-5)
    np.testing.assert_array_equal(load(edge, RGB, "float64").images[0], edge)
    with pytest.raises(ImageError, match=r"from 1\.001 to 1\.001"):
        load(edge + 95e-5, RGB)


def broken(folder: Path, kind: str) -> Path:
    """A file that is no picture, or no whole one."""
    path = folder / kind.replace(" ", ".")
    if kind == "missing png":
        return path
    if kind == "folder png":
        path.mkdir()
    elif kind == "text png":
        path.write_text("not a picture")
    elif kind == "portable ppm":
        Image.fromarray(PHOTO).save(path)
    else:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        whole = saved(folder, f"whole{path.suffix}", Image.fromarray(noise)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing png", r"There is no image file '.*missing\.png'"),
        ("folder png", r"is a folder: give one of its photos"),
        ("text png", r"is not an image that can be read \(PNG, JPEG"),
        ("portable ppm", r"is not an image that can be read \(PNG, JPEG"),
        ("cut png", "cannot be read as an image; it may be damaged"),
        ("cut jpg", "cannot be read as an image; it may be damaged"),
        ("cut webp", "cannot be read as an image|is not an image"),
    ],
)
def test_a_file_that_is_no_picture_is_refused(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        load(broken(tmp_path, kind), RGB)
    assert isinstance(caught.value, ValueError)


def test_a_picture_that_turns_out_damaged_late_is_refused_as_well(tmp_path: Path) -> None:
    with Image.open(broken(tmp_path, "cut png")) as lazy, pytest.raises(ImageError, match="The picture cannot be read"):
        load(lazy, RGB)


def png(width: int, height: int) -> bytes:
    """A tiny file that says it holds a large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "pixels"),
    [(10_000, 5_001, "50,010,000"), (10_000, 10_000, "more than 89 million"), (50_000, 50_000, "more than 89 million")],
)
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, width: int, height: int, pixels: str) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(width, height))
    with pytest.raises(ImageError, match=f"bomb.png' has {pixels} pixels; at most 50,000,000 are read"):
        decode(path)
    assert MAX_PIXELS == 50_000_000
