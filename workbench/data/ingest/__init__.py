"""From a platform's files to typed Parquet tables, a definition and a first experiment.

`fetch` does all of it. `download` downloads the files, `archives` and `archives_below` unpack them, `sources` and
`grouping` find the tables among them, `convert` converts these by their `formats`, and `swap` replaces an old version.
"""

from workbench.data.ingest.archives import unpack
from workbench.data.ingest.convert import convert
from workbench.data.ingest.downloaded import read_as_downloaded, read_parquet_as_text, read_text_file
from workbench.data.ingest.evaluation import evaluation_server_of
from workbench.data.ingest.fetch import Fetched, FetchOptions, fetch
from workbench.data.ingest.grouping import tables_in
from workbench.data.ingest.sources import reading_options, sources_in, table_name
from workbench.data.ingest.space import Approval
from workbench.data.ingest.unpacked import names_at_top, unpacked_files

__all__ = [
    "Approval",
    "FetchOptions",
    "Fetched",
    "convert",
    "evaluation_server_of",
    "fetch",
    "names_at_top",
    "read_as_downloaded",
    "read_parquet_as_text",
    "read_text_file",
    "reading_options",
    "sources_in",
    "table_name",
    "tables_in",
    "unpack",
    "unpacked_files",
]
