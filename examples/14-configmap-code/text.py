"""Code in a file of its own: it can be edited, formatted and tested as any other."""

from collections.abc import Callable, Iterator

QUOTES = {
    "carroll": "Begin at the beginning, and go on till you come to the end: then stop.",
    "dickens": "It was the best of times, it was the worst of times.",
    "melville": "Call me Ishmael.",
}


def quotes() -> Iterator[dict[str, str]]:
    for author, quote in QUOTES.items():
        yield {"id": author, "quote": quote}


def short_words(longest: int) -> Callable[[str], int]:
    """Called once, with the kwargs of the manifest; what it returns is the model."""

    def count(quote: str) -> int:
        return sum(len(word.strip(".,:")) <= longest for word in quote.split())

    return count
