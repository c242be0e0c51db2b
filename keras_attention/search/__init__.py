"""Search: from a step function to sequences. Whole batches, in graph, on any backend.

A step maps tokens (N,) and a state to logits (N, V), attention weights (N, S) and the next state;
the state is any nest of tensors with the batch first. `beam` repeats the state once per beam. Parts
that a step returns unchanged, such as an encoded memory, stay out of the loop, and a step decorated
with `shares_state`, as those of decoders and models are, gets them with B rows, not one per beam.
Shapes: B batch, N results per batch entry, T steps, S memory steps, V vocabulary.
"""

from keras_attention.search.beam_search import beam as beam
from keras_attention.search.greedy_and_sample import greedy as greedy
from keras_attention.search.greedy_and_sample import sample as sample
from keras_attention.search.loop import SearchResult as SearchResult
from keras_attention.search.loop_state import shares_state as shares_state
from keras_attention.search.processors import BadWords as BadWords
from keras_attention.search.processors import ForcedPrefix as ForcedPrefix
from keras_attention.search.processors import MinLength as MinLength
from keras_attention.search.processors import NoRepeatNGram as NoRepeatNGram
from keras_attention.search.processors import RepetitionPenalty as RepetitionPenalty
from keras_attention.search.processors import SuppressTokens as SuppressTokens
