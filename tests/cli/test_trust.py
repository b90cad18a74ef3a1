"""The commands that judge: compare, diagnose and bench, and runs over folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import agnoscope as ag

REFERENCE = ("--backend", "reference")


@pytest.fixture
def photos(folder: Path) -> Path:
    """Four photos with masks: a red square on noise."""
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 120, (96, 96, 3), dtype=np.uint8)
        mask = np.zeros((96, 96), np.uint8)
        mask[20 : 50 + number, 30:60] = 255
        pixels[mask > 0] = (220, 30, 30)
        Image.fromarray(pixels).save(folder / "photos" / f"p{number}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{number}.png")
    return folder


def test_diagnose_exposes_the_cheater_and_clears_the_honest(folder: Path, run) -> None:
    told = {}
    for name in ("cheater", "honest"):
        words = ("diagnose", f"demo:{name}", "demo:scenes", "--count", "30", "--json", "found.json", "-o", "worst.png")
        code, out, err = run(*words, *REFERENCE)
        assert (code, err) == (0, "")
        told[name] = out
        stored = json.loads((folder / "found.json").read_text())
        assert len(stored["pictures"]) == 30
        verdict = {"cheater": "leans on the background", "honest": "looks at the object"}[name]
        assert stored["overall"]["verdict"] == verdict
        with Image.open(folder / "worst.png") as picture:
            assert picture.width > 600
    assert "Leaning on the background: " in told["cheater"]
    assert "No class leans on the background." in told["honest"]


def test_diagnose_takes_folders_and_says_what_it_left_out(photos: Path, run) -> None:
    (photos / "masks" / "p3.png").unlink()
    code, out, err = run("diagnose", "demo:honest", "photos", "--masks", "masks", *REFERENCE)
    assert (code, err) == (0, "")
    assert "left out: p3.png: it has no mask" in out
    assert out.splitlines()[0].startswith("class answered")


def test_bench_prints_one_table_per_task_and_writes_it(folder: Path, run) -> None:
    words = ("bench", "demo:honest", "-m", "grad-cam", "-m", "occlusion", "--count", "6", *REFERENCE)
    code, out, err = run(*words, "-o", "table.json")
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines() if ": " in line and "image" in line][:3] == [
        "object",
        "grid",
        "disconnected",
    ]
    assert "(the mask itself)" in out
    stored = json.loads((folder / "table.json").read_text())
    assert {row["method"] for row in stored["rows"]} >= {"grad-cam", "occlusion", "random", "constant", "edge-filter"}
    code, _, _ = run(*words, "--task", "object", "--metric", "deletion", "-o", "table.csv")
    assert code == 0
    assert (folder / "table.csv").read_text().splitlines()[0].startswith("task,method,control,metric,mean")


def test_bench_judges_the_users_own_folder(photos: Path, run) -> None:
    code, _, err = run("bench", "demo:honest", "photos", "--masks", "masks", "-m", "saliency", "--task", "disconnected")
    assert (code, err) == (0, "")
    code, _, err = run("bench", "demo:honest", "photos", "-m", "saliency")
    assert code == 2
    assert "give --masks FOLDER" in err


def test_compare_draws_methods_and_frameworks(folder: Path, run) -> None:
    words = ("compare", "demo:honest", "demo:0", "demo:1", "-m", "saliency", "-m", "grad-cam")
    code, out, err = run(*words, *REFERENCE, "-o", "methods.png", "--json", "pairs.json")
    assert (code, err) == (0, "")
    assert "rank correlation" in out
    (pair,) = json.loads((folder / "pairs.json").read_text())
    assert pair["first"].startswith("saliency")
    assert pair["difference"] is None
    code, out, _ = run(*words, "--in", "reference", "--with", "demo:cheater", *REFERENCE)
    assert code == 0
    assert "of the largest value" in out
    with Image.open(folder / "comparison.png") as both, Image.open(folder / "methods.png") as alone:
        assert both.width > 1.8 * alone.width


def test_a_folder_is_a_run_that_can_be_resumed(photos: Path, run) -> None:
    words = ("explain", "demo:honest", "photos", "-o", "out", *REFERENCE)
    code, out, _ = run(*words)
    assert code == 0
    assert "4 of 4 photos explained" in out
    names = sorted(path.name for path in (photos / "out").iterdir())
    assert names == [f"0000{i}_p{i}.{ending}" for i in range(4) for ending in ("npz", "png")] + ["run.json"]
    (photos / "out" / "00002_p2.npz").unlink()
    code, _, err = run(*words)
    assert code == 2
    assert "resume it" in err
    code, out, _ = run(*words, "--resume")
    assert code == 0
    assert ag.Explanation.load(photos / "out" / "00002_p2.npz").names[0].endswith("p2.png")
    code, _, err = run(*words, "--resume", "-m", "saliency")
    assert code == 2
    assert "differs in method" in err
    code, _, err = run("explain", "demo:honest", "photos", *REFERENCE)
    assert code == 2
    assert "must be a folder" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("diagnose", "demo:honest", "photos"), "give --masks FOLDER"),
        (("diagnose", "demo:honest", "demo:scenes", "--count", "1"), "--count 1"),
        (("diagnose", "demo:honest", "absent", "--masks", "masks"), "no folder"),
        (("diagnose", "demo:honest", "demo:scenes", "-o", "x.txt"), ".png"),
        (("diagnose", "demo:honest", "demo:scenes", "-m", "grad-cm"), "grad-cam"),
        (("bench", "demo:honest", "--metric", "mass"), "mass-accuracy"),
        (("bench", "demo:honest", "-o", "x.png"), ".json or .csv"),
        (("bench", "demo:honest", "--task", "all"), "all"),
        (("bench", "demo:honest", "--count", "1"), "--count 1"),
        (("compare", "demo:honest", "demo:0", "-o", "x.npz"), ".png"),
        (("compare", "demo:honest", "demo:0", "--in", "theano"), "theano"),
        (("compare", "demo:honest", "absent.png"), "absent.png"),
        (("diagnose", "demo:honest", "demo:scenes", "--worst", "0"), "--worst"),
        (("diagnose", "demo:honest", "demo:scenes", "--seed", "-1"), "--seed"),
        (("diagnose", "demo:honest", "demo:scenes", "--batch-size", "0"), "--batch-size"),
        (("diagnose", "demo:honest", "demo:scenes", "--masks", "masks"), "its own masks"),
        (("bench", "demo:cheater", "--count", "4", "--task", "object"), "depend on the object"),
        (("compare", "demo:honest", "demo:123456789"), "no scene"),
    ],
)
def test_mistakes_are_one_line(photos: Path, run, words: tuple[str, ...], says: str) -> None:
    code, out, err = run(*words, *(() if "--in" in words else REFERENCE))
    assert (code, out) == (2, "")
    assert err.startswith("agnoscope: ")
    assert len(err.splitlines()) == 1
    assert says in err


def test_what_is_undefined_is_null_in_json(folder: Path, run) -> None:
    words = ("compare", "demo:honest", "demo:0", "-m", "constant", "-m", "saliency", "--json", "pairs.json")
    code, out, _ = run(*words, *REFERENCE)
    assert code == 0
    assert "undefined" in out
    assert json.loads((folder / "pairs.json").read_text(), parse_constant=pytest.fail)[0]["correlation"]["mean"] is None


def test_folders_and_scenes_stand_side_by_side(photos: Path, run) -> None:
    code, _, err = run("compare", "demo:honest", "photos", "demo:1", "-m", "saliency", *REFERENCE)
    assert (code, err) == (0, "")
    code, out, _ = run("explain", "demo:honest", "photos", "demo:1", "-m", "saliency", "-o", "run.1", *REFERENCE)
    assert code == 0
    assert "5 of 5 photos explained" in out


def test_pictures_come_with_their_values(photos: Path, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agnoscope.runs.GROUP", 2)
    seen = []
    plain = ag.Explanation.save

    def save(self, path, **options):
        seen.append(Path(path).suffix)
        return plain(self, path, **options)

    monkeypatch.setattr(ag.Explanation, "save", save)
    assert run("explain", "demo:honest", "photos", "-m", "saliency", "-o", "out", *REFERENCE)[0] == 0
    assert seen == [".npz", ".npz", ".png", ".png"] * 2


def test_a_benchmark_leaves_out_the_tasks_that_do_not_suit(folder: Path, run) -> None:
    code, out, _ = run("bench", "demo:cheater", "--count", "4", "-m", "saliency", *REFERENCE)
    assert code == 0
    assert "object: left out." in out
    assert "disconnected: Each score" in out
