"""An exported model behind HTTP: a page to try it, and the REST interface of TF Serving."""
