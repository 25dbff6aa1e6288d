"""The inferred definition and the first experiment, as the TOML files that the user continues from."""

from __future__ import annotations

from collections.abc import Collection

from workbench.core.printable import one_line, printable
from workbench.data.competition import FileOptions, Manifest, in_toml, toml_key
from workbench.data.inference.infer import NOTHING_STATED, Inferred
from workbench.data.inference.log import InferredLog
from workbench.data.inference.positive import PositiveGuess
from workbench.platforms.interactions import duration_text
from workbench.platforms.protocol import CompetitionFacts

__all__ = ["baseline_text", "definition_text", "question", "submission_text"]


def _comment(text: str) -> str:
    return "  # " + one_line(text)


def _in_one(line: str) -> str:
    """Return a line of TOML as it may stand behind a mark, with its blanks."""
    return printable(line).replace("\n", " ")


def definition_text(inferred: Inferred | InferredLog, stated: FileOptions = NOTHING_STATED) -> str:
    """Return the text of `competition.toml`, with a comment behind every guess; what it said before stays in it."""
    if isinstance(inferred, InferredLog):
        return _log_text(inferred, stated)
    answer, task, scheme = inferred.answer, inferred.task, inferred.scheme

    def one_or_list(values: tuple[str, ...]) -> str:
        return in_toml(values[0] if len(values) == 1 else values)

    lines = [
        f"slug = {in_toml(inferred.slug)}",
        f"title = {in_toml(inferred.title)}",
        f"platform = {in_toml(inferred.platform)}",
        f"task = {in_toml(task.task)}{_comment(task.why_task)}",
        f"id = {one_or_list(answer.ids)}" + _comment(answer.why_id) * (answer.id_in_test is None),
    ]
    if answer.id_in_test is not None:
        lines.append(f"id_in_test = {in_toml(answer.id_in_test)}{_comment(answer.why_id)}")
    lines.append(f"target = {one_or_list(answer.targets)}{_comment(answer.why_target)}")
    lines.append(f"metric = {in_toml(task.metric)}{_comment(task.why_metric)}")
    if task.stands_for is not None:
        lines.append(
            f"metric_of_platform = {in_toml(task.stands_for)}  # said at every run, until you remove this line"
        )
    if inferred.greater_is_better is not None:
        lines.append(f"greater_is_better = {in_toml(inferred.greater_is_better)}")
    lines += [f"weight = {in_toml(inferred.weight)}"] * bool(inferred.weight)
    lines += _positive(inferred)
    why = {role: _comment(text) for role, text in inferred.why_tables.items()}
    lines += ["", "[tables]", f"train = {in_toml(inferred.train)}{why.get('train', '')}"]
    lines.append(f"test = {in_toml(inferred.test)}{why.get('test', '')}")
    sample = "false  # there is none: the ids of test and the target's name make the file"
    if inferred.sample is not None:
        sample = in_toml(inferred.sample) + why.get("sample", "")
    lines.append(f"sample_submission = {sample}")
    lines += ["", "[cv]", f"scheme = {in_toml(scheme.scheme)}{_comment(scheme.why)}"]
    lines += [f"column = {in_toml(scheme.column)}"] * (scheme.column is not None)
    lines += [f"group = {in_toml(scheme.group)}"] * (scheme.group is not None)
    lines += ["folds = 5", "seed = 42"]
    return "\n".join([*lines, *_stated_reading(stated), *_reading(inferred), ""])


def submission_text(
    facts: CompetitionFacts, inferred: Inferred | InferredLog, manifest: Manifest, stated: FileOptions = NOTHING_STATED
) -> str:
    """Return ``[submission]``: what is handed in, where that is not a plain submission.csv; "" where it is."""
    settings: dict[str, object] = dict(stated.submission)
    why = {}
    if facts.evaluation_server is not None and "server" not in settings:
        settings["server"] = facts.evaluation_server
        why["server"] = _comment(
            "of an evaluation server, which hands the hidden test set to the notebook in batches; false: there is none"
        )
    sample = None if inferred.sample is None else manifest.tables.get(inferred.sample)
    # Files are uploaded as CSV; what a notebook writes is named and written as the sample is.
    if (
        facts.kind == "notebook"
        and "file" not in settings
        and sample is not None
        and sample.source.endswith(".parquet")
    ):
        settings["file"] = "submission.parquet"
        why["file"] = _comment(f"what the notebook writes: Parquet, as {sample.source} is")
    lines = [f"{key} = {in_toml(settings[key])}{why.get(key, '')}" for key in ("file", "server") if key in settings]
    return "\n".join(["", "[submission]", *lines, ""]) * bool(lines)


def _positive(inferred: Inferred) -> list[str]:
    """Return which class of two a column of predictions means; where nothing says it, both to choose from."""
    lines = []
    for guess in inferred.positives:
        key = "positive" if len(inferred.answer.targets) == 1 else f"positive.{toml_key(guess.target)}"
        if guess.label is not None:
            other = next(label for label in guess.labels if label != guess.label)
            holds = f"{guess.score_of} is" if guess.score_of else f"{guess.column} holds the probability"
            why = f"{holds} of this class, not of {other!r}: {guess.why}"
            lines.append(f"{key} = {in_toml(guess.label)}{_comment(why)}")
            continue
        lines.append(f"# {one_line(question(guess))} Uncomment one line:")
        lines += [f"# {key} = {in_toml(label)}" for label in guess.labels]
    return lines


def question(guess: PositiveGuess) -> str:
    """Return what is to be decided of a column of predictions, or of its score."""
    one, other = guess.labels
    text = f"Is {guess.column} the probability of {one!r} or of {other!r}?"
    if guess.score_of:
        text = f"Of which class of {guess.target} is {guess.score_of}, {one!r} or {other!r}?"
    return f"{text} {guess.why[0].upper()}{guess.why[1:]}."


def _stated_reading(stated: FileOptions, but: Collection[str] = ()) -> list[str]:
    """Return what the file said of the reading before it was completed; `but` are tables that are written elsewhere."""
    lines: list[str] = []
    for name, options in stated.read.items():
        if name not in but:
            lines += ["", f"[read.{toml_key(name)}]", *(f"{key} = {in_toml(value)}" for key, value in options.items())]
    if stated.types:
        lines += [
            "",
            "[types]",
            *(f"{in_toml(column)} = {in_toml(name)}" for column, name in stated.types.items()),
        ]
    return lines


def _log_text(inferred: InferredLog, stated: FileOptions) -> str:
    """Return the definition of a recommender competition."""
    why = {key: _comment(text) for key, text in inferred.why.items()}
    lines = [f"{key} = {in_toml(getattr(inferred, key))}" for key in ("slug", "title", "platform")]
    lines.append(f'task = "recommend"{why.get("task", "")}')
    lines += [f"{key} = {in_toml(getattr(inferred, key))}{why.get(key, '')}" for key in ("id", "target", "metric")]
    if inferred.stands_for is not None:
        lines.append(f"metric_of_platform = {in_toml(inferred.stands_for)}  # said at every run, until you remove it")
    lines += ["", "[tables]", f"train = {in_toml(inferred.train)}"]
    lines += [f"test = {in_toml(inferred.test)}"] * (inferred.test is not None)
    lines += [f"sample_submission = {in_toml(inferred.sample)}", "", "[interactions]", *_of_log(inferred, why)]
    lines += ["", "[cv]", "folds = 5  # by user", "seed = 42"]
    for name, column in inferred.explode.items():
        other_options = [f"{k} = {in_toml(v)}" for k, v in stated.read.get(name, {}).items() if k != "explode"]
        lines += [
            "",
            f"[read.{toml_key(name)}]",
            f"explode = {in_toml(column)}  # an event for each record in these lists",
        ]
        lines += other_options
    return "\n".join([*lines, *_stated_reading(stated, but=inferred.explode), *_reading(inferred), ""])


def _of_log(inferred: InferredLog, why: dict[str, str]) -> list[str]:
    """Return the lines of [interactions]; what is as it would be without a word is left out."""
    log = inferred.log
    weights = ", ".join(f"{toml_key(kind)} = {weight}" for kind, weight in log.weights.items())
    values = {"user": log.user, "item": log.item, "time": log.time, "kind": log.kind, "cut": log.cut}
    values |= {"horizon": duration_text(log.horizon_s), "id": log.id, "users": log.users, "items": log.items}
    lines = [f"{key} = {in_toml(value)}{why.get(key, '')}" for key, value in values.items() if value is not None]
    lines += [f"weight = {in_toml(log.weight)}"] * (log.weight is not None)
    lines += [f"unit = {in_toml(log.unit)}"] * (log.unit != "s")
    lines += [f"weights = {{ {weights} }}{why.get('weights', '')}"] * bool(log.weights)
    return lines + [f"first = {in_toml(log.first)}"] * bool(log.first)


def _reading(inferred: Inferred | InferredLog) -> list[str]:
    """Return what was guessed of the files' writing, as comments: to override a guess, take away the mark."""
    lines: list[str] = []
    for name, read in inferred.read.items():
        lines += [f"# [read.{toml_key(name)}]", *(f"# {_in_one(line)}" for line in read)]
    if inferred.types or inferred.large:
        lines.append("# [types]")
        lines += [
            f"# {in_toml(column)} = {in_toml(type_text)}" + (_comment(why) if why else "")
            for column, (type_text, why) in inferred.types.items()
        ]
        why = "it is Float64: whole numbers beyond 64 bits, of which 15 digits are kept; text keeps all"
        lines += [f'# {in_toml(column)} = "String"  # {why}' for column in inferred.large]
    return [
        "",
        "# How the files were read. To read one otherwise, uncomment its lines and fetch again.",
        *lines,
    ] * bool(lines)


def baseline_text(inferred: Inferred | InferredLog) -> str:
    """Return the text of the first experiment: the features that need no thought, and settings that suit the size.

    Of a log: for everybody the items that they had before.
    """
    if isinstance(inferred, InferredLog):
        return 'title = "what they had before"\n\n[recommend]\n[recommend.history]\n'
    baseline = inferred.baseline
    model = "".join(f"{name} = {in_toml(value)}\n" for name, value in baseline.model.items())
    return (
        'title = "baseline: what needs no thought"\n'
        'features = ["auto"]  # dates taken apart, categories coded, counts, lengths of text\n'
        f"seeds = {in_toml(baseline.seeds)}\n"
        "\n"
        f"[model]  # LightGBM's own parameter names{baseline.why}\n"
        f"{model}"
    )
