"""One competition on disk.

`folder` has the competition itself, `paths` the layout of its folder, `definition` reads ``competition.toml``, `tables`
the Parquet tables and their manifest, `stacked` train and test stacked, `ids` the ids of the rows, `classes` the labels
of a target, `importing` the competition's own code.
"""

from workbench.data.competition.answer import IdTemplate, as_written, match_classes, match_targets
from workbench.data.competition.classes import class_labels, positive_class, sample_column
from workbench.data.competition.definition import (
    CvSpec,
    Definition,
    FileOptions,
    TableNames,
    read_file_options,
    read_key_columns,
    read_options,
)
from workbench.data.competition.files import StrictModel, in_toml, move_above_hint, read_toml, toml_key, validate
from workbench.data.competition.folder import Competition, load_competition
from workbench.data.competition.importing import lies_in, load_code
from workbench.data.competition.numbers import create_experiment, create_notebook, next_number
from workbench.data.competition.own_code import RESERVED_MODULES, own_file
from workbench.data.competition.paths import CompetitionPaths
from workbench.data.competition.stacked import ROW, StackedRows
from workbench.data.competition.tables import (
    ExcludedFile,
    Manifest,
    TableInfo,
    check_key_spelling,
    check_table,
    has_manifest,
    read_manifest,
    write_manifest,
)
from workbench.data.competition.weights import RowWeights
from workbench.platforms.interactions import InteractionsSpec

__all__ = [
    "RESERVED_MODULES",
    "ROW",
    "Competition",
    "CompetitionPaths",
    "CvSpec",
    "Definition",
    "ExcludedFile",
    "FileOptions",
    "IdTemplate",
    "InteractionsSpec",
    "Manifest",
    "RowWeights",
    "StackedRows",
    "StrictModel",
    "TableInfo",
    "TableNames",
    "as_written",
    "check_key_spelling",
    "check_table",
    "class_labels",
    "create_experiment",
    "create_notebook",
    "has_manifest",
    "in_toml",
    "lies_in",
    "load_code",
    "load_competition",
    "match_classes",
    "match_targets",
    "move_above_hint",
    "next_number",
    "own_file",
    "positive_class",
    "read_file_options",
    "read_key_columns",
    "read_manifest",
    "read_options",
    "read_toml",
    "sample_column",
    "toml_key",
    "validate",
    "write_manifest",
]
