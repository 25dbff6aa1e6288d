"""Which of two classes is the positive one: the class whose probability a single column of predictions holds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
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
"""Pairs of classes whose second nobody doubts is meant."""

KINDS = frozenset({"negative", "positive", "neg", "pos", "absent", "present", "absence", "presence"})
"""Words of pairs that are no yes and no: a column may be named for either."""

PROBABILITY = frozenset({"p", "pr", "prob", "probs", "proba", "probability", "likelihood", "chance"})
FILLERS = PROBABILITY | frozenset(
    re.findall(
        r"\w+",
        """is are was were has have had be been being will would of the a an for that y yhat hat pred preds predicted
        predict prediction predictions score scores target label labels class classes category outcome output result
        response status flag indicator percent percentage pct confidence estimate estimated submission value""",
    )
)
"""Words in a column's name that say nothing of the class that it means."""

NEGATIONS = frozenset({"not", "no", "non", "never", "without"})
LEAST_PART = 3
"""Shorter labels name a column only where nothing else stands in its name."""

LEAST_STEM, STEM_SHARE = 5, 0.75


@dataclass(frozen=True)
class Positive:
    """The positive class of two, by its place, and why; None where nothing says which one it is."""

    index: int | None
    why: str


def depends_on_positive(metric: Metric) -> bool:
    """Say whether a metric of two classes changes when they change places; one of the user's own may."""
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
    return not (metric.name in symmetric or metric.needs == "ranked")


def find_positive(labels: Sequence[str], names: Iterable[str], words: str = "") -> Positive:
    """Find the positive one of two classes.

    Parameters
    ----------
    labels : sequence of two str
        The classes as the file writes them.
    names : iterable of str
        The names of the column that is asked for and of the target, the weightier first.
    words : str
        What the platform says of the competition.

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
    usual = is_pair(labels)
    if usual is not None:
        return Positive(usual, "as usual for such a pair")
    values = [number for label in labels if (number := _number(label)) is not None]
    if len(set(values)) == len(labels):
        return Positive(values.index(max(values)), "the larger number")
    described = _described(words, labels)
    if described is not None:
        return Positive(described, "the platform's description")
    for i, (label, other) in enumerate((labels, tuple(reversed(labels)))):
        plain, opposite = name_words(label), name_words(other)
        if plain and opposite in [(negation, *plain) for negation in NEGATIONS]:
            return Positive(i, f"the other class is its opposite, {other!r}")
    return Positive(None, "neither the column's name nor the classes say which one")


def is_pair(labels: Sequence[str]) -> int | None:
    """Return the place of the second word of a usual pair, such as "yes" of no and yes; None for other classes."""
    plain = [_plain(label) for label in labels]
    for pair in PAIRS:
        if sorted(plain) == sorted(pair):
            return plain.index(pair[1])
    return None


def match_label(text: str, labels: Sequence[str]) -> int | None:
    """Return the place of the label that a text means: the same one, in another case, or the same number."""
    for spell in (str, _plain):
        spelled = [spell(label) for label in labels]
        if spelled.count(spell(text)) == 1:
            return spelled.index(spell(text))
    usual = is_pair(labels)
    for place in (0, 1):
        if usual is not None and _plain(text) in {pair[place] for pair in PAIRS}:
            return usual if place else 1 - usual
    return None


def _plain(label: str) -> str:
    """Return a label without what spellings differ in: case, spaces around it, the zeros of a number."""
    text = unicodedata.normalize("NFKC", label).strip().casefold()
    number = _number(text)
    return text if number is None else f"{number:.15g}"


def _number(text: str) -> float | None:
    if not re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", text):
        return None
    return float(text)


# --------------------------------------------------------------------------------------------------------------- names


def name_words(text: str) -> tuple[str, ...]:
    """Return the words of a name or a label, however they are joined.

    Examples
    --------
    >>> name_words("isApproved"), name_words("P(not approved)")
    (('is', 'approved'), ('p', 'not', 'approved'))
    """
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return tuple(word.casefold() for word in re.findall(r"[^\W_]+", text))


def named_class(name: str, labels: Sequence[str], other_names: Sequence[str] = ()) -> int | None:  # noqa: PLR0911
    """Return the place of the one class that a column's name names; None for none, or for both.

    Parameters
    ----------
    name : str
    labels : sequence of two str
    other_names : sequence of str
        Names, such as the target's, that say nothing where they are part of this one.
    """
    all_words = name_words(name)
    cores = _cores(all_words, FILLERS)
    cores += _cores(all_words, FILLERS | {word for other in other_names for word in name_words(other)})
    if all(_number(label) is not None for label in labels):
        return _numbered(name, labels, other_names, cores)
    of_labels = [name_words(label) for label in labels]
    if is_pair(labels) is not None and not KINDS.issuperset(_plain(label) for label in labels):
        # "no_show" is no probability of a no; "P(no)" is, and so is "no". A target that is called "no" itself is true
        # where it says yes.
        if _is_one_of(name, other_names):
            return None
        cores = [core for core in cores if PROBABILITY & set(all_words) or len("".join(core)) > 1]
        return _only(label in cores for label in of_labels)
    if not of_labels[0] or not of_labels[1] or of_labels[0] == of_labels[1]:
        squeezed = ["".join(text.split()).casefold() for text in (name, *labels)]
        equal = _only(label == squeezed[0] for label in squeezed[1:])
        return equal if equal is not None else _only(label in squeezed[0] for label in squeezed[1:])
    index = _only(any("".join(label) == "".join(core) for core in cores) for label in of_labels)
    if index is not None:
        return index
    glued = "".join(all_words)
    index = _only(_without_filler(glued, "".join(label)) for label in of_labels)
    if index is not None:
        return index
    parts = _spans(all_words, of_labels, lambda a, b: a == b)
    return parts if parts is not None else _spans(all_words, of_labels, _same_stem)


def _only(fits: Iterable[bool]) -> int | None:
    places = [i for i, fit in enumerate(fits) if fit]
    return places[0] if len(places) == 1 else None


def _cores(words: tuple[str, ...], fillers: frozenset[str]) -> list[tuple[str, ...]]:
    """Return what a name may mean: what stays of it without none, some or all of the fillers at its ends."""
    start, end = 0, len(words)
    while start < end and words[start] in fillers:
        start += 1
    while end > start and words[end - 1] in fillers:
        end -= 1
    spans = [words[i:j] for i in range(start + 1) for j in range(max(end, i + 1), len(words) + 1)]
    # A column called "p" or "y" alone is any probability, and any target.
    return [span for span in dict.fromkeys(spans) if span and words not in {(p,) for p in (*PROBABILITY, "y")}]


def _numbered(
    name: str, labels: Sequence[str], other_names: Sequence[str], cores: Sequence[tuple[str, ...]]
) -> int | None:
    """Return which of two numbers a name is of: "prob_0", and "class_0" of the target "class".

    Not "target_0" of another target, nor "0" alone: programs count columns so. Nor the target's own name.
    """
    words = name_words(name)
    counts = not PROBABILITY & set(words) and words[:-1] not in [name_words(other) for other in other_names]
    if counts or _is_one_of(name, other_names):
        return None
    return _only((_plain(label),) in cores for label in labels)


def _is_one_of(name: str, other_names: Sequence[str]) -> bool:
    """Say whether a name is the target's own: without others, or in another spelling of one of them."""
    return not other_names or "".join(name_words(name)) in {"".join(name_words(other)) for other in other_names}


def _without_filler(glued: str, label: str) -> bool:
    """Say whether a name without gaps is the label and one of the words that say nothing: "isapproved"."""
    if len(label) < LEAST_PART:
        return False
    return any(glued in (filler + label, label + filler) for filler in FILLERS if len(filler) > 1)


def _spans(words: tuple[str, ...], labels: Sequence[tuple[str, ...]], same: object) -> int | None:
    """Return the class whose words stand among those of the name; the other one where a "not" stands before them."""
    spans = []
    for i, label in enumerate(labels):
        if len("".join(label)) < LEAST_PART:
            continue
        for at in range(len(words) - len(label) + 1):
            if all(same(a, b) for a, b in zip(words[at : at + len(label)], label, strict=True)):  # type: ignore[operator]
                spans.append((i, at, at + len(label)))
    spans = [s for s in spans if not any(s[0] != o[0] and o[1] <= s[1] and s[2] <= o[2] for o in spans)]
    meant = {1 - i if start and words[start - 1] in NEGATIONS else i for i, start, _ in spans}
    return meant.pop() if len(meant) == 1 else None


def _same_stem(a: str, b: str) -> bool:
    shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a == b or (shared >= LEAST_STEM and shared >= STEM_SHARE * min(len(a), len(b)))


def _described(words: str, labels: Sequence[str]) -> int | None:
    """Return the one class that the platform speaks of: "the probability that a loan is approved"."""
    text = words.casefold()
    sentences = [
        text[match.end() :].partition(".")[0] for match in re.finditer(r"probabilit\w+|likelihood|predict\w*", text)
    ]
    named = {named_class(sentence, labels) for sentence in sentences if is_pair(labels) is None} - {None}
    return named.pop() if len(named) == 1 else None
