"""The frontier's picture files."""

from pipeline.report.lambda_picture import lambda_picture
from tests.report.test_page import contents


def test_pictures_are_what_their_names_say_and_equal_each_time() -> None:
    frontier = contents().frontier
    assert frontier is not None
    svg, png = lambda_picture(frontier, "svg"), lambda_picture(frontier, "png")
    assert b"<svg" in svg[:600]
    assert png.startswith(b"\x89PNG")
    assert svg == lambda_picture(frontier, "svg")
    assert png == lambda_picture(frontier, "png")
    assert b"chosen: 10" in svg
