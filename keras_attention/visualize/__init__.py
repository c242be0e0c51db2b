"""Pictures of attention weights."""

from keras_attention.visualize.overlay_on_image import overlay_on_image as overlay_on_image
from keras_attention.visualize.plot_alignment import plot_alignment as plot_alignment
from keras_attention.visualize.to_html import Caption as Caption
from keras_attention.visualize.to_html import Comparison as Comparison
from keras_attention.visualize.to_html import Translation as Translation
from keras_attention.visualize.to_html import to_html as to_html
