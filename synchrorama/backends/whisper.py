"""What is said, in any language that Whisper knows: words with times and confidences, as they come.

Whisper is that of Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision".

The recording is cut at its pauses into windows of at most 30 s, and long silence is left out (as in WhisperX, Bain et
al. 2023): a window neither begins nor ends within a word, and Whisper, which writes words where there are none, is
spared the silence. Of what it says about noise, its own probability that nobody speaks is heeded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from synchrorama.audio import SAMPLE_RATE
from synchrorama.backends.loading import load_companion, load_network, quiet
from synchrorama.backends.repetition import repeats_itself
from synchrorama.emotion.alignment import spread
from synchrorama.emotion.stretches import stretches_of_speech
from synchrorama.emotion.words import USABLE_CONFIDENCE, Transcript, Word
from synchrorama.errors import InputError

_PART = "the speech recogniser (Whisper)"
_WINDOW = 30 * SAMPLE_RATE  # what Whisper hears at once
_NO_SPEECH = 0.6  # probability above which Whisper's authors take a window for silence
_WORTH_SHOWING = 0.25  # confidence below which the words are not even shown, as for pocketsphinx
_SECONDS_PER_STEP = 0.02  # of Whisper's time stamps
_LONGEST_PAUSE = 2 * SAMPLE_RATE  # within a window
_NO_BLANKS = ("zh", "yue", "ja", "th", "lo", "my")  # languages that are written without blanks between words


@dataclasses.dataclass(frozen=True)
class _Heard:
    """A window as Whisper hears it.

    Attributes:
        language: its code, such as "en".
        tokens: those of the text, with the time stamps among it.
        probabilities: of each token.
        ends: seconds from the start of the window at which each token has been spoken; None without alignment.
    """

    language: str
    tokens: list[int]
    probabilities: list[float]
    ends: list[float] | None


class WhisperTranscriber:
    """Recording → growing transcripts, as ``emotion.transcript.transcribe_as_it_comes`` gives them."""

    def __init__(self, network: WhisperForConditionalGeneration, processor: WhisperProcessor) -> None:
        self.network, self.processor = network, processor
        config = network.generation_config
        languages = getattr(config, "lang_to_id", None) or {}  # a network for English alone has none
        self._languages = {number: token.strip("<|>") for token, number in languages.items()}
        self._no_timestamps = getattr(config, "no_timestamps_token_id", None)
        if self._no_timestamps is None:
            raise InputError(f"The generation settings of {_PART} have no time stamps; fetch its newest revision.")
        self._aligns = bool(getattr(config, "alignment_heads", None))

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
    ) -> WhisperTranscriber:
        """From a folder as openai/whisper-small. Raises InputError if it cannot be used."""
        processor = load_companion(WhisperProcessor, folder, _PART)
        # "eager": the other ways to compute attention do not say where it goes, which tells when words are spoken
        network = load_network(
            WhisperForConditionalGeneration, folder, _PART, device=device, dtype=dtype, attn_implementation="eager"
        )
        return cls(network, processor)

    def __call__(self, samples: np.ndarray) -> Iterator[Transcript]:
        """Understand speech.

        Args:
            samples: (n,) float32 mono at 16 kHz.

        Returns:
            A transcript after each window of at most 30 s that begins and ends in a pause; the last one is final. It
            has no words when there is silence, or noise or music that Whisper knows for such. Its language is that of
            the first window with speech.
        """
        samples = np.asarray(samples, np.float32)
        words: list[Word] = []
        language = None
        windows = _windows(samples)
        for window in windows:
            heard = self._hear(samples[window], language)
            if heard is not None:
                language = heard.language
                words += self._words(heard, samples[window], window.start / SAMPLE_RATE)
            yield _transcript(words, language)
        if not windows:
            yield _transcript(words, language)

    @torch.inference_mode()
    def _hear(self, sound: np.ndarray, language: str | None) -> _Heard | None:
        """One window; None where nobody speaks. ``language`` is found out when None."""
        network, extractor = self.network, self.processor.feature_extractor
        inputs = extractor(sound, sampling_rate=SAMPLE_RATE, return_tensors="pt", return_attention_mask=True)
        features = inputs.input_features.to(network.device, network.dtype)
        encoded = network.get_encoder()(features)
        start = torch.tensor([[network.generation_config.decoder_start_token_id]], device=network.device)
        first = network(encoder_outputs=encoded, decoder_input_ids=start, use_cache=False).logits[0, -1].float()
        if first.softmax(-1)[self._no_timestamps - 1] > _NO_SPEECH:  # the token before it stands for "no speech"
            return None
        options: dict[str, Any] = {}
        if self._languages:
            language = language or self._languages[max(self._languages, key=lambda number: float(first[number]))]
            options = {"language": language, "task": "transcribe"}
        with quiet():
            output = network.generate(
                encoder_outputs=encoded,
                attention_mask=inputs.attention_mask.to(network.device),
                return_timestamps=True,
                return_token_timestamps=self._aligns or None,
                return_dict_in_generate=True,
                output_scores=True,
                force_unique_generate_call=True,  # the window ends in a pause, so nothing is heard a second time
                do_sample=False,
                num_beams=1,
                **options,
            )
        return self._heard(language or "en", output, len(sound) / SAMPLE_RATE)

    def _heard(self, language: str, output: Any, seconds: float) -> _Heard | None:
        """What was generated, without what it began with and without its end; None for a text that repeats itself."""
        count = len(output["scores"])
        tokens = output["sequences"][0, -count:].tolist()
        scores = torch.cat(output["scores"]).float().softmax(-1).cpu()
        probabilities = scores[torch.arange(count), torch.tensor(tokens)].tolist()
        end = self.processor.tokenizer.eos_token_id
        length = tokens.index(end) if end in tokens else count
        if repeats_itself(self._text(tokens[:length])):
            return None
        ends = None
        if self._aligns:
            times = output["token_timestamps"][0][-count:][:length].numpy()
            ends = np.maximum.accumulate(np.clip(np.nan_to_num(times), 0, seconds)).tolist()
        return _Heard(language, tokens[:length], probabilities[:length], ends)

    def _text(self, tokens: list[int]) -> str:
        end = self.processor.tokenizer.eos_token_id  # every token of text comes before it
        return self.processor.tokenizer.decode([token for token in tokens if token < end])

    def _words(self, heard: _Heard, sound: np.ndarray, start: float) -> list[Word]:
        """The words of a window that begins at ``start`` seconds, with their times in the recording."""
        groups = self._grouped(heard)
        texts = [self._text([heard.tokens[i] for i in group]).strip() for group in groups]
        if heard.ends is not None:
            before = [heard.ends[group[0] - 1] if group[0] else 0.0 for group in groups]
            times = list(zip(before, [heard.ends[group[-1]] for group in groups], strict=True))
        else:
            times = self._segment_times(heard, groups, texts, sound)
        return [
            Word(text, start + begun, start + ended, float(np.mean([heard.probabilities[i] for i in group])))
            for text, group, (begun, ended) in zip(texts, groups, times, strict=True)
        ]

    def _grouped(self, heard: _Heard) -> list[list[int]]:
        """Places of the tokens that make each word, with the punctuation that belongs to it."""
        end = self.processor.tokenizer.eos_token_id
        apart = heard.language in _NO_BLANKS
        groups: list[list[int]] = []
        begun: list[int] = []  # parts of a letter, a blank or an opening quotation mark: more of the word follows
        within = False  # a segment: the token before was text, not a time stamp
        for place, token in enumerate(heard.tokens):
            if token >= end:
                begun, within = [], False
                continue
            begun.append(place)
            text = self._text([heard.tokens[i] for i in begun])
            if "\ufffd" in text:
                continue
            joins = within and not text.startswith(" ")
            if not any(map(str.isalnum, text)):
                if joins:
                    groups[-1] += begun
                    begun = []
                continue
            if joins and not apart:
                groups[-1] += begun
            else:
                groups.append(begun)
            begun, within = [], True
        return groups

    def _segment_times(
        self, heard: _Heard, groups: list[list[int]], texts: list[str], sound: np.ndarray
    ) -> list[tuple[float, float]]:
        """Without alignment: the words between two of Whisper's own time stamps share the voiced time between them."""
        seconds = len(sound) / SAMPLE_RATE
        stamps = {i: t for i, token in enumerate(heard.tokens) if (t := self._seconds(token)) is not None}
        times: list[tuple[float, float]] = []
        done = 0
        bounds = [*sorted(stamps), len(heard.tokens)]
        before = 0.0
        for bound in bounds:
            after = min(max(stamps.get(bound, seconds), before), seconds)
            within = [text for group, text in zip(groups, texts, strict=True) if group[0] < bound][done:]
            if within:
                part = sound[round(before * SAMPLE_RATE) : round(after * SAMPLE_RATE)]
                if len(part):
                    times += [(before + begun, before + ended) for begun, ended in spread(within, part)]
                else:
                    times += [(before, after)] * len(within)
                done += len(within)
            before = after
        return times

    def _seconds(self, token: int) -> float | None:
        """The time that a time stamp means; None for other tokens."""
        return (token - self._no_timestamps - 1) * _SECONDS_PER_STEP if token > self._no_timestamps else None


def _transcript(words: list[Word], language: str | None) -> Transcript:
    if not words:
        return Transcript(notes=("No words were heard, so none weigh in; type the transcript if there are any.",))
    confidence = float(np.mean([word.confidence for word in words]))
    notes = []
    if confidence < USABLE_CONFIDENCE:
        notes.append(
            f"The words were not understood surely enough (confidence {confidence:.2f}), so they do not weigh in; type "
            "the transcript to use them."
        )
    shown = tuple(words) if confidence >= _WORTH_SHOWING else ()
    name = LANGUAGES.get(language, language).capitalize()
    return Transcript(shown, confidence, language == "en", name, notes=tuple(notes), punctuated=True)


def _windows(samples: np.ndarray) -> list[slice]:
    """Stretches of speech that follow each other soon, as many as fit into 30 s."""
    windows: list[slice] = []
    for stretch in stretches_of_speech(samples):
        fits = windows and stretch.stop - windows[-1].start <= _WINDOW
        if fits and stretch.start - windows[-1].stop <= _LONGEST_PAUSE:
            windows[-1] = slice(windows[-1].start, stretch.stop)
        else:
            windows.append(stretch)
    return [slice(window.start, min(window.stop, len(samples))) for window in windows]
