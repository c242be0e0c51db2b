"""The translator of the cases that train one or search with one: every library's model of it."""
