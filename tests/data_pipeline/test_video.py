"""What may be opened, what is refused and in which words, and what compression does."""

import os
import struct
import wave
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest

from kdjax.data_pipeline import compression, containers, video

LOSSLESS = (".png", ".bmp", ".tiff", ".webp", ".ppm")
CONTAINERS = (".mp4", ".mov", ".mkv", ".avi", ".ts", ".flv")


def read(path, **limits):
    with video.open_media(path, **limits) as media:
        frames = list(media)
        return media, frames


def reason(path, **limits):
    with pytest.raises(video.MediaError) as caught:
        read(path, **limits)
    message = str(caught.value)
    assert message == f"{path}: {caught.value.reason}"
    assert "\n" not in message
    return caught.value.reason


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.fixture
def clip(make, tmp_path):
    return make.write_video(tmp_path / "clip.mp4", make.moving_frames(10))


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_images_come_back_bit_for_bit(make, tmp_path, suffix):
    pixels = make.moving_frames(1)[0]
    quality = (64, 101) if suffix == ".webp" else ()  # above 100 means lossless
    media, frames = read(make.write_image(tmp_path / f"a{suffix}", pixels, *quality))
    assert media.frames == len(frames) == 1
    np.testing.assert_array_equal(frames[0], pixels)
    assert frames[0].dtype == np.uint8


@pytest.mark.parametrize("progressive", [0, 1])
def test_jpeg_comes_back_nearly_as_it_was(make, tmp_path, progressive):
    pixels = make.moving_frames(1)[0]
    path = make.write_image(tmp_path / "a.jpg", pixels, 1, 95, 2, progressive)
    assert psnr(read(path)[1][0], pixels) > 32


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_videos_of_every_container_give_all_frames_in_order(make, tmp_path, suffix):
    expected = make.moving_frames(12)
    media, frames = read(make.write_video(tmp_path / f"a{suffix}", expected, crf="10"))
    assert media.frames == len(frames) == 12
    assert min(psnr(a, b) for a, b in zip(frames, expected, strict=True)) > 35


def test_metadata_of_no_known_encoding_are_no_obstacle(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "what it was"
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"what it was", b"\xe9 \xff\xfe\x80 title"))
    assert len(read(path)[1]) == 1


def test_content_decides_not_the_name(make, tmp_path, clip):
    disguised = clip.rename(tmp_path / "holiday.jpg")
    assert read(disguised)[0].frames == 10


@pytest.mark.parametrize("name", ["frame%03d.png", "a:b.png", "file:x.png", "*.png", "concat:a|b"])
def test_a_name_is_only_a_name(make, tmp_path, name):
    for number in range(3):
        make.write_image(tmp_path / f"frame{number:03d}.png", np.zeros((8, 8, 3), np.uint8))
    pixels = make.moving_frames(1)[0]
    make.write_image(tmp_path / "plain.png", pixels).rename(tmp_path / name)
    np.testing.assert_array_equal(read(tmp_path / name)[1][0], pixels)


UPRIGHT = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""What each EXIF orientation asks for, by the standard: where row 0 and column 0 of the file are seen."""

MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""The same as the display matrix `a, b, c, d` of a video: `(x, y)` is shown at `(a x + c y, b x + d y)`."""


def exif(orientation):
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_photograph_is_turned_and_mirrored_upright(make, tmp_path, suffix, orientation):
    plain = make.write_image(tmp_path / f"a{suffix}", make.moving_frames(1)[0]).read_bytes()
    if suffix == ".jpg":
        body = b"Exif\0\0" + exif(orientation)
        marked = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + plain[2:]
    else:
        end = 8 + 12 + 13
        marked = plain[:end] + chunk(b"eXIf", exif(orientation)) + plain[end:]
    (tmp_path / f"turned{suffix}").write_bytes(marked)
    as_stored = read(tmp_path / f"a{suffix}")[1][0]
    upright = read(tmp_path / f"turned{suffix}")[1][0]
    np.testing.assert_array_equal(upright, UPRIGHT[orientation](as_stored))


@pytest.mark.parametrize("orientation", MATRICES)
def test_a_video_is_turned_and_mirrored_as_its_matrix_says(clip, tmp_path, orientation):
    plain = clip.read_bytes()
    matrix = struct.Struct(">9i")
    a, b, c, d = (value << 16 for value in MATRICES[orientation])
    identity = matrix.pack(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    start = plain.index(identity, plain.index(b"tkhd"))
    turned = matrix.pack(a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(plain[:start] + turned + plain[start + matrix.size :])
    for upright, stored in zip(read(tmp_path / "turned.mp4")[1], read(clip)[1], strict=True):
        np.testing.assert_array_equal(upright, UPRIGHT[orientation](stored))


@pytest.mark.parametrize(("first", "count"), [(0, 10), (5, 8), (0, 4), (12, 8)])
def test_what_an_edit_list_cuts_off_is_not_missing(make, tmp_path, first, count):
    """Phones trim a clip so: all frames are there, and some are not shown."""
    path = make.write_video(tmp_path / "a.mp4", make.moving_frames(20), bf="0")
    whole = read(path)[1]
    content = bytearray(path.read_bytes())
    place = content.index(b"elst") + 8
    entries, _, start = struct.unpack_from(">IIi", content, place)
    assert entries == 1
    # the whole file counts milliseconds, its frames 512 each
    struct.pack_into(">IIi", content, place, 1, count * 40, start + first * 512)
    path.write_bytes(content)
    media, shown = read(path)
    assert media.frames == len(shown) == count
    np.testing.assert_array_equal(np.stack(shown), np.stack(whole[first : first + count]))
    struct.pack_into(">IIi", content, place, 1, count * 40, 99 * 512)
    path.write_bytes(content)
    assert reason(path) == "holds no frame that its edit list shows"


def test_what_a_decoder_has_filled_in_is_damage(make, tmp_path):
    """FFmpeg makes pictures up where bytes are wrong, goes on, and says so."""
    path = make.write_video(tmp_path / "a.mp4", make.moving_frames(12), movflags="faststart")
    whole = path.read_bytes()
    flips = np.random.default_rng(0).integers(len(whole) - 900, len(whole) - 20, 8)
    content = bytearray(whole)
    for place in flips:
        content[place] ^= 16
    path.write_bytes(content)
    assert reason(path).startswith("damaged")


ODD = {
    "of_variable_rate": {"times": [0, 1, 2, 7, 8, 9, 20, 21]},
    "interlaced": {"x264-params": "tff=1:interlaced=1"},
    "with_non_square_pixels": {"pixel": Fraction(16, 15)},
    "with_transparency": {"codec": "qtrle", "form": "argb"},
}


@pytest.mark.parametrize("name", [*ODD, ""])
def test_what_is_odd_about_a_video_is_known(make, tmp_path, name):
    options = dict(ODD.get(name, {}))
    times, pixel = options.pop("times", range(8)), options.pop("pixel", None)
    codec, form = options.pop("codec", "libx264"), options.pop("form", "yuv420p")
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 96, form
        if pixel:
            stream.codec_context.sample_aspect_ratio = pixel
        for time, pixels in zip(times, make.moving_frames(8), strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    media, frames = read(path)
    assert media.oddities == ({name} if name else set())
    assert media.oddities <= set(video.ODDITIES)
    assert frames[0].shape == (64, 96, 3)


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile other.mp4\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("suffix", [".mp4", ".jpg", ".m3u8", ""])
@pytest.mark.parametrize("kind", PLAYLISTS)
def test_playlists_in_disguise_are_refused(make, tmp_path, kind, suffix):
    make.write_video(tmp_path / "other.mp4", make.moving_frames(4))
    path = tmp_path / f"evil{suffix}"
    path.write_text(PLAYLISTS[kind])
    assert reason(path) == "not an image or video of a known format"


def test_unguarded_ffmpeg_would_have_read_the_other_file(make, tmp_path):
    make.write_video(tmp_path / "other.mp4", make.moving_frames(4))
    (tmp_path / "evil.mp4").write_text(PLAYLISTS["ffconcat"])
    with av.open(str(tmp_path / "evil.mp4")) as container:
        assert len(list(container.decode(video=0))) == 4


def test_nothing_that_refers_to_other_files_is_on_the_list():
    dangerous = {"concat", "hls", "dash", "image2", "lavfi", "sdp", "rtsp", "tee", "imf", "tty"}
    allowed = {name for entry in containers.FORMATS for name in entry.split(",")}
    assert not allowed & dangerous
    assert allowed <= av.formats_available | {"mov", "m4a", "3gp", "3g2", "mj2", "matroska", "webm"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff", ".webp", ".gif", ".ppm"])
def test_truncated_images_are_refused(make, tmp_path, suffix):
    path = make.write_image(tmp_path / f"a{suffix}", make.moving_frames(1, 200, 300)[0])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    assert "truncated" in reason(path)


@pytest.mark.parametrize("start", ["moov_last", "moov_first"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_mp4_is_refused(make, tmp_path, start, share):
    options = {"movflags": "faststart"} if start == "moov_first" else {}
    path = make.write_video(tmp_path / "a.mp4", make.moving_frames(50), **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert any(word in reason(path) for word in ("truncated", "not an image or video"))


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_truncated_streams_are_refused(make, tmp_path, suffix):
    path = make.write_video(tmp_path / f"a{suffix}", make.moving_frames(100), g="10")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "truncated" in reason(path)


def test_other_unusable_files_are_refused_in_one_line(make, tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.jpg").write_text("not a picture\n" * 100)
    (tmp_path / "noise.png").write_bytes(np.random.default_rng(0).bytes(5000))
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason(tmp_path / "empty.mp4") == "empty (zero bytes)"
    assert reason(tmp_path / "text.jpg") == "not an image or video of a known format"
    assert reason(tmp_path / "noise.png") == "not an image or video of a known format"
    assert reason(tmp_path / "pipe.mp4") == "not a regular file"
    assert reason(tmp_path) == "not a regular file"
    assert "does not exist" in reason(tmp_path / "missing.png")


def test_an_animated_webp_is_refused_by_its_name(make, tmp_path):
    still = make.write_image(
        tmp_path / "still.webp", make.moving_frames(1)[0], 64, 101
    ).read_bytes()
    size = struct.pack("<I", 63)[:3]
    body = b"WEBPVP8X" + struct.pack("<IB", 10, 2) + bytes(3) + 2 * size
    body += b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    frame = bytes(6) + 2 * size + struct.pack("<I", 100) + still[12:]
    body += b"ANMF" + struct.pack("<I", len(frame)) + frame
    path = tmp_path / "animated.webp"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert reason(path) == "an animated WebP; convert it to GIF or MP4"


def test_a_file_without_pictures_is_refused(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    assert reason(path) == "has no video stream"


def test_a_format_that_is_not_listed_is_not_even_opened(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000))
    assert reason(path) == "not an image or video of a known format"


def test_a_changing_resolution_is_refused(make, tmp_path):
    first = make.write_video(tmp_path / "a.ts", make.moving_frames(10, 64, 96)).read_bytes()
    second = make.write_video(tmp_path / "b.ts", make.moving_frames(10, 48, 64)).read_bytes()
    (tmp_path / "both.ts").write_bytes(first + second)
    assert "resolution changes from 96x64 to 64x48" in reason(tmp_path / "both.ts")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(180_001), 9)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(png)
    assert f"above {video.MAX_PIXELS} pixels" in reason(tmp_path / "bomb.png")


def test_pixels_and_frames_are_bounded(clip):
    assert reason(clip, max_pixels=96 * 64 - 1) == "96x64 is more than 6143 pixels a frame"
    assert reason(clip, max_frames=9) == "10 frames are more than 9"
    assert read(clip, max_pixels=96 * 64, max_frames=10)[0].frames == 10


def test_compression_equals_what_a_file_would_hold(make, tmp_path):
    frames = make.moving_frames(9)
    path = tmp_path / "reference.mp4"
    with av.open(str(path), "w") as container:
        options = {"preset": "medium", "crf": "40", "x264-params": "threads=1:cpu-independent=1"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for number, pixels in enumerate(frames):
            container.mux(stream.encode(compression._to_yuv(pixels, number)))
        container.mux(stream.encode())
    np.testing.assert_array_equal(compression.compress_clip(frames, 40), np.stack(read(path)[1]))


def test_a_written_clip_is_that_file(make, tmp_path):
    for frames in (make.moving_frames(9), make.moving_frames(3, 33, 47)):
        path = tmp_path / "clip.mp4"
        compression.write_clip(path, frames, 40)
        media, found = read(path)
        height, width = frames.shape[1:3]
        assert (media.frames, media.rate) == (len(frames), 25)
        assert media.size == (width + width % 2, height + height % 2)
        np.testing.assert_array_equal(
            np.stack(found)[:, :height, :width], compression.compress_clip(frames, 40)
        )
    with pytest.raises(ValueError, match="crf"):
        compression.write_clip(tmp_path / "other.mp4", frames, 52)
    with pytest.raises(FileNotFoundError):
        compression.write_clip(tmp_path / "nowhere" / "clip.mp4", frames, 40)
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


def test_compression_keeps_count_place_and_repeats_itself(make):
    frames = make.moving_frames(9)
    light, heavy = compression.compress_clip(frames, 23), compression.compress_clip(frames, 40)
    assert light.shape == heavy.shape == frames.shape
    assert light.dtype == np.uint8
    assert psnr(light, frames) > psnr(heavy, frames) + 3
    shifted = [psnr(light[:, 4:-4, 4:-4], np.roll(frames, s, 2)[:, 4:-4, 4:-4]) for s in (-1, 0, 1)]
    assert np.argmax(shifted) == 1
    np.testing.assert_array_equal(heavy, compression.compress_clip(frames, 40))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 8), (33, 47), (64, 31)])
def test_odd_sizes_come_back_at_their_size(make, height, width):
    frames = make.moving_frames(3, height, width)
    compressed = compression.compress_clip(frames, 0)
    assert compressed.shape == frames.shape
    assert psnr(compressed, frames) > 20


@pytest.mark.parametrize("count", [1, 2, 60])
def test_every_frame_comes_back_whatever_the_length(make, count):
    assert len(compression.compress_clip(make.moving_frames(count, 16, 16), 40)) == count


def test_wrong_clips_are_refused_by_name():
    clip = np.zeros((2, 8, 8, 3), np.uint8)
    for frames, crf in ((clip[0], 23), (clip.astype(float), 23), (clip[:0], 23), (clip, 52)):
        with pytest.raises(ValueError, match=r"frames|crf"):
            compression.compress_clip(frames, crf)


def test_the_encoder_says_its_version():
    assert compression.encoder_version().split()[0].isdigit()


@pytest.mark.parametrize(
    ("options", "lossless"),
    [
        ({"crf": "0"}, True),
        ({"crf": "1"}, False),
        ({"crf": "45", "pix_fmt": "yuv444p"}, False),
        ({"qp": "0"}, True),
    ],
)
def test_h264_that_loses_nothing_is_told_by_its_profile(make, tmp_path, options, lossless):
    """Full colour has the same profile, lossy or not: of that nobody knows."""
    options = dict(options)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = options.pop("pix_fmt", "yuv420p")
        for pixels in make.moving_frames(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    with video.open_media(path) as media:
        assert media.lossless == lossless
