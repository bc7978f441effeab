"""Codecs of the diffusion stage: what latents of zero mean, and that they give back what they took."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from synchrorama.diffusion.autoencoder import KLAutoencoder, LogGain
from synchrorama.diffusion.region import FaceRegion, feather, painted
from synchrorama.motion_frames import MotionFrame


def smooth(seed: int) -> Tensor:
    """Pictures without detail finer than a cell."""
    coarse = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    return F.interpolate(coarse, size=(64, 64), mode="bicubic", align_corners=False).clamp(-1, 1)


def test_zero_latents_are_the_motion_frames() -> None:
    motion = smooth(0) + 0.05 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    motion = motion.clamp(-1, 1)
    codec = LogGain()
    assert torch.equal(codec.encode(motion, motion), torch.zeros(2, 3, 16, 16))
    torch.testing.assert_close(codec.decode(torch.zeros(2, 3, 16, 16), motion), motion)


def test_gains_bring_back_another_brightness_and_colour() -> None:
    motion, target = smooth(0), smooth(2)
    codec = LogGain()
    decoded = codec.decode(codec.encode(target, motion), motion)
    before, after = (float((x - target).abs().mean()) for x in (motion, decoded))
    assert after < 0.15 * before


def test_gains_keep_the_detail_of_the_motion_frame() -> None:
    """Whatever is painted, edges stay where they were, relative to their brightness."""
    generator = torch.Generator().manual_seed(3)
    detail = 1 + 0.2 * torch.rand(1, 1, 64, 64, generator=generator)
    plain = torch.full((1, 3, 64, 64), 0.5)
    codec = LogGain()
    painted = codec.decode(0.5 * torch.ones(1, 3, 16, 16), plain * detail - 1)
    contrast = (painted[:, 0] + codec.LIFT) / (plain[:, 0] * detail[:, 0] - 1 + codec.LIFT)
    assert float(contrast.std() / contrast.mean()) < 1e-3


def test_no_latents_can_leave_the_range() -> None:
    codec = LogGain()
    for value in (-1e6, 1e6):
        decoded = codec.decode(torch.full((2, 3, 16, 16), value), smooth(0))
        assert torch.isfinite(decoded).all()
        assert float(decoded.abs().max()) <= 1


def test_preview_is_the_painted_picture_made_small() -> None:
    motion = 0.5 * smooth(0)
    target = 0.8 * motion + 0.1
    codec = LogGain()
    small = codec.preview(codec.encode(target, motion), motion)
    assert small.shape == (2, 3, 16, 16)
    torch.testing.assert_close(small, F.avg_pool2d(target, 4), atol=1e-5, rtol=0)


def test_kl_autoencoder_has_the_same_interface() -> None:
    torch.manual_seed(0)
    tiny = AutoencoderKL(
        block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, scaling_factor=0.2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    codec, pictures = KLAutoencoder(tiny), smooth(0)
    with torch.no_grad():
        latents = codec.encode(pictures, smooth(1))
        assert latents.shape == (2, 4, 32, 32)
        assert torch.equal(latents, codec.encode_reference(pictures))
        expected = tiny.decode(tiny.encode(pictures).latent_dist.mode()).sample.clamp(-1, 1)
        torch.testing.assert_close(codec.decode(latents, smooth(1)), expected, rtol=0, atol=1e-4)


@pytest.fixture
def frame() -> MotionFrame:
    rows, columns = np.mgrid[0:512, 0:512]
    image = np.dstack([columns // 2, rows // 2, np.full((512, 512), 90)]).astype(np.uint8)
    mouth = np.array([[240, 330], [272, 330], [272, 346], [240, 346]], np.float32)
    return MotionFrame(image, mouth, np.array([256.0, 320.0]), 16.0, np.zeros((468, 2)))


def test_region_is_centred_on_the_lower_face_and_spans_thirteen_centimetres(frame: MotionFrame) -> None:
    cut = FaceRegion.of(frame, 128).cut(frame.image)
    assert cut.shape == (128, 128, 3)
    assert cut[:, 64, 0].mean() == pytest.approx(128, abs=1)
    assert cut[64, :, 1].mean() == pytest.approx(160, abs=1)
    assert int(cut[64, 127, 0]) - int(cut[64, 0, 0]) == pytest.approx(13 * 16 / 2, abs=2)


def test_region_measures_the_open_mouth(frame: MotionFrame) -> None:
    mouth = FaceRegion.of(frame, 128).mouth(frame.mouth, 32)
    assert mouth.shape == (32, 32)
    cell = (13 * 16 / 32) ** 2  # pixels
    assert float(mouth.sum()) * cell == pytest.approx(33 * 17, rel=0.08)


@pytest.mark.parametrize("lower_face", [(256, 320), (30, 500), (-400, 320)], ids=["inside", "corner", "outside"])
def test_field_lands_where_it_was_cut(frame: MotionFrame, lower_face: tuple[int, int]) -> None:
    moved = MotionFrame(frame.image, frame.mouth, np.array(lower_face, float), 16.0, frame.landmarks)
    region = FaceRegion.of(moved, 128)
    cells = region.cut(frame.image).reshape(32, 4, 32, 4, 3).mean((1, 3)).astype(np.float32)
    spread, part = region.spread(cells, frame.image.shape)
    assert spread.shape[:2] == frame.image[part].shape[:2]
    inner = (slice(16, -16), slice(16, -16))
    if min(spread.shape[:2]) > 32:
        rows, columns = np.mgrid[part][:, 16:-16, 16:-16]
        on_picture = (rows > 8) & (rows < 504) & (columns > 8) & (columns < 504)
        error = np.abs(spread[inner] - frame.image[part][inner].astype(np.float32))[on_picture]
        assert error.max() < 3


def test_feather_is_one_inside_and_falls_to_nothing_at_the_border() -> None:
    weight = feather(32)
    assert weight[16, 16] == 1
    assert weight[0].max() < 0.05
    assert np.all(np.diff(weight[16, :16]) >= 0)


def test_nothing_is_painted_far_from_the_mouth_or_while_it_is_shut() -> None:
    mouth = torch.zeros(2, 1, 32, 32)
    mouth[1, :, 18:20, 13:19] = 1
    shut, wide = painted(mouth)[:, 0]
    assert not shut.any()
    assert float(wide[19, 16]) == 1
    assert not wide[:4].any()
    assert float((wide[1:] - wide[:-1]).abs().max()) < 0.5  # no edge
    lips = [float(painted(mouth * opening)[1, 0, 19, 16]) for opening in (0.1, 0.2, 0.3)]
    assert 0 < lips[0] < lips[1] < lips[2] < 1  # it comes gradually as the lips part
