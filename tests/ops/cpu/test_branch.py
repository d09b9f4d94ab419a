"""What follows the NeoCell in a block as one pass, by statistics of the batch and by moving ones, against float64."""

import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops

from neonext_ms.ops.cpu.mlp import FusedBranch
from neonext_ms.ops.precision import using_matmul_precision
from tests.ops.cpu.test_precision import exact, mlp_and_gradients, to_bfloat16

EPS, KEPT = 1e-5, 0.9
SHAPES = [(3, 5, 7, 12), (2, 23, 14, 17), (1, 4, 1, 24), (5, 7, 3, 1)]


class Gradients(nn.Cell):
    """The branch with weights of its own, and all gradients for a dy.

    Not by ms.vjp, which in PyNative runs it twice up to MindSpore 2.8: its statistics would change twice.
    """

    def __init__(self, values, of_batch):
        super().__init__()
        self.branch = FusedBranch(EPS, KEPT)
        names = "w1", "b1", "w2", "b2", "gamma", "beta", "moving_mean", "moving_variance"
        self.values = [Parameter(Tensor(values[name]), name=name) for name in names]
        for name, value in zip(names, self.values):
            setattr(self, name, value)
        self.of_batch = of_batch
        self.gradient = ops.value_and_grad(self.loss, (0, 1), self.values[:6], has_aux=True)

    def run(self, trunk, x, keep):
        norm = self.gamma, self.beta, self.moving_mean, self.moving_variance
        return self.branch(trunk, x, norm, self.of_batch, (self.w1, self.b1, self.w2, self.b2), keep)

    def loss(self, trunk, x, keep, dy):
        y = self.run(trunk, x, keep)
        return (y * dy).sum(), y

    def construct(self, trunk, x, keep, dy):
        (_, y), ((dtrunk, dx), gradients) = self.gradient(trunk, x, keep, dy)
        return y, dtrunk, dx, *gradients


def reference(values, of_batch, enter):
    """The same by definition in float64, and the moving statistics afterwards."""
    v = {name: value.astype(np.float64) for name, value in values.items()}
    wide = (slice(None), None, None)
    count = v["x"].size / v["x"].shape[1]
    mean, variance = v["x"].mean((0, 2, 3)), v["x"].var((0, 2, 3))
    moved = KEPT * v["moving_mean"] + (1 - KEPT) * mean
    moved_variance = KEPT * v["moving_variance"] + (1 - KEPT) * variance * count / max(1, count - 1)
    if not of_batch:
        mean, variance, moved, moved_variance = v["moving_mean"], v["moving_variance"], v["moving_mean"], None
    deviation = 1 / np.sqrt(variance + EPS)
    normal = (v["x"] - mean[wide]) * deviation[wide]
    keep = v["keep"][:, None, None, None]
    z = normal * v["gamma"][wide] + v["beta"][wide]
    weights = v["w1"], v["b1"], v["w2"], v["b2"]
    y, dz, *dweights = mlp_and_gradients(z, *weights, keep * v["dy"], enter)
    dgamma, dbeta = (dz * normal).sum((0, 2, 3)), dz.sum((0, 2, 3))
    dx = dz - dbeta[wide] / count - normal * dgamma[wide] / count if of_batch else dz
    dx = dx * (v["gamma"] * deviation)[wide]
    return [v["trunk"] + keep * y, v["dy"], dx, *dweights, dgamma, dbeta], moved, moved_variance


def values_of(shape, dtype):
    n, c = shape[:2]
    rng = np.random.default_rng(sum(shape))
    hidden = 2 * c + 1
    shapes = {"w1": (hidden, c), "b1": (hidden,), "w2": (c, hidden), "b2": (c,)}
    shapes.update(dict.fromkeys(("gamma", "beta", "moving_mean"), (c,)))
    values = {name: rng.standard_normal(size).astype(np.float32) for name, size in shapes.items()}
    values["moving_variance"] = rng.uniform(0.5, 2, c).astype(np.float32)
    values.update({name: (rng.standard_normal(shape) + 0.5).astype(dtype) for name in ("trunk", "x", "dy")})
    values["keep"] = rng.choice([0, 1, 1.25], n).astype(np.float32)
    return values


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "training, of_batch, precision, dtype",
    [
        (True, True, "highest", np.float32),
        (True, False, "highest", np.float32),
        (False, False, "highest", np.float32),
        (True, True, "bfloat16", np.float32),
        (False, False, "bfloat16", np.float32),
        (True, True, "highest", np.float16),
        (False, False, "highest", np.float16),
    ],
)
def test_output_and_every_gradient(shape, training, of_batch, precision, dtype, mode):
    values = values_of(shape, dtype)
    with using_matmul_precision(precision):
        cell = Gradients(values, of_batch).set_train(training)
    found = cell(*(Tensor(values[name]) for name in ("trunk", "x", "keep", "dy")))
    expected, moved, moved_variance = reference(values, of_batch, exact)
    rounded, *_ = reference(values, of_batch, to_bfloat16)
    names = "y", "dtrunk", "dx", "dw1", "db1", "dw2", "db2", "dgamma", "dbeta"
    limit = 2e-5 if dtype == np.float32 else 8e-3
    for name, value, want, plain in zip(names, found, expected, rounded, strict=True):
        allowed = 2 * np.abs(plain - want).max() if precision == "bfloat16" else 0
        scale = max(np.abs(want).max(), 1e-3)  # of two pixels: what is left of dx is rounding
        error = np.abs(value.asnumpy().astype(np.float64) - want).max()
        assert error <= allowed + limit * scale, (name, error, allowed, scale)
    np.testing.assert_allclose(cell.moving_mean.asnumpy(), moved, rtol=1e-5, atol=1e-6)
    if of_batch:
        np.testing.assert_allclose(cell.moving_variance.asnumpy(), moved_variance, rtol=1e-5)
    else:
        np.testing.assert_array_equal(cell.moving_variance.asnumpy(), values["moving_variance"])


class WithoutDropPath(nn.Cell):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def construct(self, trunk, x):
        return self.cell.run(trunk, x, None)


def test_without_drop_path_every_factor_is_one(mode):
    values = values_of(SHAPES[0], np.float32)
    values["keep"][:] = 1
    cell = Gradients(values, True).set_train(True)
    trunk, x, keep, dy = (Tensor(values[name]) for name in ("trunk", "x", "keep", "dy"))
    without = WithoutDropPath(cell).set_train(True)(trunk, x)
    np.testing.assert_array_equal(without.asnumpy(), cell(trunk, x, keep, dy)[0].asnumpy())
