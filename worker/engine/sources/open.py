"""The source that a spec asks for."""

from models.spec.teaching import Ensemble, GivenOutputs, StoredTeacher, key_of
from worker.engine.sources.ensemble import EnsembleSource
from worker.engine.sources.given import GivenSource
from worker.engine.sources.source import Place, Single, Source
from worker.engine.sources.stored import StoredSource


def open_source(spec: StoredTeacher | GivenOutputs | Ensemble, pointer: str, place: Place) -> Source:
    """The teacher at `pointer` of the spec. Raises UserConfig and UserInput."""
    if isinstance(spec, Ensemble):
        members = {
            key_of(member): _single(member, f"{pointer}/teachers/{at}", place)
            for at, member in enumerate(spec.teachers)
        }
        return EnsembleSource(spec, members, pointer, place)
    return _single(spec, pointer, place)


def _single(spec: StoredTeacher | GivenOutputs, pointer: str, place: Place) -> Single:
    return StoredSource(spec, pointer, place) if isinstance(spec, StoredTeacher) else GivenSource(spec, pointer, place)
