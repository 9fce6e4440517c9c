"""What an HTML page carries within itself."""

import base64


def data_uri(kind: str, content: bytes) -> str:
    """Return `content` as a URI that an HTML file carries within itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
