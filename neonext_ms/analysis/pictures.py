"""Pictures as bytes."""

import io


def to_png(figure, dpi: int) -> bytes:
    """A matplotlib figure as a PNG.

    Its texts are this package's own: matplotlib takes $ signs for formulas, so names of others stand in HTML instead.
    """
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi)
    return picture.getvalue()
