"""History into a directory's journal, by a mapping."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from greenlane.adapters.history_import import ImportReport, import_files
from greenlane.adapters.history_mapping import read_mapping
from greenlane.features.catalogue import CATALOGUE
from greenlane.wiring import Importer, Progress


def import_history(
    directory: Path, files: Sequence[Path], mapping_file: Path, *, strict: bool, progress: Progress
) -> ImportReport:
    """History into a journal by a mapping; the same import again changes nothing."""
    mapping = read_mapping(mapping_file)
    with closing(Importer(directory)) as importer:
        return import_files(
            files,
            mapping,
            sequencer=importer.journal,
            subjects=importer.subjects,
            reporting=importer.reporting,
            live_features=importer.live.features,
            first_features=CATALOGUE,
            strict=strict,
            progress=progress,
        )
