"""C_t: a scene description as a few vectors, and as the actions that it asks for.

Words are known by hashed n-grams, as in fastText (Bojanowski et al. 2017, "Enriching word vectors with subword
information"), but of words instead of letters. A small recurrent network reads them and says of every word whether it
belongs to an action, and whether that is done or expressly not done; pooled, its features are one token of C_t for
each stage of the scene.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from synchrorama.errors import InputError
from synchrorama.scene.actions import ACTIONS, MAX_STAGES, ScenePlan, resolve
from synchrorama.scene.description import is_statement

ACTION_NAMES = tuple(ACTIONS)
TOKEN_CHANNELS = 32
MAX_WORDS = 600
NOTHING, DONE, NOT_DONE = 0, 1, 2
DEGREES = (0.6, 1.0, 1.3)  # slightly, as usual, strongly
SEPARATOR = ","

_SWITCH = 2.0  # nepers that it costs to go from one action to another with no word between them
_NEXT_STAGE = re.compile(
    r"(?:,|;|\.)?\s*\b(?:and\s+|but\s+)?(?:then|after that|after this|after which|afterwards|afterward|next(?! to)"
    r"|finally|later(?: on)?|subsequently|thereafter|followed by|at last|in the end"
    r"|before (?=(?:she|he|they|it) |\w+ing\b))\b"
)
_CONTRACTIONS = {
    "can't": "can not", "won't": "will not", "cannot": "can not", "n't": " not", "'re": " are", "'s": " is",
    "'ll": " will",
}  # fmt: skip


@dataclass(frozen=True)
class SceneText:
    """A description as the other parts use it; by default one that says nothing.

    Attributes:
        tokens: (4, 32) float32, C_t; a row for each stage, zeros where there is none.
        plan: what is to be done.
        not_understood: words that the encoder does not know; they have changed nothing.
        notes: sentences for the user.
    """

    tokens: np.ndarray = field(default_factory=lambda: np.zeros((MAX_STAGES, TOKEN_CHANNELS), np.float32))
    plan: ScenePlan = field(default_factory=ScenePlan)
    not_understood: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def over_time(self, frames: int) -> np.ndarray:
        """(frames, 32) the token that is in force in each frame; stages share the time equally."""
        stages = max(1, len(self.plan.stages))
        return self.tokens[np.minimum(np.arange(frames) * stages // max(frames, 1), stages - 1)]


class TextEncoder(ModelMixin, ConfigMixin):
    """Description → ``SceneText``.

    Args:
        vocabulary: the words that training has used, sorted; others are left out before anything else is done.
        buckets: hash buckets that the n-grams share.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self, vocabulary: Sequence[str] = (), buckets: int = 32768, channels: int = 40, hidden: int = 64
    ) -> None:
        super().__init__()
        self.known = frozenset(vocabulary)
        self.ngrams = nn.EmbeddingBag(buckets, channels, mode="sum", padding_idx=0)
        nn.init.normal_(self.ngrams.weight, std=0.05)  # small, for an n-gram that training never met says nothing
        self.reader = nn.GRU(channels, hidden, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3)
        self.dropout = nn.Dropout(0.3)
        self.action = nn.Linear(2 * hidden, 1 + len(ACTION_NAMES))
        self.doing = nn.Linear(2 * hidden, 2)
        self.degree = nn.Linear(2 * hidden, len(DEGREES))
        self.attention = nn.Linear(2 * hidden, 1)
        self.token = nn.Linear(2 * hidden, TOKEN_CHANNELS)
        self.told = nn.Linear(TOKEN_CHANNELS, 2 * len(ACTION_NAMES))

    def forward(self, ngrams: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Read a batch of stages.

        Args:
            ngrams: (B, N, 3) hash buckets of each word's n-grams, see ``ngram_buckets``.
            mask: (B, N) bool, True for words.

        Returns:
            ``action`` (B, N, 1 + actions) logits, the first for none; ``doing`` (B, N, 2) done or not done;
            ``degree`` (B, N, 3); ``token`` (B, 32) in [-1, 1]; ``told`` (B, 2 · actions) logits of what the token
            alone tells: done, then not done.
        """
        batch, words, count = ngrams.shape
        x = self.ngrams(ngrams.reshape(-1, count)).reshape(batch, words, -1)
        packed = nn.utils.rnn.pack_padded_sequence(x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        x, _ = nn.utils.rnn.pad_packed_sequence(self.reader(packed)[0], batch_first=True, total_length=words)
        x = self.dropout(x)
        weight = self.attention(x)[..., 0].masked_fill(~mask, -1e4).softmax(1)
        token = torch.tanh(self.token((weight[..., None] * x).sum(1)))
        return {
            "action": self.action(x),
            "doing": self.doing(x),
            "degree": self.degree(x),
            "token": token,
            "told": self.told(token),
        }

    @torch.no_grad()
    def encode(self, text: str) -> SceneText:
        """Read a description of at most 600 words. Raises InputError for a longer one.

        Sentences that begin with "In the photo" say what is there and ask for nothing, see ``description``.
        """
        statements, directions = separated(text)
        stages = split_stages(directions)
        count = sum(len(words) for words in stages)
        if count > MAX_WORDS:
            raise InputError(f"The description has {count} words; give at most {MAX_WORDS}.")
        unknown = [word for words in stages for word in words if word != SEPARATOR and word not in self.known]
        known = [[word for word in words if word == SEPARATOR or word in self.known] for words in stages]
        known = [words for words in known if any(word != SEPARATOR for word in words)]
        tokens = np.zeros((MAX_STAGES, TOKEN_CHANNELS), np.float32)
        read = [self._read(words) for words in known]
        notes: list[str] = []
        acting = [(mentions, token) for mentions, token in read if mentions] or read[:1]
        if not acting and statements:  # nothing is asked for, but there is a scene
            words = [word for stage in split_stages(statements) for word in stage if word in self.known]
            acting = [([], self._read(words)[1])] if words else []
        if len(acting) > MAX_STAGES:
            notes.append(f"The description has {len(acting)} steps; what comes after the third is done together.")
            last = [mention for mentions, _ in acting[MAX_STAGES - 1 :] for mention in mentions]
            acting = [*acting[: MAX_STAGES - 1], (last, acting[MAX_STAGES - 1][1])]
        plan = []
        for i, (mentions, token) in enumerate(acting):
            stage, contradictions = resolve(mentions)
            notes += contradictions
            tokens[i] = token
            plan.append(stage)
        plan = plan if any(plan) else []
        return SceneText(tokens, ScenePlan(tuple(plan)), tuple(dict.fromkeys(unknown)), tuple(notes))

    def _read(self, words: list[str]) -> tuple[list[tuple[str, float]], np.ndarray]:
        """One stage → what it mentions, in order, and its token (32,)."""
        ngrams = torch.from_numpy(ngram_buckets(words, self.config.buckets))[None]
        read = self(ngrams.to(self.device), torch.ones(1, len(words), dtype=torch.bool, device=self.device))
        path = likeliest_path(read["action"][0].float().log_softmax(-1).cpu().numpy())
        mentions: list[tuple[str, float]] = []
        start = 0
        while start < len(words):
            end = start + 1
            while end < len(words) and path[end] == path[start]:
                end += 1
            if path[start]:
                done = read["doing"][0, start:end].mean(0)
                degree = DEGREES[int(read["degree"][0, start:end].mean(0).argmax())]
                mentions.append((ACTION_NAMES[path[start] - 1], degree if done[0] > done[1] else -1.0))
            start = end
        return mentions, read["token"][0].float().cpu().numpy()


def separated(text: str) -> tuple[str, str]:
    """A text → its sentences that only say what a photo shows, and all others, which are directions."""
    sentences = re.findall(r"[^.!?\n]+[.!?\n]*", text)
    kinds = [" ".join(each for each in sentences if is_statement(each) == kind) for kind in (True, False)]
    return kinds[0], kinds[1]


def split_stages(text: str) -> list[list[str]]:
    """A text → the words of each of its stages: lower case, contractions written out, ``,`` between clauses.

    A new stage begins at "then", "afterwards", "finally" and the like, and at "before nodding"; sentences alone do
    not make one: "She smiles. She nods." is done at the same time.
    """
    text = text.lower().replace("’", "'").replace("-", " ")
    for short, long in _CONTRACTIONS.items():
        text = text.replace(short, long)
    stages = []
    for part in _NEXT_STAGE.split(text):
        words = re.findall(r"[^\W\d_]+|[,.;:!?\n]", part)
        stages.append([word if word[0].isalpha() else SEPARATOR for word in words])
    return [words for words in stages if any(word != SEPARATOR for word in words)]


def likeliest_path(log_probability: np.ndarray) -> np.ndarray:
    """(N, K) log-probabilities of each word's meaning → (N,) the likeliest meanings of all together (Viterbi 1967).

    One action seldom follows another without a word between them, so that costs: a single word that the network takes
    for something else does not break a phrase in two.
    """
    kinds = log_probability.shape[1]
    step = np.where(np.eye(kinds, dtype=bool), 0.0, -_SWITCH)
    step[0, :] = step[:, 0] = 0.0
    score, came_from = log_probability[0], []
    for word in log_probability[1:]:
        reached = score[:, None] + step
        came_from.append(reached.argmax(0))
        score = reached.max(0) + word
    path = [int(score.argmax())]
    for before in reversed(came_from):
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def ngram_buckets(words: Sequence[str], buckets: int) -> np.ndarray:
    """(N, 3) int64: of each word itself, with the one before, and with the one after; 0 stands for none."""
    padded = ["<", *words, ">"]
    rows = []
    for i in range(1, len(padded) - 1):
        before, word, after = padded[i - 1 : i + 2]
        grams = (word, f"{before} {word}", f"{word} {after} >")
        rows.append([1 + zlib.crc32(gram.encode()) % (buckets - 1) for gram in grams])
    return np.array(rows, np.int64).reshape(-1, 3)
