"""The steps of a run, as its configuration describes them."""

import mindspore as ms
from mindspore import nn

from neonext_ms.errors import UserError
from neonext_ms.evaluation.step import EvalStep
from neonext_ms.models.layers import BatchNorm
from neonext_ms.runtime.ranks import Ranks
from neonext_ms.training.apply_gradients import Clip, Update
from neonext_ms.training.config import TrainConfig
from neonext_ms.training.optim.adamw import AdamW
from neonext_ms.training.optim.ema import EMA
from neonext_ms.training.optim.layer_decay import layer_lr_scales
from neonext_ms.training.optim.loss_scale import LossScale
from neonext_ms.training.optim.optimizer import Optimizer
from neonext_ms.training.optim.sgd import SGD
from neonext_ms.training.step import Gradient, TrainStep


def check_device(config: TrainConfig, device: str):
    """Refuse, before anything is built, what the device cannot do.

    Raises:
        UserError: bfloat16 or SyncBatchNorm on a CPU.
    """
    if device != "CPU":
        return
    if config.amp_level != "O0" and config.amp_dtype == "bfloat16":
        raise UserError("amp_dtype=bfloat16 needs an Ascend NPU, CPUs have no kernels for it: use float16")
    if config.sync_bn:
        raise UserError("sync_bn needs Ascend NPUs, CPUs have no kernel for it: use sync_bn=false")


def make_steps(config: TrainConfig, network, ranks: Ranks) -> tuple[TrainStep, EvalStep]:
    """The training and the evaluation step of a network whose weights are what training begins with."""
    dtype = ms.float32 if config.amp_level == "O0" else getattr(ms, config.amp_dtype)
    for _, cell in network.cells_and_names():
        if isinstance(cell, BatchNorm):
            cell.in_float32 = config.amp_level != "O3"
    if config.sync_bn:
        _synchronise_batch_norms(network)
    optimizer = _optimizer(config, network)
    loss_scale = None
    if dtype == ms.float16:
        window = config.loss_scale_window if config.loss_scale_type == "dynamic" else 0
        loss_scale = LossScale(config.loss_scale, window)
    ema = EMA(network, config.ema_decay) if config.ema_decay else None
    gradient = Gradient(network, optimizer, dtype, loss_scale)
    update = Update(network, optimizer, ranks, Clip(config.clip_grad, loss_scale), ema)
    return TrainStep(gradient, update, config.micro_batches(ranks.world)), EvalStep(network, dtype)


def _optimizer(config: TrainConfig, network) -> Optimizer:
    parameters = network.trainable_params()
    scales = layer_lr_scales(parameters, network.spec.depths, config.layer_decay)
    if config.optimizer == "adamw":
        return AdamW(parameters, config.weight_decay, (config.beta1, config.beta2), lr_scales=scales)
    return SGD(parameters, config.weight_decay, config.momentum, lr_scales=scales)


def _synchronise_batch_norms(network):
    """Replace every BatchNorm by one whose batch statistics are those of all devices; the parameters stay."""
    for _, parent in list(network.cells_and_names()):
        for name, cell in list(parent.name_cells().items()):
            if isinstance(cell, BatchNorm):
                synchronised = nn.SyncBatchNorm(cell.num_features, eps=cell.eps, momentum=1 - cell.momentum)
                for key in ("gamma", "beta", "moving_mean", "moving_variance"):
                    setattr(synchronised, key, getattr(cell, key))
                synchronised.use_batch_statistics = cell.use_batch_statistics
                setattr(parent, name, synchronised)
