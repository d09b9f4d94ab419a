"""Builds one graph on MindSpore's Ascend backend and runs it once: what `ascend_kernels/dryrun` looks at.

python -m neonext_ms.benchmark.ascend_program CASE        # a `DryCase` as JSON
"""

import json
import sys

import numpy as np

CLASSES = 1000


def main(case: dict):
    """Build and run it; results of a simulation are zeros."""
    import mindspore as ms

    from neonext_ms.runtime.ranks import join_ranks

    ranks = join_ranks("Ascend", case["jit_level"])
    shape = case["batch_size"], 3, case["image_size"], case["image_size"]
    images = np.zeros(shape, np.float32)
    if case["work"] == "mindir":
        ms.nn.GraphCell(ms.load(case["model"]))(ms.Tensor(images))
    elif case["model"].startswith("mindcv."):
        _mindcv(case["model"].partition(".")[2], images)
    else:
        _ours(case, images, ranks)


def _ours(case: dict, images: np.ndarray, ranks):
    from neonext_ms.models import create_model
    from neonext_ms.training.assemble import make_steps
    from neonext_ms.training.config import TrainConfig
    from neonext_ms.training.drop_path import drop_path_masks, drop_path_rates

    amp = {} if case["precision"] == "float32" else {"amp_level": "O2", "amp_dtype": case["precision"]}
    config = TrainConfig(model=case["model"], batch_size=case["batch_size"], **amp, **case["training"])
    structure = config.model_overrides
    network = create_model(config.model, CLASSES, seed=0, drop_path_rate=config.drop_path_rate, **structure)
    train_step, eval_step = make_steps(config, network, ranks)
    if case["work"] == "evaluate":
        eval_step(images)
        return
    images = np.concatenate([images] * config.micro_batches(ranks.world))
    targets = np.zeros((len(images), CLASSES), np.float32)
    masks = None
    if config.drop_path_rate:
        rates = drop_path_rates(config.drop_path_rate, sum(network.spec.depths))
        masks = drop_path_masks(rates, np.arange(len(images)), 0, 0)
    train_step(images, targets, masks, 1e-3)


def _mindcv(name: str, images: np.ndarray):
    """A training step as mindcv's own recipes have it: float16 (O2), a fixed loss scale; no EMA, no clipping."""
    import mindspore as ms
    from mindcv.models import create_model
    from mindcv.optim import create_optimizer
    from mindspore import amp, nn

    network = create_model(name, num_classes=CLASSES)
    kind = "momentum" if name.startswith("resnet") else "adamw"
    optimizer = create_optimizer(network.trainable_params(), opt=kind, lr=1e-3, weight_decay=0.05)
    scale = amp.FixedLossScaleManager(1024, drop_overflow_update=False)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    step = amp.build_train_network(network, optimizer, loss, level="O2", loss_scale_manager=scale)
    step.set_train()(ms.Tensor(images), ms.Tensor(np.zeros(len(images), np.int32)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
