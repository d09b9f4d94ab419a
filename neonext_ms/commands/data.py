"""Commands of data sets: packing them, and what augmentation makes of them."""

from pathlib import Path
from typing import Literal

from neonext_ms.terminal import say


def pack_command(
    data_dir: str,
    output: str,
    shard_images: int = 10000,
    format: Literal["mindrecord", "tar", "parquet"] = "mindrecord",
):
    """Pack an image folder into few large files, for training with dataset=<format>; started again, it goes on.

    The files that training opens are compared with their digests: at every start up to 1 GiB a split, and larger ones
    at the first start on a machine, which is noted in checked.json beside them.

    Args:
        data_dir: folder with train/ and val/.
        output: folder to write to.
        shard_images: images in a file.
        format: of the files; tar as WebDataset has it, parquet as Hugging Face has it (needs pyarrow).
    """
    from neonext_ms.data.packing import pack

    result = pack(Path(data_dir).expanduser(), Path(output).expanduser(), shard_images, format)
    for split in ("train", "val"):
        say(f"{split}: {result[split]['samples']} images, {result[split]['bytes'] / 1e9:.2f} GB")
    say(f"{output}: {result['written']} files written, {result['kept']} kept from before")
    return result


def plot_command(config, output: str, samples: int = 8, versions: int = 6):
    """Draw what a training run would see: a contact sheet of augmented samples.

    Args:
        output: PNG to write; must not exist.
        samples: rows of the sheet.
        versions: epochs in which each sample is shown.
    """
    from neonext_ms.analysis.contact_sheet import contact_sheet

    result = contact_sheet(config, Path(output), samples, versions)
    say(f"{output}: {len(result['samples'])} samples, each in {versions} epochs")
    return result
