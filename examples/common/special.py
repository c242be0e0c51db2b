"""The special tokens, with which every vocabulary begins."""

SPECIAL = ("[PAD]", "[UNK]", "[START]", "[END]")
PAD, UNK, START, END = range(len(SPECIAL))
