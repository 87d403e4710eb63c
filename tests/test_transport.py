"""Transport plans between rows and clusters."""

import numpy as np
import ot
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_sslcluster import numerics

N_ROWS, SHARES = 60, np.array([0.1, 0.2, 0.3, 0.4])
LOG_ROWS = np.full(N_ROWS, -np.log(N_ROWS))


@pytest.fixture(scope="module")
def scores():
    return 5 * np.random.RandomState(0).randn(N_ROWS, 4)


def test_plan_has_the_masses_asked_for(scores):
    plan = numerics.log_sinkhorn(scores, LOG_ROWS, np.log(SHARES))
    assert plan.error <= 1e-9
    assert_allclose(np.exp(plan.log_plan).sum(axis=1), 1 / N_ROWS, atol=1e-9)
    assert_allclose(np.exp(plan.log_plan).sum(axis=0), SHARES, atol=1e-12)


def test_masses_are_right_to_the_tolerance_asked_for(scores):
    plan = numerics.log_sinkhorn(scores, LOG_ROWS, np.log(SHARES), tol=1e-6)
    assert plan.error <= 1e-6
    assert np.abs(np.exp(plan.log_plan).sum(axis=1) - 1 / N_ROWS).sum() <= 1.01e-6


@pytest.mark.parametrize("regularization", [0.5, 2.0, 10.0])
def test_plan_is_that_of_pot(scores, regularization):
    costs = scores - scores.min()
    theirs = ot.sinkhorn(
        np.exp(LOG_ROWS), SHARES, costs, regularization, method="sinkhorn_log", stopThr=1e-12, numItermax=20_000
    )
    ours = numerics.log_sinkhorn(-costs / regularization, LOG_ROWS, np.log(SHARES), max_iter=20_000, tol=1e-12)
    assert_allclose(np.exp(ours.log_plan), theirs, atol=1e-9)


def test_cost_for_little_regularization_is_that_of_the_exact_plan_of_pot(scores):
    costs = scores - scores.min()
    plan = numerics.log_sinkhorn(-costs / 0.01, LOG_ROWS, np.log(SHARES), max_iter=20_000, tol=1e-9)
    exact = ot.emd2(np.exp(LOG_ROWS), SHARES, costs)
    assert_allclose((np.exp(plan.log_plan) * costs).sum(), exact, rtol=2e-3)


def test_scores_that_would_overflow_do_not(scores):
    plan = numerics.log_sinkhorn(1e4 * scores, LOG_ROWS, np.log(SHARES), max_iter=5)
    assert np.isfinite(plan.log_plan).all()


def test_gradient_flows_through_the_iterations(scores):
    given = torch.tensor(scores[:6], requires_grad=True)
    rows, columns = torch.full((6,), -np.log(6.0)).double(), torch.log(torch.tensor(SHARES))

    def first_column(values):
        return numerics.log_sinkhorn(values, rows, columns, max_iter=5, tol=None).log_plan[:, 0].exp()

    assert torch.autograd.gradcheck(first_column, (given,))


@pytest.mark.parametrize("balance", [0.0, 0.5, 0.9])
def test_relaxed_masses_solve_the_relaxed_problem(scores, balance):
    """Derivative of <P, scores> + entropy(P) - weight * KL(masses, shares) along moves of mass between columns is 0."""
    plan = numerics.log_sinkhorn(scores, LOG_ROWS, np.log(SHARES), balance=balance, max_iter=5000)
    P = np.exp(plan.log_plan)
    assert_allclose(P.sum(axis=1), 1 / N_ROWS, atol=1e-9)
    weight = balance / (1 - balance)
    slope = scores - plan.log_plan - weight * np.log(P.sum(axis=0) / SHARES)
    assert_allclose(slope - slope[:, :1], 0, atol=1e-6)
