"""Scores of translations against references: BLEU and exact match, both in percent."""

from sacrebleu.metrics import BLEU


def scores(found: list[str], references: list[str], tokenize: str) -> dict:
    """BLEU with its signature, and the share of translations equal to their reference."""
    metric = BLEU(tokenize=tokenize)
    bleu = metric.corpus_score(found, [references]).score
    equal = sum(f == r for f, r in zip(found, references, strict=True))
    return {
        "bleu": round(bleu, 2),
        "exact_match": round(100 * equal / len(references), 2),
        "signature": str(metric.get_signature()),
    }
