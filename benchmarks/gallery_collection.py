"""More pictures of the README: what MobileNet v2 makes of a collection, and a report.

    python -m benchmarks.gallery_collection [--model SCHEME:NAME] [--out docs]

Writes collection.jpg and report.png into a folder; for the second a Chromium is needed. Without --model the network of
the tests in PyTorch. The photos are scikit-image's, whole and cut into pieces. About three minutes on two cores.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

import agnoscope as ag
from agnoscope.demo import scene
from agnoscope.demo.models import load
from agnoscope.explanation import save_picture
from agnoscope.feature_space.drawing import draw_grid
from benchmarks.gallery import network

PHOTOS = (
    *("astronaut", "brick", "cat", "cell", "coffee", "coins", "colorwheel", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "microaneurysms", "moon", "retina", "rocket", "camera", "clock", "page"),
)
LAYER = "block5"
CHANNELS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", help="such as torchvision:mobilenet_v2")
    parser.add_argument("--layer", default=LAYER, help="whose patches are shown")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    model = network(args.model)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        for name, picture in pieces():
            Image.fromarray(picture).save(photos / f"{name}.png")
        scan = ag.scan_all(model, photos, Path(folder, "run"), layers=(model.last_map().name, args.layer))
        queries = [photos / f"{name}.png" for name in ("cat", "coffee")]
        parts = [
            ag.top_patches(model, scan, args.layer, k=6, count=CHANNELS).draw(side=112),
            ag.neighbours(model, scan, queries, k=5).draw(side=112),
            draw_grid(ag.embed(scan.features(), "tsne"), lambda row: scan.picture(row, 72), side=72),
        ]
    save_picture(side_by_side(parts), args.out / "collection.jpg")
    print(args.out / "collection.jpg")
    if shutil.which("chromium"):
        page(args.out / "report.png")
        print(args.out / "report.png")


def pieces() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Every photo, its four quarters and its middle."""
    for name in PHOTOS:
        photo = getattr(skimage.data, name)()
        photo = np.broadcast_to(photo[..., None], (*photo.shape, 3)) if photo.ndim == 2 else photo[..., :3]
        rows, columns = (side // 2 for side in photo.shape[:2])
        yield name, np.ascontiguousarray(photo)
        for i, (top, left) in enumerate([(0, 0), (0, columns), (rows, 0), (rows, columns), (rows // 2, columns // 2)]):
            yield f"{name} {i}", np.ascontiguousarray(photo[top : top + rows, left : left + columns])


def side_by_side(parts: list[Any]) -> Image.Image:
    """The first two below one another, the last beside them, at one height."""
    patches, near, chart = parts
    width = max(patches.width, near.width)
    height = patches.height + near.height
    chart = chart.resize((round(chart.width * height / chart.height), height), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (width + chart.width, height), "white")
    sheet.paste(patches, (0, 0))
    sheet.paste(near, (0, patches.height))
    sheet.paste(chart, (width, 0))
    return sheet.resize((1600, round(sheet.height * 1600 / sheet.width)), Image.Resampling.LANCZOS)


def page(path: Path) -> None:
    """A report as a browser shows it."""
    from playwright.sync_api import sync_playwright

    report = ag.make_report(load("honest", "torch"), [scene(number).image for number in (0, 6)])
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        file = report.save(Path(folder, "report.html"))
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        opened = browser.new_page(viewport={"width": 1280, "height": 1130})
        opened.goto(file.as_uri())
        opened.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    main()
