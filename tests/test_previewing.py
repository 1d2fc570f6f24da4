"""The preview: the images that training will see, exactly, on one page."""

import base64
import io
import json
import subprocess
import sys

import folder_data
import numpy as np
import pytest
from PIL import Image
from report_fixture import HOSTILE
from report_viewer import Viewer
from test_report import Page

from segkit import previewing, sources
from segkit.config import build, compose
from segkit.data.fitting import with_ignore_index
from segkit.data.pipeline import batches
from segkit.labels import LabelSpace
from segkit.report import preview_page
from segkit.report.preview_page import Row, View
from segkit.targets import encode

SMALL = ["data=scenes", "data.sizes.train=20", "data.sizes.val=2", "data.height=32"]


def preview(folder, *overrides):
    """The page of a config and what its script is given."""
    output = f"output={folder}/page.html"
    path = previewing.run(compose("preview", [*SMALL, output, *overrides]))
    return path, painted(path)


def painted(path):
    text = path.read_text(encoding="utf-8")
    start_at = text.index('id="preview-data">') + len('id="preview-data">')
    return json.loads(text[start_at : text.index("</script>", start_at)])


def picture(view):
    return np.array(Image.open(io.BytesIO(base64.b64decode(view["image"].partition(",")[2]))))


def ids(view):
    """The inverse of `segkit.report.gallery.encode_mask`."""
    numbers, value, shift = [], 0, 0
    for byte in base64.b64decode(view["mask"]):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value = shift = 0
    flat = np.repeat(numbers[::2], numbers[1::2])
    return flat.reshape(view["height"], view["width"])


def test_variants_are_what_training_sees(tmp_path):
    changes = ["patches=random", "patches.size=24", "augment=strong", "augment.label_dropout=0.6"]
    overrides = [*changes, "seed=5", "epoch=2", "samples=4"]
    _, data = preview(tmp_path, *overrides)
    config = compose("preview", [*SMALL, *overrides])
    source = sources.open_splits(config.data)["train"]
    labels = with_ignore_index(source.labels)
    steps = {"patches": build(config.patches), "augmentation": build(config.augment)}
    epochs = [
        next(iter(batches(source, 20, seed=5, epochs=1, first_epoch=epoch, **steps)))
        for epoch in (2, 3, 4)
    ]
    for index, views in zip(previewing.choose(source, 4, 5), data["items"]):
        np.testing.assert_array_equal(picture(views[0]), source[index].image)
        np.testing.assert_array_equal(ids(views[0]), source[index].mask)
        for view, (images, target) in zip(views[1:], epochs, strict=True):
            seen = np.rint(255 * images[index].numpy()).astype(np.uint8)
            np.testing.assert_array_equal(picture(view), seen)
            made = encode(ids(view)[None], np.array([view["annotated"]]), labels)
            np.testing.assert_array_equal(made[0], target[index])


def test_the_page_says_what_was_done(tmp_path):
    path, _ = preview(tmp_path, "augment=strong", "augment.label_dropout=0.5", "samples=3")
    page = Page(path)
    assert "3 of 20 of the split train" in page.text and "label dropout 0.5" in page.text
    assert "affine Affine scale=[0.75, 1.4] balanced_scale=true" in page.text
    assert "[GaussianBlur(sigma_limit=[0.3, 1.2], p=1.0), MotionBlur(" in page.text
    assert "epoch 1 32 × 64" in page.text and "forgotten: " in page.text
    assert "Nobody looked for" in page.text


def test_without_augmentation_there_is_nothing_to_list(tmp_path):
    path, data = preview(tmp_path, "augment=none", "samples=2")
    assert "Transforms None." in Page(path).text
    for views in data["items"]:
        assert len({view["image"] for view in views}) == 1


def test_sizes_that_no_batch_can_hold_are_pointed_out(tmp_path, caplog):
    turn = "+augment.transforms.turn={_target_: albumentations.RandomRotate90, p: 1.0}"
    words = "come out in 2 sizes (32 x 64, 64 x 32), and a batch needs one"
    path, _ = preview(tmp_path, turn)
    assert words in Page(path).text and words in caplog.text


def test_only_pages_of_its_kind_are_overwritten(tmp_path):
    path, first = preview(tmp_path, "samples=1")
    _, second = preview(tmp_path, "samples=2")
    assert len(first["items"]) == 1 and len(second["items"]) == 2
    path.write_text("my notes")
    with pytest.raises(FileExistsError, match="page.html is there, and no page of segkit preview"):
        preview(tmp_path, "samples=1")
    assert path.read_text() == "my notes"


@pytest.mark.parametrize(
    "override, words",
    [
        ("split=tset", "There is no split 'tset'. The splits: train, val."),
        ("samples=0", "samples must be a whole number from 1 on. Received: 0."),
        ("seed=-1", "seed must be a whole number from 0 on. Received: -1."),
        ("epoch=1.5", "epoch must be a whole number from 0 on. Received: 1.5."),
        ("+augment.transforms.a={_target_: albumentations.ToFloat}", "ToFloat cannot augment here"),
    ],
)
def test_mistakes_are_named(override, words, tmp_path):
    with pytest.raises(ValueError) as error:
        preview(tmp_path, override)
    assert words in str(error.value) and not list(tmp_path.iterdir())


def test_it_does_not_wait_for_tensorflow():
    code = (
        "import sys, segkit.previewing; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Listed:
    """Images that show the classes of a list; counts how many masks are read."""

    labels = LabelSpace(["background", "common", "rare"])

    def __init__(self, shows, annotated=(True, True, True)):
        self.shows, self.annotated, self.read = shows, np.array(annotated), set()

    def __len__(self):
        return len(self.shows)

    def annotation(self, index):
        self.read.add(index)
        return np.array([[0, *self.shows[index]]], np.uint8), self.annotated


def test_images_are_spread_over_the_split():
    source = Listed([()] * 1000)
    chosen = previewing.choose(source, 10, 0)
    assert [index // 100 for index in chosen] == list(range(10))
    assert len(source.read) <= 80
    assert previewing.choose(Listed([()] * 1000), 10, 1) != chosen
    assert previewing.choose(Listed([()] * 3), 10, 0) == [0, 1, 2]


def test_labelled_images_come_first_and_rare_classes_before_others():
    source = Listed([(), (1,), (), (), (), (1,), (2,), (1,)])
    assert previewing.choose(source, 2, 0) == [1, 6]
    source = Listed([(1,), (), (1, 2), (2,)])
    assert previewing.choose(source, 1, 0) == [2]
    source = Listed([(2,), (1,), (), ()], annotated=(True, True, False))
    assert previewing.choose(source, 1, 0) == [1]


def write(path, views, labels, name="x", **changes):
    rows = [Row(name, labels.names[1:], views)]
    options = {"title": name, "facts": [], "steps": []} | changes
    return preview_page.write(path, labels, rows, **options)


@pytest.mark.parametrize("channels, shown", [(1, [0, 0, 0]), (2, [0, 0, 0]), (5, [0, 1, 2])])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_any_number_of_channels_is_shown(channels, shown, dtype, tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (6, 7, channels)).astype(np.uint8)
    image = levels if dtype == np.uint8 else levels.astype(np.float32) / np.float32(255)
    view = View("as it is", image, np.zeros((6, 7), np.uint8), np.ones(2, bool))
    path = write(tmp_path / "a.html", [view], LabelSpace(["a", "b"]))
    np.testing.assert_array_equal(picture(painted(path)["items"][0][0]), levels[..., shown])
    text = Page(path).text
    assert ("the first three are shown" in text) == (channels == 5)
    assert ("the first is shown" in text) == (channels == 2)


def test_large_images_are_shown_smaller_in_step_with_their_masks(tmp_path):
    mask = np.zeros((1200, 600), np.uint8)
    mask[300:600, :300] = 1
    image = mask[..., None].repeat(3, 2) * 255
    view = View("as it is", image, mask, np.ones(2, bool))
    data = painted(write(tmp_path / "a.html", [view], LabelSpace(["a", "b"])))["items"][0][0]
    assert (data["height"], data["width"]) == (512, 256)
    expected = np.zeros((512, 256), int)
    expected[128:256, :128] = 1
    np.testing.assert_array_equal(ids(data), expected)
    np.testing.assert_array_equal(picture(data)[..., 0] > 127, expected)


def planes():
    masks = np.zeros((12, 16, 6), np.uint8)
    masks[:6, :, 0], masks[3:9, :, 5] = 1, 1
    masks[10:] = 255
    return masks


PLANE_LABELS = LabelSpace(list("abcdef"), background=None, exclusive=False)


def test_independent_classes_are_ids_of_the_sets_that_a_pixel_has(tmp_path):
    image = folder_data.image(0, (12, 16))
    view = View("as it is", image, planes(), np.ones(6, bool))
    data = painted(write(tmp_path / "a.html", [view], PLANE_LABELS))["items"][0][0]
    found = ids(data)
    for place, one in enumerate(data["combinations"]):
        expected = np.zeros(6, int)
        expected[one["classes"]], expected[one["ignored"]] = 1, 255
        assert (planes()[found == place] == expected).all()
    assert {"classes": [0, 5], "ignored": []} in data["combinations"]


def hostile(folder):
    labels = LabelSpace(["background", *HOSTILE])
    mask = (np.arange(96).reshape(8, 12) % 5).astype(np.uint8)
    annotated = np.array([True, True, True, True, False])
    given = View("as it is", folder_data.image(0, (8, 12)), mask, annotated)
    changed = View("epoch 1", folder_data.image(1, (8, 12)), mask, annotated & (mask[0, :5] != 2))
    step = {"name": HOSTILE[0], "called": HOSTILE[1], "arguments": [(HOSTILE[2], HOSTILE[3])]}
    facts, notes = [(HOSTILE[1], HOSTILE[0])], [HOSTILE[2]]
    path = folder / "hostile.html"
    views, options = [given, changed], {"facts": facts, "steps": [step], "notes": notes}
    return write(path, views, labels, name=HOSTILE[0], **options)


def test_hostile_names_stay_text_and_nothing_is_loaded(tmp_path):
    page = Page(hostile(tmp_path))
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert sorted(kinds, key=str) == [None, None, "application/json"]
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert all(" ".join(name.split()) in page.text for name in HOSTILE)
    links = [a[k] for _, a in page.tags for k in ("src", "href", "srcset", "action") if k in a]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    policy = next(a["content"] for t, a in page.tags if "http-equiv" in a)
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


# In a browser


class Pages(Viewer):
    """A loaded preview."""

    def wait_for(self, index):
        code = """const done = arguments[0];
        (function look() {
          const all = [...document.querySelectorAll("[data-row]")];
          const missing = all.find((canvas) => !canvas.dataset.drawn);
          if (!missing) { window.scrollTo(0, 0); done(true); return; }
          missing.scrollIntoView(); // what is far from the screen is painted when it comes near
          setTimeout(look, 10);
        })();"""
        self.browser.set_script_timeout(10)
        self.browser.execute_async_script(code)

    def pixels(self):
        """The middle of each pixel of the first canvas, (H, W, 3)."""
        code = """const [done] = arguments;
        requestAnimationFrame(() => setTimeout(() => {
          const c = document.querySelector("canvas");
          const data = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
          done([c.width, c.height, Array.from(data)]);
        }, 50));"""
        width, height, data = self.browser.execute_async_script(code)
        scale = width // 16
        return np.array(data).reshape(height, width, 4)[
            scale // 2 :: scale, scale // 2 :: scale, :3
        ]


@pytest.fixture
def shown(browser, tmp_path):
    """A black image with six planes, two of which are there, and ignored rows below."""
    view = View("as it is", np.zeros((12, 16, 3), np.uint8), planes(), np.ones(6, bool))
    return Pages(browser, write(tmp_path / "a.html", [view, view], PLANE_LABELS))


def test_planes_are_painted_over_the_image(shown):
    shown.run("const o = document.getElementById('opacity'); o.value = 100;"
              "o.dispatchEvent(new Event('input'))")  # fmt: skip
    pixels = shown.pixels()
    assert (pixels[:3] == PLANE_LABELS.palette[0]).all()
    assert (pixels[6:9] == PLANE_LABELS.palette[5]).all()
    mean = np.mean([PLANE_LABELS.palette[c] for c in (0, 5)], axis=0)
    assert np.abs(pixels[3:6] - mean).max() <= 1  # where both are
    assert not pixels[9].any()
    assert shown.errors() == []


def test_keys_and_buttons_change_what_is_shown(shown):
    shown.press("o")
    assert not shown.pixels().any()
    shown.press("o")
    assert shown.pixels()[0].any()
    shown.browser.find_element("css selector", "[data-class='0']").click()
    assert not shown.pixels()[:2].any()
    pressed = "return document.getElementById('outline').ariaPressed"
    shown.press("e")
    assert shown.run(pressed) == "true"


@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hostile_page_runs_silently_at_every_width(browser, tmp_path, width, scheme):
    viewer = Pages(browser, hostile(tmp_path), width=width, scheme=scheme)
    assert viewer.errors() == [] and viewer.run("return window.hacked") is None
    assert viewer.run("return document.documentElement.scrollWidth") <= width
    nameless = """return [...document.querySelectorAll("button, input, canvas")]
      .filter((n) => !(n.ariaLabel || n.textContent.trim() || n.labels?.length)).length"""
    assert viewer.run(nameless) == 0
