"""The AscendC operators inside MindSpore, on the emulator: results, a training step, and every reason to fall back.

The Cells are those of an NPU; only the operators' prefix differs ("<library>:" in place of "aclnn").
"""

import itertools

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from neonext_ms.evaluation.step import soft_cross_entropy
from neonext_ms.models.neonext import NeoNeXt, NeoNeXtSpec
from neonext_ms.ops import Group, NeoCell, parse_spec, reference
from neonext_ms.ops.ascend.neocell import AscendNeoCell
from neonext_ms.ops.ascend.tiling import gradient_splits, prefers_kron, shape_refusal
from tests.support.gradients import ForwardAndGradients

LIMITS = {ms.float16: 2.0**-10, ms.bfloat16: 2.0**-7}  # of |A||X||B|, element by element
CASES = {  # groups, N, H, W
    "stage 2": (parse_spec("4+7", 48, 1), 1, 28, 28),
    "stage 3": (parse_spec("7", 24, 1), 3, 14, 14),
    "odd plane, few channels": (parse_spec("3+5", 6, 2), 5, 17, 23),
    "unequal sides and shifts": ([Group(5, (3, 3), (6, 6), (1, 4)), Group(2, (5, 5), (2, 2))], 2, 20, 33),
    "down-sampling": ([Group.resample(2, 1, 24)], 3, 15, 14),
    "widening": ([Group(7, (3, 2), (2, 3))], 4, 10, 12),
    "stage 4, Kronecker": (parse_spec("7", 12), 72, 7, 7),
    "down-sampling, Kronecker": ([Group.resample(2, 1, 5)], 73, 7, 8),
}


def on_emulator(network, library):
    """The network with the Ascend operators in all its NeoCells; the same parameters."""
    for _, cell in network.cells_and_names():
        if isinstance(cell, NeoCell):
            cell.fused = AscendNeoCell(cell.groups, cell.bias is not None, f"{library}:")
    return network


def values(rng, shape, dtype):
    """Values that dtype holds exactly, as a float32 array; of 1/4 to 2, so that no product is subnormal in float16."""
    drawn = rng.choice([-1, 1], shape) * rng.uniform(0.25, 2, shape)
    return Tensor(drawn.astype(np.float32)).astype(dtype).astype(ms.float32).asnumpy()


def check(library, case, dtype):
    """Forward and every gradient against float64, each element within the limit times the absolute products."""
    groups, n, h, w = case
    rng = np.random.default_rng([n, h, w])
    cell = on_emulator(NeoCell(groups, backend="dense", seed=0), library)
    for block in [*cell.left, *cell.right]:
        block.set_data(Tensor(values(rng, block.shape, dtype)))
    left, right = [p.asnumpy() for p in cell.left], [p.asnumpy() for p in cell.right]
    x = values(rng, (n, cell.channels, h, w), dtype)
    dy = values(rng, reference.neocell(x, left, right, groups).shape, dtype)

    def expected(x, left, right, dy):
        dx, dleft, dright, _ = reference.neocell_gradients(x, left, right, groups, dy)
        return [reference.neocell(x, left, right, groups), dx, *dleft, *dright]

    truth = expected(x, left, right, dy)
    scale = expected(abs(x), [abs(v) for v in left], [abs(v) for v in right], abs(dy))
    y, dx, gradients = ForwardAndGradients(cell)(Tensor(x).astype(dtype), Tensor(dy).astype(dtype))
    assert y.dtype == dx.dtype == dtype and all(g.dtype == ms.float32 for g in gradients)
    for value, exact, size in zip([y, dx, *gradients], truth, scale, strict=True):
        value = value.astype(ms.float32).asnumpy().astype(np.float64)
        assert value.shape == exact.shape
        assert np.all(abs(value - exact) <= LIMITS[dtype] * size)


@pytest.mark.parametrize("case", CASES)
def test_float16(emulator_library, case):
    check(emulator_library, CASES[case], ms.float16)


@pytest.mark.parametrize("case", ["stage 3", "down-sampling"])  # CPUs cannot reshape bfloat16, as Kronecker has to
def test_bfloat16(emulator_library, case):
    check(emulator_library, CASES[case], ms.bfloat16)


@pytest.mark.parametrize("case", ["odd plane, few channels", "down-sampling, Kronecker"])
def test_pynative(emulator_library, case):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        check(emulator_library, CASES[case], ms.float16)
    finally:
        ms.set_context(mode=ms.GRAPH_MODE)


def test_bias(emulator_library):
    """Added once, in the type of x; its gradient is the sum of dy."""
    groups = parse_spec("7", 24)
    rng = np.random.default_rng(0)
    cell = on_emulator(NeoCell(groups, has_bias=True, backend="dense", seed=0), emulator_library)
    x, dy = (Tensor(rng.integers(-2, 3, (1, 24, 8, 8)).astype(np.float16)) for _ in range(2))
    without = cell(x).asnumpy()
    bias = rng.integers(-4, 5, 24).astype(np.float32)
    cell.bias.set_data(Tensor(bias))
    y, _, gradients = ForwardAndGradients(cell)(x, dy)
    np.testing.assert_array_equal(y.asnumpy(), without + bias.reshape(1, 24, 1, 1).astype(np.float16))
    np.testing.assert_array_equal(gradients[-1].asnumpy(), dy.asnumpy().astype(np.float64).sum((0, 2, 3)))


class Classifier(nn.Cell):
    """A small NeoNeXt that computes in `dtype`: planes of 14 x 14 and 7 x 7, both forward operators at 72 images."""

    def __init__(self, dtype):
        super().__init__()
        spec = NeoNeXtSpec((1, 1), (12, 24), ("4+7", "7"), (1, 0))
        self.features = NeoNeXt(spec, features_only=True, backend="dense", seed=0)
        self.dtype = dtype

    def construct(self, images):
        return ops.mean(self.features(images.astype(self.dtype))[-1].astype(ms.float32), (2, 3))


SCALE = 2.0**10  # of the loss: keeps float16 gradients out of the subnormal range


class TrainingStep(nn.Cell):
    """One step of SGD; returns the loss and the gradients, both times SCALE."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.weights = ms.ParameterTuple(network.trainable_params())
        self.loss_and_gradients = ops.value_and_grad(self.loss, None, self.weights)
        self.optimizer = nn.SGD(self.weights, 0.5, loss_scale=SCALE)
        self.set_train()

    def loss(self, images, targets):
        return SCALE * ops.mean(soft_cross_entropy(self.network(images), targets))

    def construct(self, images, targets):
        loss, gradients = self.loss_and_gradients(images, targets)
        return ops.depend(loss, self.optimizer(gradients)), gradients


def two_steps(network):
    """Losses and gradients of two training steps: the second one starts from the first one's update."""
    rng = np.random.default_rng(0)
    images = Tensor(rng.standard_normal((72, 3, 56, 56)).astype(np.float32))
    targets = Tensor(np.eye(24, dtype=np.float32)[rng.integers(0, 24, 72)])
    step = TrainingStep(network)
    results = []
    for _ in range(2):
        loss, gradients = step(images, targets)
        results += [loss.asnumpy(), *(g.asnumpy() for g in gradients)]
    return results


def test_training_steps_equal_the_dense_backend(emulator_library):
    """Off the float32 network by no more than the dense backend in float16 is: twice that, for independent roundings.

    Differences are measured over a whole tensor (Euclidean norm).
    """
    exact = two_steps(Classifier(ms.float32))
    dense = two_steps(Classifier(ms.float16))
    fused = two_steps(on_emulator(Classifier(ms.float16), emulator_library))
    for truth, plain, value in zip(exact, dense, fused, strict=True):
        error, plain_error = np.linalg.norm(value - truth), np.linalg.norm(plain - truth)
        assert error <= 2 * plain_error + 2.0**-16 * np.linalg.norm(truth)


def test_tiling_is_that_of_the_header(emulator):
    """Refusals, splits and the choice of the forward operator, over random and square planes."""
    rng = np.random.default_rng(0)
    sides = [1, 2, 3, 7, 8, 9, 15, 16, 17, 32, 33, 48, 64, 65, 80, 96, 97, 112, 113, 128, 129, 160]
    planes = [(h, w, h, w) for h, w in itertools.product(sides, sides)]
    planes += [tuple(int(v) for v in rng.choice(sides, 4)) for _ in range(1500)]
    served = 0
    for plane in planes:
        reports = [emulator.report(name, "float16", (1, 1, *plane), 20) for name in ("neo_cell", "neo_cell_grad")]
        assert bool(shape_refusal(*plane)) == any(report["refusal"] for report in reports), plane
        served += not shape_refusal(*plane)
    assert len(planes) / 10 < served < len(planes)
    for n, c in itertools.product([1, 2, 3, 8, 71, 72, 73], [1, 2, 5, 11, 12, 13, 23, 24, 25, 1337, 1338, 2048]):
        assert gradient_splits(n, c) == emulator.library.neo_cell_grad_splits(n, c)
        for h, w, h_out, w_out in itertools.product([2, 4, 7, 8, 9], [2, 7, 8], [2, 8, 9], [2, 7, 8]):
            shape = (n, c, h, w, h_out, w_out)
            assert prefers_kron(shape[:4], shape[4:]) == emulator.prefers_kron(shape), shape


@pytest.mark.parametrize(
    "dtype, shape, reason",
    [
        (np.float32, (1, 7, 9, 9), "take float16 and bfloat16, not float32"),
        (np.float16, (2, 7, 9, 1), "planes of 9 x 1 to 9 x 1: a side of one pixel"),
        (np.float16, (1, 7, 97, 97), "planes of 97 x 97 to 97 x 97: at most 96 x 96 fit"),
    ],
)
def test_inputs_that_fall_back(emulator_library, warnings, mode, dtype, shape, reason):
    groups = parse_spec("7", 7)
    cells = [on_emulator(NeoCell(groups, backend="dense", seed=0), emulator_library) for _ in range(2)]
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    expected = NeoCell(groups, backend="dense", seed=0)(Tensor(x)).asnumpy()
    for cell in cells:
        np.testing.assert_array_equal(cell(Tensor(x)).asnumpy(), expected)
    (record,) = warnings.records
    assert reason in record.message
