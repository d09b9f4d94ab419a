"""Shapes that the kernel tests share. A shape is (N, C, H, W, H', W')."""

# model: stem width; every stage doubles the channels and halves the plane
DIMS = {"t": 96, "b": 128, "l": 192}  # S has the widths of T
SIDES = {224: 56, 384: 96}


def square(images: int, channels: int, side: int, out: int | None = None) -> tuple[int, ...]:
    return (images, channels, side, side, out or side, out or side)


def stages(images: int) -> list[tuple[int, ...]]:
    """All stages of T/S, B and L at 224 and 384."""
    return [square(images, dim << s, side >> s) for side in SIDES.values() for dim in DIMS.values() for s in range(4)]


def downsamplings(images: int) -> list[tuple[int, ...]]:
    """The cells between the stages of T/S and L: already at the doubled width."""
    return [
        square(images, 2 * dim << s, side >> s, side >> s + 1)
        for side in SIDES.values()
        for dim in (DIMS["t"], DIMS["l"])
        for s in range(3)
    ]


def name(shape) -> str:
    n, c, h, w, ho, wo = shape
    return f"{n}x{c}x{h}x{w}" + ("" if (h, w) == (ho, wo) else f"-{ho}x{wo}")


def takes_kron(shape) -> bool:
    """True where the Kronecker kernel applies (its channel stride fits 16 bits and its matrix L0B)."""
    _, c, h, w, ho, wo = shape
    return c * h * w <= 65535 and -(-h * w // 16) * -(-ho * wo // 16) <= 64
