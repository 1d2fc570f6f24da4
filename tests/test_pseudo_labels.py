"""Pseudo-labels: what is decided, how it is stored, which thresholds, how labels spread."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from segkit.contract import RULED_OUT, UNKNOWN, Sample, candidates, judged_pixels
from segkit.data.readers import read_mask
from segkit.labels import LabelSpace
from segkit.pseudo_labels import filling, opening, propagation, tuning
from segkit.pseudo_labels.deciding import Thresholds, conditional, decided
from segkit.pseudo_labels.propagation import Propagation, Spreading, require_neighbours
from segkit.pseudo_labels.storing import DOUBTS, Vocabulary
from segkit.targets import encode

NAMES = ["background", "liver", "kidney", "vein"]
SPACES = {
    "plain": LabelSpace(NAMES),
    "coarse": LabelSpace(
        NAMES, coarse=[{"name": "organ", "id": 9, "members": ["liver", "kidney"]}]
    ),
    "no background": LabelSpace(
        NAMES, background=None, coarse=[{"name": "organ", "id": 4, "members": ["liver", "vein"]}]
    ),
    "independent": LabelSpace(NAMES[1:], background=None, exclusive=False),
}


def drawn(space, seed, shape=(7, 9)):
    """A mask with whatever it may hold, what is annotated, and probabilities."""
    rng, count = np.random.default_rng(seed), space.num_classes
    if space.exclusive:
        ids = [*range(count), *(entry.id for entry in space.coarse), space.ignore_index]
        mask = rng.choice(ids, shape).astype("uint8")
        p = rng.dirichlet(np.full(count, 0.3), shape)
    else:
        mask = rng.choice([0, 1, 255], (*shape, count), p=[0.6, 0.3, 0.1]).astype("uint8")
        p = rng.random((*shape, count))
    annotated = rng.random(count) < 0.5
    if space.background is not None:
        annotated[space.background] = True
    return mask, annotated, p.astype("float32")


def filled(space, mask, annotated, p, level=0.8, doubt="coarse", fillable=None):
    """The target as given and as read back from what is stored; None if nothing was new."""
    fillable = np.ones(space.num_classes, bool) if fillable is None else fillable
    if not space.exclusive:
        fillable = fillable & ~annotated
    target = encode(mask[None], annotated[None], space)[0]
    thresholds = Thresholds.even(np.full(space.num_classes, level))
    decision = decided(target, p, thresholds, space, fillable)
    vocabulary = Vocabulary(space, doubt)
    stored = vocabulary.store(mask, annotated, decision, fillable)
    if stored is None:
        return target, None, decision
    labels = LabelSpace.from_dict(json.loads(json.dumps(vocabulary.labels.to_dict())))
    return target, encode(stored.mask[None], stored.annotated[None], labels)[0], decision


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("seed", range(6))
def test_what_was_known_stays(space, doubt, seed):
    before, after, _ = filled(space, *drawn(space, seed), doubt=doubt)
    if after is None:
        return
    if not space.exclusive:
        known = before != UNKNOWN
        np.testing.assert_array_equal(after[known], before[known])
        return
    settled = (candidates(before).sum(-1) == 1) | ~judged_pixels(before)
    np.testing.assert_array_equal(after[settled], before[settled])
    if doubt != "ignore":  # which forgets what an open pixel is not
        assert not (candidates(after) & ~candidates(before)).any()
        assert candidates(after).any(-1).all()


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("seed", range(6))
def test_coarse_labels_say_exactly_what_was_decided(space, seed):
    _, after, decision = filled(space, *drawn(space, seed))
    if after is None:
        assert (decision.target == decision.given).all()
    elif space.exclusive:
        judged = judged_pixels(decision.given)
        np.testing.assert_array_equal(
            candidates(after)[judged], candidates(decision.target)[judged]
        )
    else:
        np.testing.assert_array_equal(after, decision.target)


def test_one_image_by_hand():
    space = SPACES["plain"]
    # Liver was looked for, kidney and vein were not.
    mask = np.array([[1, 0, 0, 0, 255]], "uint8")
    annotated = np.array([True, True, False, False])
    p = np.array(
        [
            [
                [0.0, 0.0, 1.0, 0.0],  # a labelled pixel, whatever the model says
                [0.05, 0.5, 0.45, 0.0],  # kidney: 0.9 of what is possible, as liver is not
                [0.96, 0.0, 0.02, 0.02],  # background
                [0.5, 0.0, 0.48, 0.02],  # background or kidney
                [0.0, 0.0, 1.0, 0.0],  # nobody judged it
            ]
        ],
        "float32",
    )
    _, after, decision = filled(space, mask, annotated, p)
    assert after.tolist() == [
        [
            [0, 1, 0, 0],
            [0, 0, 1, 0],
            [1, 0, 0, 0],
            [-1, 0, -1, 0],
            [-1, -1, -1, -1],
        ]
    ]
    assert decision.conditional[0, 1, 2] == pytest.approx(0.9)
    assert decision.labelled.sum() == 1 and decision.ruled_out.sum() == 4


@pytest.mark.parametrize("ignore", [255, None])
def test_planes_that_are_written_can_be_read_again(tmp_path, ignore):
    """0 and 255 alone may mean two things, so a file that holds nothing else is refused."""
    space = LabelSpace(["a", "b", "c"], background=None, exclusive=False, ignore_index=ignore)
    mask, annotated = np.zeros((1, 2, 3), "uint8"), np.array([True, False, False])
    p = np.array([[[0, 0.5, 0], [0, 0, 0]]], "float32")  # b stays open at one pixel
    target = encode(mask[None], annotated[None], space)[0]
    decision = decided(target, p, Thresholds.even(np.full(3, 0.9)), space, ~annotated)
    vocabulary = Vocabulary(space)
    stored = vocabulary.store(mask, annotated, decision, ~annotated)
    np.save(tmp_path / "mask.npy", stored.mask)
    found = read_mask(tmp_path / "mask.npy", vocabulary.labels)
    after = encode(found[None], stored.annotated[None], vocabulary.labels)[0]
    b = [[-1, -1]] if ignore == 255 else [[-1, 0]]
    assert after[..., 1].tolist() == b
    assert not after[..., [0, 2]].any()


def test_classes_that_may_not_be_filled_stay_possible():
    space = SPACES["plain"]
    mask, annotated = np.zeros((1, 2), "uint8"), np.array([True, False, False, True])
    p = np.array([[[0.99, 0.005, 0.005, 0], [0.01, 0.98, 0.01, 0]]], "float32")
    may = np.array([True, True, False, True])
    _, after, _ = filled(space, mask, annotated, p, fillable=may)
    assert after.tolist() == [[[1, 0, -1, 0], [0, 1, 0, 0]]]


def test_probabilities_that_are_none_decide_nothing():
    space = SPACES["plain"]
    mask, annotated = np.zeros((1, 2), "uint8"), np.array([True, False, False, False])
    p = np.array([[[np.nan] * 4, [0, 0, 0, 0]]], "float32")
    assert filled(space, mask, annotated, p)[1] is None
    planes, p = mask[..., None].repeat(3, -1), np.array([[[np.nan] * 3, [1, 0, 0]]], "float32")
    _, after, _ = filled(SPACES["independent"], planes, annotated[1:], p)
    assert after.tolist() == [[[UNKNOWN] * 3, [1, 0, 0]]]


def test_ids_of_coarse_labels_are_free_and_shared():
    space = SPACES["coarse"]
    vocabulary = Vocabulary(space)
    decision = decided(
        encode(np.zeros((1, 1, 3), "uint8"), np.array([[True, False, False, True]]), space)[0],
        np.array([[[0.5, 0.48, 0.02, 0], [0.5, 0.02, 0.48, 0], [0.5, 0.49, 0.01, 0]]]),
        Thresholds.even(np.full(4, 0.9)),
        space,
        np.ones(4, bool),
    )
    mask = np.zeros((1, 3), "uint8")
    stored = vocabulary.store(
        mask, np.array([True, False, False, True]), decision, np.ones(4, bool)
    )
    assert stored.mask.tolist() == [[5, 4, 5]]
    assert [entry.name for entry in vocabulary.labels.coarse] == [
        "organ",
        "background or kidney",
        "background or liver",
    ]
    assert mask.tolist() == [[0, 0, 0]]


def test_doubt_that_does_not_exist():
    with pytest.raises(ValueError, match="doubt must be one of coarse, ignore, unknown. Received"):
        Vocabulary(SPACES["plain"], "none")
    with pytest.raises(ValueError, match="doubt=ignore needs an ignore_index"):
        Vocabulary(LabelSpace(NAMES, ignore_index=None), "ignore")


def known_pairs(q, labelled):
    """Pixels of two classes, in which class 1 was looked for, with its probability q."""
    target = np.stack([~labelled, labelled], -1)[None].astype("int8")
    return [(target, np.stack([1 - q, q], -1)[None].astype("float32"))]


def test_thresholds_are_as_bold_as_the_known_cells_allow():
    space = LabelSpace(["background", "liver"])
    # 10 pixels of liver and 10 others a step of q; above 0.7 all are liver, below 0.3 none is.
    q = np.repeat(np.linspace(0.05, 0.95, 10), 20)
    labelled = np.tile([True, False], 100) & (q > 0.3) | (q > 0.7)
    found = tuning.tune(known_pairs(q, labelled), space, 0.95, 0.02, confidence=0.5)
    take, drop = (float(part[1]) for part in found.thresholds)
    chosen, dropped = q >= take, q < drop
    assert labelled[chosen].mean() >= 0.95 and take >= 0.5
    assert labelled[q >= take - 0.1].mean() < 0.95  # a bolder one would not be precise enough
    assert labelled[dropped].sum() <= 0.02 * labelled.sum() < labelled[q < drop + 0.1].sum()
    assert found.precision[1] == pytest.approx(labelled[chosen].mean())
    assert found.recall[1] == pytest.approx(labelled[chosen].sum() / labelled.sum())
    assert found.pixels[1] == labelled.sum()


def test_thresholds_are_never_bolder_than_the_confidence():
    space = LabelSpace(["background", "liver"])
    q = np.repeat(np.linspace(0.05, 0.95, 10), 20)
    found = tuning.tune(known_pairs(q, q > 0.5), space, confidence=0.8)
    assert found.thresholds.take[1] == 0.8 and found.thresholds.drop[1] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="confidence must be a number from 0.5 to 1"):
        tuning.tune([], space, confidence=0.3)


def test_a_class_that_is_never_precise_is_left_alone():
    space = LabelSpace(["background", "liver"])
    q = np.linspace(0.5, 1, 50)
    found = tuning.tune(
        known_pairs(q, np.arange(50) % 2 == 0), space, precision=0.99, confidence=0.5
    )
    assert found.thresholds.take[1] > 1 and found.thresholds.drop[1] < 0


def test_without_known_pixels_the_usual_thresholds():
    space = LabelSpace(["background", "liver"])
    found = tuning.tune([], space)
    assert found.thresholds.take.tolist() == [0.9, 0.9] and found.pixels.tolist() == [0, 0]


def test_tuning_looks_at_a_cell_as_if_nobody_had_annotated_it():
    space = LabelSpace(["background", "liver", "vein"])
    # Liver was looked for, vein was not; the model is torn between liver and vein.
    mask, annotated = np.array([[1, 0]], "uint8"), np.array([[True, True, False]])
    p = np.array([[[0.2, 0.4, 0.4], [0.6, 0.0, 0.4]]], "float32")
    found = tuning.Histograms(space)
    found.add(encode(mask[None], annotated, space)[0], p)
    # Were liver not labelled there, it might be vein, too: 0.4 of 0.2 + 0.4 + 0.4.
    assert np.flatnonzero(found.hits[1]).tolist() == [400]
    assert np.flatnonzero(found.others[1]).tolist() == [0] and found.hits[2].sum() == 0


@pytest.mark.parametrize(
    "value", [0.3, 1.2, "high", {"liver": 0.2}, True], ids=lambda value: str(value)
)
def test_thresholds_out_of_range(value):
    with pytest.raises(ValueError, match="thresholds must be auto, a number from 0.5 to 1"):
        tuning.given(value, SPACES["plain"])


def test_thresholds_of_a_class_that_is_not_there():
    with pytest.raises(ValueError, match="There is no class 'lung'"):
        tuning.given({"lung": 0.9}, SPACES["plain"])
    found = tuning.given({"liver": 0.7}, SPACES["plain"])
    assert found.take.tolist() == [0.9, 0.7, 0.9, 0.9]
    np.testing.assert_allclose(found.drop, [0.1, 0.3, 0.1, 0.1])


def test_conditional_probabilities_add_up_to_one():
    mask, annotated, p = drawn(SPACES["plain"], 3)
    target = encode(mask[None], annotated[None], SPACES["plain"])[0]
    q = conditional(target, p, True)
    np.testing.assert_allclose(q.sum(-1), 1, rtol=1e-5)
    assert not q[target == RULED_OUT].any()


def blobs(count=60, seed=0, spread=1.0):
    """Two clusters on scales that differ a thousandfold; one label in each."""
    rng = np.random.default_rng(seed)
    where = np.repeat([0, 1], count)
    rows = rng.normal(size=(2 * count, 3)) * spread + 8 * where[:, None]
    known = np.full(2 * count, propagation.UNLABELLED)
    known[[0, count]] = 0, 1
    return rows * [1, 1000, 1000], known, where


def test_labels_spread_to_what_is_alike():
    rows, known, where = blobs()
    space = LabelSpace(["background", "liver"])
    found = Propagation(space).fit([(rows, known)])
    p = found.probabilities(rows)
    assert (p.argmax(1) == where).all() and np.isfinite(p).all()
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("gamma", [20.0, 1e6])
def test_a_large_gamma_on_unscaled_features_is_an_error(gamma):
    rows, known, _ = blobs()
    space = LabelSpace(["background", "liver"])
    with pytest.raises(ValueError, match="is too large for these features.*propagation.gamma=null"):
        Propagation(space, Spreading(gamma=gamma, scale=False)).fit([(rows, known)])


def test_the_guard_is_needed():
    """scikit-learn's own answer to that: NaN for some and one class for all others."""
    from sklearn.semi_supervised import LabelSpreading

    rows, known, where = blobs()
    with np.errstate(all="ignore"):
        model = LabelSpreading(kernel="rbf", gamma=20.0).fit(rows, known)
        new = model.predict_proba(rows + 0.5)
    lone = known == propagation.UNLABELLED
    assert np.isnan(new).any() or len(set(model.transduction_[lone])) == 1
    with pytest.raises(ValueError, match="underflows between"):
        require_neighbours(rows, known, 20.0)


def test_the_data_give_a_gamma_that_does_not_depend_on_scale():
    rows, known, _ = blobs()
    assert propagation.data_gamma(rows) == pytest.approx(1e6 * propagation.data_gamma(1000 * rows))
    require_neighbours(rows, known, propagation.data_gamma(rows))
    assert propagation.data_gamma(np.zeros((5, 2))) == propagation.data_gamma(rows[:1]) == 1


def test_the_graph_is_bounded_and_the_rest_is_told_by_it():
    rows, known, where = blobs(300)
    space = LabelSpace(["background", "liver"])
    found = Propagation(space, Spreading(nodes=50)).fit([(rows, known)])
    assert len(found._model.X_) == 50
    assert (found.probabilities(rows).argmax(1) == where).mean() > 0.95


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 7, 3), (13, 11, 1), (16, 16, 5), (40, 30, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_superpixels_of_any_image(shape, dtype):
    image = np.random.default_rng(0).random(shape)
    image = (255 * image).astype("uint8") if dtype == "uint8" else image.astype("float32")
    parts = propagation.superpixels(image, 20, 10.0)
    assert parts.shape == shape[:2]
    assert set(parts.ravel()) == set(range(parts.max() + 1))
    found = propagation.features(image, parts)
    assert found.shape[0] == parts.max() + 1 and np.isfinite(found).all()


def test_superpixels_are_labelled_by_pixels_that_are_beyond_doubt():
    parts = np.array([[0, 0, 0, 1, 1, 2, 2]])
    target = np.array([[[0, 1], [0, 1], [1, 0], [1, -1], [1, 0], [-1, -1], [-1, -1]]], "int8")
    assert propagation.labels_of(target, parts).tolist() == [1, -1, -1]


def test_propagation_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="so classes exclude each other. Received: independent"):
        Propagation(SPACES["independent"])
    with pytest.raises(ValueError, match="propagation.alpha must be a number from"):
        Propagation(SPACES["plain"], Spreading(alpha=2))
    rows, known, _ = blobs()
    with pytest.raises(ValueError, match="Labels can only spread from superpixels that have one"):
        Propagation(SPACES["plain"]).fit([(rows, np.full_like(known, -1))])


class Three:
    """A source of three images, of which the second is not to be trusted."""

    labels, names = LabelSpace(["background", "liver"]), ["a", "b", "c"]

    def __len__(self):
        return 3

    def __getitem__(self, index):
        mask = np.full((1, 2), index % 2, "uint8")
        weight = float(index != 1)
        return Sample(mask[..., None], mask, np.array([True, True]), None, "", weight)


def test_what_is_not_trusted_tunes_nothing():
    def each(images):
        yield from (np.full((1, 2, 2), 0.5, "float32") for _ in images)

    found = list(filling._known(each, Three()))
    assert len(found) == 2 and not any((target[..., 1] == 1).any() for target, _ in found)


@pytest.mark.parametrize("root, seen", [("set", ["c"]), ("other", [])])
def test_images_of_val_that_a_run_was_trained_on_are_named(tmp_path, root, seen):
    (tmp_path / "splits.csv").write_text("image,split,group\na,train,\nc,train,\na,val,\nb,val,\n")
    run = SimpleNamespace(folder=tmp_path, config={"data": {"root": "set"}})
    model = SimpleNamespace(runs=[run])
    assert opening.trained_on(opening.Opened({"val": Three()}, model, root, {}), "val") == seen
