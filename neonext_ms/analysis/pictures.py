"""What all pictures have in common: names are drawn as they stand, and a picture is bytes."""

import io


def to_png(figure, dpi: int) -> bytes:
    """A matplotlib figure as a PNG. Texts are literal: a name may hold $ signs, and letters that the font has not."""
    import warnings

    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    picture = io.BytesIO()
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(picture, format="png", dpi=dpi)
    return picture.getvalue()
