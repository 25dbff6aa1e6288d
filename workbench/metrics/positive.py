"""The positive one of two classes: the class whose probability a single column of predictions has."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from workbench.metrics.metric import Metric

__all__ = ["Positive", "depends_on_positive", "find_positive", "is_pair", "match_label", "name_words", "named_class"]

PAIRS = (
    ("0", "1"),
    ("-1", "1"),
    ("false", "true"),
    ("no", "yes"),
    ("n", "y"),
    ("f", "t"),
    ("negative", "positive"),
    ("neg", "pos"),
    ("-", "+"),
    ("absent", "present"),
    ("absence", "presence"),
    ("off", "on"),
    ("nein", "ja"),
    ("non", "oui"),
    ("no", "si"),
    ("no", "sí"),
    ("no", "sì"),
    ("não", "sim"),
    ("nao", "sim"),
    ("nie", "tak"),
    ("ne", "ano"),
    ("nej", "ja"),
    ("нет", "да"),
    ("否", "是"),
    ("いいえ", "はい"),
)
"""Pairs of classes whose second is the positive one beyond doubt."""

NAMING_WORDS = frozenset({"negative", "positive", "neg", "pos", "absent", "present", "absence", "presence"})
"""Words of pairs other than yes and no: a column may be named after either class."""

PROBABILITY_WORDS = frozenset({"p", "pr", "prob", "probs", "proba", "probability", "likelihood", "chance"})
FILLERS = PROBABILITY_WORDS | frozenset(
    re.findall(
        r"\w+",
        """is are was were has have had be been being will would of the a an for that y yhat hat pred preds predicted
        predict prediction predictions score scores target label labels class classes category outcome output result
        response status flag indicator percent percentage pct confidence estimate estimated submission value""",
    )
)
"""Words in a column's name that do not refer to a class."""

NEGATIONS = frozenset({"not", "no", "non", "never", "without"})
MIN_PART_LENGTH = 3
"""Shorter labels name a column only if its name has no other words."""

MIN_STEM_LENGTH, MIN_STEM_SHARE = 5, 0.75
"""Two words have the same stem if they share this many letters, and this share of the shorter word."""


@dataclass(frozen=True)
class Positive:
    """The index of the positive class of two, None if it can't be told, and the reason."""

    index: int | None
    why: str


def depends_on_positive(metric: Metric) -> bool:
    """Return whether a metric of two classes changes when they are swapped; custom ones are assumed to."""
    symmetric = (
        "accuracy",
        "balanced_accuracy",
        "macro_f1",
        "micro_f1",
        "weighted_f1",
        "mcc",
        "qwk",
        "kappa",
        "linear_kappa",
        "balanced_logloss",
    )
    return not (metric.name in symmetric or metric.prediction_type == "ranked")


def find_positive(labels: Sequence[str], names: Iterable[str], words: str = "") -> Positive:
    """Return the positive one of two classes.

    Parameters
    ----------
    labels : sequence of two str
        The classes as the file writes them.
    names : iterable of str
        The names of the submission's column and of the target, the more important one first.
    words : str
        The platform's description of the competition.

    Examples
    --------
    >>> find_positive(["approved", "denied"], ["is_approved"]).index, find_positive(["no", "yes"], ["target"]).index
    (0, 1)
    >>> find_positive(["cat", "dog"], ["target"]).index is None
    True
    """
    names = tuple(dict.fromkeys(names))
    for i, name in enumerate(names):
        index = named_class(name, labels, names[i + 1 :])
        if index is not None:
            return Positive(index, f"the column's name, {name!r}")
    pair_index = is_pair(labels)
    if pair_index is not None:
        return Positive(pair_index, "as usual for such a pair")
    values = [number for label in labels if (number := _number(label)) is not None]
    if len(set(values)) == len(labels):
        return Positive(values.index(max(values)), "the larger number")
    described_index = _described_class(words, labels)
    if described_index is not None:
        return Positive(described_index, "the platform's description")
    for i, (label, other) in enumerate((labels, tuple(reversed(labels)))):
        plain, opposite = name_words(label), name_words(other)
        if plain and opposite in [(negation, *plain) for negation in NEGATIONS]:
            return Positive(i, f"the other class is its opposite, {other!r}")
    return Positive(None, "neither the column's name nor the classes say which one")


def is_pair(labels: Sequence[str]) -> int | None:
    """Return the index of the positive label of a usual pair, such as no and yes; None for other labels."""
    normalised = [_normalise(label) for label in labels]
    for pair in PAIRS:
        if sorted(normalised) == sorted(pair):
            return normalised.index(pair[1])
    return None


def match_label(text: str, labels: Sequence[str]) -> int | None:
    """Return the index of the label that a text means: an equal one, in another case, or of the same value."""
    for normalise in (str, _normalise):
        spellings = [normalise(label) for label in labels]
        if spellings.count(normalise(text)) == 1:
            return spellings.index(normalise(text))
    positive_index = is_pair(labels)
    for side in (0, 1):
        if positive_index is not None and _normalise(text) in {pair[side] for pair in PAIRS}:
            return positive_index if side else 1 - positive_index
    return None


def _normalise(label: str) -> str:
    """Normalise a label: its case, spaces around it, the zeros of a number."""
    text = unicodedata.normalize("NFKC", label).strip().casefold()
    number = _number(text)
    return text if number is None else f"{number:.15g}"


def _number(text: str) -> float | None:
    if not re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", text):
        return None
    return float(text)


# --------------------------------------------------------------------------------------------------------------- names


def name_words(text: str) -> tuple[str, ...]:
    """Split a name or a label into words, in any style of joining them.

    Examples
    --------
    >>> name_words("isApproved"), name_words("P(not approved)")
    (('is', 'approved'), ('p', 'not', 'approved'))
    """
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return tuple(word.casefold() for word in re.findall(r"[^\W_]+", text))


def named_class(name: str, labels: Sequence[str], other_names: Sequence[str] = ()) -> int | None:  # noqa: PLR0911
    """Return the index of the class that a column is named after; None for neither or both.

    Parameters
    ----------
    name : str
    labels : sequence of two str
    other_names : sequence of str
        Names, such as the target's, that are ignored as a part of this one.
    """
    all_words = name_words(name)
    possible_labels = _possible_labels(all_words, FILLERS)
    possible_labels += _possible_labels(
        all_words, FILLERS | {word for other in other_names for word in name_words(other)}
    )
    if all(_number(label) is not None for label in labels):
        return _named_number(name, labels, other_names, possible_labels)
    label_words = [name_words(label) for label in labels]
    if is_pair(labels) is not None and not NAMING_WORDS.issuperset(_normalise(label) for label in labels):
        # "no_show" is not the probability of a no, but "P(no)" and "no" are. A target whose own name is "no" is true
        # for a yes.
        if _is_one_of(name, other_names):
            return None
        possible_labels = [
            words for words in possible_labels if PROBABILITY_WORDS & set(all_words) or len("".join(words)) > 1
        ]
        return _only(label in possible_labels for label in label_words)
    if not label_words[0] or not label_words[1] or label_words[0] == label_words[1]:
        name_text, *label_texts = ("".join(text.split()).casefold() for text in (name, *labels))
        index = _only(label == name_text for label in label_texts)
        return index if index is not None else _only(label in name_text for label in label_texts)
    index = _only(any("".join(label) == "".join(words) for words in possible_labels) for label in label_words)
    if index is not None:
        return index
    joined_name = "".join(all_words)
    index = _only(_is_label_with_filler(joined_name, "".join(label)) for label in label_words)
    if index is not None:
        return index
    index = _class_in_words(all_words, label_words, lambda a, b: a == b)
    return index if index is not None else _class_in_words(all_words, label_words, _same_stem)


def _only(matches: Iterable[bool]) -> int | None:
    """Return the index of the only match; None for none or several."""
    indices = [i for i, matched in enumerate(matches) if matched]
    return indices[0] if len(indices) == 1 else None


def _possible_labels(words: tuple[str, ...], fillers: frozenset[str]) -> list[tuple[str, ...]]:
    """Return the parts of a name that may be a label: the name without some or all of the fillers at its ends."""
    start, end = 0, len(words)
    while start < end and words[start] in fillers:
        start += 1
    while end > start and words[end - 1] in fillers:
        end -= 1
    spans = [words[i:j] for i in range(start + 1) for j in range(max(end, i + 1), len(words) + 1)]
    # A column that is just called "p" or "y" may be any probability or target.
    generic_names = {(word,) for word in (*PROBABILITY_WORDS, "y")}
    return [span for span in dict.fromkeys(spans) if span and words not in generic_names]


def _named_number(
    name: str, labels: Sequence[str], other_names: Sequence[str], possible_labels: Sequence[tuple[str, ...]]
) -> int | None:
    """Return the index of the number that a column is named after, as "prob_0", or "class_0" of the target "class".

    "target_0" of another target or "0" alone do not count, as programs number columns in this way, nor does the
    target's own name.
    """
    words = name_words(name)
    is_column_number = not PROBABILITY_WORDS & set(words) and words[:-1] not in [
        name_words(other) for other in other_names
    ]
    if is_column_number or _is_one_of(name, other_names):
        return None
    return _only((_normalise(label),) in possible_labels for label in labels)


def _is_one_of(name: str, other_names: Sequence[str]) -> bool:
    """Return whether a name is the target's own: there are no other names, or it is one of them in another spelling."""
    return not other_names or "".join(name_words(name)) in {"".join(name_words(other)) for other in other_names}


def _is_label_with_filler(name: str, label: str) -> bool:
    """Return whether a name is the label and a filler without a gap, such as "isapproved"."""
    if len(label) < MIN_PART_LENGTH:
        return False
    return any(name in (filler + label, label + filler) for filler in FILLERS if len(filler) > 1)


def _class_in_words(
    words: tuple[str, ...], labels: Sequence[tuple[str, ...]], is_same: Callable[[str, str], bool]
) -> int | None:
    """Return the index of the class that `words` contain, or of the other class if a "not" precedes it."""
    spans = []
    for i, label in enumerate(labels):
        if len("".join(label)) < MIN_PART_LENGTH:
            continue
        for start in range(len(words) - len(label) + 1):
            end = start + len(label)
            if all(is_same(a, b) for a, b in zip(words[start:end], label, strict=True)):
                spans.append((i, start, end))
    # A label within the other class's label does not count.
    spans = [s for s in spans if not any(s[0] != o[0] and o[1] <= s[1] and s[2] <= o[2] for o in spans)]
    indices = {1 - i if start and words[start - 1] in NEGATIONS else i for i, start, _ in spans}
    return indices.pop() if len(indices) == 1 else None


def _same_stem(a: str, b: str) -> bool:
    n_shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a == b or (n_shared >= MIN_STEM_LENGTH and n_shared >= MIN_STEM_SHARE * min(len(a), len(b)))


def _described_class(words: str, labels: Sequence[str]) -> int | None:
    """Return the index of the class in a text such as "the probability that a loan is approved"."""
    text = words.casefold()
    sentences = [
        text[match.end() :].partition(".")[0] for match in re.finditer(r"probabilit\w+|likelihood|predict\w*", text)
    ]
    indices = {named_class(sentence, labels) for sentence in sentences if is_pair(labels) is None} - {None}
    return indices.pop() if len(indices) == 1 else None
