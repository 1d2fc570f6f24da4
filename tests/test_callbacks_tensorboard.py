"""What TensorBoard finds in the event files of a run."""

from collections import defaultdict

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef

from segkit.callbacks import NeedsValidation, TensorBoard
from segkit.callbacks.graphs import graph_of
from segkit.callbacks.overlays import byte_image, painted, panels
from segkit.contract import Sample
from segkit.labels import LabelSpace
from segkit.models import unet
from segkit.targets import encode

NAN = float("nan")
LOGS = {"loss": 0.5, "mean_iou": 0.4, "iou_liver": 0.3, "loss_liver": 0.2, "iou_spleen": NAN}
LOGS |= {f"val_{name}": value + 1 for name, value in LOGS.items()} | {"annotated_share_liver": 0.1}


class Listed(list):
    """Samples as a source."""

    labels = LabelSpace(["background", "liver", "spleen"])


@pytest.fixture
def source():
    rng = np.random.default_rng(0)
    made = Listed()
    for number, size in enumerate([(16, 24), (20, 20), (16, 24)]):
        mask = np.zeros(size, np.uint8)
        mask[2:9, 2:9], mask[0, :] = 1, 255
        image = rng.integers(0, 255, (*size, 3), np.uint8)
        image = image if number else (image / 255).astype("float32")
        made.append(Sample(image, mask, np.array([1, 1, number == 1], bool), name=f"case {number}"))
    return made


@pytest.fixture(scope="module")
def model():
    made = unet(input_shape=(None, None, 3), num_classes=3, filters=2, depth=1)
    decay = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.1)
    made.compile(optimizer=keras.optimizers.SGD(decay), loss="mse")
    return made


def written(folder, model, source=None, epochs=(0,), **options):
    callback = TensorBoard(folder, **options)
    callback.set_model(model)
    if source is not None:
        callback.bind(source)
    callback.on_train_begin()
    for epoch in epochs:
        callback.on_epoch_end(epoch, LOGS)
    callback.on_train_end()
    return callback


def events(folder):
    """(run, tag) -> [(step, value)], in the order of the files."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*/*tfevents*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = Event.FromString(record)
            for value in event.summary.value:
                plain = tf.make_ndarray(value.tensor)
                found[path.parent.name, value.tag].append((event.step, plain))
    return found


def test_scalars_of_each_class_lie_in_one_chart(tmp_path, model):
    written(tmp_path, model, epochs=(0, 1))
    found = events(tmp_path)
    for run, more in (("train", 0), ("validation", 1)):
        for tag in ("loss", "mean_iou", "iou/liver", "loss/liver"):
            value = LOGS[tag.replace("/", "_")] + more
            assert found[run, tag] == [(1, pytest.approx(value)), (2, pytest.approx(value))]
        assert (run, "iou/spleen") not in found  # nobody knows
    assert found["train", "learning_rate"] == [(1, 0.5), (2, 0.5)]
    assert found["train", "annotated_share/liver"][0] == (1, pytest.approx(0.1))


def test_a_loss_that_is_nan_is_shown(tmp_path, model):
    callback = TensorBoard(tmp_path)
    callback.set_model(model)
    callback.on_epoch_end(0, {"loss": NAN})
    callback.on_train_end()
    ((step, value),) = events(tmp_path)["train", "loss"]
    assert step == 1 and np.isnan(value)


def test_images_each_few_epochs(tmp_path, model, source):
    callback = written(tmp_path, model, source, epochs=range(4), images=2, images_every=3)
    assert isinstance(callback, NeedsValidation)
    found = events(tmp_path)
    pictures = {tag: rows for (run, tag), rows in found.items() if "case" in tag}
    assert list(pictures) == ["images/1 case 0", "images/2 case 2"]
    for rows in pictures.values():
        assert [step for step, _ in rows] == [1, 4]
        width, height, png = rows[0][1]
        assert (int(width), int(height)) == (3 * 24 + 2 * 4, 16)
        assert tf.io.decode_png(png).shape == (16, 80, 3)


def test_no_images_without_a_source_or_on_request(tmp_path, model, source):
    written(tmp_path / "unbound", model)
    written(tmp_path / "none", model, source, images=0)
    for name in ("unbound", "none"):
        assert not [tag for _, tag in events(tmp_path / name) if "case" in tag]


def graphs(folder):
    found = []
    for path in sorted(folder.glob("train/*tfevents*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = Event.FromString(record)
            found += [event.graph_def] if event.graph_def else []
    return [GraphDef.FromString(text) for text in found]


def test_the_layers_become_a_graph(tmp_path, model):
    written(tmp_path / "with", model, epochs=(0, 1))
    (graph,) = graphs(tmp_path / "with")
    layers = {node.name: list(node.input) for node in graph.node}
    assert set(layers) == {layer.name for layer in model.layers}
    # All but the input come from somewhere, and all but the logits go somewhere.
    used = {name for inputs in layers.values() for name in inputs}
    assert [name for name, inputs in layers.items() if not inputs] == [model.layers[0].name]
    assert set(layers) - used == {model.layers[-1].name}
    written(tmp_path / "without", model, graph=False)
    assert graphs(tmp_path / "without") == []


def test_models_inside_a_model_are_opened():
    image = keras.Input((8, 8, 3), name="image")
    first = keras.layers.Conv2D(2, 3, name="first")(image)
    second = keras.layers.ReLU(name="second")(first)
    encoder = keras.Model(image, [first, second], name="encoder")
    plain = [keras.layers.ReLU(name="one"), keras.layers.ReLU(name="two")]
    above = keras.Input((8, 8, 3), name="above")
    outputs = encoder(above)
    joined = keras.ops.concatenate([outputs[1], outputs[0]], axis=-1)
    after = keras.Sequential(plain, name="after")(joined)
    graph = graph_of(keras.Model(above, after, name="whole"))
    edges = {node.name: list(node.input) for node in graph.node}
    (join,) = [name for name in edges if "concatenate" in name]
    assert edges["encoder/image"] == ["above"]
    assert edges[join] == ["encoder/second", "encoder/first"]
    (entry,) = edges["after/one"]
    assert edges[entry] == [join]
    assert edges["after/two"] == ["after/one"]
    assert graph_of(keras.Model()) is None


def test_a_run_that_goes_on_appends(tmp_path, model):
    first = written(tmp_path, model, epochs=(0, 1))
    second = TensorBoard(tmp_path)
    second.set_model(model)
    second.on_train_begin()
    second.drawn = first.drawn
    second.restored()
    second.on_epoch_end(2, LOGS)
    second.on_train_end()
    found = events(tmp_path)
    assert sorted(step for step, _ in found["train", "loss"]) == [1, 2, 3]
    assert len(graphs(tmp_path)) == 1


def test_training_goes_on_without_it(tmp_path, model, caplog):
    (tmp_path / "file").touch()
    callback = written(tmp_path / "file", model, epochs=(0, 1, 2))
    assert callback.failed and len(caplog.records) == 1
    assert f"TensorBoard gets nothing from here on: {tmp_path}/file (" in caplog.text


@pytest.mark.parametrize(
    "options, words",
    [
        ({"images": -1}, "images must be a whole number from 0 on"),
        ({"images_every": 0}, "from 1 on"),
    ],
)
def test_numbers_out_of_range(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        TensorBoard(tmp_path, **options)


# Overlays


def test_what_is_unknown_does_not_look_like_background():
    labels = LabelSpace(["background", "liver", "spleen"])
    image = np.full((16, 16, 3), 100, np.uint8)
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[0, :4], mask[0, 4:8] = 1, 255
    whole = painted(image, encode(mask, np.ones((1, 3), bool), labels)[0], labels)
    partly = painted(image, encode(mask, np.array([[True, True, False]]), labels)[0], labels)
    assert (whole[8:] == 100).all()  # known to be background: the image itself
    assert (whole[:4] == whole[0, 0]).all() and (whole[0, 0] != 100).any()
    assert (whole[4:8] == [117, 117, 117]).all()  # nobody judged it
    assert (partly[:8] == whole[:8]).all()
    striped = (partly[8:] != 100).any(-1)
    assert 0.2 < striped.mean() < 0.3  # spleen or background


def test_panels_of_every_kind_of_image():
    labels = LabelSpace(["background", "cell"])
    logits = np.zeros((6, 10, 2), "float32")
    logits[:3, :, 1] = 1
    mask = np.zeros((6, 10), np.uint8)
    sample = Sample(np.zeros((6, 10, 1), np.uint8), mask, np.array([True, False]), truth=mask)
    assert panels(sample, logits, labels).shape == (6, 4 * 10 + 3 * 4, 3)
    shown = panels(sample._replace(truth=None), logits, labels)
    assert (shown[:3, -10:] > 0).any() and (shown[3:, -10:] == 0).all()
    assert panels(sample, logits, labels, most=5).shape == (3, 4 * 5 + 3 * 2, 3)
    for channels, expected in ((1, [51] * 3), (2, [51] * 3), (5, [51, 102, 153])):
        image = np.float32([0.2, 0.4, 0.6, 0.8, 2.0])[None, None, :channels]
        assert byte_image(image)[0, 0].tolist() == expected


def test_classes_that_may_overlap_are_painted_one_over_the_other():
    labels = LabelSpace(["organ", "tumour"], background=None, exclusive=False)
    planes = np.zeros((4, 4, 2), np.uint8)
    planes[:2, :, 0], planes[:1, :, 1] = 1, 1
    sample = Sample(np.zeros((4, 4, 3), np.uint8), planes, np.ones(2, bool))
    shown = panels(sample, np.where(planes, 3.0, -3.0), labels)
    annotation, prediction = shown[:, 8:12], shown[:, 16:20]
    np.testing.assert_array_equal(annotation, prediction)
    assert len(np.unique(annotation.reshape(-1, 3), axis=0)) == 3
