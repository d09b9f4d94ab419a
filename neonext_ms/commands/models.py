"""Commands about models and the machine they run on."""

from pathlib import Path


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


def env_command():
    """Show versions, devices and which NeoCell backend is in use and why."""
    from neonext_ms.analysis.environment import environment

    result = environment()
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:{width}}  {value}")
    return result
