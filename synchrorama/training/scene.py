"""Train the scene text encoder: python -m synchrorama train scene.

Descriptions are composed from ``wordings.json``: phrases of actions, negations, adverbs, joins, and much around them
that asks for nothing. Which word belongs to which action is known, because the grammar put it there.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from synchrorama.scene.text_encoder import (
    ACTION_NAMES,
    DEGREES,
    DONE,
    NOT_DONE,
    NOTHING,
    SEPARATOR,
    TextEncoder,
    ngram_buckets,
    split_stages,
)

_IRREGULAR = {"be": ("is", "being"), "have": ("has", "having"), "do": ("does", "doing"), "lie": ("lies", "lying")}
_DOUBLED = (
    "nod", "sit", "bob", "wag", "bat", "drop", "tip", "dip", "get", "put", "stir", "quit", "knit", "grin",
    "hug", "spin", "pat", "shut", "nap", "step", "let", "set",
)  # fmt: skip
_HELD_OUT, _RICH = 0.15, 4
_LOST_WORD, _LOST_NGRAM, _PLAINEST = 0.03, 0.45, 0.3


@dataclass
class Written:
    """Words with what each of them means: index of the action, 0 for none; done or not; degree."""

    words: list[str] = field(default_factory=list)
    actions: list[int] = field(default_factory=list)
    doing: list[int] = field(default_factory=list)
    degrees: list[int] = field(default_factory=list)

    def add(self, text: str, action: int = 0, doing: int = NOTHING, degree: int = 1) -> None:
        words = [word for stage in split_stages(text) for word in stage] or [SEPARATOR] * (text.strip() in ",;")
        self.words += words
        for track, value in ((self.actions, action), (self.doing, doing), (self.degrees, degree)):
            track += [value if word != SEPARATOR else 0 if track is self.actions else value for word in words]


@cache
def wordings() -> dict[str, dict[str, list[str]] | list[str]]:
    return json.loads(Path(__file__).with_name("wordings.json").read_text(encoding="utf-8"))


class Grammar:
    """Composes descriptions; a part of the phrases can be kept for measuring.

    Args:
        generator: what is chosen.
        held_out: None for all phrases, False for those to train on, True for those kept from training.
    """

    def __init__(self, generator: np.random.Generator, held_out: bool | None = None) -> None:
        self.generator = generator
        self.verbs, self.states = (
            {action: self._kept(phrases, held_out) for action, phrases in wordings()[kind].items()}
            for kind in ("verbs", "states")
        )

    @staticmethod
    def _kept(phrases: list[str], held_out: bool | None) -> list[list[str]]:
        """Every phrase written out in all its forms; a fixed seventh of those of the richer phrases is held out."""
        forms = [alternatives(phrase) for phrase in phrases]
        if held_out is None:
            return forms
        keep = np.random.default_rng(7)
        kept = []
        for each in forms:
            out = (keep.random(len(each)) < _HELD_OUT) & (len(each) >= _RICH)
            chosen = [text for text, is_out in zip(each, out, strict=True) if is_out == held_out]
            kept += [chosen] if chosen else []
        return kept

    def pick(self, options: list[str]) -> str:
        return options[self.generator.integers(len(options))]

    def phrase(self, forms: list[list[str]]) -> str:
        """One of an action's phrases; the plainest, which stand first, more often."""
        group = forms[0] if self.generator.random() < _PLAINEST else self.pick(forms)
        return self.filled(self.pick(group))

    def some(self, kind: str) -> str:
        """One wording of a kind, with its choices made."""
        return self.filled(self.pick(expanded(kind)))

    def filled(self, text: str) -> str:
        return text.replace("{p}", self.pick(expanded("possessives")))

    def description(self) -> Written:
        """A random stage of a scene, with none to four actions."""
        written, chance = Written(), self.generator.random
        count = self.generator.choice(5, p=[0.17, 0.35, 0.28, 0.14, 0.06])
        if chance() < 0.35:
            self.opening(written)
        for i in range(count):
            if i:
                written.add(self.pick(wordings()["joins"]))
                if chance() < 0.25:
                    written.add(self.some("subjects"))
            elif not written.words and chance() < 0.75:
                self.subject(written)
            self.mention(written, ACTION_NAMES[self.generator.integers(len(ACTION_NAMES))])
            if chance() < 0.1:
                written.add(self.some("appearance"))
            if chance() < 0.12:
                written.add(",")
                written.add(self.some("clauses"))
        if not count or chance() < 0.12:
            if not written.words:
                self.subject(written)
            written.add(self.some("clauses"))
        return written

    def opening(self, written: Written) -> None:
        self.subject(written)
        written.add(self.some("clauses"))
        written.add(self.pick([",", "and", ".", "while", "and also"]))
        if self.generator.random() < 0.5:
            written.add(self.some("subjects"))

    def subject(self, written: Written) -> None:
        written.add(self.some("subjects"))
        for _ in range(self.generator.choice(3, p=[0.7, 0.2, 0.1])):
            written.add(self.some("appearance"))

    def mention(self, written: Written, action: str, amount: float | None = None) -> None:
        """Say that an action is done (amount > 0) or not (< 0); at random when None."""
        negated = self.generator.random() < 0.22 if amount is None else amount < 0
        degree = 1
        if not negated:
            degree = int(self.generator.choice(3, p=[0.13, 0.74, 0.13]))
            if amount is not None:
                degree = int(np.abs(np.array(DEGREES) - amount).argmin())
        index, doing = 1 + ACTION_NAMES.index(action), NOT_DONE if negated else DONE
        before, after = self.adverbs(degree)
        if before:
            written.add(before, index if degree != 1 else 0, doing, degree)
        if negated:
            self.negation(written, action, index)
        elif self.generator.random() < 0.3:
            with_ = self.pick(["with", "", "", "there is", "has", "shows"])
            written.add(f"{with_} {self.phrase(self.states[action])}", index, doing, degree)
        else:
            self.affirmation(written, action, index, degree)
        if after:
            written.add(after, index if degree != 1 else 0, doing, degree)

    def adverbs(self, degree: int) -> tuple[str, str]:
        if degree == 1:
            plain = self.some("plain") if self.generator.random() < 0.25 else ""
            return ("", plain) if self.generator.random() < 0.75 else (plain, "")
        word = self.pick(wordings()["slight" if degree == 0 else "strong"])
        return ("", word) if self.generator.random() < 0.6 else (word, "")

    def affirmation(self, written: Written, action: str, index: int, degree: int) -> None:
        if action == "keeps_still" and self.generator.random() < 0.3:
            lack = self.pick(["does not {base}", "do not {base}", "without {ing}", "not {ing}", "never {third}"])
            written.add(self.inflected(lack, self.some("motionless")), index, DONE, degree)
            return
        text = self.inflected(self.some("beginnings"), self.phrase(self.verbs[action]))
        written.add(text, index, DONE, degree)

    def negation(self, written: Written, action: str, index: int) -> None:
        kind = self.generator.random()
        if kind < 0.2:
            none = self.pick(["no", "without", "there is no", "not"])
            written.add(f"{none} {self.phrase(self.states[action])}", index, NOT_DONE)
            return
        form = self.some("without") if kind < 0.4 else self.some("negations")
        if kind > 0.85:  # neither … nor, not … or: both are denied
            other = ACTION_NAMES[self.generator.integers(len(ACTION_NAMES))]
            forms, join = (("{ing}", "nor"), ("{third}", "nor"), ("{base}", "or"))[self.generator.integers(3)]
            start = {"nor": "neither", "or": self.pick(["does not", "do not", "never", "will not"])}[join]
            for word, each in ((start, action), (join, other)):
                phrase = self.inflected(forms, self.phrase(self.verbs[each]))
                written.add(f"{word} {phrase}", 1 + ACTION_NAMES.index(each), NOT_DONE)
            return
        written.add(self.inflected(form, self.phrase(self.verbs[action])), index, NOT_DONE)

    @staticmethod
    def inflected(form: str, phrase: str) -> str:
        verb, _, rest = phrase.partition(" ")
        forms = {"base": verb, "third": third_person(verb), "ing": participle(verb), "past": past(verb)}
        return re.sub(r"\{(base|third|ing|past)\}", lambda match: f"{forms[match[1]]} {rest}".strip(), form)


@cache
def expanded(kind: str) -> list[str]:
    return sorted({text for wording in wordings()[kind] for text in alternatives(wording)})


def alternatives(phrase: str) -> list[str]:
    """"raise|lift {p} brows (way_up)" → every way to say it; ``_`` holds the words of one alternative together."""
    texts = [""]
    for part in re.findall(r"\([^)]*\)|\S+", phrase):
        options = ["", *alternatives(part[1:-1])] if part.startswith("(") else part.split("|")
        texts = [f"{text} {option.replace('_', ' ')}".strip() for text in texts for option in options]
    return texts


def third_person(verb: str) -> str:
    if verb in _IRREGULAR:
        return _IRREGULAR[verb][0]
    if re.search(r"(s|x|z|ch|sh|o)$", verb):
        return verb + "es"
    return verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else verb + "s"


def participle(verb: str) -> str:
    if verb in _IRREGULAR:
        return _IRREGULAR[verb][1]
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    return verb[:-1] + "ing" if re.search(r"[^e]e$", verb) else verb + "ing"


def past(verb: str) -> str:
    if verb in _DOUBLED:
        return verb + verb[-1] + "ed"
    return verb + "d" if verb.endswith("e") else verb[:-1] + "ied" if re.search(r"[^aeiou]y$", verb) else verb + "ed"


def batches(grammar: Grammar, buckets: int, size: int) -> Iterator[dict[str, Tensor]]:
    """Endless padded batches of descriptions; some words are lost, so that the network does not lean on each."""
    while True:
        items = []
        while len(items) < size:
            written = grammar.description()
            kept = grammar.generator.random(len(written.words)) > _LOST_WORD
            keep = [i for i, word in enumerate(written.words) if kept[i] or written.actions[i]]
            if keep:
                items.append({name: [track[i] for i in keep] for name, track in vars(written).items()})
        batch = collate(items, buckets)
        lost = torch.from_numpy(grammar.generator.random(batch["ngrams"].shape) < _LOST_NGRAM)
        lost[..., 0] = False
        batch["ngrams"][lost] = 0
        yield batch


def collate(items: list[dict[str, list]], buckets: int) -> dict[str, Tensor]:
    longest = max(len(item["words"]) for item in items)
    batch = {"ngrams": torch.zeros(len(items), longest, 3, dtype=torch.long)}
    for name in ("actions", "doing", "degrees"):
        batch[name] = torch.zeros(len(items), longest, dtype=torch.long)
    batch["mask"] = torch.zeros(len(items), longest, dtype=torch.bool)
    batch["told"] = torch.zeros(len(items), 2 * len(ACTION_NAMES))
    for row, item in enumerate(items):
        length = len(item["words"])
        batch["ngrams"][row, :length] = torch.from_numpy(ngram_buckets(item["words"], buckets))
        batch["mask"][row, :length] = True
        for name in ("actions", "doing", "degrees"):
            batch[name][row, :length] = torch.tensor(item[name])
        for action, doing in zip(item["actions"], item["doing"], strict=True):
            if action:
                batch["told"][row, action - 1 + (len(ACTION_NAMES) if doing == NOT_DONE else 0)] = 1
    return batch


def loss_of(network: TextEncoder, batch: dict[str, Tensor]) -> Tensor:
    read = network(batch["ngrams"], batch["mask"])
    words = batch["mask"]
    acting = words & (batch["actions"] > 0)
    loss = F.cross_entropy(read["action"][words], batch["actions"][words])
    loss = loss + 0.3 * F.binary_cross_entropy_with_logits(read["told"], batch["told"])
    if acting.any():
        loss = loss + F.cross_entropy(read["doing"][acting], batch["doing"][acting] - 1)
        loss = loss + 0.3 * F.cross_entropy(read["degree"][acting], batch["degrees"][acting])
    return loss


def vocabulary() -> list[str]:
    """Every word that the grammar can use."""
    words: set[str] = set()
    kinds = wordings()
    for kind in ("verbs", "states"):
        for phrases in kinds[kind].values():
            for text in (text for phrase in phrases for text in alternatives(phrase)):
                words |= set(text.split())
                if kind == "verbs":
                    verb = text.split(" ")[0]
                    words |= {third_person(verb), participle(verb), past(verb)}
    for kind, entries in kinds.items():
        if kind not in ("verbs", "states"):
            words |= {word for entry in entries for text in alternatives(entry) for word in text.split()}
    for text in expanded("motionless"):
        words |= {third_person(text.split()[0]), participle(text.split()[0])}
    text = " ".join(words - {"{base}", "{third}", "{ing}", "{past}", "{p}"})
    extra = "not is are will in the photo seen neither nor no there has shows or does do nothing and to of with"
    return sorted({word for stage in split_stages(f"{text} {extra}") for word in stage} - {SEPARATOR})


@torch.no_grad()
def accuracy(network: TextEncoder, grammar: Grammar, count: int = 400) -> float:
    """Share of composed stages whose actions, done or denied, are all read rightly."""
    right = 0
    for _ in range(count):
        written = grammar.description()
        wanted = {
            (ACTION_NAMES[action - 1], doing == DONE)
            for action, doing in zip(written.actions, written.doing, strict=True)
            if action
        }
        mentions, _ = network._read(written.words)
        right += {(name, amount > 0) for name, amount in mentions} == wanted
    return right / count


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m synchrorama train scene", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("checkpoints/mini/scene_encoder"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--held-out", action="store_true", help="keep a seventh of the phrases for measuring")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    network = TextEncoder(vocabulary())
    network.register_to_config(_name_or_path="")
    grammar = Grammar(np.random.default_rng(options.seed), False if options.held_out else None)
    measure = Grammar(np.random.default_rng(options.seed + 1), True if options.held_out else None)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, options.steps, pct_start=0.1)
    started, total = time.time(), 0.0
    source = batches(grammar, network.config.buckets, options.batch_size)
    for step in range(1, options.steps + 1):
        network.train()
        loss = loss_of(network, next(source))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if step % 250 == 0 or step == options.steps:
            network.eval()
            right = accuracy(network, measure)
            print(f"{step} {time.time() - started:.0f}s loss {total / 250:.3f} stages right {right:.3f}", flush=True)
            network.save_pretrained(options.output)
            total = 0.0
