"""Glyphs drawn from fonts, and folders of images that users have, on tiny files in the true layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from symloss.errors import TaskError
from symloss.fewshot import Episodes, cifar_fs, glyphs, mini_imagenet, omniglot, tiered_imagenet
from symloss.fewshot.episodes import ClassSplits
from symloss.fewshot.glyphs import FOLDER, INSTALL, SCRIPTS, _distinct, script


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def image(path: Path, value: int, size: int = 12, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size, size), value if mode == "L" else (value, 2 * value, 255)).save(path)


def folders(root: Path, names: tuple[str, str, str] = ("train", "val", "test")) -> None:
    for p, part in enumerate(names):
        for c in range(3):
            for i in range(4):
                image(root / part / f"n{p}{c}" / f"{i}.png", 20 * p + 5 * c + i)


def write_omniglot(root: Path) -> None:
    for part, alphabets in (("images_background", "ABCD"), ("images_evaluation", "XY")):
        for a in alphabets:
            for c in range(3):
                for i in range(4):
                    image(root / part / a / f"character{c:02}" / f"{i}.png", ord(a) + c, 105, "L")


def write_lists(root: Path) -> None:
    for p, part in enumerate(("train", "val", "test")):
        lines = ["filename,label"]
        for c in range(3):
            for i in range(4):
                image(root / "images" / f"{p}{c}{i}.jpg", 20 * p + 5 * c + i)
                lines.append(f"{p}{c}{i}.jpg,n{p}{c}")
        (root / f"{part}.csv").write_text("\n".join(lines))


def write_cifar_fs(root: Path) -> None:
    for p, part in enumerate(("train", "val", "test")):
        names = [f"kind{p}{c}" for c in range(3)]
        for c, name in enumerate(names):
            for i in range(4):
                image(root / "data" / name / f"{i}.png", 20 * p + 5 * c + i)
        (root / "splits" / "bertinetto").mkdir(parents=True, exist_ok=True)
        (root / "splits" / "bertinetto" / f"{part}.txt").write_text("\n".join(names) + "\n")


READERS: dict[str, tuple[Callable[..., ClassSplits], Callable[[Path], None], tuple[int, int]]] = {
    "omniglot": (omniglot, write_omniglot, (1, 28)),
    "mini-imagenet folders": (mini_imagenet, folders, (3, 84)),
    "mini-imagenet lists": (mini_imagenet, write_lists, (3, 84)),
    "tiered-imagenet": (tiered_imagenet, folders, (3, 84)),
    "cifar-fs lists": (cifar_fs, write_cifar_fs, (3, 32)),
    "cifar-fs folders": (cifar_fs, folders, (3, 32)),
}


@pytest.mark.parametrize("name", READERS)
def test_folders_of_the_user(name: str, tmp_path: Path) -> None:
    reader, write, (channels, size) = READERS[name]
    write(tmp_path)
    splits = reader(tmp_path)
    for part in (splits.train, splits.valid, splits.test):
        assert part.x.dtype == torch.uint8
        assert part.x.shape[1:] == (channels, size, size)
        assert part.y.bincount().tolist() == [4] * part.classes
        x = part.x.double() / 255
        assert len(x.mean((2, 3)).unique(dim=0)) > 1
    pixels = splits.train.x.double() / 255
    assert torch.allclose(torch.as_tensor(splits.train.mean).double(), pixels.mean((0, 2, 3)), atol=1e-6)
    deviation = pixels.std((0, 2, 3), correction=0)
    assert torch.allclose(torch.as_tensor(splits.test.deviation).double(), deviation.clamp_min(1e-6), atol=1e-6)
    assert Episodes(splits.test, 2, 1, 2).tasks([0]).query_x.shape == (1, 4, channels, size, size)
    again = reader(tmp_path)
    assert torch.equal(again.test.x, splits.test.x)


def test_omniglot_is_split_by_alphabet_and_ink_is_bright(tmp_path: Path) -> None:
    write_omniglot(tmp_path / "omniglot-py")
    splits = omniglot(tmp_path)
    assert [s.classes for s in (splits.train, splits.valid, splits.test)] == [9, 3, 6]
    assert splits.valid.x.unique().tolist() == [255 - ord("D") - c for c in (2, 1, 0)]
    assert splits.test.x.unique().tolist() == sorted({255 - ord(a) - c for a in "XY" for c in range(3)})


def test_mistakes_in_folders(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"there is no directory .*nowhere"):
        mini_imagenet(tmp_path / "nowhere")
    with pytest.raises(TaskError, match=r"has no folder train; give one with train, val and test"):
        cifar_fs(tmp_path)
    with pytest.raises(TaskError, match="0 alphabets in images_background"):
        omniglot(tmp_path)
    folders(tmp_path)
    with pytest.raises(TaskError, match="image_size is a whole number from 8 to 1024; received 2"):
        tiered_imagenet(tmp_path, image_size=2)
    (tmp_path / "val" / "n10" / "0.png").write_bytes(b"no image")
    with pytest.raises(TaskError, match=r"0\.png cannot be read as an image"):
        tiered_imagenet(tmp_path)
    for i in range(4):
        (tmp_path / "val" / "n10" / f"{i}.png").unlink()
    with pytest.raises(TaskError, match=r"the valid part of tiered-ImageNet in .* has no image of class n10"):
        tiered_imagenet(tmp_path)
    image(tmp_path / "val" / "n10" / "0.png", 1)
    image(tmp_path / "val" / "n00" / "0.png", 1)
    with pytest.raises(TaskError, match="class n00 of tiered-ImageNet is in two parts"):
        tiered_imagenet(tmp_path)
    write_lists(tmp_path)
    (tmp_path / "images" / "123.jpg").unlink()
    with pytest.raises(TaskError, match=r"an image of mini-ImageNet is missing \(.*123.jpg\)"):
        mini_imagenet(tmp_path)
    (tmp_path / "val.csv").write_text("file,label\na,b\n")
    with pytest.raises(TaskError, match="needs columns filename and label; it has file, label"):
        mini_imagenet(tmp_path)


class TestGlyphs:
    def test_absent_fonts(self, tmp_path: Path) -> None:
        with pytest.raises(TaskError, match="fonts-aenigma fonts-georgewilliams"):
            glyphs(tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with pytest.raises(TaskError, match="has 0 font families, too few with letters of each script; install them"):
            glyphs(tmp_path / "empty")

    def test_of_those_that_look_the_same_the_first_stays(self) -> None:
        random = np.random.default_rng(0)
        shapes = (random.random((3, 28, 28)) * 255).astype(np.uint8)
        drawn = []
        for _ in range(20):
            noisy = [np.clip(s + random.normal(0, 2, s.shape), 0, 255).astype(np.uint8) for s in (*shapes, shapes[0])]
            drawn.append(dict(zip("ABCА", noisy, strict=True)))
        del drawn[0]["C"], drawn[1]["C"]
        assert _distinct(["A", "B", "C", "А"], drawn) == ["A", "B"]  # 18 images of C are too few

    def test_scripts(self) -> None:
        assert [SCRIPTS[script(c)] for c in "aß7ωЖא"] == ["train", "train", "train", "valid", "test", "test"]

    @pytest.mark.slow
    def test_the_whole_set(self) -> None:
        """Where the fonts are installed: `INSTALL` brings them."""
        try:
            splits = glyphs(FOLDER)
        except TaskError:
            pytest.skip(INSTALL)
        if splits.train.classes + splits.valid.classes + splits.test.classes < 500:
            pytest.skip(INSTALL)
        for part in (splits.train, splits.valid, splits.test):
            assert part.x.shape[1:] == (1, 28, 28)
            assert int(part.y.bincount()[part.y.unique()].min()) >= 19
            Episodes(part, 5, 1, 15).tasks([0])
        assert len(splits.train) + len(splits.valid) + len(splits.test) > 40000
