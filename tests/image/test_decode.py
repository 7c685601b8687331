"""Every kind of picture file becomes the grey film that it shows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from hilum.errors import FilmError
from hilum.image.decode import decode
from hilum.image.film import FileFacts
from image.made_files import png, ramp, saved


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_grey_png_of_few_bits_spans_black_to_white(depth: int, interlaced: bool) -> None:
    samples = np.arange(20 * 24).reshape(20, 24) % (1 << depth)
    film = decode(png(samples, depth=depth, interlaced=interlaced))
    # 255 is divisible by 1, 3, 15 and 255, so the values are exact.
    np.testing.assert_array_equal(film.pixels, samples * (255 // ((1 << depth) - 1)))
    assert film.facts == FileFacts(24, 20, depth, "1" if depth == 1 else "L", "png")


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_twelve_bit_film_in_a_sixteen_bit_png_is_not_black(interlaced: bool) -> None:
    samples = np.tile(np.repeat([0, 1024, 2048, 4095], 4), (16, 1))
    film = decode(png(samples, depth=16, interlaced=interlaced))
    # 1024 / 4095 * 255 = 63.77, 2048 / 4095 * 255 = 127.53
    assert film.pixels[0, ::4].tolist() == [0, 64, 128, 255]
    assert (film.facts.bits, film.facts.mode) == (16, "I;16")


def test_a_full_sixteen_bit_png_keeps_its_scale() -> None:
    film = decode(png(np.tile(np.repeat([0, 257, 32896, 65535], 4), (16, 1)), depth=16))
    assert film.pixels[0, ::4].tolist() == [0, 1, 128, 255]  # 257 is 1 of 255, 32896 is 128 of 255


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_png_is_the_luminance_of_its_colours(depth: int) -> None:
    palette = bytes([255, 0, 0, 0, 0, 255])  # red is 0.299 * 255 = 76.2, blue 0.114 * 255 = 29.1
    film = decode(png(np.tile([0, 1], (16, 8)), depth=depth, colour=3, palette=palette))
    assert film.pixels[0, :2].tolist() == [76, 29]
    assert film.facts.mode == "P"


@pytest.mark.parametrize("depth", [8, 16])
def test_a_colour_png_is_its_luminance(depth: int) -> None:
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])
    samples = np.tile(np.repeat(colours, 4, axis=0), (16, 1, 1)) * (257 if depth == 16 else 1)
    film = decode(png(samples, depth=depth, colour=2))
    assert film.pixels[0, ::4].tolist() == [76, 150, 29, 255]
    assert (film.facts.bits, film.facts.mode) == (depth, "RGB")


def test_a_twelve_bit_film_in_three_sixteen_bit_channels_is_not_black() -> None:
    samples = np.repeat(np.tile(np.repeat([0, 4095], 8), (16, 1))[..., None], 3, axis=2)
    assert decode(png(samples, depth=16, colour=2)).pixels[0, ::8].tolist() == [0, 255]


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", [4, 6])
def test_what_is_transparent_lies_over_black(colour: int, depth: int) -> None:
    white, scale = 255, 257 if depth == 16 else 1
    channels = 1 if colour == 4 else 3
    pixels = [[*[white] * channels, alpha] for alpha in (255, 128, 0, 255)]
    samples = np.tile(np.repeat(np.array(pixels), 4, axis=0), (16, 1, 1)) * scale
    film = decode(png(samples, depth=depth, colour=colour))
    assert film.pixels[0, ::4].tolist() == [255, 128, 0, 255]
    assert film.facts.mode == ("LA" if colour == 4 else "RGBA")


def test_the_transparent_value_of_a_png_without_alpha_is_black() -> None:
    two = np.tile(np.repeat([9, 200], 8), (16, 1))
    assert decode(png(two, transparency=b"\0\xc8")).pixels[0, ::8].tolist() == [9, 0]
    grey = bytes([9, 9, 9, 200, 200, 200])
    indices = np.tile(np.repeat([0, 1], 8), (16, 1))
    assert decode(png(indices, colour=3, palette=grey, transparency=b"\0\xff")).pixels[0, ::8].tolist() == [0, 200]
    deep = np.tile(np.repeat([65535, 32896], 8), (16, 1))
    assert decode(png(deep, depth=16, transparency=b"\xff\xff")).pixels[0, ::8].tolist() == [0, 128]


def test_a_picture_of_nothing_but_transparency_is_refused() -> None:
    with pytest.raises(FilmError, match="every pixel of the picture is transparent"):
        decode(png(np.zeros((16, 16, 2), int), colour=4))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_grey_jpeg_is_what_pillow_decodes(progressive: bool) -> None:
    data = saved(Image.fromarray(ramp()), "JPEG", quality=95, progressive=progressive)
    film = decode(data)
    assert np.abs(film.pixels.astype(int) - np.asarray(Image.open(io.BytesIO(data)))).max() <= 1
    assert film.facts == FileFacts(48, 64, 8, "L", "jpeg")


def test_a_colour_jpeg_is_its_luminance() -> None:
    flat = Image.new("RGB", (32, 32), (255, 0, 0))
    film = decode(saved(flat, "JPEG", quality=100))
    assert np.abs(film.pixels.astype(int) - 76).max() <= 1
    assert film.facts.mode == "RGB"


def test_a_cmyk_jpeg_is_not_inverted() -> None:
    # No ink is white and black ink is black; Adobe's files, which Pillow writes, store both inverted.
    sheet = Image.new("CMYK", (32, 32), (0, 0, 0, 0))
    sheet.paste((0, 0, 0, 255), (0, 0, 16, 32))
    film = decode(saved(sheet, "JPEG", quality=100))
    assert film.pixels[16, 4] <= 2
    assert film.pixels[16, 28] >= 253
    assert film.facts.mode == "CMYK"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_rotation_that_exif_asks_for_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(ramp()), "JPEG", quality=100, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    film = decode(data)
    assert film.pixels.shape == upright.shape == (film.facts.height, film.facts.width)
    assert np.abs(film.pixels.astype(int) - upright).max() <= 1


def test_a_large_jpeg_is_decoded_smaller_where_that_is_allowed() -> None:
    data = saved(Image.fromarray(np.tile(ramp(128, 128), (8, 10))), "JPEG", quality=95)  # 1280 wide, 1024 high
    whole, small = decode(data), decode(data, at_least_px=250)
    assert small.pixels.shape == (256, 320)  # a quarter; an eighth would have 128 rows
    assert small.facts == whole.facts == FileFacts(1280, 1024, 8, "L", "jpeg")
    averaged = whole.pixels.reshape(256, 4, 320, 4).mean(axis=(1, 3))
    assert np.abs(small.pixels - averaged).mean() < 2
    assert decode(data, at_least_px=1025).pixels.shape == (1024, 1280)


def test_a_jpeg_decoded_smaller_has_nothing_of_what_lies_outside_the_film() -> None:
    # 161 is no multiple of 8: the encoder fills the last blocks with what it likes, here with the white it repeats.
    film = np.zeros((161, 161), np.uint8)
    film[160, :] = film[:, 160] = 255
    small = decode(saved(Image.fromarray(film), "JPEG", quality=100), at_least_px=20).pixels
    assert small.shape == (20, 20)
    assert small.max() <= 2


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PNG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_lossless_files_of_other_kinds_give_the_same_film(kind: str, mode: str) -> None:
    image = Image.fromarray(ramp()).convert(mode)
    film = decode(saved(image, kind))
    np.testing.assert_array_equal(film.pixels, np.asarray(image.convert("L")))
    assert film.facts.format == kind.lower()


def test_a_lossless_webp_gives_the_same_film() -> None:
    film = decode(saved(Image.fromarray(ramp()).convert("RGB"), "WEBP", lossless=True))
    np.testing.assert_array_equal(film.pixels, ramp())
    assert film.facts.format == "webp"


def test_a_sixteen_bit_tiff_is_scaled_as_a_png_is() -> None:
    values = np.tile(np.repeat(np.array([0, 2048, 4095], np.uint16), 6), (16, 1))
    data = saved(Image.fromarray(values), "TIFF")
    assert decode(data).pixels[0, ::6].tolist() == [0, 128, 255]
    assert decode(data).facts.bits == 16
    inverted = saved(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    assert decode(inverted).pixels[0, ::6].tolist() == [255, 127, 0]


def test_a_tiff_of_several_pages_and_one_of_floats_are_refused() -> None:
    page = Image.fromarray(ramp())
    with pytest.raises(FilmError, match="holds 2 pictures"):
        decode(saved(page, "TIFF", save_all=True, append_images=[page]))
    with pytest.raises(FilmError, match="32 bits"):
        decode(saved(Image.fromarray(ramp().astype(np.float32)), "TIFF"))


def test_a_jpeg_with_a_few_bytes_too_many_is_read_whole() -> None:
    data = saved(Image.fromarray(ramp()), "JPEG")
    np.testing.assert_array_equal(decode(data[:-2] + b"\0\0\0" + data[-2:]).pixels, decode(data).pixels)


def test_the_kind_is_told_by_content_and_never_by_the_name(tmp_path: Path) -> None:
    lying = tmp_path / "film.dcm"
    lying.write_bytes(saved(Image.fromarray(ramp()), "PNG"))
    assert decode(lying).facts.format == "png"


@pytest.mark.real
def test_real_films_of_every_mode_decode_as_pillow_shows_them(shared: Path) -> None:
    files = sorted((shared / "data/cohen/images").iterdir())
    seen = set()
    for file in files[::6]:
        film = decode(file)
        with Image.open(file) as image:
            seen.add((film.facts.format, image.mode))
            assert (film.facts.width, film.facts.height) == image.size
            if image.mode in ("RGBA", "P"):
                image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
            expected = np.asarray(image.convert("L")).astype(int)
        assert np.abs(film.pixels - expected).mean() < 0.5, file.name  # Pillow goes by way of RGB, which rounds
    assert {("jpeg", "L"), ("jpeg", "RGB"), ("png", "RGB"), ("png", "RGBA")} <= seen
