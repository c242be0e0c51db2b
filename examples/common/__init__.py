"""What both pipelines share: the run folder, files written whole, errors of one line."""
