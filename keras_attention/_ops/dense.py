"""The linear map of a sequence."""

from keras import ops


def dense(sequence, kernel):
    """Returns `sequence` (B, T, D) times `kernel` (D, U), (B, T, U).

    As one product of two matrices: twice as fast, backward too, as the products of a batch.
    """
    width = sequence.shape[-1]
    if width is not None and width != kernel.shape[0]:
        raise ValueError(
            f"An input has width {width}; expected {kernel.shape[0]}, for which the layer was "
            "built."
        )
    rows = ops.matmul(ops.reshape(sequence, (-1, kernel.shape[0])), kernel)
    return ops.reshape(rows, (*ops.shape(sequence)[:2], kernel.shape[1]))
