"""Opens an upload: takes the outer compression off, looks into the archive and tells what kind of files it holds."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from core.errors import Rejected
from worker.readers.base.case import Case
from worker.readers.base.compression import copy_plain, is_compressed
from worker.readers.base.files import Entry, Files, LoneFile, head
from worker.readers.base.kinds import HEAD_BYTES, Kind, kind_of, refusal_of
from worker.readers.base.tar_files import TarFiles
from worker.readers.base.zip_files import ZipFiles

#: Suffixes by which files call themselves images or sounds; sounds in other forms are told what to become.
SUFFIXES: dict[Kind, frozenset[str]] = {
    "image": frozenset(
        {".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
    ),
    "wav": frozenset(
        {".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".wma", ".aif", ".aiff", ".au"}
    ),
}
_WORDS: dict[Kind, str] = {
    "idx": "an IDX file",
    "npy": "a NumPy array",
    "parquet": "a Parquet file",
    "text": "a table of text",
}
#: How many members of an archive are looked at to tell what it holds.
_SAMPLE = 64


@dataclass(frozen=True, slots=True)
class Content:
    """What an upload holds.

    kinds: what its files are, the commonest first. packing: for the report: `tar.gz`, `zip`, `none` ...
    """

    files: Files
    kinds: tuple[Kind, ...]
    packing: str

    def of_kind(self, kind: Kind, case: Case, *, but: frozenset[str] = frozenset()) -> list[Entry]:
        """The entries of that content, by name, less those with a suffix of `but`; the others are noted as ignored."""
        chosen = []
        for entry in sorted(self.files.entries, key=lambda entry: entry.name):
            is_other = PurePath(entry.name).suffix.lower() in but
            if is_other or kind_of(head(self.files, entry)) != kind:
                case.ignored.add(entry.name, f"not {_WORDS[kind]}")
            else:
                chosen.append(entry)
        return chosen

    def without(self, entry: Entry) -> "Content":
        """The same but for one file."""
        self.files.entries.remove(entry)
        return replace(self, kinds=_kinds(self.files))


def open_upload(path: Path, filename: str, case: Case) -> Content:
    """Looks into the upload at `path`; `filename` is what the user called it, and only ever shown.

    Raises: Rejected where it is empty, damaged, a bomb, or of a kind that nothing here reads.
    """
    name = PurePath(filename.replace("\\", "/")).name or "upload"
    size = path.stat().st_size
    if size == 0:
        raise Rejected("The upload is empty: 0 bytes.", code="empty")
    kind, layer = _kind_at(path), ""
    if is_compressed(kind):
        layer, plain = f".{kind}", case.new_scratch()
        with path.open("rb") as stream:
            copy_plain(stream, plain, name="The upload", limits=case.limits, packed_bytes=size)
        path, kind = plain, _kind_at(plain)
    files, packing = _files(path, kind, name, case)
    if not files.entries:
        raise Rejected(
            "The archive holds no files, hidden ones left aside. Pack the folder with its files.", code="empty"
        )
    return Content(files, _kinds(files), (packing + layer).lstrip(".") or "none")


def _files(path: Path, kind: Kind, name: str, case: Case) -> tuple[Files, str]:
    if kind == "zip":
        return ZipFiles(path, case), "zip"
    if kind == "tar":
        return TarFiles(path, case), "tar"
    with path.open("rb") as file:
        refusal = refusal_of(file.read(HEAD_BYTES))
    if refusal:
        raise Rejected(
            f"The upload is {refusal}. Give images and sounds as a zip or tar of class folders, arrays as .npz, tables "
            "as CSV or Parquet.",
            code="format",
        )
    if is_compressed(kind):
        raise Rejected("The upload is compressed twice. Compress it once.", code="format")
    return LoneFile(path, name), ""


def _kind_at(path: Path) -> Kind:
    with path.open("rb") as file:
        return kind_of(file.read(HEAD_BYTES))


def _kinds(files: Files) -> tuple[Kind, ...]:
    """The kinds among the files, looked at evenly over the archive, the commonest first.

    A file that calls itself an image or a sound counts as one even if its content is not: it is a broken row of such
    a set.
    """
    step = max(1, len(files.entries) // _SAMPLE)
    counts = Counter(_kind_of_entry(files, entry) for entry in files.entries[::step])
    return tuple(kind for kind, _ in counts.most_common())


def _kind_of_entry(files: Files, entry: Entry) -> Kind:
    kind = kind_of(head(files, entry))
    if kind in ("unknown", "text"):
        suffix = PurePath(entry.name).suffix.lower()
        return next((called for called, names in SUFFIXES.items() if suffix in names), kind)
    return kind
