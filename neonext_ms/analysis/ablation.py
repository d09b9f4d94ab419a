"""The paper's ablation of the initialisation (Table 3): NeoInit against random normal, several seeds of each."""

from dataclasses import replace

from neonext_ms.analysis.study import Study
from neonext_ms.training.config import TrainConfig

INITS = {"neo": "NeoInit", "normal": "random normal"}

# The paper's settings (Section 4.2: 25 epochs of SGD with momentum 0.9, batch 64, lr 0.1 after one epoch of warm-up,
# cosine). It names no augmentation or regularisation: a shift by up to 2 pixels is chosen here.
RECIPE = {
    "random_crop": "pad",
    "crop_padding": 2,
    "label_smoothing": 0.0,
    "batch_size": 64,
    "eval_batch_size": 90,
    "num_workers": 0,
    "epochs": 25,
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 0.0,
    "keep_checkpoint_max": 1,
    "log_interval": 1000,
}


def ablation(config: TrainConfig) -> Study:
    """Both initialisations as a study.

    Args:
        config: of each run, but for neocell_init and seed; output_dir is the folder of all (null: one below runs/).
    """
    folder = config.output_dir or f"runs/ablation-{config.model}-{config.dataset}"
    config = replace(config, output_dir=folder, neocell_init="neo")
    return Study(config, {init: replace(config, neocell_init=init) for init in INITS}, INITS)
