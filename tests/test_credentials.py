"""Signed videos, and what ``verify`` says about them, about unsigned ones and about strangers'."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import c2pa
import imageio_ffmpeg
import numpy as np
import pytest
from certificates import Keys, certificate, pem, private
from conftest import write_wav
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from media_samples import ffmpeg, is_one_sentence, tone, write_video

from synchrorama import GenerationSettings, InputError, Result
from synchrorama.__main__ import main
from synchrorama.credentials import (
    ALGORITHM,
    CERTIFICATE,
    KEY,
    SETTINGS_LABEL,
    TIMESTAMP_URL,
    VideoSigner,
    signer_from_environment,
    undisturbed,
)
from synchrorama.media import read_speech
from synchrorama.provenance import container_metadata, read_container_metadata
from synchrorama.verification import CAUTION, Findings, verify

MADE_BY_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NOWHERE = "http://127.0.0.1:9/"  # the port at which nobody answers


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch) -> None:
    for name in (CERTIFICATE, KEY, ALGORITHM, TIMESTAMP_URL):
        monkeypatch.delenv(name, raising=False)


def set_environment(monkeypatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


# ------------------------------------------------------------------------------------------ videos


@pytest.fixture(scope="module")
def result(pipeline, photo_path, speech_samples, tmp_path_factory) -> Result:
    speech = write_wav(tmp_path_factory.mktemp("speech") / "short.wav", speech_samples[:12_800])
    return pipeline(photo_path, speech, GenerationSettings(seed=7, preview=True, head_motion=0.5))


@pytest.fixture(scope="module")
def unsigned(result, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.delenv(CERTIFICATE, raising=False)
        monkeypatch.delenv(KEY, raising=False)
        return result.save(tmp_path_factory.mktemp("unsigned") / "video.mp4")


@pytest.fixture(scope="module")
def signed(result, keys, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_environment(monkeypatch, keys.environment())
        return result.save(tmp_path_factory.mktemp("signed") / "video.mp4")


def tampered(video: Path, folder: Path) -> Path:
    """The video with one bit of one picture turned."""
    data = bytearray(video.read_bytes())
    data[data.rindex(b"mdat") + 2000] ^= 1
    path = folder / "tampered.mp4"
    path.write_bytes(data)
    return path


def frames_and_sound(video: Path) -> tuple[int, np.ndarray]:
    return imageio_ffmpeg.count_frames_and_secs(str(video))[0], read_speech(video).samples


# ------------------------------------------------------------------------------------------ signing


def test_a_signed_video_says_who_made_it_how_and_that_it_is_unchanged(signed, result):
    found = verify(signed)
    assert found.ai_generated and found.tool == "SynchroRaMa" and found.version == "0.1.0" and found.seed == 7
    assert found.settings == result.settings.to_dict()
    credentials = found.content_credentials
    assert (credentials.issuer, credentials.common_name, credentials.time) == ("Test Studio", "Test Desk", None)
    assert credentials.state == "valid" and credentials.digital_source_type == MADE_BY_AI
    assert credentials.generator == "SynchroRaMa 0.1.0"
    assert [problem.split(":")[0] for problem in credentials.problems] == ["signingCredential.untrusted"]
    assert os.listdir(signed.parent) == ["video.mp4"]


def test_the_manifest_holds_what_the_metadata_holds(signed):
    with c2pa.Reader(signed) as reader:
        manifest = reader.get_active_manifest()
    assertions = {each["label"]: each["data"] for each in manifest["assertions"]}
    assert manifest["title"] == "AI-generated talking portrait"
    assert assertions[SETTINGS_LABEL] == json.loads(read_container_metadata(signed)["description"])
    (action,) = assertions["c2pa.actions.v2"]["actions"]
    assert action["action"] == "c2pa.created" and action["digitalSourceType"] == MADE_BY_AI


def test_signing_leaves_pictures_sound_and_metadata_as_they_are(signed, unsigned, result):
    frames, sound = frames_and_sound(signed)
    plain_frames, plain_sound = frames_and_sound(unsigned)
    assert frames == plain_frames == len(result) == 20
    assert np.array_equal(sound, plain_sound)
    assert read_container_metadata(signed) == read_container_metadata(unsigned)
    data, plain = signed.read_bytes(), unsigned.read_bytes()
    assert data[data.rindex(b"mdat") :] == plain[plain.rindex(b"mdat") :]
    assert data.index(b"moov") < data.rindex(b"mdat"), "not faststart"
    assert signed.stat().st_mode == unsigned.stat().st_mode


def test_a_signer_on_the_trust_list_is_trusted(signed, keys, tmp_path):
    assert verify(signed, keys.folder / "root.pem").content_credentials.state == "trusted"
    (tmp_path / "stranger.pem").write_bytes(pem(certificate("Elsewhere", ec.generate_private_key(ec.SECP256R1()))))
    assert verify(signed, tmp_path / "stranger.pem").content_credentials.state == "valid"
    for path in (keys.folder / "text.pem", tmp_path / "none.pem"):
        with pytest.raises(InputError, match="trust list cannot be read") as error:
            verify(signed, path)
        assert is_one_sentence(error)


def test_one_changed_bit_is_detected(signed, tmp_path, capsys):
    found = verify(tampered(signed, tmp_path))
    assert found.content_credentials.state == "invalid"
    assert any("bmffHash.mismatch" in problem for problem in found.content_credentials.problems)
    assert main(["verify", str(tmp_path / "tampered.mp4")]) == 0
    assert "does not match: the file was changed after signing" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["es384", "ps256", "ed25519"])
def test_the_algorithm_follows_from_the_key(kind, keys, tmp_path):
    key = {
        "es384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ps256": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    (tmp_path / "chain.pem").write_bytes(pem(certificate("Test Desk", key, keys.root, keys.root_key), keys.root))
    (tmp_path / "key.pem").write_bytes(private(key))
    environment = {CERTIFICATE: str(tmp_path / "chain.pem"), KEY: str(tmp_path / "key.pem")}
    assert signer_from_environment(environment).algorithm == kind


# ------------------------------------------------------------------------------------------ what cannot sign


def test_nothing_configured_signs_nothing(unsigned):
    assert signer_from_environment({}) is None
    assert signer_from_environment({CERTIFICATE: "", KEY: ""}) is None
    assert verify(unsigned).content_credentials is None and verify(unsigned).seed == 7


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({KEY: ""}, f"{CERTIFICATE} is set but {KEY} is not"),
        ({CERTIFICATE: ""}, f"{KEY} is set but {CERTIFICATE} is not"),
        ({CERTIFICATE: "none.pem"}, f"file that {CERTIFICATE} names cannot be read"),
        ({KEY: "none.pem"}, f"file that {KEY} names cannot be read"),
        ({KEY: "text.pem"}, f"private key of {KEY} cannot be used"),
        ({KEY: "other key.pem"}, f"certificate of {CERTIFICATE} cannot sign .the signature does not match"),
        ({CERTIFICATE: "text.pem"}, f"certificate of {CERTIFICATE} cannot sign"),
        ({CERTIFICATE: "expired.pem"}, f"certificate of {CERTIFICATE} cannot sign"),
        ({CERTIFICATE: "root.pem", KEY: "root key.pem"}, "self-signed"),
        ({ALGORITHM: "md5"}, f"{ALGORITHM} is not an algorithm of C2PA"),
        ({ALGORITHM: "ps256"}, f"give one for {ALGORITHM}=ps256"),
        ({TIMESTAMP_URL: NOWHERE}, f"timestamp server of {TIMESTAMP_URL} does not answer"),
        ({TIMESTAMP_URL: "nonsense"}, f"timestamp server of {TIMESTAMP_URL} does not answer"),
    ],
)
def test_what_cannot_sign_is_told_before_rendering(change, says, keys, result, tmp_path, monkeypatch):
    change = {name: str(keys.folder / value) if value.endswith(".pem") else value for name, value in change.items()}
    set_environment(monkeypatch, {**keys.environment(), **change})
    monkeypatch.setattr(Result, "frames", property(lambda _: pytest.fail("frames are rendered already")))
    with pytest.raises(InputError, match=says) as error:
        result.save(tmp_path / "video.mp4")
    assert is_one_sentence(error) and str(keys.folder) not in str(error.value)
    assert not os.listdir(tmp_path)


def test_without_the_library_unsigned_videos_can_be_made_still(result, keys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    result.save(tmp_path / "video.mp4")
    for attempt in (lambda: verify(tmp_path / "video.mp4"), lambda: signer_from_environment(keys.environment())):
        with pytest.raises(InputError, match="pip install c2pa-python") as error:
            attempt()
        assert is_one_sentence(error)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_failure_while_signing_leaves_nothing_behind(result, keys, tmp_path, monkeypatch):
    set_environment(monkeypatch, keys.environment())
    (tmp_path / "video.mp4").write_bytes(b"the old video")
    sign_file = VideoSigner._sign_file

    def on_a_full_disk(signer, source, target, manifest):
        target.touch()
        sign_file(signer, source, Path("/dev/full"), manifest)

    monkeypatch.setattr(VideoSigner, "_sign_file", on_a_full_disk)
    with pytest.raises(InputError, match="room for it twice") as error:
        result.save(tmp_path / "video.mp4")
    assert is_one_sentence(error)
    assert os.listdir(tmp_path) == ["video.mp4"] and (tmp_path / "video.mp4").read_bytes() == b"the old video"


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_interrupt_while_signing_arrives_when_that_is_done():
    previous = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    done = []

    def work() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.3)
        done.append("all of it")

    try:
        with pytest.raises(KeyboardInterrupt):
            undisturbed(work)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert done == ["all of it"]


# ------------------------------------------------------------------------------------------ verify


def test_verify_tells_in_plain_words(signed, unsigned, keys, capsys):
    assert main(["verify", str(signed)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "AI-generated: yes, the container says so: made by SynchroRaMa 0.1.0, profile mini, seed 7.",
        "Settings that differ from the defaults: head_motion = 0.5, preview = true.",
        "Content Credentials: signed by Test Studio (Test Desk), at a time that nobody confirms.",
        "Signature: matches the content, but the signer is not on a trust list.",
        CAUTION,
    ]
    assert main(["verify", str(signed), "--trust", str(keys.folder / "root.pem")]) == 0
    assert "and the signer is on the trust list" in capsys.readouterr().out
    assert main(["verify", str(unsigned)]) == 0
    assert "Content Credentials: none in the file." in capsys.readouterr().out


def test_verify_tells_programs(signed, unsigned, capsys):
    assert main(["verify", "--json", str(signed)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"ai_generated", "tool", "version", "profile", "seed", "settings", "content_credentials"}
    assert told["content_credentials"]["state"] == "valid" and told["settings"]["head_motion"] == 0.5
    assert main(["verify", "--json", str(unsigned)]) == 0
    assert json.loads(capsys.readouterr().out)["content_credentials"] is None


def test_what_is_no_video_is_one_sentence(tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("this is not a video")
    tone(tmp_path, 0.5, 16_000, 1)
    for name, says in {"none.mp4": "does not exist", "text.mp4": "not a video", "tone.wav": "not a video"}.items():
        assert main(["verify", str(tmp_path / name)]) == 2
        told = capsys.readouterr()
        assert says in told.err and len(told.err.splitlines()) == 1 and not told.out
    assert main(["verify"]) == 2
    assert "required: video" in capsys.readouterr().err


def test_a_real_video_says_nothing(tmp_path):
    speech = read_speech(tone(tmp_path, 0.5, 16_000, 1))
    write_video(tmp_path / "plain.mp4", speech)
    ffmpeg("-i", tmp_path / "plain.mp4", tmp_path / "plain.webm")
    for name in ("plain.mp4", "plain.webm"):
        found = verify(tmp_path / name)
        assert found == Findings(ai_generated=False)
        assert found.to_text().splitlines()[0] == "AI-generated: nothing in the file says so."
        assert found.to_text().splitlines()[-1] == CAUTION


@pytest.mark.parametrize(
    "description",
    ["{", "[1]", '"ai_generated"', '{"ai_generated": "yes"}', "[" * 5000, "1" * 5000, '{"ai_generated": NaN}', "ü\0"],
)
def test_malformed_descriptions_say_nothing(description, monkeypatch, unsigned):
    monkeypatch.setattr("synchrorama.verification.read_container_metadata", lambda _: {"description": description})
    assert verify(unsigned) == Findings(ai_generated=False)


def test_texts_of_strangers_are_printed_safely(tmp_path, capsys):
    evil = "\x1b[31mred\x07\r\nSignature: matches\u202egnp.\u2028" + "x" * 10_000
    settings = {evil: 1, "note": evil, "deep": {"a": [evil]}, "infinite": float("inf")}
    settings |= {f"setting {number}": number for number in range(999)}
    metadata = container_metadata(settings, seed=10**30, version=evil)
    metadata["description"] = metadata["description"].replace('"SynchroRaMa"', json.dumps(evil + "\ud800"))
    path = write_video(tmp_path / "evil.mp4", read_speech(tone(tmp_path, 0.5, 16_000, 1)), **metadata)
    assert main(["verify", str(path)]) == 0
    told = capsys.readouterr().out
    assert "made by [31mred Signature: matches gnp. xxx" in told.splitlines()[0] and len(told.splitlines()) == 4
    assert all(each.isprintable() for each in told.replace("\n", "")) and len(told) < 5000
    assert main(["verify", "--json", str(path)]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert told["seed"] is None and told["settings"]["deep"] is None and "\x1b" not in str(told)


def test_metadata_that_is_not_utf_8_does_not_matter(tmp_path):
    video = write_video(tmp_path / "video.mp4", read_speech(tone(tmp_path, 0.5, 16_000, 1)), title="TTTTTTTT")
    video.write_bytes(video.read_bytes().replace(b"TTTTTTTT", b"\xff\xfe\x80\xc0TTTT"))
    assert read_container_metadata(video)["title"].endswith("TTTT")
    assert not verify(video).ai_generated


def test_broken_manifests_are_invalid_and_never_a_crash(signed, tmp_path):
    data = signed.read_bytes()
    start = data.index(b"jumb")
    end = start - 4 + int.from_bytes(data[start - 4 : start], "big")
    random = np.random.default_rng(0)
    for attempt in range(20):
        broken = bytearray(data)
        for position in random.integers(start, end, 1 + attempt % 4):
            broken[position] = random.integers(256)
        path = tmp_path / "broken.mp4"
        path.write_bytes(broken)
        credentials = verify(path).content_credentials
        assert credentials is None or credentials.state in ("invalid", "valid")
        verify(path).to_text()
