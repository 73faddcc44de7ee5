"""One class for each recording, by its spectrogram, which is an image to the networks."""

from worker.engine.augment import Augmentation
from worker.engine.sound_augment import SoundAugmentation
from worker.tasks.image_classification import ImageClassification


class AudioClassification(ImageClassification):
    """Raw samples are uint8 (N, 1, mels, frames)."""

    def augmentation(self) -> Augmentation | None:
        """None where nothing is asked for: a spectrogram that is mirrored sounds like nothing."""
        chosen = self.train.augment
        if isinstance(chosen, str) or not (chosen.time_shift or chosen.time_mask or chosen.mel_mask):
            return None
        return SoundAugmentation(chosen, round(255 * self.data.mean[0]), self.train.seed)
