"""Data that packages bring: what is in them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from symloss.errors import TaskError
from symloss.tasks import load_task
from symloss.tasks.registry import find


def require(name):
    record = find(name)
    if not record.present:
        pytest.skip(f"{name}: {record.install}")
    return record


def test_surnames_belong_to_one_country():
    require("surnames")
    from symloss.tasks.sources.surnames import by_country

    names = by_country()
    assert {"PL", "IE", "JP"} - set(names) == {"JP"}  # it has too few
    assert min(map(len, names.values())) >= 200
    owners = Counter(name for of in names.values() for name in of)
    assert set(owners.values()) == {1}
    assert all(name == name.strip() for name in owners)


@pytest.mark.slow
def test_names_of_languages_belong_to_one_language():
    require("languages")
    from symloss.tasks.sources.languages import names

    found = names()
    assert len(found) == 100
    assert {len(of) for of in found.values()} == {400}
    assert set(Counter(name for of in found.values() for name in of).values()) == {1}
    assert found == names()
    assert {"ja", "el", "hu"} <= set(found)


def test_california_is_whole():
    samples = require("california").load()
    assert samples.x[0].tolist() == pytest.approx([8.3252, 41, 6.984127, 1.02381, 322, 2.555556, 37.88, -122.23])
    assert samples.y[0].item() == 4.526
    assert samples.y.max().item() == pytest.approx(5.00001)


def test_fashion_mnist_is_balanced_and_keeps_its_test_part():
    samples = require("fashion-mnist").load()
    for part in (samples.test, ~samples.test):
        assert len(set(np.bincount(samples.y.numpy()[part]).tolist())) == 1
    assert samples.test.sum() == 10_000
    assert samples.x[0, 0].sum().item() == 76247  # an ankle boot
    assert samples.y[0].item() == 9


@pytest.fixture
def fonts(tmp_path):
    """Three of matplotlib's fonts, which are always there."""
    import matplotlib

    for name in ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "STIXGeneral.ttf", "cmr10.ttf"):
        shutil.copy(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, tmp_path)
    return tmp_path


def test_glyphs_of_a_font_stay_together_and_fill_their_box(fonts):
    samples = find("glyphs-62").load(root=str(fonts))
    assert samples.x.shape[1:] == (1, 28, 28)
    assert np.bincount(samples.groups).tolist() == [62] * 5
    assert np.array_equal(samples.y.numpy(), np.tile(np.arange(62), 5))
    bright = samples.x[:, 0].numpy() > 0
    heights, widths = (np.array([np.ptp(np.flatnonzero(image.any(axis))) + 1 for image in bright]) for axis in (1, 0))
    assert set(np.maximum(heights, widths)) <= {19, 20}
    assert not bright[:, :4].any()
    task = load_task("glyphs-62", "linear", root=fonts)
    assert [len(part) for part in (task.train, task.valid, task.test)] == [186, 62, 62]


def test_characters_that_a_font_lacks_are_left_out(fonts):
    for path in fonts.glob("*.ttf"):
        path.unlink()
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in ("STIXSizOneSymReg.ttf", "DejaVuSans.ttf", "cmr10.ttf"):
        shutil.copy(folder / name, fonts)
    counts = np.bincount(find("glyphs-62").load(root=str(fonts)).groups, minlength=3)
    assert counts[:2].tolist() == [62, 0]  # it has brackets alone


def test_damaged_fonts_are_named(fonts):
    (fonts / "cmr10.ttf").write_bytes((fonts / "cmr10.ttf").read_bytes()[:100])
    with pytest.raises(TaskError, match=r"cmr10\.ttf cannot be read as a font .*; repair or remove it"):
        load_task("glyphs-62", root=fonts)
    for path in list(fonts.glob("*.ttf"))[:3]:
        path.unlink()
    with pytest.raises(TaskError, match=r"holds 2 fonts \(.ttf\); give a directory with three or more"):
        load_task("glyphs-62", root=fonts)
