"""The translator of the examples against joeynmt's, from a corpus to translations."""
