from gleitzeit import provider


@provider.method("geometry/area")
def area(width: float, height: float) -> float:
    """The area of a rectangle."""
    if width < 0 or height < 0:
        raise provider.Failed("a side is negative", retryable=False)
    return width * height


provider.serve()
