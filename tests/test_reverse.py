"""The reverse example: its data are what it says, and the whole of it runs at toy size."""

import numpy as np

from examples import reverse


def test_targets_are_the_reversed_sources():
    (source, target_in), target_out = reverse.draw_sequences(50, np.random.default_rng(0))
    lengths = (source != reverse.PAD).sum(axis=1)
    assert lengths.min() >= reverse.SHORTEST
    assert lengths.max() <= reverse.LONGEST
    for row, length in enumerate(lengths):
        letters = source[row, :length].tolist()
        assert target_out[row, : length + 1].tolist() == [*letters[::-1], reverse.END]
        assert target_in[row, : length + 1].tolist() == [reverse.START, *letters[::-1]]
        assert not target_out[row, length + 1 :].any()
        assert not target_in[row, length + 1 :].any()


def test_it_runs_from_training_to_picture(tmp_path, capsys):
    options = ["--epochs", "2", "--steps", "2", "--batch-size", "4", "--units", "8"]
    reverse.main([*options, "--out", str(tmp_path / "new" / "folder")])
    assert (tmp_path / "new" / "folder" / "alignment.png").read_bytes().startswith(b"\x89PNG")
    assert "exact match on 1,000 unseen sequences: 0.00%" in capsys.readouterr().out
