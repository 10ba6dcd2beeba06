"""Distances between sets of pictures, against loops, SciPy's root, scikit-learn's kernel and its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

import flspec.quality.compared
from flspec.metrics import measure
from flspec.quality import ComparedPictures, Subsets, covered_share, frechet_distance, kernel_distance, kernel_distances

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.standard_normal((60, 7)), 0.8 * RNG.standard_normal((45, 7)) + 0.3


@pytest.fixture(params=[7, 1024], ids="blocks of {}".format)
def _blocks(request, monkeypatch):
    monkeypatch.setattr(flspec.quality.compared, "_BLOCK", request.param)


# ----------------------------------------------------------------------------------------------------------------- KID


def kid_by_loops(x, y):
    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    m, n = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_y = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


def kid_by_scikit_learn(x, y):
    def k(a, b):
        return polynomial_kernel(a, b, degree=3, gamma=1 / a.shape[1], coef0=1)

    def within(a):
        return (k(a, a).sum() - np.diag(k(a, a)).sum()) / len(a) / (len(a) - 1)

    return within(x) + within(y) - 2 * k(x, y).mean()


def biased(x, y):
    k = [(a @ b.T / 7 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    return k[0].mean() + k[1].mean() - 2 * k[2].mean()


def of_another_kernel(x, y):
    return kid_by_loops(x * 7**0.25, y * 7**0.25)  # (a . b / sqrt d + 1)^3


def with_its_diagonal_left_in_the_count(x, y):
    m, n = len(x), len(y)
    k = [(a @ b.T / 7 + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    return (k[0].sum() - np.trace(k[0])) / m**2 + (k[1].sum() - np.trace(k[1])) / n**2 - 2 * k[2].mean()


@pytest.mark.usefixtures("_blocks")
def test_the_kernel_distance_is_that_of_loops_and_of_scikit_learns_kernel():
    assert kernel_distance(REAL, FAKE) == pytest.approx(kid_by_loops(REAL, FAKE), rel=1e-12)
    assert kernel_distance(REAL, FAKE) == pytest.approx(kid_by_scikit_learn(REAL, FAKE), rel=1e-12)


@pytest.mark.parametrize("wrong", [biased, of_another_kernel, with_its_diagonal_left_in_the_count])
def test_a_wrong_kernel_distance_would_be_noticed(wrong):
    assert abs(wrong(REAL, FAKE) - kernel_distance(REAL, FAKE)) > 1e-3 * abs(kernel_distance(REAL, FAKE))


def of_one_distribution(estimate):
    """Mean of an estimate of two sets of one distribution, in standard errors."""
    rng = np.random.default_rng(1)
    values = [estimate(rng.standard_normal((50, 7)), rng.standard_normal((50, 7))) for _ in range(400)]
    return np.mean(values) / (np.std(values) / 20), np.mean(np.array(values) < 0)


def test_the_kernel_distance_is_unbiased_and_half_of_the_time_negative_where_nothing_differs():
    off, negative = of_one_distribution(kernel_distance)
    assert abs(off) < 3
    assert 0.35 < negative < 0.65
    assert of_one_distribution(biased)[0] > 30


def test_subsets_are_planned_and_their_mean_tends_to_the_distance_of_all():
    pictures = ComparedPictures(REAL, FAKE, Subsets(count=400, size=20, seed=5))
    values = kernel_distances(pictures)
    assert np.array_equal(values, kernel_distances(pictures))
    assert not np.array_equal(values, kernel_distances(ComparedPictures(REAL, FAKE, Subsets(400, 20, seed=6))))
    assert abs(values.mean() - kernel_distance(REAL, FAKE)) < 3 * values.std() / 20
    for ours, theirs in Subsets(3, 20, 5).rows(60, 45):
        assert len(set(ours.tolist())) == len(set(theirs.tolist())) == 20
        assert max(ours) < 60
        assert max(theirs) < 45


# ----------------------------------------------------------------------------------------------------------------- FID


def fid_by_scipy(x, y, ddof=1):
    s, t = np.cov(x, rowvar=False, ddof=ddof), np.cov(y, rowvar=False, ddof=ddof)
    root = scipy.linalg.sqrtm(s @ t).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * root)


@pytest.mark.usefixtures("_blocks")
def test_the_frechet_distance_is_that_by_scipys_root():
    assert frechet_distance(REAL, FAKE) == pytest.approx(fid_by_scipy(REAL, FAKE), rel=1e-10)
    assert frechet_distance(REAL, REAL) == pytest.approx(0.0, abs=1e-12)


def test_a_wrong_frechet_distance_would_be_noticed():
    right = frechet_distance(REAL, FAKE)
    s, t = np.cov(REAL, rowvar=False), np.cov(FAKE, rowvar=False)
    root_of_each = np.trace(scipy.linalg.sqrtm(s).real @ scipy.linalg.sqrtm(t).real)
    as_if_they_commuted = right + 2 * (np.trace(scipy.linalg.sqrtm(s @ t).real) - root_of_each)
    assert abs(fid_by_scipy(REAL, FAKE, ddof=0) - right) > 1e-4 * right  # divided by n
    assert abs(as_if_they_commuted - right) > 1e-4 * right


# ------------------------------------------------------------------------------------------------ precision and recall


def covered_by_scikit_learn(covering, covered, k=3, own=1):
    reach = NearestNeighbors(n_neighbors=k + own).fit(covering).kneighbors(covering)[0][:, k + own - 1]
    return np.mean([(np.linalg.norm(covering - one, axis=1) <= reach).any() for one in covered])


CLOSE = 0.2 * RNG.standard_normal((50, 7))  # in the middle, where every real picture covers more than they cover of it


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("k", [1, 3, 5])
def test_shares_are_those_by_scikit_learns_neighbours(k):
    for covering, covered in ((REAL, FAKE), (FAKE, REAL), (REAL, CLOSE), (CLOSE, REAL)):
        assert covered_share(covering, covered, k) == covered_by_scikit_learn(covering, covered, k)


def test_a_row_that_counts_as_its_own_neighbour_would_be_noticed():
    assert covered_by_scikit_learn(FAKE, REAL, own=0) < covered_share(FAKE, REAL)


def test_precision_and_recall_are_not_the_same():
    values, _ = measure(ComparedPictures(REAL, CLOSE), ["image_precision", "image_recall"])
    assert values == {"image_precision": 1.0, "image_recall": covered_by_scikit_learn(CLOSE, REAL)}
    assert values["image_recall"] < 0.2


def test_copies_have_no_reach_wherever_rounding_puts_them():
    copies = np.repeat(1000 + RNG.standard_normal((5, 7)), 8, axis=0)
    assert covered_share(copies, copies + 1e-3) == 0.0
    assert covered_share(copies, copies) == 1.0


# --------------------------------------------------------------------------------------------------------- as metrics


def values_of(real, fake, **more):
    return measure(ComparedPictures(real, fake, **more), ["kid", "kid_deviation", "fid", "image_precision"])


def test_metrics_are_those_distances():
    values, reasons = values_of(REAL, FAKE)
    assert values["kid"] == kernel_distance(REAL, FAKE)
    assert values["fid"] == frechet_distance(REAL, FAKE)
    assert reasons == {"kid_deviation": "evaluation.subsets is not set"}
    values, reasons = values_of(REAL, FAKE, subsets=Subsets(10, 20, 0))
    assert values["kid_deviation"] > 0
    assert reasons == {}


def test_too_few_pictures_have_no_value_and_a_reason():
    assert values_of(REAL[:7], FAKE)[1]["fid"] == (
        "a covariance of 7 features needs at least 8 pictures of either kind, but has 7"
    )
    assert "fid" in values_of(REAL[:8], FAKE)[0]
    assert values_of(REAL[:1], FAKE)[1]["kid"].endswith("at least 2 pictures of either kind, but has 1")
    assert values_of(REAL, FAKE[:3])[1]["image_precision"].startswith("a third neighbour needs at least 4 pictures")
    few = values_of(REAL, FAKE, subsets=Subsets(10, 50, 0))[1]
    assert few["kid"] == "a subset of 50 needs at least 50 pictures of either kind, but has 45"
    assert set(values_of(REAL[:0], FAKE)[1].values()) == {"there are no pictures"}


def test_pictures_that_are_no_numbers_have_no_value():
    broken = FAKE.copy()
    broken[3, 2] = np.nan
    assert set(values_of(REAL, broken)[1].values()) == {"the generated pictures are not finite"}


def test_a_metric_of_scores_has_no_value_for_pictures():
    _, reasons = measure(ComparedPictures(REAL, FAKE), ["accuracy"])
    assert reasons == {"accuracy": "it is of a model that gives scores, and this one makes pictures"}


def test_a_part_has_some_real_pictures_and_all_generated_ones():
    part = ComparedPictures(REAL, FAKE).part(np.arange(60) % 2 == 0)
    assert len(part) == 30
    assert kernel_distance(part.real, part.fake) == kernel_distance(REAL[::2], FAKE)


def test_standardised_features_have_the_real_ones_mean_and_deviation():
    scaled = ComparedPictures(REAL * 100 + 5, FAKE * 100 + 5).standardised()
    assert np.allclose(scaled.real.mean(0), 0)
    assert np.allclose(scaled.real.std(0), 1)
    assert np.allclose(scaled.fake, (FAKE - REAL.mean(0)) / REAL.std(0))
    same = ComparedPictures(np.ones((4, 2)), np.full((4, 2), 3.0)).standardised()
    assert (same.fake == 2.0).all()  # a constant feature has no deviation to be divided by
