"""The default corpus: the names of emoji in two languages."""

from collections import Counter

from examples.common.errors import UserError
from examples.translation.data import Pair, clean


def emoji_names(language: str, min_source: int = 3, min_target: int = 2) -> list[Pair]:
    """The English names of all emoji with their names in `language`.

    A pair is kept only if each of its words occurs in at least `min_source` English names and
    `min_target` names of the other language: what remains can be learned from examples.
    """
    import emoji

    languages = [code for code in emoji.LANGUAGES if code != "en"]
    if language not in languages:
        raise UserError(f"unknown language '{language}': expected one of {', '.join(languages)}")
    emoji.config.load_language(language)

    def name(code: str) -> str:
        return clean(code.strip(":").replace("_", " "))

    pairs = [
        Pair(name(names["en"]), name(names[language]), symbol)
        for symbol, names in emoji.EMOJI_DATA.items()
        if names["status"] == emoji.STATUS["fully_qualified"] and language in names
    ]
    source_counts = Counter(word for pair in pairs for word in pair.source.split())
    target_counts = Counter(word for pair in pairs for word in pair.target.split())
    return [
        pair
        for pair in pairs
        if all(source_counts[word] >= min_source for word in pair.source.split())
        and all(target_counts[word] >= min_target for word in pair.target.split())
    ]
