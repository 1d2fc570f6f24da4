"""The benchmark of classes that overlap, tiny."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import bench_independent as bench  # noqa: E402


def test_a_model_is_scored_against_the_full_truth():
    found = bench.score("naive", "bce_dice", rate=0.5, steps=1, seed=0, size=16)
    assert found.images.tolist() == [60] * 16
    labelled = bench.drawn("val", 60, 16)[2].sum((0, 1, 2))
    np.testing.assert_array_equal(found.true_positives + found.false_negatives, labelled)
