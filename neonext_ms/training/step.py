"""One training step and one evaluation step, each a single graph."""

from mindspore import ParameterTuple, nn, ops


def soft_cross_entropy(logits, targets):
    """Cross-entropy of (N, K) logits with (N, K) soft targets, a value an image, computed in float32."""
    return -ops.sum(targets * ops.log_softmax(logits.astype(targets.dtype), -1), -1)


class TrainStep(nn.Cell):
    """Forward, gradients, their mean over all devices, and the update, in one graph.

    Args:
        network: NeoNeXt.
        optimizer: a Cell of (gradients, lr).
        reducer: averages gradients over devices, or None for one device.

    Inputs:
        images: (n, 3, S, S) float32.
        targets: (n, K) float32 soft targets.
        drop_path: (blocks, n) float32 masks, or None.
        lr: float32 scalar.

    Outputs:
        mean loss of this device's batch, and the number of its images whose largest logit is the largest target.
    """

    def __init__(self, network, optimizer, reducer=None):
        super().__init__(auto_prefix=False)
        self.network = network
        self.optimizer = optimizer
        self.reducer = reducer
        self.weights = ParameterTuple(optimizer.parameters)
        self.gradient = ops.value_and_grad(self.loss, None, self.weights, has_aux=True)
        self.set_train(True)

    def loss(self, images, targets, drop_path):
        logits = self.network(images, drop_path)
        return ops.mean(soft_cross_entropy(logits, targets)), logits

    def construct(self, images, targets, drop_path, lr):
        (loss, logits), gradients = self.gradient(images, targets, drop_path)
        if self.reducer is not None:
            gradients = self.reducer(gradients)
        loss = ops.depend(loss, self.optimizer(gradients, lr))
        correct = ops.argmax(logits, -1) == ops.argmax(targets, -1)
        return loss, ops.sum(correct.astype(targets.dtype))


class EvalStep(nn.Cell):
    """Sums over a batch in evaluation mode.

    Inputs:
        images: (n, 3, S, S) float32.
        targets: (n, K) float32 one-hot; rows of zeros mark padding, which counts for nothing.

    Outputs:
        (3,) float32: sum of the cross-entropies, number of right answers, number of images.
    """

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        self.set_train(False)

    def construct(self, images, targets):
        logits = self.network(images)
        valid = ops.sum(targets, -1)
        losses = soft_cross_entropy(logits, targets) * valid
        correct = (ops.argmax(logits, -1) == ops.argmax(targets, -1)).astype(targets.dtype) * valid
        return ops.stack([ops.sum(losses), ops.sum(correct), ops.sum(valid)])
