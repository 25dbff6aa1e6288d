"""Write the inferred definition and the first experiment as TOML, with the reasons as comments."""

from __future__ import annotations

from collections.abc import Collection

from workbench.core.printable import one_line, printable
from workbench.data.competition import FileOptions, Manifest, in_toml, toml_key
from workbench.data.inference.infer import NO_FILE_OPTIONS, Inferred
from workbench.data.inference.log import InferredLog
from workbench.data.inference.positive import PositiveGuess
from workbench.data.inference.windows import TimeWindows
from workbench.platforms.interactions import duration_text
from workbench.platforms.protocol import CompetitionFacts

__all__ = ["baseline_text", "definition_text", "question", "submission_text"]


def _comment(text: str) -> str:
    """Return a text as a comment at the end of a line of TOML."""
    return "  # " + one_line(text)


def _in_comment(line: str) -> str:
    """Return a line of TOML as the text of a comment: printable, on one line, with its spaces."""
    return printable(line).replace("\n", " ")


def definition_text(inferred: Inferred | InferredLog, stated: FileOptions = NO_FILE_OPTIONS) -> str:
    """Return the text of `competition.toml`, with the reason of every guess as a comment.

    Parameters
    ----------
    inferred : Inferred or InferredLog
    stated : FileOptions
        The settings of the file that this text replaces; they are kept.
    """
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
    if task.metric_of_platform is not None:
        lines.append(
            f"metric_of_platform = {in_toml(task.metric_of_platform)}  # mentioned at every run, until you remove it"
        )
    if inferred.greater_is_better is not None:
        lines.append(f"greater_is_better = {in_toml(inferred.greater_is_better)}")
    lines += [f"weight = {in_toml(inferred.weight)}"] * bool(inferred.weight)
    lines += _positive_lines(inferred)
    comments = {role: _comment(reason) for role, reason in inferred.why_tables.items()}
    lines += ["", "[tables]", f"train = {in_toml(inferred.train)}{comments.get('train', '')}"]
    lines.append(f"test = {in_toml(inferred.test)}{comments.get('test', '')}")
    sample = "false  # there is none: a submission has the ids of test and the names of the targets"
    if inferred.sample is not None:
        sample = in_toml(inferred.sample) + comments.get("sample", "")
    lines.append(f"sample_submission = {sample}")
    lines += ["", "[cv]", f"scheme = {in_toml(scheme.scheme)}{_comment(scheme.why)}"]
    lines += [f"column = {in_toml(scheme.column)}"] * (scheme.column is not None)
    lines += [f"group = {in_toml(scheme.group)}"] * (scheme.group is not None)
    lines += ["folds = 5"] if scheme.windows is None else _window_lines(scheme.windows)
    lines.append("seed = 42")
    return "\n".join([*lines, *_stated_lines(stated), *_guessed_lines(inferred), ""])


def _window_lines(windows: TimeWindows) -> list[str]:
    """Return the lines of ``[cv]`` for windows in time."""
    length = "shorter than test, as train is not long enough" if windows.is_shortened else "as long as test"
    lines = [f"folds = {windows.folds}", f"horizon = {in_toml(windows.horizon)}{_comment(f'of each fold, {length}')}"]
    if windows.gap is not None:
        lines.append(f"gap = {in_toml(windows.gap)}{_comment('test begins this long after the end of train')}")
    if windows.season is not None:
        lines.append(f"season = {in_toml(windows.season)}{_comment('one more fold, this long before the last')}")
    return lines


def submission_text(
    facts: CompetitionFacts, inferred: Inferred | InferredLog, manifest: Manifest, stated: FileOptions = NO_FILE_OPTIONS
) -> str:
    """Return the text of ``[submission]``; "" where a plain submission.csv is submitted."""
    settings: dict[str, object] = dict(stated.submission)
    comments: dict[str, str] = {}
    if facts.evaluation_server is not None and "server" not in settings:
        settings["server"] = facts.evaluation_server
        comments["server"] = _comment(
            "a file of the evaluation server, which hands the hidden test set to the notebook in batches; "
            "false: there is none"
        )
    sample = None if inferred.sample is None else manifest.tables.get(inferred.sample)
    # Uploaded files are CSV; a notebook writes the format of the sample.
    if (
        facts.kind == "notebook"
        and "file" not in settings
        and sample is not None
        and sample.source.endswith(".parquet")
    ):
        settings["file"] = "submission.parquet"
        comments["file"] = _comment(f"the file that the notebook writes: Parquet, like {sample.source}")
    lines = [
        f"{key} = {in_toml(settings[key])}{comments.get(key, '')}" for key in ("file", "server") if key in settings
    ]
    return "\n".join(["", "[submission]", *lines, ""]) * bool(lines)


def _positive_lines(inferred: Inferred) -> list[str]:
    """Return the lines of `positive`: the positive class of each binary target, or both classes as comments."""
    lines = []
    for guess in inferred.positives:
        key = "positive" if len(inferred.answer.targets) == 1 else f"positive.{toml_key(guess.target)}"
        if guess.label is not None:
            other_label = next(label for label in guess.labels if label != guess.label)
            quantity = f"{guess.label_metric} is" if guess.label_metric else f"{guess.column} holds the probability"
            comment = _comment(f"{quantity} of this class, not of {other_label!r}: {guess.why}")
            lines.append(f"{key} = {in_toml(guess.label)}{comment}")
            continue
        lines.append(f"# {one_line(question(guess))} Uncomment one line:")
        lines += [f"# {key} = {in_toml(label)}" for label in guess.labels]
    return lines


def question(guess: PositiveGuess) -> str:
    """Return the question which class of a target is the positive one, with the reason why it can't be inferred."""
    one, other = guess.labels
    which_class = f"Is {guess.column} the probability of {one!r} or of {other!r}?"
    if guess.label_metric:
        which_class = f"Of which class of {guess.target} is {guess.label_metric}, {one!r} or {other!r}?"
    return f"{which_class} {guess.why[0].upper()}{guess.why[1:]}."


def _stated_lines(stated: FileOptions, exclude: Collection[str] = ()) -> list[str]:
    """Return the user's settings in ``[read.TABLE]``, except for the tables in `exclude`, and in ``[types]``."""
    lines: list[str] = []
    for name, options in stated.read.items():
        if name not in exclude:
            lines += ["", f"[read.{toml_key(name)}]", *(f"{key} = {in_toml(value)}" for key, value in options.items())]
    if stated.types:
        lines += [
            "",
            "[types]",
            *(f"{in_toml(column)} = {in_toml(type_name)}" for column, type_name in stated.types.items()),
        ]
    return lines


def _log_text(inferred: InferredLog, stated: FileOptions) -> str:
    """Return the definition of a recommender competition."""
    comments = {key: _comment(reason) for key, reason in inferred.why.items()}
    lines = [f"{key} = {in_toml(getattr(inferred, key))}" for key in ("slug", "title", "platform")]
    lines.append(f'task = "recommend"{comments.get("task", "")}')
    lines += [f"{key} = {in_toml(getattr(inferred, key))}{comments.get(key, '')}" for key in ("id", "target", "metric")]
    if inferred.metric_of_platform is not None:
        lines.append(
            f"metric_of_platform = {in_toml(inferred.metric_of_platform)}"
            + _comment("mentioned at every run, until you remove it")
        )
    lines += ["", "[tables]", f"train = {in_toml(inferred.train)}"]
    lines += [f"test = {in_toml(inferred.test)}"] * (inferred.test is not None)
    lines += [
        f"sample_submission = {in_toml(inferred.sample)}",
        "",
        "[interactions]",
        *_interactions_lines(inferred, comments),
    ]
    lines += ["", "[cv]", "folds = 5  # by user", "seed = 42"]
    for name, column in inferred.explode.items():
        stated_options = [f"{k} = {in_toml(v)}" for k, v in stated.read.get(name, {}).items() if k != "explode"]
        lines += [
            "",
            f"[read.{toml_key(name)}]",
            f"explode = {in_toml(column)}  # an event for each record in these lists",
        ]
        lines += stated_options
    return "\n".join([*lines, *_stated_lines(stated, exclude=inferred.explode), *_guessed_lines(inferred), ""])


def _interactions_lines(inferred: InferredLog, comments: dict[str, str]) -> list[str]:
    """Return the lines of ``[interactions]``, without defaults; `comments` are the ends of lines, by key."""
    log = inferred.interactions
    weights = ", ".join(f"{toml_key(kind)} = {weight}" for kind, weight in log.weights.items())
    value_by_key = {"user": log.user, "item": log.item, "time": log.time, "kind": log.kind, "cut": log.cut}
    value_by_key |= {"horizon": duration_text(log.horizon_s), "id": log.id, "users": log.users, "items": log.items}
    lines = [
        f"{key} = {in_toml(value)}{comments.get(key, '')}" for key, value in value_by_key.items() if value is not None
    ]
    lines += [f"weight = {in_toml(log.weight)}"] * (log.weight is not None)
    lines += [f"unit = {in_toml(log.unit)}"] * (log.unit != "s")
    lines += [f"weights = {{ {weights} }}{comments.get('weights', '')}"] * bool(log.weights)
    return lines + [f"first = {in_toml(log.first)}"] * bool(log.first)


def _guessed_lines(inferred: Inferred | InferredLog) -> list[str]:
    """Return the guessed settings of ``[read.TABLE]`` and ``[types]`` as comments."""
    lines: list[str] = []
    for name, read_lines in inferred.read.items():
        lines += [f"# [read.{toml_key(name)}]", *(f"# {_in_comment(line)}" for line in read_lines)]
    if inferred.types or inferred.large_integer_columns:
        lines.append("# [types]")
        lines += [
            f"# {in_toml(column)} = {in_toml(type_text)}" + (_comment(note) if note else "")
            for column, (type_text, note) in inferred.types.items()
        ]
        note = "read as Float64: whole numbers beyond 64 bits, of which 15 digits are kept; text keeps all"
        lines += [f'# {in_toml(column)} = "String"  # {note}' for column in inferred.large_integer_columns]
    return [
        "",
        "# How the files were read. To change it, uncomment and edit the lines of a table, and fetch again.",
        *lines,
    ] * bool(lines)


def baseline_text(inferred: Inferred | InferredLog) -> str:
    """Return the text of the first experiment: automatic features, and settings for the number of rows.

    For a recommender competition it recommends to each user the items of their own history.
    """
    if isinstance(inferred, InferredLog):
        return 'title = "items of the user\'s history"\n\n[recommend]\n[recommend.history]\n'
    baseline = inferred.baseline
    model = "".join(f"{name} = {in_toml(value)}\n" for name, value in baseline.model.items())
    refit = "refit = true  # models of all rows predict test, as those of the folds lack the latest\n" * baseline.refit
    return (
        'title = "baseline: automatic features"\n'
        'features = ["auto"]  # parts of dates, encoded categories, counts, lengths of texts\n'
        f"seeds = {in_toml(baseline.seeds)}\n"
        f"{refit}"
        "\n"
        f"[model]  # LightGBM's own parameter names{baseline.why}\n"
        f"{model}"
    )
