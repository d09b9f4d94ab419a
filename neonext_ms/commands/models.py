"""Commands about models and the machine they run on."""

from pathlib import Path

from neonext_ms.terminal import say


def profile_command(
    models: list[str] | None = None,
    image_size: int | None = None,
    num_classes: int = 1000,
    readme: str | None = None,
):
    """Show parameters and multiply-accumulates of the models beside the paper's Table 1.

    Args:
        models: names, as in --models neonext_t neonext_s; all of them if null.
        image_size: side of the image in pixels; 224 and 384 if null.
        num_classes: outputs of the classifier.
        readme: Markdown file whose text between the marks named "profile" is replaced by the table.
    """
    from neonext_ms.analysis.profile import profile_rows, profile_table
    from neonext_ms.markdown import replace_between_marks
    from neonext_ms.models import list_models

    sizes = (224, 384) if image_size is None else (image_size,)
    rows = [row for size in sizes for row in profile_rows(models or list_models(), size, num_classes)]
    table = profile_table(rows)
    print(table)
    if readme:
        replace_between_marks(Path(readme), "profile", table)
    return rows


def inspect_command(model: str, output: str, images: list[str]):
    """Write pictures of what a network has learned, and one HTML page of them.

    Its blocks, what they do to a single pixel, their singular values and distance from the identity, the effective
    receptive field of each stage, and where in the images it sees the class that it names.

    Args:
        model: .ckpt file or a model folder.
        output: folder to write, must not exist.
        images: files or folders to look at; a few of the model's own validation images if there are none.
    """
    from neonext_ms.analysis.inspection import inspect_model
    from neonext_ms.runtime.ranks import join_ranks

    join_ranks("auto")
    result = inspect_model(model, output, images)
    for name, distance in result["distances"].items():
        print(f"{name:18} median distance from the identity {distance:.3f}")
    say(f"{result['page']}: with receptive fields and class activation of {len(result['images'])} images")
    return result


def env_command():
    """Show versions, devices and which NeoCell backend is in use and why."""
    from neonext_ms.analysis.environment import environment

    result = environment()
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:{width}}  {value}")
    return result
