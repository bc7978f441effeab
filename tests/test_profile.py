"""The full profile against a server that answers as the Hub does, with tiny random weights of every component."""

from __future__ import annotations

import json
import pickle
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny_profile
import torch
from conftest import REPOSITORY, write_wav
from hub_server import NAME, TOKEN, files_of
from huggingface_hub import constants
from tiny_profile import AUDEERING, CLIP, HALLO, SAYS, SENTIMENT, SMOLVLM, SOUND, VAE, VOICE, WHISPER, revision

from synchrorama import InputError, SynchroRaMaPipeline, converted
from synchrorama.__main__ import main
from synchrorama.components import COMPONENTS
from synchrorama.conversion import CARD
from synchrorama.profile import find_profile

MINI = REPOSITORY / "checkpoints" / "mini"
ONE_SENTENCE = re.compile(r"[^\n]+[.]")


@pytest.fixture
def no_waiting(monkeypatch):
    """huggingface_hub tries again at once, not after seconds."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.fixture
def recording(pipeline, speech_path):
    return pipeline.look(None, speech_path).recording


def sentence(action) -> str:
    """What the InputError says that is raised; one sentence without secrets and places of the server."""
    with pytest.raises(InputError) as caught:
        action()
    said = str(caught.value)
    assert ONE_SENTENCE.fullmatch(said), said
    assert TOKEN not in said and "Traceback" not in said and str(constants.HF_HUB_CACHE) not in said
    return said


def full(**options) -> SynchroRaMaPipeline:
    return SynchroRaMaPipeline.from_pretrained("full", **options)


def left_over() -> list[str]:
    """What lies beside the cache of the Hub, but for locks."""
    place = Path(constants.HF_HUB_CACHE).parent / "synchrorama"
    return sorted(path.name for path in place.glob("*") if path.suffix != ".lock")


# ------------------------------------------------------------------------------------------ loading


def test_each_component_is_fetched_when_it_is_used_and_nothing_else(full_hub, recording, photo_path):
    pipe = full()
    assert full_hub.requests == []
    assert pipe.motion_space is not None and pipe.a2m is not None and pipe.text_encoder is not None
    assert full_hub.asked() == set()
    assert pipe.transcribe(recording).text == SAYS
    assert full_hub.asked() == {WHISPER}
    assert pipe.voice(recording).probabilities.shape == (50, 8) and pipe.valence_arousal(recording).shape == (2, 50)
    assert full_hub.asked() == {WHISPER, VOICE}  # valence and arousal are heard by our own network
    assert "In the photo" in pipe.look(photo_path).description
    assert full_hub.asked() == {WHISPER, VOICE, SMOLVLM}
    assert pipe.diffusion is not None
    assert full_hub.asked() == {WHISPER, VOICE, SMOLVLM, HALLO, VAE, SOUND}
    assert full_hub.fetched(HALLO) == {"hallo/net.pth"}  # and not the face embedding
    assert full_hub.fetched(VAE) == {"config.json", "diffusion_pytorch_model.safetensors"}
    full_hub.requests.clear()
    assert full().diffusion is not None
    assert full_hub.requests == []  # all pinned, all here


def test_a_second_run_needs_no_network_and_converts_nothing_again(full_hub, monkeypatch):
    full().load()
    full_hub.stop()
    net = next(Path(constants.HF_HUB_CACHE).rglob("net.pth"))
    net.resolve().unlink()  # a conversion makes it unnecessary
    pipe = full().load()
    assert set(pipe.profile.parts) == set(COMPONENTS) and pipe.profile.needs.download == 0
    assert "cannot be fetched, because 127.0.0.1 cannot be reached" in sentence(
        lambda: full(backends={"text_encoder": "clip"}).components.text_encoder
    )


def test_the_full_profile_makes_a_video(full_hub, photo_path, speech_samples, tmp_path):
    pipe = full()
    speech = write_wav(tmp_path / "short.wav", speech_samples[:6400])
    settings = pipe.settings(seed=1, inference_steps=1, guidance_scale=1.0, text_weight=0)
    result = pipe(photo_path, speech, settings)
    painted = np.stack(list(result.frames)).astype(float)
    motion = np.stack([result.frame(t) for t in range(len(result))]).astype(float)
    assert painted.shape == (10, 512, 512, 3) == motion.shape
    assert np.abs(painted - motion)[:, 100:400, 100:400].mean() > 1


def test_a_preview_paints_nothing_and_so_fetches_nothing_to_paint_with(full_hub, photo_path, speech_path):
    pipe = full()
    result = pipe(photo_path, speech_path, pipe.settings(seed=1, preview=True))
    assert next(result.frames).shape == (256, 256, 3)
    assert full_hub.asked() == {WHISPER, SENTIMENT, VOICE}


def test_a_checkpoint_on_the_hub_may_have_a_profile_of_its_own(full_hub, recording):
    entry = next(each for each in tiny_profile.FULL["components"]["transcription"] if each["backend"] == "whisper")
    profile = {"components": {"transcription": [entry]}, "defaults": {"head_motion": 0.5}}
    full_hub.commit({**files_of(MINI), "profile.json": json.dumps(profile).encode()})
    pipe = SynchroRaMaPipeline.from_pretrained(NAME)
    assert full_hub.requests == []
    assert pipe.transcribe(recording).text == SAYS and pipe.settings().head_motion == 0.5
    assert full_hub.fetched() == {"profile.json"}
    assert pipe.a2m is not None and full_hub.asked() == {NAME, WHISPER}
    assert NAME in pipe.profile.identity and f"{WHISPER}@{revision(WHISPER)}" in pipe.profile.identity
    full_hub.stop()
    again = SynchroRaMaPipeline.from_pretrained(NAME)
    assert again.transcribe(recording).text == SAYS and again.a2m is not None


def test_processes_and_nodes_get_the_profile_as_it_was_chosen(full_hub):
    profile = find_profile("full", backends={"valence_arousal": "audeering"}, accept_non_commercial=True)
    profile.fetch()
    full_hub.stop()
    elsewhere = pickle.loads(pickle.dumps(profile))
    assert elsewhere.identity == profile.identity
    assert SynchroRaMaPipeline(elsewhere).components.valence_arousal is not None


# ------------------------------------------------------------------------------------------ converting


def test_the_published_file_is_converted_once_whoever_asks(full_hub, monkeypatch):
    made, convert = [], converted.convert_hallo

    def counted(*arguments):
        made.append(threading.get_ident())
        return convert(*arguments)

    monkeypatch.setattr(converted, "convert_hallo", counted)
    profiles = [find_profile("full") for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        folders = set(threads.map(lambda profile: profile.folder("diffusion"), profiles))
    assert len(folders) == 1 and len(made) == 1
    (folder,) = folders
    assert (folder / CARD).is_file() and left_over() == [folder.name]
    assert folder.parent.parent == Path(constants.HF_HUB_CACHE).parent


def test_what_cannot_be_converted_leaves_nothing(full_hub, tiny_repositories, no_waiting):
    full_hub.damaged = {"hallo/net.pth"}
    said = sentence(lambda: full().diffusion)
    assert said == (
        f"The file hallo/net.pth of {HALLO} arrived damaged; fetch it again with "
        "`python -m synchrorama download full --force`."
    )
    assert "net.pth is damaged, cut short or no file of PyTorch" in sentence(lambda: full().diffusion)
    assert left_over() == []
    full_hub.damaged = set()
    assert main(["download", "full", "--force"]) == 0
    assert full().diffusion is not None


def test_code_in_the_published_file_is_not_run(full_hub, tmp_path):
    class Code:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"denoising_unet.conv_in.weight": Code()}, tmp_path / "net.pth")
    full_hub.commit({"hallo/net.pth": (tmp_path / "net.pth").read_bytes()}, repository=HALLO, number=revision(HALLO))
    assert "holds more than tensors, such as code" in sentence(lambda: full().diffusion)
    assert not (tmp_path / "ran").exists() and left_over() == []


# ------------------------------------------------------------------------------------------ what goes wrong


def autoencoder() -> object:
    return full().components.autoencoder


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda hub: hub.repositories.pop(VAE), f"'{VAE}' is neither a folder here nor a repository on 127.0.0.1"),
        (lambda hub: hub.only_for.update({VAE: "agreed"}), f"accept its terms; do so at https://127.0.0.1/{VAE}"),
        (lambda hub: hub.only_for.update({VAE: "owner"}), "private or does not exist; check the name, and set"),
        (lambda hub: hub.damaged.add("diffusion_pytorch_model.safetensors"), "arrived damaged; fetch it again"),
        (lambda hub: setattr(hub, "failing", 503), "out of order (error 503); wait a while and run `python -m"),
        (lambda hub: setattr(hub, "silent", True), "cannot be reached; connect to the network and run `python -m"),
        (lambda hub: hub.stop(), "cannot be reached; connect to the network and run `python -m"),
        (lambda hub: hub.repositories[VAE].commits.clear(), f"{VAE} has no revision '{revision(VAE)}'"),
        (
            lambda hub: hub.repositories[VAE].commits[revision(VAE)].pop("config.json"),
            f"{VAE} has no config.json, which is needed",
        ),
    ],
)  # fmt: skip
def test_a_repository_that_cannot_be_used(full_hub, no_waiting, monkeypatch, change, says):
    monkeypatch.setattr("synchrorama.hub._ANSWER_SECONDS", 0.2)
    change(full_hub)
    said = sentence(autoencoder)
    assert says in said and ("`python" not in said or "download full" in said)
    assert full().a2m is not None  # what is not of that repository works


def test_a_token_lets_in(full_hub, monkeypatch):
    full_hub.only_for[VAE] = "owner"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert autoencoder() is not None


def test_a_repository_that_goes_on_changes_nothing_for_those_who_are_pinned(full_hub):
    full_hub.commit({"config.json": b"{}"}, repository=VAE, number="0" * 40)
    assert full_hub.repositories[VAE].branches["main"] == "0" * 40
    assert find_profile("full").folder("autoencoder").name == revision(VAE)


@pytest.mark.parametrize("contents", [b"{}", b'{"_class_name": "AutoencoderKL", "block_out_channels": [3]}'])
def test_weights_of_another_network_are_told_in_one_sentence(full_hub, contents):
    full_hub.commit({"config.json": contents}, repository=VAE, number=revision(VAE))
    assert "weights of the autoencoder are damaged or of another network" in sentence(autoencoder)


# ------------------------------------------------------------------------------------------ backends


def everything(pipe: SynchroRaMaPipeline, recording, photo_path) -> dict[str, object]:
    """What each component says, by its name; what reads what another says gets the same to read."""
    from synchrorama.emotion.transcript import align

    typed = align("I hate the train. I love the train.", recording.samples)
    portrait = pipe.look(photo_path).portrait
    return {
        "transcription": pipe.transcribe(recording).text,
        "sentiment": pipe.sentiment(typed, 50).probabilities.tolist(),
        "speech_emotion": pipe.voice(recording).probabilities.tolist(),
        "valence_arousal": pipe.valence_arousal(recording).tolist(),
        "scene_description": pipe.describe(portrait),
    }


@pytest.mark.parametrize(
    ("component", "backend", "repository"),
    [
        ("transcription", "whisper", WHISPER),
        ("sentiment", "xlm-roberta", SENTIMENT),
        ("speech_emotion", "wav2vec2", VOICE),
        ("valence_arousal", "audeering", AUDEERING),
        ("scene_description", "smolvlm", SMOLVLM),
    ],
)
def test_another_backend_changes_its_part_and_no_other(
    full_hub, pipeline, recording, photo_path, component, backend, repository, monkeypatch
):
    # random weights say nothing that could be shown
    describer = "synchrorama.backends.vision_language.VisionLanguageDescriber"
    monkeypatch.setattr(f"{describer}._answer", lambda *_: "A man smiles.")
    other = SynchroRaMaPipeline.from_pretrained("mini", backends={component: backend}, accept_non_commercial=True)
    before, after = (everything(pipe, recording, photo_path) for pipe in (pipeline, other))
    assert {name for name in before if before[name] != after[name]} == {component}
    assert full_hub.asked() == {repository}
    assert other.profile.identity != find_profile("mini").identity and repository in other.profile.identity


@pytest.mark.parametrize(
    ("component", "backend", "lacks"),
    [
        ("transcription", "pocketsphinx", WHISPER), ("sentiment", "vader", SENTIMENT),
        ("speech_emotion", "synchrorama", VOICE), ("scene_description", "measured", SMOLVLM),
        ("diffusion", "mouth", HALLO),
    ],
)  # fmt: skip
def test_a_backend_of_the_small_profile_serves_the_full_one(full_hub, pipeline, component, backend, lacks):
    pipe = full(backends={component: backend})
    assert type(getattr(pipe.components, component)) is type(getattr(pipeline.components, component))
    assert lacks not in {part.repository.name for part in pipe.profile.with_weights if part.repository}
    assert full_hub.requests == []


def test_the_face_embedding_goes_to_the_diffusion_stage_alone(full_hub, pipeline, photo_path):
    portrait = pipeline.look(photo_path).portrait
    widths = {}
    for backend in ("arcface", "clip"):
        pipe = full(backends={"face_embedding": backend}, accept_non_commercial=True)
        widths[backend] = tuple(pipe.components.face_embedding(portrait.crop, portrait.landmarks).shape)
    assert widths == {"arcface": (512,), "clip": (24,)}
    assert full_hub.asked() == {HALLO, CLIP} and full_hub.fetched(HALLO) == {"face_analysis/models/glintr100.onnx"}
    assert full().components.face_embedding is None


def test_what_forbids_commercial_use_has_to_be_accepted(full_hub, capsys, photo_path, speech_path):
    for component, backend, licence in (
        ("face_embedding", "arcface", "InsightFace: non-commercial research only"),
        ("valence_arousal", "audeering", "CC-BY-NC-SA-4.0"),
    ):
        for place in ("full", "mini"):
            said = sentence(lambda: SynchroRaMaPipeline.from_pretrained(place, backends={component: backend}))  # noqa: B023
            assert "may not be used commercially" in said and licence in said and "--accept-non-commercial" in said
    assert full_hub.requests == []
    command = ["analyze", str(speech_path), "--valence-arousal-backend", "audeering", "--json"]
    assert main(command) == 2
    assert "CC-BY-NC-SA-4.0" in json.loads(capsys.readouterr().out)["error"]
    assert main([*command, "--accept-non-commercial"]) == 0
    assert json.loads(capsys.readouterr().out)["emotion"] and full_hub.asked() == {AUDEERING}


def test_the_page_and_the_user_learn_what_it_needs(full_hub, capsys, photo_path, speech_path):
    needs = find_profile("full").needs
    named = {name: each[0] for name, each in tiny_profile.FULL["components"].items()}
    assert needs.download == sum(each.get("bytes", 0) for each in named.values())
    assert needs.disk == needs.missing_disk == needs.download + named["diffusion"]["hallo"]["bytes"]
    assert needs.vram == tiny_profile.FULL["vram_bytes"] and "need a GPU, and there is none here" in needs.problem
    assert main(["analyze", str(speech_path), "--checkpoint", "full"]) == 0
    told = capsys.readouterr().err
    assert "full: 8.5 GB to be fetched, each part when it is first used, 13.4 GB on the disk in all" in told
    assert "made for a GPU with 12.0 GB of memory" in told and "take the profile mini instead" in told
    assert find_profile("full").needs.download < needs.download  # what was just fetched
    small = find_profile("mini").needs
    assert small.download == small.vram == 0 and small.problem == ""


def test_on_a_gpu_too_small_to_paint_the_rest_works(full_hub, recording, monkeypatch):
    from synchrorama.placement import Placement

    def too_small() -> Placement:
        raise InputError("The GPU is too small.")

    monkeypatch.setattr(Placement, "for_this_machine", too_small)
    pipe = full()
    assert pipe.transcribe(recording).text == SAYS
    assert sentence(lambda: pipe.diffusion) == "The GPU is too small."


def test_an_embedding_that_the_networks_were_not_trained_with_is_told(full_hub, pipeline, photo_path):
    portrait = pipeline.look(photo_path).portrait
    stage = full(backends={"face_embedding": "clip"}).diffusion
    said = sentence(lambda: stage._face_embedding(portrait.crop, portrait.landmarks))
    assert "take 512 numbers from face_embedding and its backend gives 24; choose the backend" in said


def test_a_profile_of_others_needs_consent_for_its_part_alone(full_hub, tmp_path):
    components = {name: list(reversed(each)) for name, each in tiny_profile.FULL["components"].items()}
    components["valence_arousal"].sort(key=lambda entry: entry["backend"] != "audeering")
    path = tiny_profile.write_profile(tmp_path, components=components)
    pipe = SynchroRaMaPipeline.from_pretrained(path)
    assert pipe.a2m is not None and full_hub.requests == []
    assert "CC-BY-NC-SA-4.0" in sentence(lambda: pipe.components.valence_arousal)
    assert main(["download", str(path)]) == 2 and full_hub.requests == []
    accepted = SynchroRaMaPipeline.from_pretrained(path, accept_non_commercial=True)
    assert accepted.components.valence_arousal is not None
