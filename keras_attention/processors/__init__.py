"""Logits processors: what a search forbids, forces or discourages, token by token.

A processor is a function `(logits (N, V), tokens (N, T), time) -> logits`, in the list
`processors` of a search. Logits are log p of each token, after the processors before it;
`tokens[:, :time]` are the sequences so far. Rows are ordered by batch entry: with B entries, row n
belongs to entry n // (N / B). What a processor returns is not normalized again: so log p of a
sequence stays that of the model, whatever was forbidden with -inf.
"""

from keras_attention.processors.bad_words import BadWords as BadWords
from keras_attention.processors.forced_prefix import ForcedPrefix as ForcedPrefix
from keras_attention.processors.min_length import MinLength as MinLength
from keras_attention.processors.no_repeat_ngram import NoRepeatNGram as NoRepeatNGram
from keras_attention.processors.repetition_penalty import RepetitionPenalty as RepetitionPenalty
from keras_attention.processors.suppress_tokens import SuppressTokens as SuppressTokens
