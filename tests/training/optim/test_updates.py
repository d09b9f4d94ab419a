"""Two updates are what the keys of the optimizer say, worked out by hand."""

import numpy as np
from mindspore import Tensor

from tests.support.tiny import TinyConfig, assembled

# The gradients of two updates, the same number for every weight; NaN comes in between and must change nothing.
GRADIENTS = (0.5, -0.25)
RECIPE = {"lr": 0.1, "layer_decay": 0.5, "weight_decay": 0.2, "ema_decay": 0.15, "warmup_epochs": 0, "batch_size": 8}
WATCHED = {"head.fc.weight": (1.0, 0.2), "head.fc.bias": (1.0, 0.0), "stem.proj.weight": (0.125, 0.2)}  # scale, decay


def updated(**options):
    """Values of the watched weights, and of their averages, before and after each of two updates: {name: 3 arrays}."""
    job = assembled(TinyConfig(**RECIPE, **options))
    update, found = job.train_step.update, {name: [] for kind in ("", "ema.") for name in (kind + n for n in WATCHED)}

    def note():
        arrays = {p.name: p.asnumpy() for p in job.network.get_parameters()} | job.train_step.state()
        for name, values in found.items():
            values.append(arrays[name].astype(np.float64))

    note()
    for gradient in (GRADIENTS[0], np.nan, GRADIENTS[1]):
        vectors = tuple(Tensor(np.full(sum(g.sizes), gradient, np.float32)) for g in update.optimizer.groups)
        one, lr, limit = (Tensor(np.float32(value)) for value in (1.0, job.rate(0), np.inf))
        update(one, one, vectors, lr, limit, Tensor(np.zeros(2, np.float32)))
        if np.isfinite(gradient):
            note()
    return found


def check(found, step):
    """Compare with `step(weight, gradient, number, scale, decay)` made twice, and averages with d = 1/10, then 0.15."""
    for name, (scale, decay) in WATCHED.items():
        weights, averages = found[name], found[f"ema.{name}"]
        expected = weights[0]
        for t, (gradient, d) in enumerate(zip(GRADIENTS, (0.1, 0.15)), 1):
            expected = step(expected, gradient, t, scale, decay)
            np.testing.assert_allclose(weights[t], expected, rtol=1e-5, atol=1e-6, err_msg=f"{name}, update {t}")
            average = d * averages[t - 1] + (1 - d) * weights[t]
            np.testing.assert_allclose(averages[t], average, rtol=1e-5, atol=1e-6, err_msg=f"ema.{name}, update {t}")


def test_two_updates_by_adamw_are_what_the_keys_say():
    """beta1 0.5 and beta2 0.75: moments corrected 0.5 and 0.25, then 0 and 0.25 x 0.5 ... worked out by hand."""
    # t=1: m = .25 / .5 = .5, v = .0625 / .25 = .25. t=2: m = (.125 - .125) / .75 = 0.
    moments = {1: (0.5, 0.25), 2: (0.0, (0.75 * 0.0625 + 0.25 * 0.0625) / 0.4375)}

    def step(weight, gradient, t, scale, decay):
        m, v = moments[t]
        return weight * (1 - 0.1 * scale * decay) - 0.1 * scale * m / (np.sqrt(v) + 1e-8)

    check(updated(beta1=0.5, beta2=0.75), step)


def test_the_second_moment_forgets_as_beta2_says():
    """beta1 0: the second update divides by the root of (0.75 x 0.0625 + 0.25 x 0.0625) / 0.4375 = 1/7."""

    def step(weight, gradient, t, scale, decay):
        v = {1: 0.25, 2: 1 / 7}[t]
        return weight * (1 - 0.1 * scale * decay) - 0.1 * scale * gradient / np.sqrt(v)

    check(updated(beta1=0.0, beta2=0.75), step)


def test_two_updates_by_sgd_are_what_the_keys_say():
    """momentum 0.5: v = g + wd w, then v = 0.5 v + g + wd w."""
    velocity = {}

    def step(weight, gradient, t, scale, decay):
        v = gradient + decay * weight + (0.5 * velocity[scale, decay] if t > 1 else 0)
        velocity[scale, decay] = v
        return weight - 0.1 * scale * v

    check(updated(optimizer="sgd", momentum=0.5), step)


def test_clipping_and_a_fixed_loss_scale_work_together():
    """Gradients of 0.5, scaled by 8: unscaled to 0.0625 each; clipped to a norm of 0.01 over all 5522 weights."""

    def step(weight, gradient, t, scale, decay):
        return weight - 0.1 * scale * (np.sign(gradient) * 0.01 / np.sqrt(5522) + decay * weight)

    loss_scale = {"amp_level": "O2", "loss_scale_type": "fixed", "loss_scale": 8.0}
    check(updated(optimizer="sgd", momentum=0.0, clip_grad=0.01, **loss_scale), step)
