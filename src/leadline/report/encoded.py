"""Pictures and sounds as the bytes of files; without torch, so that a kept sampler is quick."""

from __future__ import annotations

import importlib.util
import io
import wave

import numpy as np
from numpy.typing import NDArray

from leadline.document import Pictures, Wave
from leadline.errors import UsageError, needing


def pictures_png(block: Pictures) -> bytes:
    """Return the pictures side by side, eight to a row, as one PNG: grey with ink in black, or in colour."""
    if importlib.util.find_spec("PIL") is None:
        raise UsageError("figures need pillow; run: pip install 'leadline[report]'")
    from PIL import Image

    buffer = io.BytesIO()
    sheet = contact_sheet(block.images)
    light = 1.0 - sheet if sheet.ndim == 2 else sheet
    Image.fromarray(np.round(255 * light).astype(np.uint8)).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def contact_sheet(images: NDArray[np.float64], across: int = 8) -> NDArray[np.float64]:
    """Lay (n, height, width) pictures out in rows of `across`, one pixel apart; those of colours (…, 3) on white."""
    count, height, width, *colors = images.shape
    columns = min(across, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *colors), 1.0 if colors else 0.0)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        sheet[top : top + height, left : left + width] = image.clip(0, 1)
    return sheet


def wave_bytes(block: Wave) -> bytes:
    """Return the sound as a 16-bit mono WAV."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(block.rate)
        stream.writeframes(_sixteen_bits(block).astype("<i2").tobytes())
    return buffer.getvalue()


def flac_bytes(block: Wave) -> bytes:
    """Return the sound as a 16-bit mono FLAC, of the same samples as the WAV."""
    with needing("train", "writing FLAC"):
        import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, _sixteen_bits(block), block.rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _sixteen_bits(block: Wave) -> NDArray[np.int16]:
    """Return whole numbers; those that 16 bits stood for come back as they were."""
    return np.round(block.samples * 32768).clip(-32768, 32767).astype(np.int16)
