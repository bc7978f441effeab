"""Published networks in miniature: random weights of the real classes, saved as their repositories are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

WAV2VEC2 = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32,
    "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 12,
}  # fmt: skip


def seeded(kind: Any, config: Any, seed: int = 0) -> torch.nn.Module:
    """A network whose weights are large enough that different inputs give clearly different outputs."""
    torch.manual_seed(seed)
    network = kind(config).eval()
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and "norm" not in name:
                weight.normal_(0, 1 / np.sqrt(weight[0].numel()))
    return network


def wav2vec2_folder(folder: Path, kind: Any, seed: int = 0, safe: bool = True, **config: Any) -> Path:
    """A model class of wav2vec 2.0 as its published folder."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor

    network = seeded(kind, Wav2Vec2Config(**(WAV2VEC2 | config)), seed)
    network.save_pretrained(folder)
    if not safe:
        as_pickle(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def as_pickle(folder: Path) -> Path:
    """Older repositories have pytorch_model.bin instead of model.safetensors."""
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    torch.save(load_file(path), folder / "pytorch_model.bin")
    path.unlink()
    return folder


# ------------------------------------------------------------------------------------------------ Whisper

_LANGUAGES = ("en", "de", "zh")
_LETTERS = "Hello there, how are you today? I love this wonderful day. Schöne Grüße! 你好，世界。"


def whisper_folder(
    folder: Path,
    says: str,
    language: str | None = "en",
    *,
    no_speech: bool = False,
    alignment: bool = True,
    stamps: tuple[float, float] = (0.0, 1.0),
) -> Path:
    """A Whisper that says the same in every window, whatever it hears; where it looks depends on the sound.

    Its layers add nothing to what comes in, and the embedding of each position is that of the token to be said next.

    Args:
        language: the language it hears; None for a network that knows English alone.
        no_speech: it takes everything for silence.
        alignment: its generation settings name the heads that tell when words are spoken.
        stamps: the time stamps before and after the text, in seconds.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    folder.mkdir(parents=True)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([_LETTERS] * 3, vocab_size=300, min_frequency=2, show_progress=False)
    trained.save_model(str(folder))
    merges = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    tokenizer = WhisperTokenizer(
        vocab=json.loads((folder / "vocab.json").read_text(encoding="utf-8")),
        merges=[tuple(line.split(" ")) for line in merges if not line.startswith("#version")],
    )
    marks = ["<|startoftranscript|>", *(f"<|{code}|>" for code in _LANGUAGES), "<|translate|>", "<|transcribe|>",
             "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(1501)])
    end, start, silence, unstamped = tokenizer.convert_tokens_to_ids(
        ["<|endoftext|>", "<|startoftranscript|>", "<|nospeech|>", "<|notimestamps|>"]
    )
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_target_positions=60, pad_token_id=end,
        bos_token_id=end, eos_token_id=end, decoder_start_token_id=start,
    )  # fmt: skip
    network = seeded(WhisperForConditionalGeneration, config)

    spoken = tokenizer(says, add_special_tokens=False).input_ids
    first, last = (unstamped + 1 + round(seconds / 0.02) for seconds in stamps)
    heard = silence if no_speech else tokenizer.convert_tokens_to_ids(f"<|{language or 'en'}|>")
    asked = [heard, end] if language else [heard][:0]  # what begins the decoding: start, language, task
    said = [*asked, first, *spoken, last, end]
    decoder = network.model.decoder
    with torch.no_grad():
        for layer in decoder.layers:
            for adds in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                adds.weight.zero_()
                adds.bias.zero_()
        tokens = decoder.embed_tokens.weight
        tokens -= tokens.mean(1, keepdim=True)
        tokens /= tokens.norm(dim=1, keepdim=True)
        decoder.embed_positions.weight[:] = 20 * tokens[said + [end] * (60 - len(said))]
        decoder.layer_norm.weight.fill_(5)

    settings = {
        "decoder_start_token_id": start, "eos_token_id": end, "pad_token_id": end, "bos_token_id": end,
        "no_timestamps_token_id": unstamped, "max_initial_timestamp_index": 50, "max_length": 60,
        "is_multilingual": language is not None,
    }  # fmt: skip
    if language is not None:
        numbers = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in marks}
        settings["lang_to_id"] = {f"<|{code}|>": numbers[f"<|{code}|>"] for code in _LANGUAGES}
        settings["task_to_id"] = {task: numbers[f"<|{task}|>"] for task in ("translate", "transcribe")}
    if alignment:
        settings["alignment_heads"] = [[0, 0], [1, 1]]
    network.generation_config = GenerationConfig(**settings)
    network.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


# ------------------------------------------------------------------------------------------------ text and pictures


def sentiment_folder(folder: Path, labels: tuple[str, ...] = ("negative", "neutral", "positive")) -> Path:
    """An XLM-RoBERTa; its tokenizer is a SentencePiece file alone, as in the repositories of its first years."""
    import sentencepiece
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    folder.mkdir(parents=True)
    words = ["gut", "love", "schlimm", "hate", "the", "train", "das", "ist"]
    sentences = [" ".join(words[i:] + words[:i]) for i in range(len(words))] * 20
    with (folder / "sentencepiece.bpe.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences), model_writer=file, vocab_size=60, model_type="bpe", minloglevel=2,
            hard_vocab_limit=False,
        )  # fmt: skip
    config = XLMRobertaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )  # fmt: skip
    network = seeded(XLMRobertaForSequenceClassification, config)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    with torch.no_grad():  # all texts are much alike to it: only their differences count, tenfold
        texts = [torch.tensor([[0, *(piece + 1 for piece in pieces.encode(word)), 2]]) for word in words]
        head = network.classifier.out_proj
        common = torch.cat([network(text).logits for text in texts]).mean(0)
        head.weight *= 10
        head.bias -= 10 * common
    network.save_pretrained(folder)
    return folder


def clip_folder(folder: Path) -> Path:
    """All of CLIP, as openai/clip-vit-large-patch14; its tokenizer knows letters."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz.,"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    text = {"vocab_size": len(words), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 32, "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}  # fmt: skip
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
              "image_size": 32, "patch_size": 8, "projection_dim": 24}  # fmt: skip
    seeded(CLIPModel, CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).save_pretrained(folder)
    CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[]).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    return folder


def vision_language_folder(folder: Path) -> Path:
    """An Idefics3, as HuggingFaceTB/SmolVLM-256M-Instruct; it has a few words to say anything with."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
        PreTrainedTokenizerFast,
    )

    marks = ["<unk>", "<|im_start|>", "<end_of_utterance>", "<image>", "<fake_token_around_image>", "<global-img>"]
    text = "A man woman with dark hair and a blue shirt smiles at the camera . , before grey wall User Assistant :"
    vocabulary = {word: i for i, word in enumerate([*marks, *text.split()])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<|im_start|>", eos_token="<end_of_utterance>",
        pad_token="<|im_start|>", additional_special_tokens=marks[3:],
    )  # fmt: skip
    template = (
        "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}: "
        "{% for line in message['content'] %}"
        "{% if line['type'] == 'text' %}{{line['text']}}{% else %}<image>{% endif %}{% endfor %}<end_of_utterance>\n"
        "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
    )
    pictures = Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    config = Idefics3Config(
        image_token_id=vocabulary["<image>"], scale_factor=2, pad_token_id=1,
        vision_config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
                       "image_size": 32, "patch_size": 8},
        text_config={"model_type": "llama", "vocab_size": len(vocabulary), "hidden_size": 32, "intermediate_size": 32,
                     "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 1,
                     "bos_token_id": 1, "eos_token_id": 2},
    )  # fmt: skip
    seeded(Idefics3ForConditionalGeneration, config).save_pretrained(folder)
    Idefics3Processor(pictures, tokenizer, image_seq_len=4, chat_template=template).save_pretrained(folder)
    return folder
