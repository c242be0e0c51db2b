"""Search: from a step function to sequences. Whole batches, in graph, on any backend.

A step maps tokens (N,) and a state to logits (N, V), attention weights (N, S) and the next state;
the state is any nest of tensors with the batch first. `beam` repeats the state once per beam. Parts
that a step returns unchanged, such as an encoded memory, stay out of the loop, and a step decorated
with `shares_state`, as those of decoders and models are, gets them with B rows, not one per beam.
Shapes: B batch, N results per batch entry, T steps, S memory steps, V vocabulary.
"""

from keras_attention.search.beam_search import beam as beam
from keras_attention.search.diverse_beam import diverse_beam as diverse_beam
from keras_attention.search.ensemble import ensemble as ensemble
from keras_attention.search.loop import SearchResult as SearchResult
from keras_attention.search.one_sequence import greedy as greedy
from keras_attention.search.one_sequence import sample as sample
from keras_attention.search.one_sequence import score as score
from keras_attention.search.step import shares_state as shares_state
from keras_attention.search.unroll import unroll as unroll
