"""What the papers' equations give, in NumPy float64 and plain loops.

Written from the equations alone: nothing here imports the library, Keras or TensorFlow.
"""
