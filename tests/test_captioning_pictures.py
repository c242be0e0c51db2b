"""The captioning example's decoding: pictures of any kind, stored any way up, of any size."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from examples.captioning import decoding, images
from examples.common.errors import UserError
from marks import eagerly

ROOT = Path(__file__).parents[1]
ORIENTATION = 0x0112


def encode(picture, kind="png", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(width, height, mode="RGB"):
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(3).integers(0, 256, (height, width, bands), "uint8")
    return Image.fromarray(values.squeeze(-1) if bands == 1 else values).convert(mode)


def smooth(width, height, mode="RGB"):
    return noise(5, 4, mode).resize((width, height), Image.Resampling.BICUBIC)


def decode(raw, size):
    return decoding.decode(tf.constant(raw), size).numpy()


def refused(raw, path=Path("a.png")):
    """What `check_picture` says of a picture, without the path in front."""
    with pytest.raises(UserError) as caught:
        decoding.check_picture(raw, path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


PNG = encode(noise(8, 8))


# ---------------------------------------------------------------- kinds of pictures


def over_white(picture):
    rgba = np.asarray(picture.convert("RGBA"), "float64")
    alpha = rgba[..., 3:] / 255
    return alpha * rgba[..., :3] + (1 - alpha) * 255


def palette(transparent):
    picture = noise(9, 9).quantize(16)
    if transparent:
        picture.info["transparency"] = 3
    return picture


@pytest.mark.parametrize(
    "picture",
    [
        *(noise(9, 9, mode) for mode in ("RGB", "RGBA", "L", "LA", "1")),
        palette(False),
        palette(True),
    ],
    ids=["rgb", "rgba", "grey", "grey-alpha", "bits", "palette", "transparent-palette"],
)
def test_png(picture):
    raw = encode(picture)
    expected = over_white(Image.open(io.BytesIO(raw)))
    np.testing.assert_allclose(decode(raw, 9), expected, atol=1e-4)


def test_png_of_16_bits_keeps_them():
    values = np.random.default_rng(1).integers(0, 65536, (9, 9), "uint16")
    found = decode(encode(Image.fromarray(values)), 9)
    np.testing.assert_allclose(found, np.repeat(values[..., None] / 257, 3, axis=2), atol=1e-4)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(mode):
    raw = encode(smooth(40, 40).convert(mode), "jpeg", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"), "float64")
    assert np.abs(decode(raw, 40) - expected).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp(mode, lossless):
    raw = encode(smooth(40, 40, mode), "webp", lossless=lossless)
    expected = over_white(Image.open(io.BytesIO(raw)))
    np.testing.assert_allclose(decode(raw, 40), expected, atol=1e-3)


def test_the_first_frame_of_a_gif():
    first, second = (noise(40, 40).quantize(colors) for colors in (16, 32))
    raw = encode(first, "gif", save_all=True, append_images=[second], duration=100)
    np.testing.assert_allclose(decode(raw, 40), np.asarray(first.convert("RGB")), atol=1e-3)


# ---------------------------------------------------------------- orientation

# How the picture is stored that EXIF's orientation turns upright.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def exif(value, order="<", before=3):
    """EXIF with a few tags before the orientation, least ("<") or most (">") significant first."""
    tags = [*range(0x0100, 0x0100 + before), ORIENTATION]
    entries = [struct.pack(order + "HHIHH", tag, 3, 1, value, 0) for tag in tags]
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    head = mark + struct.pack(order + "I4xH", 12, len(tags))  # the table begins at 12, not at 8
    return b"Exif\0\0" + head + b"".join(entries) + struct.pack(order + "I", 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_each_orientation_is_the_same_picture(kind, order):
    upright = smooth(60, 40)
    expected = decode(encode(upright), 24)
    assert np.ptp(expected, axis=(0, 1)).min() > 100
    options = {"quality": 95} | ({"lossless": True} if kind == "webp" else {})
    for value in range(1, 9):
        stored = upright.transpose(STORED[value]) if value > 1 else upright
        raw = encode(stored, kind, exif=exif(value, order), **options)
        assert decoding.orientation(tf.constant(raw)).numpy() == value
        seen = ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))
        assert seen.size == upright.size
        assert np.abs(decode(raw, 24) - expected).mean() < 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0II*\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0no TIFF at all, but longer than its head",
        exif(6).replace(b"II*", b"II?"),
        exif(0),
        exif(9),
        exif(6)[:-12],
    ],
)
def test_exif_that_says_nothing(content):
    raw = encode(smooth(30, 20), "jpeg", exif=content)
    assert decoding.orientation(tf.constant(raw)).numpy() == 1
    np.testing.assert_array_equal(decode(raw, 24), decode(encode(smooth(30, 20), "jpeg"), 24))


# ---------------------------------------------------------------- sizes


@eagerly
@pytest.mark.parametrize(("width", "height"), [(64, 48), (47, 64), (24, 24), (13, 9), (1, 300)])
@pytest.mark.parametrize("enlarged", [1, 7])
def test_decode_takes_the_largest_square_amid(width, height, enlarged):
    """In a gradient each place says where it lies; the ends blur a little when resized.

    Of a large picture a rest is left out that makes no whole block: less than a quarter of a pixel
    on each side.
    """
    width, height = width * enlarged, height * enlarged
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    values = np.stack([255 * across / width, 255 * down / height, 0 * across], axis=-1)
    raw = encode(Image.fromarray(values.astype("uint8")))
    found = tf.function(decoding.decode)(tf.constant(raw), 24).numpy()
    assert found.shape == (24, 24, 3)
    assert found.dtype == np.float32
    side = min(width, height)
    for axis, full in ((0, width), (1, height)):
        inside = ((full - side) // 2 + (np.arange(24) + 0.5) * side / 24 - 0.5) * 255 / full
        line = found[12, :, 0] if axis == 0 else found[:, 12, 1]
        rest = 0.25 * side / 24 if enlarged > 1 else 0
        atol = 1.5 + (0.5 + rest) * 255 / full
        np.testing.assert_allclose(line[2:-2], inside[2:-2], atol=atol)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("png", "RGB"), ("png", "RGBA"), ("png", "L"), ("jpeg", "RGB"), ("webp", "RGBA")],
)
def test_a_large_picture_shrinks_as_with_pillow(kind, mode):
    raw = encode(smooth(1203, 901).convert("L") if mode == "L" else smooth(1203, 901, mode), kind)
    square = over_white(Image.open(io.BytesIO(raw)).crop((151, 0, 1052, 901)))
    square = Image.fromarray(np.round(square).astype("uint8"))
    expected = np.asarray(square.resize((32, 32), Image.Resampling.BILINEAR), "float64")
    assert np.abs(decode(raw, 32) - expected).max() < 5


@pytest.mark.parametrize("side", [64, 640])
def test_shrinking_averages(side):
    board = np.indices((side, side)).sum(0) % 2 * 255
    raw = encode(Image.fromarray(board.astype("uint8")))
    np.testing.assert_allclose(decode(raw, 8)[1:-1, 1:-1], 127.5, atol=3)


def grow(raw, at, layout, width, height):
    """The picture with another size in its head."""
    changed = bytearray(raw)
    struct.pack_into(layout, changed, at, width, height)
    return bytes(changed)


def webp_of(width, height, form):
    """The head of a WebP of one of its three forms."""
    if form == "VP8X":
        sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        body = b"VP8X" + struct.pack("<II", 10, 0) + sizes
    elif form == "VP8L":
        body = b"VP8L" + struct.pack("<IBI", 5, 0x2F, (width - 1) | (height - 1) << 14)
    else:
        body = b"VP8 " + struct.pack("<I6sHH", 10, b"\0\0\0\x9d\x01\x2a", width, height)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


JPEG = encode(noise(8, 8), "jpeg")
LARGE = {
    "png": grow(PNG, 16, ">II", 20_000, 20_000),
    "vast.png": grow(PNG, 16, ">II", 2**31 - 1, 2**31 - 1),
    "jpeg": grow(JPEG, JPEG.index(b"\xff\xc0") + 5, ">HH", 20_000, 20_000),
    "gif": grow(encode(noise(8, 8), "gif"), 6, "<HH", 20_000, 20_000),
    **{form: webp_of(16_000, 16_000, form) for form in ("VP8X", "VP8L", "VP8 ")},
}


@pytest.mark.parametrize("name", LARGE)
def test_too_large_is_told_from_the_first_bytes(name):
    megapixels = {"vast.png": 4611686014133, "png": 400, "jpeg": 400, "gif": 400}.get(name, 256)
    told = f"a picture of {megapixels} megapixels; expected at most 100"
    assert refused(LARGE[name]) == told
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        tf.function(decoding.decode)(tf.constant(LARGE[name]), 24)


def test_36_megapixels_do_not_fill_the_memory(tmp_path):
    """Three bytes a pixel, and little more; it took 45."""
    path = tmp_path / "large.png"
    Image.new("RGB", (6000, 6000), (10, 200, 30)).save(path, compress_level=1)
    program = (
        "import resource, sys, tensorflow as tf\n"
        "from examples.captioning.decoding import decode\n"
        "decode = tf.function(decode, autograph=False)\n"
        "small, large = (tf.constant(open(path, 'rb').read()) for path in sys.argv[1:])\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "decode(small, 224), (before := peak()), decode(large, 224)\n"
        "print(peak() - before)\n"
    )
    (tmp_path / "small.png").write_bytes(PNG)
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "small.png", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 300e6


# ---------------------------------------------------------------- bad pictures

DAMAGED = {
    "cut.png": PNG[:-40],
    "head.png": PNG[:8],
    "cut.jpg": encode(noise(64, 64), "jpeg")[:600],
    "head.jpg": JPEG[:30],
    "cut.gif": encode(noise(64, 64), "gif")[:600],
    "cut.webp": encode(noise(64, 64), "webp")[:600],
}
OTHERS = {
    "empty.png": b"",
    "text.jpg": b"hello",
    "bmp.png": encode(noise(8, 8), "bmp"),
    "tiff.png": encode(noise(8, 8), "tiff"),
    # Without alpha TensorFlow's decoder writes beyond its memory.
    "moving.webp": encode(
        noise(8, 8), "webp", save_all=True, append_images=[smooth(8, 8)], duration=100
    ),
}


def test_check_finds_what_cannot_be_decoded(tmp_path):
    good = {
        "a.png": PNG,
        "b.jpg": encode(noise(9, 9), "jpeg"),
        "c.gif": PNG,
        "d.png": encode(noise(5, 5, "L")),
        "e.gif": encode(noise(5, 5), "gif"),
        "f.webp": encode(noise(5, 5), "webp"),
    }
    bad = {**DAMAGED, **OTHERS, **LARGE}
    for name, raw in {**good, **bad}.items():
        (tmp_path / name).write_bytes(raw)
    source = images.open_images(tmp_path)
    order = sorted({**good, **bad}, key=lambda name: name[::-1])
    found = decoding.check(source, order)
    assert found == ([n for n in order if n in good], [n for n in order if n in bad])
    told = "jpeg: a picture of 400 megapixels; expected at most 100"
    assert decoding.reason_of(source, "jpeg") == told


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_pictures(name):
    message = refused(DAMAGED[name])
    assert message.startswith("a damaged picture, cannot be decoded (")
    assert "{{" not in message
    assert "[Op" not in message


@pytest.mark.parametrize("name", OTHERS)
def test_pictures_of_other_kinds(name):
    reason = {
        "empty.png": "not a JPEG, PNG, GIF or WebP picture (the file is empty)",
        "moving.webp": "an animated WebP picture; expected one that stands still",
    }
    assert refused(OTHERS[name]) == reason.get(name, "not a JPEG, PNG, GIF or WebP picture")


def test_decode_is_exported(tmp_path):
    class Module(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
        def serve(self, raw):
            return tf.map_fn(
                lambda each: decoding.decode(each, 16), raw, fn_output_signature=tf.float32
            )

    tf.saved_model.save(Module(), str(tmp_path / "model"))
    raw = [
        PNG,
        encode(noise(40, 30), "jpeg", exif=exif(6)),
        encode(noise(300, 200, "RGBA")),
        encode(noise(40, 30), "gif"),
        encode(noise(40, 30), "webp"),
    ]
    found = tf.saved_model.load(str(tmp_path / "model")).serve(tf.constant(raw)).numpy()
    for each, row in zip(raw, found, strict=True):
        np.testing.assert_allclose(row, decode(each, 16), rtol=1e-5, atol=1e-3)
