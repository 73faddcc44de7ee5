"""The limits on an uploaded data set. docs/data.md lists them with what to do about each."""

from dataclasses import dataclass

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds; sizes in bytes. A test may lower them, a service has the defaults."""

    max_members: int = 2_000_000
    max_name_chars: int = 1024
    max_depth: int = 16
    max_unpacked_bytes: int = 32 * GIB
    #: Unpacked over packed. A small archive may have any ratio: nothing can be filled up with it.
    max_ratio: float = 200.0
    ratio_from_bytes: int = 64 * MIB
    max_image_bytes: int = 256 * MIB
    max_pixels: int = 64_000_000
    #: Height and width of a stored image; the same bound as `image.size` has.
    max_side: int = 1024
    max_sound_bytes: int = 256 * MIB
    #: Chunks of a WAV file before its samples.
    max_chunks: int = 1000
    max_channels: int = 64
    #: Samples a second; the same bounds as `audio.sample_rate` has.
    min_sample_rate: int = 4000
    max_sample_rate: int = 192_000
    max_rows: int = 50_000_000
    max_columns: int = 10_000
    max_cell_bytes: int = 64 * 2**10
    #: Of a vocabulary that comes with a table of texts.
    max_vocabulary: int = 200_000
    max_vocabulary_bytes: int = 8 * MIB
    #: So many different words are counted at a time; beyond that the rarest half is forgotten.
    max_counted_words: int = 1_000_000
    max_categories: int = 1000
    max_features: int = 20_000
    max_classes: int = 100_000
    max_canonical_bytes: int = 32 * GIB
    #: How much is held in memory at a time while rows are converted.
    block_bytes: int = 16 * MIB


LIMITS = Limits()
