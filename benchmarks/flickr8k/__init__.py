"""The captioners of the examples on Flickr8k: soft, hard and no attention, over several seeds."""
