"""Encoded pictures to pixels, by TensorFlow's operations alone: an exported model does it too."""

from pathlib import Path

import tensorflow as tf

from examples.captioning.images import Images, read_encoded
from examples.common.errors import UserError, line_of

ACCEPTED = "JPEG, PNG, GIF or WebP"
MEGAPIXELS = 100  # of a picture at most, which its first bytes tell

# What a file of each kind holds, and where.
KINDS = JPEG, PNG, GIF, WEBP, OTHER = range(5)
MARKS = (0, b"\xff\xd8\xff"), (0, b"\x89PNG\r\n\x1a\n"), (0, b"GIF8"), (8, b"WEBP")
# What stands before EXIF's data in it; in a GIF nothing does.
EXIF_MARKS = b"Exif\0\0", b"eXIf", b"Exif\0\0", b"EXIF", b"Exif\0\0"


def decode(data: tf.Tensor, size: int) -> tf.Tensor:
    """An encoded picture as (size, size, 3) float32 in 0..255: its central square, upright.

    Transparent pixels become white, a GIF's black; of a GIF it is the first frame. 16-bit pictures
    are resized at full precision, and large ones without a copy in full size.
    """
    reason = refusal(data)
    with tf.control_dependencies([tf.debugging.Assert(tf.equal(reason, ""), [reason])]):
        head = _head(data)
    kind = _kind(head)
    decoders = [
        lambda: _jpeg(data, size),
        lambda: tf.io.decode_png(data),
        lambda: tf.io.decode_image(data, expand_animations=False),
        lambda: tf.io.decode_webp(data)[0],
    ]
    image = tf.cond(
        (kind == PNG) & (_number(head, 24) == 16),
        lambda: _shrink(tf.io.decode_png(data, dtype=tf.uint16), size),
        lambda: _shrink(tf.switch_case(kind, decoders), size),
    )
    square = tf.image.resize(image, (size, size), antialias=True)
    return tf.ensure_shape(_turn(square, orientation(data)), (size, size, 3))


# Traced once for each size, in however many datasets it is.
decode_in_graph = tf.function(decode, autograph=False)


def _jpeg(data: tf.Tensor, size: int) -> tf.Tensor:
    """(H, W, 3): the decoder itself shrinks by 2, 4 or 8, to twice the size that is asked for."""
    side = tf.reduce_min(tf.image.extract_jpeg_shape(data)[:2])
    decoders = [
        lambda ratio=ratio: tf.io.decode_jpeg(data, 3, ratio, dct_method="INTEGER_ACCURATE")
        for ratio in (1, 2, 4, 8)
    ]
    return tf.switch_case(
        tf.math.count_nonzero(side // (2 * size) >= [2, 4, 8], dtype="int32"), decoders
    )


def _shrink(image: tf.Tensor, size: int) -> tf.Tensor:
    """The central square of integers (H, W, 1 to 4) as (S, S, 3) float32, over white.

    It is the mean of blocks of up to 16 x 16 pixels, where S stays at least 2 * size. One pixel of
    each block at a time becomes float32: all at once need many times the memory of the picture.
    """
    height, width = tf.unstack(tf.shape(image)[:2])
    side = tf.minimum(height, width)
    block = tf.clip_by_value(side // (2 * size), 1, 16)
    count = side // block
    top, left = (height - count * block) // 2, (width - count * block) // 2
    bottom, right = top + count * block, left + count * block

    def add(i, total):
        part = image[top + i // block : bottom : block, left + i % block : right : block]
        return i + 1, total + _over_white(part)

    start = (0, tf.zeros((count, count, 3)))
    _, total = tf.while_loop(lambda i, _: i < block**2, add, start, parallel_iterations=1)
    return total / tf.cast(block**2, tf.float32)


def _over_white(image: tf.Tensor) -> tf.Tensor:
    """(H, W, 1 to 4), of 2 and 4 the last is alpha, as (H, W, 3) float32 in 0..255."""
    channels = tf.shape(image)[2]
    count = channels - (channels + 1) % 2
    values = tf.cast(image, tf.float32) * (255 / image.dtype.max)
    opaque = tf.concat([values, tf.fill(tf.shape(image[..., :1]), 255.0)], axis=2)
    colors, alpha = opaque[..., :count], opaque[..., count : count + 1] / 255
    white = tf.repeat(alpha * colors + (1 - alpha) * 255, 3 // count, axis=2)
    return tf.ensure_shape(white, (None, None, 3))


# ---------------------------------------------------------------- the first bytes


def refusal(data: tf.Tensor) -> tf.Tensor:
    """Why a picture is not decoded, from its first bytes; "" if it is."""
    head = _head(data)
    kind = _kind(head)
    is_extended = (kind == WEBP) & (_number(head, 15) == ord("X"))
    is_animated = is_extended & (_number(head, 20) // 2 % 2 == 1)
    pixels = _count_pixels(data, head, kind)
    megapixels = tf.strings.as_string((pixels + 10**6 - 1) // 10**6)
    large = tf.strings.join(
        ["a picture of ", megapixels, f" megapixels; expected at most {MEGAPIXELS}"]
    )
    reason = tf.where(pixels > MEGAPIXELS * 10**6, large, "")
    # TensorFlow's decoder writes beyond its memory for some of them.
    reason = tf.where(
        is_animated, "an animated WebP picture; expected one that stands still", reason
    )
    return tf.where(kind == OTHER, f"not a {ACCEPTED} picture", reason)


def _head(data: tf.Tensor) -> tf.Tensor:
    """The first 32 bytes, zeros behind the end."""
    return tf.strings.substr(tf.strings.join([tf.strings.substr(data, 0, 32), b"\0" * 32]), 0, 32)


def _kind(head: tf.Tensor) -> tf.Tensor:
    found = [tf.equal(tf.strings.substr(head, at, len(mark)), mark) for at, mark in MARKS]
    return tf.argmax(tf.cast([*found, True], tf.int32), output_type=tf.int32)


def _number(head: tf.Tensor, *places: int) -> tf.Tensor:
    """The bytes at these places as a number, int64, the least first."""
    values = tf.cast(tf.gather(tf.io.decode_raw(head, tf.uint8), places), tf.int64)
    return tf.reduce_sum(values * [256**i for i in range(len(places))])


def _count_pixels(data: tf.Tensor, head: tf.Tensor, kind: tf.Tensor) -> tf.Tensor:
    def webp():
        form, bits = _number(head, 15), _number(head, 21, 22, 23, 24)  # VP8X, VP8L or VP8
        extended = (1 + _number(head, 24, 25, 26)) * (1 + _number(head, 27, 28, 29))
        lossless = (1 + bits % 2**14) * (1 + bits // 2**14 % 2**14)
        lossy = _number(head, 26, 27) % 2**14 * (_number(head, 28, 29) % 2**14)
        return tf.where(form == ord("X"), extended, tf.where(form == ord("L"), lossless, lossy))

    counts = [
        lambda: tf.reduce_prod(tf.image.extract_jpeg_shape(data, tf.int64)[:2]),
        lambda: _number(head, 19, 18, 17, 16) * _number(head, 23, 22, 21, 20),
        lambda: _number(head, 6, 7) * _number(head, 8, 9),
        webp,
        lambda: tf.constant(0, tf.int64),
    ]
    return tf.switch_case(kind, counts)


# ---------------------------------------------------------------- orientation


def orientation(data: tf.Tensor) -> tf.Tensor:
    """EXIF's orientation of a picture, 1 to 8; 1 where there is none."""
    mark = tf.gather(EXIF_MARKS, _kind(_head(data)))
    after = tf.concat([tf.strings.split(data, mark, maxsplit=1), [b""]], 0)[1]
    after = tf.strings.join([tf.strings.substr(after, 0, 2**16), b"\0" * 32])
    # WebP has a length before, and some programs JPEG's mark too.
    starts = tf.strings.substr([after] * 3, [0, 4, 10], [4] * 3)
    is_little, is_big = starts == b"II*\0", starts == b"MM\0*"
    is_exif = is_little | is_big
    start = tf.gather([0, 4, 10], tf.argmax(tf.cast(is_exif, tf.int32)))
    raw = tf.cast(tf.io.decode_raw(tf.strings.substr(after, start, 2**16), tf.uint8), tf.int32)
    is_big = tf.reduce_any(is_big)
    # The number of 16 bits that begins at each byte.
    words = tf.where(is_big, raw[:-1] * 256 + raw[1:], raw[:-1] + raw[1:] * 256)
    table = tf.where(is_big, words[6], words[4])
    count = tf.reduce_sum(words[table : table + 1])
    values = words[table + 10 :: 12][:count]
    tags = words[table + 2 :: 12][: tf.size(values)]
    found = tf.reduce_max(tf.concat([tf.where(tags == 0x0112, values, 1), [1]], 0))
    return tf.where((found > 8) | ~tf.reduce_any(is_exif), 1, found)


def _turn(square: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """A square (S, S, 3) as it is seen, stored in that orientation of EXIF."""
    turn = orientation - 1
    image = tf.where(turn >= 4, tf.transpose(square, (1, 0, 2)), square)
    image = tf.where((turn + 1) % 4 >= 2, image[:, ::-1], image)  # 2, 3, 6, 7
    return tf.where(turn % 4 >= 2, image[::-1], image)  # 3, 4, 7, 8


# ---------------------------------------------------------------- bad pictures


def check(images: Images, names: list[str]) -> tuple[list[str], list[str]]:
    """The names of the pictures that can be decoded, and of the others."""
    indices = tf.data.Dataset.range(len(names))
    pictures = tf.data.Dataset.zip(indices, read_encoded(images, names))
    # Something of the pixels: what is not needed would not be decoded.
    means = pictures.map(
        lambda i, data: (i, tf.reduce_mean(decode_in_graph(data, 8))), tf.data.AUTOTUNE
    )
    valid = {int(i) for i, _ in means.ignore_errors().as_numpy_iterator()}
    return (
        [name for i, name in enumerate(names) if i in valid],
        [name for i, name in enumerate(names) if i not in valid],
    )


def reason_of(images: Images, name: str) -> str:
    """Why a picture cannot be decoded."""
    try:
        check_picture(images.read(name), Path(name))
    except UserError as error:
        return str(error)
    return f"{name}: only now it can be"  # the file has changed


def check_head(data: bytes, path: Path) -> None:
    """Raises UserError if the first bytes of a file speak against decoding it."""
    if not data:
        raise UserError(f"{path}: not a {ACCEPTED} picture (the file is empty)")
    try:
        reason = refusal(tf.constant(data)).numpy().decode()
    except tf.errors.OpError as error:
        raise not_decoded(path, error) from None
    if reason:
        raise UserError(f"{path}: {reason}")


def check_picture(data: bytes, path: Path) -> None:
    """Raises UserError if the content of a file cannot be decoded."""
    check_head(data, path)
    try:
        decode(tf.constant(data), 8)
    except tf.errors.OpError as error:
        raise not_decoded(path, error) from None


def not_decoded(path: Path, error: tf.errors.OpError) -> UserError:
    """TensorFlow's error for a picture in one line, without the names of its operations."""
    what = "a damaged picture, cannot be decoded"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        what = "not enough memory for this picture"
    return UserError(f"{path}: {what} ({line_of(error)})")
